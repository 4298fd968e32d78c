"""Intervals of differences: against naive loops, cases made by hand, and simulated tables whose
truth is known."""

from collections.abc import Callable, Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reidlib.errors import DataError
from reidlib.papers.intervals import (
    Difference,
    Sample,
    compare,
    estimate,
    query_scores,
    sample,
    samples,
)
from reidlib.papers.tables import Measurement


class FakeRun:
    """A run with ranks per evaluation, one person a query; `stored`: scores by metric."""

    def __init__(
        self,
        stored: dict[str, Sequence[float]] | None = None,
        people: Sequence[int] | None = None,
        **ranks: Sequence[int],
    ) -> None:
        self.key, self.metrics = "fake", {}
        self._stored, self._people = stored or {}, people
        self._ranks = {name: np.asarray(r) for name, r in ranks.items()}

    def ranks(self, evaluation: str) -> np.ndarray:
        return self._ranks[evaluation]

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        return np.asarray(self._stored[metric]) if metric in self._stored else None

    def people(self, evaluation: str) -> np.ndarray | None:
        return None if self._people is None else np.asarray(self._people)


def side(
    scores: Sequence[Sequence[float]] | np.ndarray, people: np.ndarray, name: str
) -> list[Sample]:
    """Trainings of a row on one test split; scores: (seeds, queries)."""
    return [Sample(np.asarray(s, dtype=float), people, f"{name}-{n}") for n, s in enumerate(scores)]


def everyone(queries: int) -> np.ndarray:
    """A person of its own for each query."""
    return np.arange(queries)


# ------------------------------------------------------------------ what a run says


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("Top-1", [1, 0, 0, 0]),
        ("Rank-5", [1, 1, 0, 0]),
        ("R10", [1, 1, 1, 0]),
        ("R@5", [1, 1, 0, 0]),
    ],
)
def test_query_scores(metric: str, expected: list[int]) -> None:
    run = FakeRun(all=[1, 5, 6, 11])
    assert query_scores(Measurement(run, "all", metric)).tolist() == expected


def test_no_query_scores_for_map_without_stored_ones_and_missing_runs() -> None:
    assert query_scores(Measurement(FakeRun(all=[1]), "all", "mAP")) is None
    assert query_scores(Measurement(None, "all", "Top-1")) is None
    assert samples([Measurement(None), Measurement(FakeRun(all=[1]), "all", "mAP")]) == [None, None]
    assert samples(None) == []


def test_stored_scores_come_before_ranks() -> None:
    run = FakeRun({"mAP": [0.5, np.nan], "Top-1": [0.3, np.nan]}, all=[1, 9])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "mAP")), [0.5, np.nan])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "Top-1")), [0.3, np.nan])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "Top-5")), [1, 0])


def test_a_sample_has_the_person_of_each_query() -> None:
    found = sample(Measurement(FakeRun(people=[7, 7, 9], all=[1, 2, 1]), "all", "Top-1"))
    assert (found.scores.tolist(), found.people.tolist(), found.run) == (
        [1, 0, 1],
        [7, 7, 9],
        "fake",
    )


def test_runs_that_do_not_say_whom_their_queries_show_are_named() -> None:
    class OldRun:
        key, metrics = "old", {}
        ranks, scores = FakeRun.ranks, FakeRun.scores
        _ranks, _stored = {"all": np.array([1])}, {}

    for run, key in ((OldRun(), "old"), (FakeRun(all=[1]), "fake")):
        with pytest.raises(DataError, match=rf"run {key}: does not say whom .* 'all' show"):
            sample(Measurement(run, "all", "Top-1"))
    with pytest.raises(DataError, match="2 pids for 3 queries"):
        sample(Measurement(FakeRun(people=[1, 2], all=[1, 1, 1]), "all", "Top-1"))


# ------------------------------------------------------------------ parts of the variance


