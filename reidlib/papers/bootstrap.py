"""Intervals for differences of retrieval scores: paired bootstrap over queries and seeds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reidlib.errors import DataError
from reidlib.papers.tables import Measurement

RESAMPLES = 2000
_TOP_K = re.compile(r"(?:top-|rank-|r@?)(\d+)", re.IGNORECASE)
_CHUNK = 250  # resamples at a time, which bounds the memory where scores are not yes or no


@dataclass(frozen=True)
class Difference:
    """A difference in percentage points with its 95 % interval."""

    value: float
    low: float
    high: float
    seeds: int
    queries: int  # of each seed; the fewest, where they differ


def query_scores(measurement: Measurement) -> np.ndarray | None:
    """float64 (queries,) in 0..1: what each query adds to the mean; NaN where it does not count.

    As the run stored it, else for a Top-k from the ranks: 1 for a hit, 0 for a miss. None where
    there is no finished run, or it has stored nothing from which this metric follows.
    """
    if measurement.run is None:
        return None
    stored = measurement.run.scores(measurement.evaluation, measurement.metric)
    if stored is not None:
        return np.asarray(stored, dtype=np.float64)
    match = _TOP_K.fullmatch(measurement.metric)
    if match is None:
        return None
    ranks = np.asarray(measurement.run.ranks(measurement.evaluation))
    return ((ranks >= 1) & (ranks <= int(match[1]))).astype(np.float64)


def paired_difference(
    higher: Sequence[np.ndarray],
    lower: Sequence[np.ndarray] | float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The mean of `higher - lower` with a percentile bootstrap interval.

    Args:
        higher: per seed the scores of every query, (queries,) in 0..1; queries that are NaN on
            both sides are left out.
        lower: the same for the other side, seed by seed on the same queries; or one number in
            percent, such as a published one, which is taken as exact.
        resamples: bootstrap resamples. Queries are drawn with replacement, the same ones for both
            sides and for all seeds; for each seed its own where seeds have other numbers of them,
            as on several test splits. Seeds are drawn too where there are several.
        seed: of the resampling, so that a report always shows the same interval.

    Raises:
        DataError: the sides differ in their number of seeds or queries, or in which queries count.
    """
    if isinstance(lower, (int, float)):
        lower = [np.where(np.isnan(scores), np.nan, lower / 100) for scores in higher]
    if len(higher) != len(lower) or not higher:
        raise DataError(f"cannot pair {len(higher)} seeds with {len(lower)}")
    differences = [_differences(*sides) for sides in zip(higher, lower, strict=True)]
    rng = np.random.default_rng(seed)
    queries = [len(values) for values in differences]
    if len(set(queries)) == 1:
        means = _means(np.stack(differences), resamples, rng)
    else:
        means = np.hstack([_means(values[None], resamples, rng) for values in differences])
    seeds = len(differences)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    samples = (means * weights).sum(axis=1)
    # A mean of equal numbers can differ from them in the last bit; keep zero at zero.
    low, high = np.round(100 * np.quantile(samples, [0.025, 0.975]), 9) + 0.0
    value = round(100 * float(np.mean([d.mean() for d in differences])), 9) + 0.0
    return Difference(value, float(low), float(high), seeds, min(queries))


def _differences(higher: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """higher - lower of the queries that count, (queries,)."""
    sizes = sorted({len(higher), len(lower)})
    if len(sizes) != 1 or 0 in sizes:
        raise DataError(
            f"cannot pair runs with different numbers of queries: {sizes}; both sides must have "
            "been evaluated on the same test split"
        )
    count = ~np.isnan(higher)
    if not np.array_equal(count, ~np.isnan(lower)) or not count.any():
        raise DataError(
            f"cannot pair runs of which {count.sum()} and {(~np.isnan(lower)).sum()} queries have "
            "a correct image: expected the same ones on both sides, at least one"
        )
    return higher[count] - lower[count]


def _means(differences: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `resamples` bootstrap samples of (seeds, queries) -> (resamples, seeds).

    Queries with the same outcome on every seed are exchangeable, so it is enough to draw how often
    each distinct outcome occurs; with hits and misses there are at most 3^seeds of them.
    """
    seeds, queries = differences.shape
    outcomes, counts = np.unique(differences, axis=1, return_counts=True)
    means = np.empty((resamples, seeds))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.multinomial(queries, counts / queries, size=size)  # (size, outcomes)
        means[start : start + size] = drawn @ outcomes.T / queries
    return means
