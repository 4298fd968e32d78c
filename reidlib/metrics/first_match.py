"""Retrieval evaluation from score matrices.

Text to image: every caption is a query, the gallery is all test images, and a hit is any image
of the same person (no camera rule). What is kept of a run is the rank of the first correct match
of each query; every Top-k follows from it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from reidlib.errors import UsageError


def first_match_ranks(
    scores: Tensor, query_pids: Sequence[int], gallery_pids: Sequence[int]
) -> np.ndarray:
    """Rank of the first correct match of each query: int32 (Q,), 1 is best.

    scores: float (Q, G) on any device, higher is more alike. The rank is 1 + the number of wrong
    gallery images that score at least as much as the best correct one: a tie counts against the
    query. A query without any correct image gets G + 1, which no Top-k with k <= G counts.

    Raises UsageError for scores that are not a number and for lengths that do not fit.
    """
    queries, gallery = np.asarray(query_pids), np.asarray(gallery_pids)
    if scores.shape != (len(queries), len(gallery)) or not len(gallery):
        raise UsageError(
            f"scores are {tuple(scores.shape)}, expected ({len(queries)} queries, "
            f"{len(gallery)} gallery images), the gallery not empty"
        )
    if not len(queries):
        return np.zeros(0, dtype=np.int32)
    if scores.amax().isnan():  # amax hands a NaN on
        raise UsageError("scores contain NaN: the ranking would be meaningless")
    index, valid = (torch.from_numpy(a).to(scores.device) for a in _positives(queries, gallery))
    positives = scores.gather(1, index).masked_fill(~valid, -torch.inf)
    best = positives.amax(1, keepdim=True)
    above = (scores >= best).sum(1)  # wrong ones, and correct ones as good as the best
    ties = ((positives >= best) & valid).sum(1)
    return (1 + above - ties).cpu().numpy().astype(np.int32)


def _positives(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gallery positions of every query's person: int64 (Q, most), and which of them are real."""
    order = np.argsort(gallery, kind="stable")
    ordered = gallery[order]
    first = np.searchsorted(ordered, queries, side="left")
    count = np.searchsorted(ordered, queries, side="right") - first
    slot = np.arange(max(1, count.max()))
    valid = slot < count[:, None]
    return order[np.where(valid, first[:, None] + slot, 0)], valid


def first_match_ranks_in_blocks(
    blocks: Iterable[Tensor], query_pids: Sequence[int], gallery_pids: Sequence[int]
) -> np.ndarray:
    """`first_match_ranks` for scores that come as consecutive blocks of rows, each (q, G).

    Only one block is held at a time. Raises UsageError if the rows are not as many as the queries.
    """
    queries = np.asarray(query_pids)
    ranks, done = [], 0
    for block in blocks:
        ranks.append(first_match_ranks(block, queries[done : done + len(block)], gallery_pids))
        done += len(block)
    if done != len(queries):
        raise UsageError(f"blocks hold {done} rows of scores, expected {len(queries)} queries")
    return np.concatenate(ranks) if ranks else np.zeros(0, dtype=np.int32)


def top_k(ranks: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Share of queries whose first correct match is within the k best, in percent, as "Top-k"."""
    ranks = np.asarray(ranks)
    if not len(ranks):
        raise UsageError("top_k: no queries")
    return {f"Top-{k}": float((ranks <= k).mean() * 100) for k in ks}


def top_matches(scores: Tensor, k: int) -> np.ndarray:
    """Gallery positions of the k best scores of each query, best first: int64 (Q, min(k, G)).

    Equal scores keep gallery order, on every device.
    """
    if scores.isnan().any():
        raise UsageError("scores contain NaN: the ranking would be meaningless")
    return scores.argsort(dim=1, descending=True, stable=True)[:, :k].cpu().numpy()