def naive_parts(
    higher: np.ndarray, lower: np.ndarray, people: np.ndarray
) -> tuple[float, float, float]:
    """V_P, V_G and the sum of s^2 / S, straight from the definitions; (seeds, queries) each."""
    ids = sorted(set(people.tolist()))
    n = len(ids)

    def part(scores: np.ndarray, pid: int) -> float:
        return sum(
            x - scores.mean() for x, who in zip(scores, people, strict=True) if who == pid
        ) / len(scores)

    V_P = V_G = between = 0.0
    for pid in ids:
        mean_part = [np.mean([part(s, pid) for s in rows]) for rows in (higher, lower)]
        V_P += n / (n - 1) * (mean_part[0] - mean_part[1]) ** 2
    for rows in (higher, lower):
        S = len(rows)
        between += np.var([s.mean() for s in rows], ddof=1) / S
        for pid in ids:
            V_G += n / (n - 1) * np.var([part(s, pid) for s in rows], ddof=1) / S
    return V_P, V_G, between


@pytest.mark.parametrize("seeds", [(3, 3), (2, 5)])
def test_parts_of_the_variance_equal_naive_loops(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    people = rng.integers(0, 12, 60)
    liking = rng.normal(0, 0.5, 12)[people]
    higher, lower = (
        (rng.normal(0, 1, (S, 60)) + sign * liking > 0).astype(float)
        for S, sign in zip(seeds, (1, -1), strict=True)
    )
    V_P, V_G, between = naive_parts(higher, lower, people)
    found = estimate(side(higher, people, "a"), side(lower, people, "b"))
    assert found.value == pytest.approx(higher.mean() - lower.mean())
    assert found.people == pytest.approx(V_P)
    assert found.shared == pytest.approx(max(V_P - V_G, 0)) and V_P > V_G
    assert found.trainings == pytest.approx(between)
    one, other = (np.var(x.mean(1), ddof=1) / len(x) for x in (higher, lower))
    welch = between**2 / (one**2 / (seeds[0] - 1) + other**2 / (seeds[1] - 1))
    assert found.df == pytest.approx(welch)
    variance = between + V_P - V_G
    df = variance / (between / welch + (V_P - V_G) / 11)
    whole, alone = stats.t.ppf(0.975, df) * variance**0.5, stats.t.ppf(0.975, 11) * V_P**0.5
    assert found.margin() == pytest.approx(max(whole, alone))
    assert (whole > alone) == (seeds == (3, 3))  # both cases are tested
    assert found.people_margin() == pytest.approx(alone)


def test_people_are_drawn_as_a_bootstrap_draws_them() -> None:
    """The interval of one training is that of resampled people, not of resampled queries."""
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(150), rng.integers(1, 9, 150))
    liking = rng.normal(0, 0.5, 150)[people]
    worth = rng.normal(0.1, 1, (2, len(people))) + np.stack([liking, -liking])
    higher, lower = (worth > 0).astype(float)
    difference = higher - lower
    mine = [np.flatnonzero(people == person) for person in range(150)]
    means = []
    for _ in range(3000):
        drawn = np.concatenate([mine[person] for person in rng.integers(0, 150, 150)])
        means.append(100 * difference[drawn].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    (one,), (other,) = side([higher], people, "a"), side([lower], people, "b")
    found = compare([one], [other])
    assert (found.seeds, found.people, found.queries) == (1, 150, len(people))
    assert found.high - found.low == pytest.approx(high - low, rel=0.06)
    assert (found.low, found.high) == (found.people_low, found.people_high)
    drawn_queries = 2 * 196 * difference.std() / len(people) ** 0.5
    assert found.high - found.low > 1.2 * drawn_queries


@settings(max_examples=30)
@given(st.integers(2, 30), st.integers(1, 4), st.integers(2, 5), st.integers(0, 9))
def test_more_captions_that_say_the_same_teach_nothing(
    people: int, seeds: int, times: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    who = np.concatenate([np.arange(people), rng.integers(0, people, 20)])
    a, b = rng.integers(0, 2, (2, seeds, len(who)))
    one = compare(side(a, who, "a"), side(b, who, "b"))
    many = np.tile(who, times)
    other = compare(side(np.tile(a, times), many, "a"), side(np.tile(b, times), many, "b"))
    np.testing.assert_allclose([one.value, one.low, one.high], [other.value, other.low, other.high])


def test_three_trainings_by_hand() -> None:
    """Everybody alike on every training: only the luck of training is left."""
    scores = np.array([[0.5], [0.6], [0.7]]).repeat(40, axis=1)
    found = compare(side(scores, everyone(40), "a"), 50.0)
    margin = stats.t.ppf(0.975, 2) * 10 / 3**0.5
    assert found.value == pytest.approx(10)
    assert (found.low, found.high) == pytest.approx((10 - margin, 10 + margin))
    assert (found.people_low, found.people_high) == pytest.approx((10, 10))
    both = compare(side(scores, everyone(40), "a"), side(scores - 0.1, everyone(40), "b"))
    margin = stats.t.ppf(0.975, 4) * (2 * 10**2 / 3) ** 0.5  # two sides, equal spread: 4 degrees
    assert (both.low, both.high) == pytest.approx((10 - margin, 10 + margin))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10))
