"""Two rows query by query: against loops, of full runs, of runs that travelled, of scores alone."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.dataset import Dataset
from reidlib.errors import DataError, StoreError
from reidlib.explore import compare, search
from reidlib.metrics.first_match import NO_MATCH
from reidlib.papers.tables import Measurement
from reidlib.report import figures, steps
from reidlib.run.reference import ReferenceRun


@dataclass
class Fake:
    """A run with ranks, or with scores of its metric alone."""

    key: str
    first: Any = None
    stored: dict[str, Any] = field(default_factory=dict)
    pids: Any = None
    metrics: dict[str, Any] = field(default_factory=dict)

    def ranks(self, evaluation: str) -> np.ndarray:
        if self.first is None:
            raise StoreError("no ranks")
        return np.array(self.first, np.int32)

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        found = self.stored.get(metric)
        return None if found is None else np.array(found, float)

    def people(self, evaluation: str) -> np.ndarray:
        size = len(self.first if self.first is not None else next(iter(self.stored.values())))
        return np.arange(size) if self.pids is None else np.array(self.pids)


def of_ranks(*trainings, **kwargs) -> list[Measurement]:
    return [
        Measurement(Fake(f"run {n}", ranks, **kwargs), "all", "Top-1")
        for n, ranks in enumerate(trainings)
    ]


RANKS = st.lists(st.tuples(*[st.integers(1, 60)] * 3), min_size=1, max_size=12)


@given(RANKS)
def test_ranks_are_compared_as_a_loop_would(ranks):
    a, b, c = (list(column) for column in zip(*ranks, strict=True))
    found = compare.compare_runs(of_ranks(a, b), of_ranks(c))
    assert found.by_rank and found.cut is None
    gains = [math.log2(math.sqrt(x * y) / z) for x, y, z in ranks]
    np.testing.assert_allclose(found.gains, gains, atol=1e-8)
    shown = [abs(found.gains[q]) for q in found.order]
    assert shown == sorted(shown, reverse=True) and sorted(found.order) == list(range(len(ranks)))
    better, equal, worse = found.counts()
    assert better == sum(x * y > z * z for x, y, z in ranks)
    assert equal == sum(x * y == z * z for x, y, z in ranks) and better + equal + worse == len(
        ranks
    )
    for k in compare.KS:
        hits = [np.mean([r <= k for r in column]) for column in (a, b)]
        assert found.first.cmc[k] == pytest.approx(100 * np.mean(hits))
        assert found.second.cmc[k] == pytest.approx(100 * np.mean([r <= k for r in c]))


def test_equal_rows_differ_nowhere():
    found = compare.compare_runs(of_ranks([3, 1, 7]), of_ranks([3, 1, 7]))
    assert found.counts() == (0, 3, 0) and found.order.tolist() == [0, 1, 2]


def test_queries_without_a_correct_picture_are_left_out():
    found = compare.compare_runs(of_ranks([1, NO_MATCH, 4]), of_ranks([2, NO_MATCH, 1]))
    assert found.order.tolist() == [2, 0] and np.isnan(found.gains[1])


def test_runs_that_travelled_make_all_ranks_beyond_ten_the_same():
    arrays = {
        "ranks/all": np.array([1, 11, 11], np.int8),
        "people/all": np.array([0, 1, 2], np.int8),
    }
    run = ReferenceRun("k", "ssan", {}, {}, {}, [], arrays)
    travelled = [Measurement(run, "all", "Top-1")]
    found = compare.compare_runs(travelled, of_ranks([2, 5000, 3]))
    assert found.cut == 11 and found.second.ranks.tolist() == [[2, 11, 3]]
    assert found.counts() == (1, 1, 1) and found.order[0] == 2


def test_without_ranks_the_scores_of_the_metric_are_compared():
    # Sorted by name, as JSON keeps them: a curve over 1, 10, 5 would run backwards.
    recorded = [{"Top-1": 50.0, "Top-10": 90.0, "Top-5": 60.0 + n} for n in (0, 10)]
    metrics = [{"evaluations": {"all": found}} for found in recorded]
    sides = [
        [Measurement(Fake("a", None, {"mAP (step)": [0.5, 0.2, np.nan]}, metrics=metrics[0]),
                     "all", "mAP (step)"),
         Measurement(Fake("b", None, {"mAP (step)": [0.7, 0.2, np.nan]}, metrics=metrics[1]),
                     "all", "mAP (step)")],
        [Measurement(Fake("c", None, {"mAP (step)": [0.5, 0.9, np.nan]}, metrics=metrics[0]),
                     "all", "mAP (step)")],
    ]  # fmt: skip
    found = compare.compare_runs(*sides)
    assert not found.by_rank and found.order.tolist() == [1, 0]
    np.testing.assert_allclose(found.gains[:2], [-0.1, 0.7])
    assert list(found.first.cmc.items()) == [(1, 50.0), (5, 65.0), (10, 90.0)]
    shown = figures.comparison(
        {"A": found.first.cmc, "B": found.second.cmc},
        found.values,
        by_rank=False,
        what="mAP",
        caption="A caption.",
    )
    assert "B is better on 1, as good on 0, worse on 1" in str(shown)


def test_other_queries_are_not_compared_and_missing_runs_are_none():
    with pytest.raises(DataError, match="tested on the same ones"):
        compare.compare_runs(of_ranks([1, 2]), of_ranks([1, 2], pids=[5, 6]))
    with pytest.raises(DataError, match="2 and 3 queries"):
        compare.compare_runs(of_ranks([1, 2]), of_ranks([1, 2, 3]))
    assert compare.compare_runs(of_ranks([1]), [Measurement(None, "all", "Top-1")]) is None


def dataset(**splits: pd.DataFrame) -> Dataset:
    return Dataset("x", None, None, splits, (), None)


def test_queries_are_called_by_what_is_asked():
    test = pd.DataFrame({"pid": [4, 5], "label": [0, 1], "captions": [["one", "two"], ["three"]]})
    assert compare.named(dataset(test=test), [2, 1]) == ["three", "two"]
    query = pd.DataFrame({"pid": [4, 5], "camid": [1, 2]})
    assert compare.named(dataset(query=query), [1]) == ["query 2: person 5, camera 2"]
    found = compare.compare_runs(of_ranks([1, 8, 3], [1, 2, 3]), of_ranks([1, 1, 30]))
    frame = compare.table(found, ["A", "B"], dataset(test=test), 2)
    assert frame.to_numpy().tolist() == [["three", "3", "30"], ["two", "4", "1"]]


@pytest.mark.parametrize("cut", [None, 11])
def test_the_figure_counts_every_query_once(cut):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 12, (2, 50)).astype(float)
    values[:, 3] = np.nan
    curve = {k: 10.0 * k for k in compare.KS}
    shown = str(
        figures.comparison(
            {"A": curve, "B": curve}, values, by_rank=True, cut=cut, caption="A caption."
        )
    )
    first, second = np.delete(values, 3, 1)
    better, equal = int((second < first).sum()), int((second == first).sum())
    assert f"better on {better}, as good on {equal}, worse on {49 - better - equal}." in shown
    assert "49 queries" in shown and "Top-5 50.0 %" in shown


def test_a_notebook_s_section_needs_no_weights_but_shows_galleries_with_them(finished):
    session, planned = finished
    full, alone = ((1, f"vgg-{row}-gn", "Top-1") for row in ("ch1-sp1-gs1-ls1-gp1",
                                                             "ch0-sp0-gs1-ls0-gp0"))  # fmt: skip
    assert search.row_of(session, "imgnet", full) is not None
    shown = str(steps.where_rows_differ(session, "imgnet", alone, full, queries=5, galleries=1))
    assert shown.count("<figure") == 3  # curves, and one query by both
    found = compare.compare(session, "imgnet", alone, full)
    runs = [session.store.load(p.key) for p in planned]
    np.testing.assert_array_equal(found.first.ranks[0], runs[1].ranks("GS"))
    np.testing.assert_array_equal(found.second.ranks[0], runs[0].ranks("GS+LS+GP"))
    without = steps.where_rows_differ(session, "imgnet", (1, "vgg-ch1-sp0-gs1-ls1-gp1-gn", "Top-1"),
                                      full)  # fmt: skip
    assert "has not been trained" in str(without)
