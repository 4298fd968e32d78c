"""Retrieval evaluation from score matrices.

Text to image: every caption is a query, the gallery is all test images, and a hit is any image
of the same person (no camera rule). What is kept of a run is the rank of the first correct match
of each query; every Top-k follows from it.
"""

from collections.abc import Sequence

import numpy as np
import torch

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
