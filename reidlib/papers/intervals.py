"""Intervals for differences of retrieval scores that cover the choice of people and the luck of
training, in closed form.

Two things are left to chance when a row of a table is measured: whom the test shows, and how a
training turned out. The score of training s of a row, a mean over queries, is modelled as

    x_s = mu + a_s + e + g_s

with the luck a_s of that training, the choice e of people, which is the same for all trainings on
one test split, and what people and training do together, g_s. Rows and columns of that layout,
people and trainings, are both drawn from many: it is the crossed random effects model, and the
variance of a difference D of mean scores over S trainings a side is

    Var D = sum over sides of s^2 / S  +  V_P - V_G

    s^2   variance between the trainings of a side; it holds a_s and g_s
    V_P   variance from people alone, of the scores averaged over trainings. All queries of a
          person go together (captions of one person are not independent), and people have
          different numbers of them: the linearized variance of a ratio, clustered by person
    V_G   the part of V_P that is g_s, and so in s^2 already

The factor of the 95 % interval is a t quantile. Its degrees of freedom are those of Welch and
Satterthwaite for the sum of s^2 / S and (people - 1) for the rest, weighted by their shares of the
variance: d = V / sum(V_i / d_i). That is a little more careful than Satterthwaite's squares, whose
intervals hold the truth in only 92 % of tables where a steady row meets an unsteady one. No
interval is narrower than that from people alone, which matters where trainings happen to tie. In
simulated tables these intervals hold the truth in 94 to 97 % with three trainings (97.5 % where
training is no luck at all) and in 95 to 96 % with five: tests/test_intervals.py.

Not covered: what all trainings share, such as the pretraining that they start from.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from reidlib.errors import DataError
from reidlib.papers.tables import Measurement

RESAMPLES = 2000  # of people, where an interval has no closed form
TOP_K = re.compile(r"(?:top-|rank-|r@?)(\d+)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Sample:
    """How one training did on its test split.

    scores: float64 (queries,) in 0..1; NaN where a query does not count.
    people: int64 (queries,), the pid of each query.
    run: key of the training; evaluations of one training have the same.
    """

    scores: np.ndarray
    people: np.ndarray
    run: str


@dataclass(frozen=True)
class Difference:
    """A difference in percentage points with its 95 % interval.

    With one training on a side the interval covers the choice of people alone.
    """

    value: float
    low: float
    high: float
    seeds: int  # trainings of the side that has fewer
    queries: int  # of one training; the fewest, where test splits differ
    people: int = 0  # that the queries show, all splits together
    people_low: float = 0.0  # the interval from the choice of people alone
    people_high: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A difference of mean scores, 0..1, with the parts of its variance.

    `people`: V_P; `shared`: V_P - V_G, at least 0; `trainings`: the sum of s^2 / S over the sides,
    with its degrees of freedom `df`; None where a side has one training.
    """

    value: float
    people: float
    shared: float
    trainings: float | None
    df: float
    clusters: int  # people
    seeds: tuple[int, ...]  # of each side that was averaged; a single one where trainings are pairs
    queries: int

    def margin(self, miss: float = 0.05) -> float:
        """Half the width of the interval that misses the truth with probability `miss`."""
        if self.clusters < 2:
            return np.inf
        if self.trainings is None:
            return self.people_margin(miss)
        alone = self.people_margin(miss)
        variance = self.trainings + self.shared
        if variance == 0:
            return alone
        inverse_df = self.trainings / self.df + self.shared / (self.clusters - 1)
        return max(alone, _quantile(variance / inverse_df, miss) * variance**0.5)

    def people_margin(self, miss: float = 0.05) -> float:
        """The same from the choice of people alone."""
        if self.clusters < 2:
            return np.inf
        return _quantile(self.clusters - 1, miss) * self.people**0.5


def _quantile(df: float, miss: float) -> float:
    return float(stdtrit(df, 1 - miss / 2))


# ------------------------------------------------------------------ what a run says


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
    match = TOP_K.fullmatch(measurement.metric)
    if match is None:
        return None
    ranks = np.asarray(measurement.run.ranks(measurement.evaluation))
    return ((ranks >= 1) & (ranks <= int(match[1]))).astype(np.float64)


def sample(measurement: Measurement) -> Sample | None:
    """What `query_scores` gives, with the person of each query; None where that gives none.

    Raises DataError if the run does not say whom its queries show.
    """
    scores = query_scores(measurement)
    if scores is None or measurement.run is None:
        return None
    run, evaluation = measurement.run, measurement.evaluation
    people_of = getattr(run, "people", None)
    people = None if people_of is None else people_of(evaluation)
    if people is None:
        raise DataError(
            f"run {run.key}: does not say whom the queries of evaluation {evaluation!r} show, as "
            "runs of earlier versions; intervals need the pid of each query: train it again"
        )
    people = np.asarray(people)
    if people.shape != scores.shape:
        raise DataError(
            f"run {run.key}: {len(people)} pids for {len(scores)} queries of evaluation "
            f"{evaluation!r}"
        )
    return Sample(scores, people, run.key)


def samples(measurements: Sequence[Measurement] | None) -> list[Sample | None]:
    """`sample` of each seed, in their order; None stays where a seed has none."""
    return [sample(measurement) for measurement in measurements or ()]


# ------------------------------------------------------------------ differences


def compare(
    higher: Sequence[Sample | None], lower: Sequence[Sample | None] | float
) -> Difference | None:
    """Mean score of `higher` minus that of `lower`, in percentage points; see `estimate`."""
    found = estimate(higher, lower)
    if found is None:
        return None
    value, margin, alone = (100 * x for x in (found.value, found.margin(), found.people_margin()))
    low, high, people_low, people_high = (
        _tidy(min(max(bound, -100.0), 100.0))
        for bound in (value - margin, value + margin, value - alone, value + alone)
    )
    return Difference(
        _tidy(value),
        low,
        high,
        min(found.seeds),
        found.queries,
        found.clusters,
        people_low,
        people_high,
    )


