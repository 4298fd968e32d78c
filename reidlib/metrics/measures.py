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


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks of all good images of Q queries; 1 is best.

    ranks: int32 (P,), ascending for each query; those of query q are
        ``ranks[offsets[q]:offsets[q + 1]]``.
    offsets: int64 (Q + 1,).
    gallery: number of gallery images, junk included.
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
        """Rank of the first good image of each query: int32 (Q,); `gallery` + 1 without one."""
        first = np.full(self.queries, self.gallery + 1, dtype=np.int32)
        first[self.valid] = self.ranks[self.offsets[:-1][self.valid]]
        return first

    def cmc(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Percentage of valid queries with a good image among the k best, as "Top-k"."""
        return _cmc(self.first[self.valid], ks)

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
        self._check_valid()
        return float(self.average_precision(kind)[self.valid].mean() * 100)

    def mean_inp(self) -> float:
        """mINP in percent: mean precision at the rank of the last good image of valid queries."""
        self._check_valid()
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

    def _check_valid(self) -> None:
        if not self.valid_queries:
            raise UsageError(f"none of the {self.queries} queries has a good gallery image")


@dataclass(frozen=True, eq=False)
class SingleShot:
    """Ranks with one gallery image per person: int32 (repeats, Q), 1 is best.

    A query without a good image has rank `gallery` + 1 in every repeat; `valid` bool (Q,).
    """

    ranks: np.ndarray
    valid: np.ndarray
    gallery: int

    def cmc(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Percentage over all repeats of all valid queries, as "Top-k"."""
        return _cmc(self.ranks[:, self.valid], ks)

    def query_scores(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
        """Share of repeats in which each query is a hit, as "Top-k": float64 (Q,) in 0..1; NaN for
        queries that are not valid."""
        return {f"Top-{k}": np.where(self.valid, (self.ranks <= k).mean(0), np.nan) for k in ks}


def _cmc(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    if not ranks.size:
        raise UsageError("CMC: there is no query with a good gallery image")
    return {f"Top-{k}": float((ranks <= k).mean() * 100) for k in ks}
