"""Retrieval evaluation from score matrices.

Text to image: every caption is a query, the gallery is all test images, and a hit is any image
of the same person (no camera rule). What is kept of a run is the rank of the first correct match
of each query; every Top-k follows from it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import digamma

from reidlib.errors import UsageError
from reidlib.metrics.arrays import Ids, Numbers, to_ids, to_tensor

NO_MATCH = int(np.iinfo(np.int32).max)  # rank of a query without a correct image: beyond every k


def first_match_ranks(scores: Numbers, query_pids: Ids, gallery_pids: Ids) -> np.ndarray:
    """Rank of the first correct match of each query: int32 (Q,), 1 is best.

    scores: float (Q, G) on any device, higher is more alike. The rank is 1 + the number of wrong
    gallery images that score at least as much as the best correct one: a tie counts against the
    query. A query without any correct image gets NO_MATCH, which no Top-k counts.

    Raises UsageError for scores that are not a number and for lengths that do not fit.

    Example:
        >>> scores = [[0.9, 0.2, 0.4], [0.1, 0.3, 0.6]]  # two captions, three images
        >>> first_match_ranks(scores, query_pids=[7, 8], gallery_pids=[7, 8, 9])
        array([1, 2], dtype=int32)
    """
    scores = to_tensor(scores)
    queries, gallery = to_ids(query_pids), to_ids(gallery_pids)
    if scores.shape != (len(queries), len(gallery)) or not len(gallery):
        raise UsageError(
            f"scores are {tuple(scores.shape)}, expected ({len(queries)} queries, "
            f"{len(gallery)} gallery images), the gallery not empty"
        )
    if not len(queries):
        return np.zeros(0, dtype=np.int32)
    if scores.amax().isnan():  # amax hands a NaN on
        raise UsageError("scores contain NaN: the ranking would be meaningless")
    positions = _positives(queries, gallery)
    index, valid = (torch.from_numpy(a).to(scores.device) for a in positions)
    positives = scores.gather(1, index).masked_fill(~valid, -torch.inf)
    best = positives.amax(1, keepdim=True)
    above = (scores >= best).sum(1)  # wrong ones, and correct ones as good as the best
    ties = ((positives >= best) & valid).sum(1)
    ranks = (1 + above - ties).cpu().numpy().astype(np.int32)
    ranks[~positions[1].any(1)] = NO_MATCH
    return ranks


def _positives(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gallery positions of every query's person: int64 (Q, most), and which of them are real."""
    order = np.argsort(gallery, kind="stable")
    ordered = gallery[order]
    first = np.searchsorted(ordered, queries, side="left")
    count = np.searchsorted(ordered, queries, side="right") - first
    slot = np.arange(max(1, count.max()))
    valid = slot < count[:, None]
    return order[np.where(valid, first[:, None] + slot, 0)], valid


def top_k(ranks: Sequence[int] | np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Share of queries whose first correct match is within the k best, in percent, as "Top-k".

    ranks: as of `first_match_ranks`, of any shape. Raises UsageError if there are none.

    Example:
        >>> top_k([1, 2, 6, NO_MATCH])
        {'Top-1': 25.0, 'Top-5': 50.0, 'Top-10': 75.0}
    """
    ranks = np.asarray(ranks)
    if not ranks.size:
        raise UsageError("top_k: there is no query to count")
    return {f"Top-{k}": float((ranks <= k).mean() * 100) for k in ks}


def top_matches(scores: Numbers, k: int) -> np.ndarray:
    """Gallery positions of the k best scores of each query, best first: int64 (Q, min(k, G)).

    Equal scores keep gallery order, on every device.

    Example:
        >>> top_matches([[0.1, 0.9, 0.9, 0.5]], k=3)
        array([[1, 2, 3]])
    """
    scores = to_tensor(scores)
    if scores.isnan().any():
        raise UsageError("scores contain NaN: the ranking would be meaningless")
    return scores.argsort(dim=1, descending=True, stable=True)[:, :k].cpu().numpy()


def chance_levels(
    matches: Sequence[int] | np.ndarray,
    gallery: int | Sequence[int] | np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """What a ranking at random reaches on average, in percent, by the names of the measures:
    "Top-k", "mAP (step)" and "mAP (trapezoid)" as in `reidlib.metrics.measures`.

    With m good images among G, drawn without replacement, none is among the first k with the
    hypergeometric probability C(G - m, k) / C(G, k). For the average precision, the image at rank
    r is good with probability m / G, and then (r - 1)(m - 1) / (G - 1) of those before it are.

    matches: int (queries,), good images of each query; leave out queries that the measure leaves
        out. A query without any is a miss, and adds 0 to mAP.
    gallery: images that are ranked, junk left out: one number, or int (queries,).

    Raises UsageError where there are no queries, no gallery, or more good images than images.

    Example: 5 good images among 100, and for another query 1 among 100.

    >>> {name: round(value, 2) for name, value in chance_levels([5, 1], 100, ks=(1, 10)).items()}
    {'Top-1': 3.0, 'Top-10': 25.81, 'mAP (step)': 7.1, 'mAP (trapezoid)': 5.05}
    """
    m = np.asarray(matches, dtype=np.float64)
    if not m.size:
        raise UsageError("chance_levels: no queries")
    G = np.broadcast_to(np.asarray(gallery, dtype=np.float64), m.shape)
    if (m < 0).any() or (m > G).any() or (G < 1).any():
        raise UsageError(
            f"chance_levels: {m.min():g} to {m.max():g} good images in galleries of {G.min():g} to "
            f"{G.max():g}: expected 0 <= good images <= gallery, and a gallery that is not empty"
        )
    found = {}
    for k in ks:
        missed = np.ones(m.shape)
        for drawn in range(k):
            left = np.clip(G - drawn, 1, None)
            missed *= np.where(drawn < G, np.clip(G - m - drawn, 0, None) / left, 1.0)
        found[f"Top-{k}"] = 100 * float((1 - missed).mean())
    # E[AP] = sum over r of (1 + (r - 1)(m - 1) / (G - 1)) / r / G, with the harmonic number H_G
    H = digamma(G + 1) + np.euler_gamma
    step = np.where(m > 0, (H + (m - 1) / np.maximum(G - 1, 1) * (G - H)) / G, 0.0)
    # The precision at the rank before, 1 at the first: sum over r of (m - 1) / (G - 1) / G
    trapezoid = (step + m / G) / 2
    return found | {
        "mAP (step)": 100 * float(step.mean()),
        "mAP (trapezoid)": 100 * float(trapezoid.mean()),
    }