def _tidy(points: float) -> float:
    """Means of equal numbers can differ in the last bit: zero stays zero, and has no sign."""
    return round(float(points), 9) + 0.0


def estimate(
    higher: Sequence[Sample | None], lower: Sequence[Sample | None] | float
) -> Estimate | None:
    """Mean score of `higher` minus that of `lower`, and its variance.

    Args:
        higher: a sample per seed, on the place of its number; None where it is not finished.
        lower: the same, or one number in percent that is taken as exact, such as a published one.

    Trainings of the two sides are taken as independent, and all that are finished count, also
    where one side has more of them. (Trainings with the same seed have in common where they start
    and in which order they see the images; if that makes them alike, the interval is too wide, not
    too narrow.) They are pairs, of which both must be finished, where both sides are evaluations
    of the same trainings, or where seeds have test splits of their own.

    Returns None where there is nothing to compare.

    Raises:
        DataError: a pair was not evaluated on the same queries, or no query counts.
    """
    left = [s for s in higher if s is not None]
    if isinstance(lower, (int, float)):
        return _estimate([_side(left, [s.scores - lower / 100 for s in left])]) if left else None
    right = [s for s in lower if s is not None]
    if not left or not right:
        return None
    same_runs = [s.run for s in left] == [s.run for s in right]
    if not same_runs and _one_split(left + right):
        one, other = (_side(side, [s.scores for s in side]) for side in (left, right))
        return _estimate([one, other._replace(means=-other.means, parts=-other.parts)])
    pairs = [(a, b) for a, b in zip(higher, lower, strict=False) if a and b]
    if not pairs:
        return None
    for a, b in pairs:
        _check_pair(a, b)
    return _estimate([_side([a for a, _ in pairs], [a.scores - b.scores for a, b in pairs])])


def _one_split(trainings: Sequence[Sample]) -> bool:
    """Whether all were evaluated on the same queries."""
    first = trainings[0]
    out = np.isnan(first.scores)
    return all(
        np.array_equal(first.people, other.people) and np.array_equal(out, np.isnan(other.scores))
        for other in trainings[1:]
    )


def _check_pair(higher: Sample, lower: Sample) -> None:
    sizes = sorted({len(higher.scores), len(lower.scores)})
    if len(sizes) != 1 or not np.array_equal(higher.people, lower.people):
        raise DataError(
            f"cannot pair runs {higher.run} and {lower.run}, of other numbers of queries or of "
            f"other people: {sizes} queries; both sides must have been evaluated on the same test "
            "split"
        )
    count, other = (~np.isnan(s.scores) for s in (higher, lower))
    if not np.array_equal(count, other):
        raise DataError(
            f"cannot pair runs {higher.run} and {lower.run}, of which {count.sum()} and "
            f"{other.sum()} queries have a correct image: expected the same ones on both sides"
        )


class _Side(NamedTuple):
    """Trainings that are averaged.

    means: float (trainings,).
    parts: float (trainings, people), what each person adds to the deviation of a mean: the sum
        over the person's queries of (score - mean) / queries.
    """

    means: np.ndarray
    parts: np.ndarray
    queries: int


def _side(trainings: Sequence[Sample], values: Sequence[np.ndarray]) -> _Side:
    """values: of each training float (queries,), NaN where a query does not count."""
    counted = [~np.isnan(v) for v in values]
    if not all(c.any() for c in counted):
        raise DataError(
            f"run {trainings[0].run}: no query has a correct image, expected at least one"
        )
    shown = [s.people[c] for s, c in zip(trainings, counted, strict=True)]
    if all(np.array_equal(shown[0], people) for people in shown[1:]):
        ids, code = np.unique(shown[0], return_inverse=True)
        codes = [code] * len(shown)
    else:
        ids, code = np.unique(np.concatenate(shown), return_inverse=True)
        codes = np.split(code, np.cumsum([len(people) for people in shown])[:-1])
    means, parts = np.empty(len(shown)), np.empty((len(shown), len(ids)))
    for s, (score, count, code) in enumerate(zip(values, counted, codes, strict=True)):
        score = score[count]
        means[s] = score.sum() / len(score)
        parts[s] = np.bincount(code, score - means[s], minlength=len(ids)) / len(score)
    return _Side(means, parts, min(len(code) for code in codes))


def _estimate(sides: Sequence[_Side]) -> Estimate:
    """The sum of the sides' means; all sides have the same people in the same order."""
    people = sides[0].parts.shape[1]
    scale = people / max(people - 1, 1)
    averaged = sum(side.parts.mean(0) for side in sides)
    V_P = scale * float((averaged**2).sum())
    seeds = tuple(len(side.means) for side in sides)
    trainings, df, V_G = None, np.inf, 0.0
    if min(seeds) > 1:
        between = np.array([s.means.var(ddof=1) / len(s.means) for s in sides])
        trainings = float(between.sum())
        if trainings > 0:
            df = trainings**2 / float((between**2 / (np.array(seeds) - 1)).sum())
        for side, S in zip(sides, seeds, strict=True):
            V_G += scale * float(((side.parts - side.parts.mean(0)) ** 2).sum()) / (S * (S - 1))
    return Estimate(
        value=float(sum(side.means.mean() for side in sides)),
        people=V_P,
        shared=max(V_P - V_G, 0.0),
        trainings=trainings,
        df=df,
        clusters=people,
        seeds=seeds,
        queries=min(side.queries for side in sides),
    )