def test_swapping_sides_mirrors_the_interval(people: int, S: int, R: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    who = rng.integers(0, people, 50)
    a, b = (side(rng.integers(0, 2, (n, 50)), who, name) for n, name in ((S, "a"), (R, "b")))
    one, two = compare(a, b), compare(b, a)
    np.testing.assert_allclose([one.value, one.low, one.high], [-two.value, -two.high, -two.low])
    assert -100 <= one.low <= one.value <= one.high <= 100
    assert one == compare(a, b)
    assert one.seeds == min(S, R)
    # Whoever they are called, and in whatever order they come.
    shuffled = rng.permutation(50)
    again = compare(*([Sample(s.scores[shuffled], 90 - s.people[shuffled], s.run) for s in x]
                      for x in (a, b)))  # fmt: skip
    np.testing.assert_allclose([one.value, one.low, one.high], [again.value, again.low, again.high])


def test_trainings_that_happen_to_tie_leave_the_luck_of_people() -> None:
    rng = np.random.default_rng(0)
    scores = np.stack([rng.permutation(np.repeat([0, 1], 100)) for _ in range(3)])
    found = compare(side(scores, everyone(200), "a"), 40.0)
    assert found.value == 10 and found.high - found.low > 5
    assert (found.low, found.high) == (found.people_low, found.people_high)


def test_one_person_says_nothing() -> None:
    found = compare(side(np.eye(3), np.zeros(3), "a"), 10.0)
    assert (found.low, found.high, found.people) == (-100, 100, 1)


def test_the_same_trainings_differ_by_exactly_zero() -> None:
    scores = np.random.default_rng(0).integers(0, 2, (3, 3000))
    runs = side(scores, everyone(3000), "a")
    found = compare(runs, runs)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_evaluations_of_the_same_trainings_are_pairs() -> None:
    """A good training is good in both: its luck cancels, as it does not between trainings."""
    rng = np.random.default_rng(0)
    luck = np.array([-0.2, 0, 0.2])[:, None]
    one = 0.5 + luck + 0.05 * rng.random((3, 200))
    other = one - 0.1 - 0.02 * rng.random((3, 200))
    pairs = compare(side(one, everyone(200), "a"), side(other, everyone(200), "a"))
    alone = compare(side(one, everyone(200), "a"), side(other, everyone(200), "b"))
    assert pairs.value == pytest.approx(alone.value)
    assert pairs.low > 0 > alone.low


def test_all_finished_trainings_count_also_if_one_side_has_more() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 5, 100))
    one, other = side(a, everyone(100), "a"), side(b, everyone(100), "b")
    found = compare([one[0], None, *one[2:]], [None, other[1], other[2], None, None])
    expected = 100 * (a[[0, 2, 3, 4]].mean() - b[[1, 2]].mean())
    assert found.value == pytest.approx(expected) and found.seeds == 2
    assert compare([None], one) is None and compare(one, []) is None and compare([], 3.0) is None


def test_one_training_on_a_side_leaves_only_people() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 3, 100))
    found = compare(side(a, everyone(100), "a"), side(b[:1], everyone(100), "b"))
    assert found.seeds == 1
    assert (found.low, found.high) == (found.people_low, found.people_high)


# ------------------------------------------------------------------ queries and splits


