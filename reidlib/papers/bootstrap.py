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
    queries: int


def query_scores(measurement: Measurement) -> np.ndarray | None:
    """float64 (queries,): 1 where the query counts as a hit, 0 elsewhere.

    None where there is no finished run, or the metric is no Top-k (its queries are not stored).
    """
    match = _TOP_K.fullmatch(measurement.metric)
    if measurement.run is None or match is None:
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
        higher: per seed the scores of every query, (queries,) in 0..1.
        lower: the same for the other side, seed by seed on the same queries; or one number in
            percent, such as a published one, which is taken as exact.
        resamples: bootstrap resamples. Queries are drawn with replacement, the same ones for both
            sides and for all seeds; seeds are drawn too where there are several.
        seed: of the resampling, so that a report always shows the same interval.

    Raises:
        DataError: the sides differ in their number of seeds or queries.
    """
    if isinstance(lower, (int, float)):
        lower = [np.full(scores.shape, lower / 100) for scores in higher]
    if len(higher) != len(lower) or not higher:
        raise DataError(f"cannot pair {len(higher)} seeds with {len(lower)}")
    sizes = {len(scores) for scores in (*higher, *lower)}
    if len(sizes) != 1 or 0 in sizes:
        raise DataError(
            f"cannot pair runs with different numbers of queries: {sorted(sizes)}; both sides "
            "must have been evaluated on the same test split"
        )
    differences = np.stack(higher) - np.stack(lower)  # (seeds, queries)
    samples = _resample(differences, resamples, np.random.default_rng(seed))
    # A mean of equal numbers can differ from them in the last bit; keep zero at zero.
    low, high = np.round(100 * np.quantile(samples, [0.025, 0.975]), 9) + 0.0
    value = round(100 * float(differences.mean()), 9) + 0.0
    return Difference(value, float(low), float(high), *differences.shape)


def _resample(differences: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `resamples` bootstrap samples of (seeds, queries) -> (resamples,).

    Queries with the same outcome on every seed are exchangeable, so it is enough to draw how often
    each distinct outcome occurs; with hits and misses there are at most 3^seeds of them.
    """
    seeds, queries = differences.shape
    outcomes, counts = np.unique(differences, axis=1, return_counts=True)
    means = np.empty(resamples)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.multinomial(queries, counts / queries, size=size)  # (size, outcomes)
        per_seed = drawn @ outcomes.T / queries  # (size, seeds)
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size) / seeds
        means[start : start + size] = (per_seed * weights).sum(axis=1)
    return means
