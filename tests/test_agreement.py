"""Kendall's tau between a measured table and the printed one, and what luck leaves of it."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reidlib.papers.agreement import OrderAgreement, order_agreement
from reidlib.papers.tables import (
    FilledTable,
    Measurement,
    MetricColumn,
    PublishedRow,
    PublishedTable,
    fill,
)


class FakeRun:
    """A run of one evaluation, in which each query shows somebody else unless said otherwise."""

    def __init__(self, key: str, scores: np.ndarray, people: np.ndarray | None = None) -> None:
        self.key, self._scores = key, scores
        self._people = np.arange(len(scores)) if people is None else people
        self.metrics = {"evaluations": {"all": {"mAP": 100 * float(np.mean(scores))}}}

    def scores(self, evaluation: str, metric: str) -> np.ndarray:
        return self._scores

    def people(self, evaluation: str) -> np.ndarray:
        return self._people


def table_of(printed: Sequence[float], groups: Sequence[str] | None = None) -> PublishedTable:
    rows = [
        PublishedRow(
            f"row-{n}", {"mAP": str(value), "Backbone": groups[n] if groups else ""}, "own"
        )
        for n, value in enumerate(printed)
    ]
    return PublishedTable(
        "x", 1, "T", "4", "market1501", tuple(rows), ("Backbone", "mAP"),
        (MetricColumn("mAP", "mAP", "market1501", primary=True),),
        group_column="Backbone" if groups else None,
    )  # fmt: skip


def filled_with(
    printed: Sequence[float],
    scores: Sequence[np.ndarray],
    groups: Sequence[str] | None = None,
    one_training: bool = False,
) -> FilledTable:
    """scores: of each row (seeds, queries); one_training: rows are evaluations of the same runs."""

    def measure(_: int, row: str, column: str) -> list[Measurement]:
        n = int(row.removeprefix("row-"))
        name = "same" if one_training else row
        return [
            Measurement(FakeRun(f"{name}-{s}", values), "all", column)
            for s, values in enumerate(scores[n])
        ]

    return fill(table_of(printed, groups), measure)


def agreement(*args: object, **kwargs: object) -> OrderAgreement | None:
    return order_agreement(filled_with(*args, **kwargs), "mAP")


def levels(means: Sequence[float], seeds: int = 3, queries: int = 100) -> list[np.ndarray]:
    """Rows that score about these means, each training and query a little off."""
    rng = np.random.default_rng(0)
    return [mean + 0.01 * rng.standard_normal((seeds, queries)) for mean in means]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8))
def test_tau_is_kendall_s_tau_b(rows: list[tuple[int, int]]) -> None:
    printed, measured = zip(*rows, strict=True)
    found = agreement(printed, [np.full((1, 5), value / 8) for value in measured])
    expected = stats.kendalltau(printed, measured).statistic
    if np.isnan(expected):
        assert found is None
    else:
        assert found.tau == pytest.approx(expected)
        assert -1 <= found.low <= found.tau <= found.high <= 1
        assert (found.rows, found.seeds) == (len(rows), 1)


def test_rows_far_apart_have_a_certain_order() -> None:
    printed = [10, 20, 30, 40, 50]
    same = agreement(printed, levels([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert (same.tau, same.low, same.high) == (1, 1, 1)
    assert (same.pairs, same.same, same.told_apart) == (10, 10, 10)
    reverse = agreement(printed, levels([0.5, 0.4, 0.3, 0.2, 0.1]))
    assert (reverse.tau, reverse.low, reverse.high) == (-1, -1, -1)
    half = agreement(printed, levels([0.2, 0.1, 0.4, 0.3, 0.5]))
    assert (half.tau, half.low, half.high) == pytest.approx((0.6, 0.6, 0.6))


def test_rows_that_luck_may_have_ordered_leave_it_open() -> None:
    rng = np.random.default_rng(1)
    printed = [10, 20, 30, 40]
    found = agreement(printed, list(rng.integers(0, 2, (4, 3, 200)).astype(float)))
    assert (found.low, found.high, found.told_apart) == (-1, 1, 0)
    # Two close pairs, far from each other: 4 of 6 pairs are certain.
    found = agreement(printed, levels([0.1, 0.1001, 0.4, 0.4001]))
    assert (found.low, found.high) == pytest.approx(((4 - 2) / 6, 1))
    assert (found.told_apart, found.pairs) == (4, 6)


def test_trainings_that_differ_leave_the_order_open() -> None:
    """The same means from steady and from unsteady trainings."""
    steady = levels([0.1, 0.2, 0.3])
    shaky = [row + np.array([-0.1, 0, 0.1])[:, None] for row in steady]
    printed = [1, 2, 3]
    assert agreement(printed, steady).low == 1
    assert agreement(printed, shaky).low == -1
    # Evaluations of the same trainings go up and down together, and keep their order.
    assert agreement(printed, shaky, one_training=True).low == 1


def test_rows_are_compared_within_their_groups() -> None:
    printed, groups = [10, 20, 5, 6], ["R50", "R50", "V16", "V16"]
    found = agreement(printed, levels([0.1, 0.2, 0.6, 0.5]), groups)
    assert (found.tau, found.low, found.high) == (0, 0, 0)
    assert (found.pairs, found.same, found.rows) == (2, 1, 4)


def test_cited_rows_and_rows_that_are_not_run_do_not_count() -> None:
    table = table_of([10, 20, 30])
    runs = {f"row-{n}": FakeRun(f"row-{n}", np.full(9, n / 10)) for n in range(2)}

    def measure(_: int, row: str, column: str) -> list[Measurement]:
        return [Measurement(runs.get(row), "all", column)]

    assert order_agreement(fill(table, measure), "mAP").rows == 2
    assert order_agreement(fill(table, lambda *_: None), "mAP") is None
    del runs["row-1"]
    assert order_agreement(fill(table, measure), "mAP") is None


def test_numbers_without_queries_have_no_interval() -> None:
    values = {"row-0": 3.0, "row-1": 2.0}
    measure = lambda _, row, column: [Measurement(None, value=values[row])]  # noqa: E731
    found = order_agreement(fill(table_of([1, 2]), measure), "mAP")
    assert (found.tau, found.low, found.high) == (-1, None, None)


@pytest.mark.parametrize("gap", [0.003, 0.03, 0.08])
@pytest.mark.parametrize("perfect", [True, False])
def test_intervals_hold_the_true_order(gap: float, perfect: bool) -> None:
    """Tables of five rows, `gap` apart, from people and trainings drawn anew: in at least 95 %
    the interval holds the tau of the rows' true values."""
    rng = np.random.default_rng(5)
    printed = np.arange(5.0) if perfect else np.array([0.0, 3.0, 1.0, 4.0, 2.0])
    truth = stats.kendalltau(printed, np.arange(5)).statistic
    held, widths = [], []
    people = np.arange(120).repeat(3)
    for _ in range(100):
        person = rng.normal(0, 0.3, (1, 1, 120)) + rng.normal(0, 0.1, (5, 1, 120))
        scores = 0.3 + gap * np.arange(5)[:, None, None] + person[..., people]
        scores = scores + rng.normal(0, 0.02, (5, 3, 1)) + rng.normal(0, 0.3, (5, 3, 360))
        found = agreement(printed, list(scores))
        held.append(found.low - 1e-9 <= truth <= found.high + 1e-9)
        widths.append(found.high - found.low)
    assert np.mean(held) >= 0.95
    if gap == 0.003:
        assert np.mean(widths) > 1.8  # nothing can be told
    if gap == 0.08:
        assert np.mean(widths) < 1