def test_queries_without_a_match_are_left_out() -> None:
    rng = np.random.default_rng(5)
    higher, lower = rng.random((2, 3, 200))
    who = np.arange(200) % 51
    out = (np.arange(200) % 10 == 0) | (who == 7)
    expected = compare(side(higher[:, ~out], who[~out], "a"), side(lower[:, ~out], who[~out], "b"))
    without = [np.where(out, np.nan, x) for x in (higher, lower)]
    found = compare(side(without[0], who, "a"), side(without[1], who, "b"))
    assert found == expected and (found.queries, found.people) == ((~out).sum(), 50)
    alone = compare(side(without[0], who, "a"), 40.0)
    assert alone.value == pytest.approx(100 * higher[:, ~out].mean() - 40)
    with pytest.raises(DataError, match=f"{(~out).sum()} and 200 queries have a correct image"):
        compare(side(without[0], who, "a"), side(lower, who, "b"))
    with pytest.raises(DataError, match="at least one"):
        compare(side([[np.nan] * 3], everyone(3), "a"), 3.0)


def test_other_queries_cannot_be_compared() -> None:
    one = side(np.zeros((3, 4)), everyone(4), "a")
    with pytest.raises(DataError, match=r"a-0 and b-0.*\[4, 5\] queries"):
        compare(one, side(np.zeros((3, 5)), everyone(5), "b"))
    with pytest.raises(DataError, match="of other people"):
        compare(one, side(np.zeros((3, 4)), everyone(4) + 1, "b"))


def test_seeds_with_test_splits_of_their_own_are_pairs() -> None:
    """People of several splits are one person; seeds weigh the same whatever their queries."""
    rng = np.random.default_rng(6)
    splits = [rng.integers(0, 60, n) for n in (100, 400, 250)]
    higher, lower = (
        [Sample(rng.random(len(who)), who, f"{name}-{n}") for n, who in enumerate(splits)]
        for name in "ab"
    )
    found = compare(higher, lower)
    differences = [a.scores - b.scores for a, b in zip(higher, lower, strict=True)]
    means = np.array([d.mean() for d in differences])
    assert found.value == pytest.approx(100 * means.mean())
    assert (found.seeds, found.queries, found.people) == (3, 100, len(set(np.hstack(splits))))
    # Straight from the definitions.
    people, parts = found.people, np.zeros((3, 60))
    for s, (d, who) in enumerate(zip(differences, splits, strict=True)):
        for value, person in zip(d, who, strict=True):
            parts[s, person] += (value - d.mean()) / len(d)
    V_P = people / (people - 1) * (parts.mean(0) ** 2).sum()
    V_G = people / (people - 1) * parts.var(0, ddof=1).sum() / 3
    shared, between = max(V_P - V_G, 0), means.var(ddof=1) / 3
    df = (between + shared) / (between / 2 + shared / (people - 1))
    margin = 100 * stats.t.ppf(0.975, df) * (between + shared) ** 0.5
    margin = max(margin, 100 * stats.t.ppf(0.975, people - 1) * V_P**0.5)
    assert found.high - found.value == pytest.approx(margin)
    # A seed that one side has not finished is left out.
    two = compare([*higher[:2], None], lower)
    assert two.value == pytest.approx(100 * means[:2].mean()) and two.seeds == 2


# ------------------------------------------------------------------ does it hold what it says


PEOPLE, TABLES = 300, 2000
# Where queries of all rows vary alike, a person can be easy; for one row more than for another;
# for one training more than for another; a query can be easy; the rest is noise.
PERSON, PERSON_ROW, PERSON_TRAINING, QUERY, NOISE = 0.7, 0.3, 0.3, 0.4, 0.6
MU = (0.0, 0.12)  # of the two rows: 50 % and about 54 %


