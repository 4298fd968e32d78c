"""Image-to-image evaluation: CMC and mAP from features or scores, without sorting the gallery.

The gallery of a query, once its junk is left out, falls into good images (the query's person) and
wrong ones. All measures follow from the ranks of the good images, and the rank of the j-th best
good image is a count: j + the number of wrong images that score at least as much. So only the few
scores of good images are sorted, and a block of queries is compared with one of them at a time.

Conventions:

- Ties count against the query: a wrong image with the score of a good one stands before it.
- Junk is left out, so that what stands behind it moves up: gallery images of `junk_pid`, and
  those of the query's own camera as `exclude` says. Distractors (Market-1501: pid 0) stay.
- A query without a good image is not valid and is left out of CMC and mAP; see
  `reidlib.metrics.measures`, which has the measures.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidlib.errors import UsageError
from reidlib.metrics.arrays import Ids, Numbers, to_ids, to_tensor
from reidlib.metrics.first_match import NO_MATCH
from reidlib.metrics.measures import Ranking, SingleShot

# Numbers held at a time. Products of features are fastest in large blocks; comparisons are best
# kept in the cache of a CPU, but a GPU is busy only with many of them.
_SCORES = {"cpu": 1 << 26, "cuda": 1 << 27}
_COMPARISONS = {"cpu": 1 << 20, "cuda": 1 << 27}


# ------------------------------------------------------------------ what is called


@torch.no_grad()
def rank_features(
    query: Numbers,
    gallery: Numbers,
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None = None,
    gallery_camids: Ids | None = None,
    *,
    metric: str = "cosine",
    exclude: str = "person",
    junk_pid: int | None = -1,
    block: int | None = None,
) -> Ranking:
    """Rank the gallery for every query by its features, on their device.

    query, gallery: float (Q, D) and (G, D), on one device; half precision is raised to float32.
    query_pids, ...: int (Q,) or (G,). Without camera numbers nothing is excluded.
    metric: "cosine" | "euclidean".
    exclude: gallery images of the query's own camera that are junk: "person", those of the
        query's person (Market-1501, DukeMTMC-reID, CUHK03 767/700); "camera", all of them (CUHK03
        as in open-reid); "none".
    junk_pid: gallery images with this pid are junk for every query; None: there are none.
    block: queries at a time; the default suits the device.

    Raises UsageError for sizes that do not fit, unknown options and features that are not finite.

    Example:
        >>> query, gallery = [[1.0, 0.0]], [[0.9, 0.1], [0.0, 1.0], [0.7, 0.6]]
        >>> rank_features(query, gallery, [5], [5, 6, 5]).ranks
        array([1, 2], dtype=int32)

        Seen by the query's own camera, the first image is junk, and the next one moves up:

        >>> rank_features(query, gallery, [5], [5, 6, 5], [1], [1, 2, 2]).metrics(ks=(1,))["Top-1"]
        100.0
    """
    query, gallery = to_tensor(query), to_tensor(gallery)
    scene = _scene(query_pids, gallery_pids, query_camids, gallery_camids, exclude, junk_pid)
    scores = _feature_scores(query, gallery, scene, metric)
    return _rank(scores, scene, query.device, block)


@torch.no_grad()
def rank_scores(
    scores: Numbers,
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None = None,
    gallery_camids: Ids | None = None,
    *,
    exclude: str = "person",
    junk_pid: int | None = -1,
    block: int | None = None,
) -> Ranking:
    """As `rank_features`, from scores: float (Q, G), higher is more alike; negate distances.

    Example:
        >>> ranking = rank_scores([[0.3, 0.8, 0.5], [0.6, 0.1, 0.2]], [5, 7], [5, 6, 5])
        >>> ranking.ranks  # of the first query; the second has no good image
        array([2, 3], dtype=int32)
        >>> ranking.cmc(ks=(1, 2)), ranking.valid_queries
        ({'Top-1': 0.0, 'Top-2': 100.0}, 1)
    """
    scores = to_tensor(scores)
    scene = _scene(query_pids, gallery_pids, query_camids, gallery_camids, exclude, junk_pid)
    return _rank(_given_scores(scores, scene), scene, scores.device, block)


@torch.no_grad()
def single_shot(
    query: Numbers,
    gallery: Numbers,
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None = None,
    gallery_camids: Ids | None = None,
    *,
    metric: str = "cosine",
    exclude: str = "person",
    junk_pid: int | None = -1,
    repeats: int = 10,
    seed: int = 0,
    block: int | None = None,
) -> SingleShot:
    """Single-gallery-shot: in each of `repeats`, one random image per person makes up the gallery.

    Arguments as in `rank_features`. Junk is left out before the draw. A repeat draws the same
    images for all queries that have the same junk: a draw gives every gallery image a random
    number, and the image of a person is the one with the smallest number that is not junk for the
    query. Published code disagrees on repeats (10 in open-reid and torchreid, 100 elsewhere).

    Example:
        >>> query, gallery = [[1.0, 0.0]], [[0.9, 0.1], [0.8, 0.6], [0.0, 1.0]]
        >>> single_shot(query, gallery, [6], [5, 5, 6], repeats=3).ranks
        array([[2],
               [2],
               [2]], dtype=int32)
    """
    if repeats < 1:
        raise UsageError(f"single shot: repeats must be at least 1, got {repeats}")
    query, gallery = to_tensor(query), to_tensor(gallery)
    scene = _scene(query_pids, gallery_pids, query_camids, gallery_camids, exclude, junk_pid)
    scores = _feature_scores(query, gallery, scene, metric)
    return _single_shot(scores, scene, query.device, block, repeats, seed)


def pool_queries(
    features: Numbers,
    pids: Ids,
    camids: Ids,
    query_pids: Ids,
    query_camids: Ids,
    how: str = "mean",
) -> Tensor:
    """Multi-query features: those of all images of a query's person in its camera, pooled.

    features: float (N, D), pids and camids int (N,) of the images to pool (Market-1501: gt_bbox).
    Returns float (Q, D), "mean" or "max" over the images of each query; rank these with
    `rank_features`. Raises UsageError if there is no image for a query (names pid and camera).

    Example:
        >>> boxes = [[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]]
        >>> pool_queries(boxes, [5, 5, 5], [1, 1, 2], query_pids=[5], query_camids=[1])
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if how not in ("mean", "max"):
        raise UsageError(f"unknown pooling {how!r}: expected mean or max")
    features = to_tensor(features)
    keys = np.stack([to_ids(pids), to_ids(camids)], 1)
    wanted = np.stack([to_ids(query_pids), to_ids(query_camids)], 1)
    if keys.shape != (len(features), 2):
        raise UsageError(f"{len(features)} features, but {len(keys)} pids and camera numbers")
    groups, inverse = np.unique(np.concatenate([keys, wanted]), axis=0, return_inverse=True)
    of_image, of_query = np.split(inverse.reshape(-1), [len(keys)])
    missing = np.flatnonzero(~np.isin(of_query, of_image))
    if len(missing):
        pid, camid = wanted[missing[0]]
        raise UsageError(
            f"multi-query: {len(missing)} queries have no image to pool, "
            f"the first is person {pid} in camera {camid}"
        )
    features = _raised(features)
    index = torch.from_numpy(of_image).to(features.device)
    pooled = features.new_zeros(len(groups), features.shape[1]).scatter_reduce(
        0,
        index[:, None].expand_as(features),
        features,
        "mean" if how == "mean" else "amax",
        include_self=False,
    )
    return pooled[torch.from_numpy(of_query).to(features.device)]


