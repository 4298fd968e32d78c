"""What follows from the ranks of the good images: CMC, mAP in both kinds, mINP.

Means are over the *valid* queries, those with a good image. The first authors' Market-1501 code
divides by all queries, which is the same on Market-1501, DukeMTMC-reID and CUHK03, where each has
one; both counts are kept. Percentages are 0..100.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reidlib.errors import UsageError
from reidlib.metrics.first_match import NO_MATCH, top_k


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks of all good images of Q queries; 1 is best.

    ranks: int32 (P,), ascending for each query; those of query q are
        ``ranks[offsets[q]:offsets[q + 1]]``.
    offsets: int64 (Q + 1,).
    gallery: number of gallery images, junk included.

    Example:
        >>> ranking = Ranking(np.array([1, 3, 2]), np.array([0, 2, 3]), gallery=4)
        >>> ranking.cmc(ks=(1, 2))  # the first query has good images at 1 and 3, the second at 2
        {'Top-1': 50.0, 'Top-2': 100.0}
        >>> round(ranking.mean_ap(), 2), round(ranking.mean_ap("trapezoid"), 2)
        (66.67, 52.08)
    """

    ranks: np.ndarray
    offsets: np.ndarray
    gallery: int

    @property
    def queries(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def good(self) -> np.ndarray:
        """Number of good images of each query: int64 (Q,)."""
        return np.diff(self.offsets)

    @property
    def valid(self) -> np.ndarray:
        """Which queries have a good image: bool (Q,)."""
        return self.good > 0

    @property
    def valid_queries(self) -> int:
        return int(self.valid.sum())

    @cached_property
    def first(self) -> np.ndarray:
        """Rank of the first good image of each query: int32 (Q,); NO_MATCH without one."""
        first = np.full(self.queries, NO_MATCH, dtype=np.int32)
        first[self.valid] = self.ranks[self.offsets[:-1][self.valid]]
        return first

    def cmc(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Percentage of valid queries with a good image among the k best, as "Top-k"."""
        _check_valid(self.valid)
        return top_k(self.first[self.valid], ks)

    def average_precision(self, kind: str = "step") -> np.ndarray:
        """AP of each query in 0..1, float64 (Q,); NaN for queries that are not valid.

        kind "step": mean precision at the ranks of the good images (the rectangle rule; what
        scikit-learn gives where there are no ties). kind "trapezoid": at each good image, the mean
        of the precisions at its rank and at the rank before it, which is 1 before the first rank
        (Oxford buildings; the official code of Market-1501, DukeMTMC-reID and CUHK03 767/700).
        """
        query = np.repeat(np.arange(self.queries), self.good)
        hits = np.arange(len(self.ranks)) - self.offsets[query] + 1  # j-th good image
        precision = hits / self.ranks
        if kind == "trapezoid":
            before = self.ranks - 1
            previous = np.where(before > 0, (hits - 1) / np.maximum(before, 1), 1.0)
            precision = (previous + precision) / 2
        elif kind != "step":
            raise UsageError(f"unknown kind of AP {kind!r}: expected step or trapezoid")
        total = np.bincount(query, precision, minlength=self.queries)
        return np.divide(total, self.good, out=np.full(self.queries, np.nan), where=self.valid)

    def mean_ap(self, kind: str = "step") -> float:
        """mAP over the valid queries in percent; see `average_precision`."""
        _check_valid(self.valid)
        return float(self.average_precision(kind)[self.valid].mean() * 100)

    def mean_inp(self) -> float:
        """mINP in percent: mean precision at the rank of the last good image of valid queries."""
        _check_valid(self.valid)
        last = self.ranks[self.offsets[1:][self.valid] - 1]
        return float((self.good[self.valid] / last).mean() * 100)

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """CMC as "Top-k", "mAP (step)", "mAP (trapezoid)", "mINP"; then both query counts."""
        return {
            **self.cmc(ks),
            "mAP (step)": self.mean_ap("step"),
            "mAP (trapezoid)": self.mean_ap("trapezoid"),
            "mINP": self.mean_inp(),
            "queries": self.queries,
            "valid queries": self.valid_queries,
        }

    def query_scores(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
        """What each query adds to the means of `metrics`, by their names: float64 (Q,) in 0..1;
        NaN for queries that are not valid."""
        return {
            **{f"Top-{k}": np.where(self.valid, self.first <= k, np.nan) for k in ks},
            "mAP (step)": self.average_precision("step"),
            "mAP (trapezoid)": self.average_precision("trapezoid"),
        }


@dataclass(frozen=True, eq=False)
class SingleShot:
    """Ranks with one gallery image per person: int32 (repeats, Q), 1 is best.

    A query without a good image has rank NO_MATCH in every repeat; `valid` bool (Q,).

    Example:
        >>> ranks = np.array([[1, 2], [1, 1]], dtype=np.int32)  # two draws, two queries
        >>> SingleShot(ranks, np.array([True, True]), gallery=5).cmc(ks=(1, 5))
        {'Top-1': 75.0, 'Top-5': 100.0}
    """

    ranks: np.ndarray
    valid: np.ndarray
    gallery: int

    def cmc(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Percentage over all repeats of all valid queries, as "Top-k"."""
        _check_valid(self.valid)
        return top_k(self.ranks[:, self.valid], ks)

    def query_scores(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
        """Share of repeats in which each query is a hit, as "Top-k": float64 (Q,) in 0..1; NaN for
        queries that are not valid."""
        return {f"Top-{k}": np.where(self.valid, (self.ranks <= k).mean(0), np.nan) for k in ks}


def _check_valid(valid: np.ndarray) -> None:
    if not valid.any():
        raise UsageError(f"none of the {len(valid)} queries has a good gallery image")