@cache
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People of the queries (Q,), what queries are worth without the luck of training, float32
    (tables, 2 rows, 5 trainings, Q), and that luck in units of its spread (tables, 2, 5)."""
    rng = np.random.default_rng(11)
    people = np.repeat(np.arange(PEOPLE), rng.integers(1, 5, PEOPLE))

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((TABLES, *shape), dtype=np.float32)

    of_people = PERSON * normal(1, 1, PEOPLE) + PERSON_ROW * normal(2, 1, PEOPLE)
    of_people = of_people + PERSON_TRAINING * normal(2, 5, PEOPLE)
    worth = of_people[..., people]
    worth += QUERY * normal(1, 1, len(people))
    worth += NOISE * normal(2, 5, len(people))
    return people, worth, normal(2, 5)


def simulated(spread: tuple[float, float], seeds: int) -> tuple[float, np.ndarray]:
    """The true difference, in points, and hits (tables, 2 rows, seeds, Q).

    A query is a hit where mu + luck of training + worth is above 0: all are normal, so that the
    truth follows from the sum of their variances. spread: of the luck of training, by row.
    """
    _, worth, luck = world()
    deviation = np.array(spread, dtype=np.float32)[:, None]
    shift = np.array(MU, dtype=np.float32)[:, None] + deviation * luck[:, :, :seeds]
    fixed = PERSON**2 + PERSON_ROW**2 + PERSON_TRAINING**2 + QUERY**2 + NOISE**2
    level = [NormalDist().cdf(mu / (fixed + s**2) ** 0.5) for mu, s in zip(MU, spread, strict=True)]
    return 100 * (level[0] - level[1]), worth[:, :, :seeds] + shift[..., None] > 0


def coverage(truth: float, tables: Sequence, interval: Callable[..., Difference]) -> float:
    found = [interval(table) for table in tables]
    share = float(np.mean([d.low <= truth <= d.high for d in found]))
    print(f"held: {100 * share:.1f} %, width {np.mean([d.high - d.low for d in found]):.1f}")
    return share


# In points, 0.03 is a spread of 1.1 between trainings, 0.07 of 2.6, 0.25 of 9.
SPREADS = {"small": (0.03, 0.03), "medium": (0.07, 0.07), "large": (0.25, 0.25)}
SPREADS["unequal"] = (0.03, 0.15)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("name", SPREADS)
def test_intervals_hold_the_truth(name: str, seeds: int) -> None:
    """95 % intervals of 2,000 simulated tables hold the truth in 93 to 97 %."""
    people, *_ = world()
    truth, tables = simulated(SPREADS[name], seeds)

    def interval(table: np.ndarray) -> Difference:
        return compare(side(table[0], people, "a"), side(table[1], people, "b"))

    assert 0.93 <= coverage(truth, tables, interval) <= 0.97


def test_other_designs_hold_the_truth_too() -> None:
    people, *_ = world()
    truth, tables = simulated(SPREADS["medium"], 5)
    exact = 100 * NormalDist().cdf(0.0)

    def unequal(table: np.ndarray) -> Difference:
        return compare(side(table[0], people, "a"), side(table[1, :3], people, "b"))

    def against_number(table: np.ndarray) -> Difference:
        return compare(side(table[0], people, "a"), 50.0)

    def three_trainings(table: np.ndarray) -> Difference:
        return compare(side(table[0], people, "a"), side(table[1], people, "b"))

    def one_training(table: np.ndarray) -> Difference:
        return compare(side(table[0, :1], people, "a"), side(table[1, :1], people, "b"))

    # Each seed has half of the people, drawn at random: pairs of seeds overlap by a half.
    rng = np.random.default_rng(12)
    splits = [np.isin(people, rng.permutation(PEOPLE)[: PEOPLE // 2]) for _ in range(5)]

    def own_splits(table: np.ndarray) -> Difference:
        one, other = (
            [
                Sample(hit[split].astype(float), people[split], f"{name}{n}")
                for n, (hit, split) in enumerate(zip(row, splits, strict=True))
            ]
            for name, row in zip("ab", table, strict=True)
        )
        return compare(one, other)

    half = tables[: TABLES // 2]
    assert 0.93 <= coverage(truth, half, unequal) <= 0.97
    assert 0.93 <= coverage(exact - 50, half, against_number) <= 0.97
    assert 0.93 <= coverage(truth, half, own_splits) <= 0.97
    # Where training is no luck at all, the interval is a little too careful.
    truth, tables = simulated((0.0, 0.0), 3)
    assert 0.93 <= coverage(truth, tables[: TABLES // 2], three_trainings) <= 0.98
    # People alone: good if training is no luck, and far from it if it is.
    truth, tables = simulated((0.0, 0.0), 1)
    assert 0.93 <= coverage(truth, tables[: TABLES // 2], one_training) <= 0.97
    truth, tables = simulated(SPREADS["large"], 1)
    assert coverage(truth, tables[: TABLES // 2], one_training) < 0.6