# ------------------------------------------------------------------ who is good, who is junk


class _Scene(NamedTuple):
    """Who is where: pids and camera numbers; the gallery without the images of `junk_pid`."""

    query_pids: np.ndarray
    query_camids: np.ndarray | None
    pids: np.ndarray
    camids: np.ndarray | None
    kept: np.ndarray  # int64: the gallery images that are not junk for all
    gallery: int  # with junk
    exclude: str


class _Own(NamedTuple):
    """Gallery images of the person of each query, query after query."""

    query: np.ndarray  # int64 (n,)
    column: np.ndarray  # int64 (n,), among the kept gallery images
    good: np.ndarray  # bool (n,); the others are junk

    def offsets(self, queries: int) -> np.ndarray:
        return _offsets(np.bincount(self.query, minlength=queries))


def _scene(
    query_pids: Ids,
    gallery_pids: Ids,
    query_camids: Ids | None,
    gallery_camids: Ids | None,
    exclude: str,
    junk_pid: int | None,
) -> _Scene:
    if exclude not in ("person", "camera", "none"):
        raise UsageError(f"unknown exclude {exclude!r}: expected person, camera or none")
    if (query_camids is None) != (gallery_camids is None):
        raise UsageError("camera numbers are given for queries or gallery alone: give both or none")
    if exclude == "camera" and query_camids is None:
        raise UsageError('exclude "camera" needs camera numbers')
    queries, gallery = to_ids(query_pids), to_ids(gallery_pids)
    kept = np.arange(len(gallery)) if junk_pid is None else np.flatnonzero(gallery != junk_pid)
    if len(kept) >= 1 << 24:
        raise UsageError(f"{len(kept)} gallery images: counts are exact up to 2^24 of them")
    if query_camids is None or exclude == "none":
        return _Scene(queries, None, gallery[kept], None, kept, len(gallery), "none")
    cameras, gallery_cameras = to_ids(query_camids), to_ids(gallery_camids)
    if cameras.shape != queries.shape or gallery_cameras.shape != gallery.shape:
        raise UsageError(
            f"{len(cameras)} and {len(gallery_cameras)} camera numbers for {len(queries)} queries "
            f"and {len(gallery)} gallery images"
        )
    return _Scene(
        queries, cameras, gallery[kept], gallery_cameras[kept], kept, len(gallery), exclude
    )


def _own_images(scene: _Scene, queries: np.ndarray) -> _Own:
    """The `_Own` of the queries at the given positions."""
    by_pid = np.argsort(scene.pids, kind="stable")
    pids = scene.query_pids[queries]
    first, last = (np.searchsorted(scene.pids[by_pid], pids, side) for side in ("left", "right"))
    count = last - first
    query = np.repeat(np.arange(len(queries)), count)
    column = by_pid[np.arange(len(query)) + (first - _offsets(count)[:-1])[query]]
    if scene.camids is None:
        good = np.ones(len(query), dtype=bool)
    else:
        good = scene.query_camids[queries][query] != scene.camids[column]
    return _Own(query, column, good)


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


# ------------------------------------------------------------------ scores, a block at a time

# Positions of queries, int64 (b,) on the device -> their scores against the kept gallery, float
# (b, kept): a tensor of the caller's own, which may be written to.
_Scores = Callable[[Tensor], Tensor]


def _feature_scores(query: Tensor, gallery: Tensor, scene: _Scene, metric: str) -> _Scores:
    queries, images = len(scene.query_pids), scene.gallery
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise UsageError(
            f"features are {tuple(query.shape)} and {tuple(gallery.shape)}, expected (Q, D), (G, D)"
        )
    if len(query) != queries or len(gallery) != images:
        raise UsageError(
            f"{len(query)} and {len(gallery)} features for {queries} query and {images} gallery "
            "pids"
        )
    if query.device != gallery.device:
        raise UsageError(f"features are on two devices: {query.device} and {gallery.device}")
    query, gallery = _raised(query), _raised(gallery)
    gallery = gallery[torch.from_numpy(scene.kept).to(gallery.device)]  # a copy
    length, lengths = (torch.linalg.vector_norm(x, dim=1) for x in (query, gallery))
    if not bool(length.isfinite().all() & lengths.isfinite().all()):  # as soon as one number is not
        raise UsageError("features are not finite: the ranking would be meaningless")
    if metric == "cosine":
        # The length of the query changes nothing in its own ranking.
        gallery /= lengths.clamp_min(1e-12)[:, None]
        return lambda rows: query[rows] @ gallery.T
    if metric == "euclidean":
        # -|q - g|^2 / 2 = q g - |g|^2 / 2 - |q|^2 / 2, and the last term is the same for all g.
        bias = (gallery * gallery).sum(1) / -2
        return lambda rows: torch.addmm(bias, query[rows], gallery.T)
    raise UsageError(f"unknown metric {metric!r}: expected cosine or euclidean")


def _given_scores(scores: Tensor, scene: _Scene) -> _Scores:
    expected = (len(scene.query_pids), scene.gallery)
    if scores.shape != expected:
        raise UsageError(f"scores are {tuple(scores.shape)}, expected {expected} as the pids")
    columns = torch.from_numpy(scene.kept).to(scores.device)

    def block(rows: Tensor) -> Tensor:
        values = _raised(scores[rows][:, columns])
        if not bool(values.isfinite().all()):
            raise UsageError("scores are not finite: the ranking would be meaningless")
        return values

    return block


def _raised(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _rows_at_a_time(block: int | None, columns: int, device: torch.device) -> int:
    if block is None:
        return max(1, _SCORES[device.type] // max(1, columns))
    if block < 1:
        raise UsageError(f"block must be at least 1 query, got {block}")
    return block


# ------------------------------------------------------------------ ranks as counts


def _rank(scores: _Scores, scene: _Scene, device: torch.device, block: int | None) -> Ranking:
    queries, columns = len(scene.query_pids), len(scene.pids)
    own = _own_images(scene, np.arange(queries))
    good = np.bincount(own.query[own.good], minlength=queries)
    # Queries with many good images first: those of a block have about as many, so that little of
    # the padded table of thresholds is padding. Queries without any are left out.
    order = np.argsort(-good, kind="stable")[: np.count_nonzero(good)]
    own, counts = _own_images(scene, order), good[order]
    offsets = own.offsets(len(order))
    good_offsets = _offsets(counts)
    slot = (
        np.cumsum(own.good) - 1 - good_offsets[own.query]
    )  # of the good ones: 0, 1, ... per query
    rows_at_a_time = _rows_at_a_time(block, columns, device)

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    found = []
    for start in range(0, len(order), rows_at_a_time):
        end = min(start + rows_at_a_time, len(order))
        part = slice(offsets[start], offsets[end])
        row, is_good = own.query[part] - start, own.good[part]
        most = int(counts[start])
        S = scores(on_device(order[start:end]))  # (b, columns)
        flat = on_device(row * columns + own.column[part])
        cells = on_device((row * most + slot[part])[is_good])
        thresholds = S.new_full((end - start, most), -torch.inf)
        thresholds.view(-1)[cells] = S.view(-1)[flat[on_device(is_good)]]
        thresholds = thresholds.sort(1, descending=True).values
        _leave_out(S, flat, scene, order[start:end])
        wrong = _wrong_before(S, thresholds, counts[start:end])
        found.append(wrong.view(-1)[cells])
        del S  # before the next block is there
    # Cells are in the order of slots, so that the ranks of a query come out ascending.
    wrong = torch.cat(found).cpu().numpy() if found else np.zeros(0)
    hit = np.arange(len(wrong)) - np.repeat(good_offsets[:-1], counts) + 1
    back = np.argsort(np.repeat(order, counts), kind="stable")
    return Ranking((wrong + hit).astype(np.int32)[back], _offsets(good), scene.gallery)


def _leave_out(S: Tensor, own: Tensor, scene: _Scene, queries: np.ndarray) -> None:
    """Leave nothing but wrong images in S: the query's person (flat positions) and junk get -inf.

    Thresholds are finite, so that -inf is never counted.
    """
    S.view(-1)[own] = -torch.inf
    if scene.exclude == "camera":
        cameras, gallery = (
            torch.from_numpy(c).to(S.device) for c in (scene.query_camids[queries], scene.camids)
        )
        S.masked_fill_(cameras[:, None] == gallery, -torch.inf)


def _wrong_before(S: Tensor, thresholds: Tensor, counts: np.ndarray) -> Tensor:
    """Number of scores in S (b, columns) that reach each threshold (b, most), as floats.

    Row i has counts[i] thresholds, a number that never grows with i; the rest is padding.
    Comparing and adding up floats in a buffer is what vectorizes: ten times faster than counting
    booleans, and exact below 2^24.
    """
    rows, columns = S.shape
    budget = _COMPARISONS[S.device.type]
    reached = torch.zeros_like(thresholds)
    buffer = S.new_empty(max(budget, columns))
    row = 0
    while row < rows:
        most = int(counts[row])
        end = min(rows, row + max(1, budget // (most * columns)))
        width = max(1, budget // ((end - row) * columns))  # thresholds of a row at a time
        for first in range(0, most, width):
            cells = slice(row, end), slice(first, min(first + width, most))
            T = thresholds[cells]
            out = buffer[: T.numel() * columns].view(*T.shape, columns)
            reached[cells] = torch.ge(S[row:end, None], T[:, :, None], out=out).sum(2)
        row = end
    return reached


# ------------------------------------------------------------------ single-gallery-shot


def _single_shot(
    scores: _Scores,
    scene: _Scene,
    device: torch.device,
    block: int | None,
    repeats: int,
    seed: int,
) -> SingleShot:
    queries, columns = len(scene.query_pids), len(scene.pids)
    rows_at_a_time = _rows_at_a_time(block, columns, device)
    draws = np.random.default_rng(seed).random((repeats, columns))
    ranks = np.full((repeats, queries), NO_MATCH, dtype=np.int32)
    for group in _same_junk(scene):
        own = _own_images(scene, group)
        group = group[np.bincount(own.query[own.good], minlength=len(group)) > 0]
        if not len(group):
            continue
        allowed = np.arange(columns)
        if scene.exclude == "camera":
            allowed = np.flatnonzero(scene.camids != scene.query_camids[group[0]])
        persons = torch.from_numpy(_draw(scene.pids[allowed], allowed, draws)).to(device)
        for start in range(0, len(group), rows_at_a_time):
            part = group[start : start + rows_at_a_time]
            own = _own_images(scene, part)
            mine = _draw(own.query[own.good], own.column[own.good], draws)  # (repeats, b)
            S = scores(torch.from_numpy(part).to(device))
            thresholds = S.gather(1, torch.from_numpy(mine.T.copy()).to(device))  # (b, repeats)
            flat = torch.from_numpy(own.query * columns + own.column).to(device)
            S.view(-1)[flat] = -torch.inf
            wrong = [
                (S[:, p] >= t[:, None]).sum(1) for p, t in zip(persons, thresholds.T, strict=True)
            ]
            ranks[:, part] = 1 + torch.stack(wrong).cpu().numpy()
    return SingleShot(ranks, ranks[0] < NO_MATCH, scene.gallery)


def _same_junk(scene: _Scene) -> list[np.ndarray]:
    """Positions of queries, in groups for which the same images of other persons are junk."""
    if scene.exclude != "camera":
        return [np.arange(len(scene.query_pids))]
    return [np.flatnonzero(scene.query_camids == c) for c in np.unique(scene.query_camids)]


def _draw(groups: np.ndarray, columns: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Of each group (in ascending order) the column with the smallest number, in each repeat.

    groups, columns: int (n,); draws: float (repeats, gallery). Returns int64 (repeats, groups).
    """
    first = _offsets(np.unique(groups, return_counts=True)[1])[:-1]
    order = np.lexsort((draws[:, columns], np.broadcast_to(groups, (len(draws), len(groups)))))
    return columns[order[:, first]]
