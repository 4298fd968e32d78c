"""Verdicts on claims: the bootstrap against a naive loop, and cases made by hand."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.errors import DataError
from reidlib.papers.bootstrap import paired_difference, query_scores
from reidlib.papers.claims import (
    VERDICTS,
    Claim,
    Side,
    count_verdicts,
    judge,
    load_claims,
    to_summary,
)
from reidlib.papers.tables import Measurement, load_tables
from reidlib.report.claims import claims_table, notes_list


class FakeRun:
    """A run with ranks per evaluation; `stored`: the scores of its queries, by metric."""

    def __init__(
        self, stored: dict[str, Sequence[float]] | None = None, **ranks: Sequence[int]
    ) -> None:
        self.key = "fake"
        self._stored = stored or {}
        self._ranks = {name: np.asarray(r) for name, r in ranks.items()}
        self.metrics = {
            "evaluations": {n: {"Top-1": 100 * (r == 1).mean()} for n, r in self._ranks.items()}
        }

    def ranks(self, evaluation: str) -> np.ndarray:
        return self._ranks[evaluation]

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        return np.asarray(self._stored[metric]) if metric in self._stored else None


def hits(share: float, queries: int = 400, seed: int = 0) -> np.ndarray:
    """Ranks, `share` of them 1 and the others 2, in random places."""
    ranks = np.full(queries, 2)
    ranks[: round(share * queries)] = 1
    return np.random.default_rng(seed).permutation(ranks)


def measure_of(
    runs: dict[str, list[FakeRun | None] | None], failed: Sequence[str] = ()
) -> Callable:
    def measure(table: int, row: str, column: str) -> list[Measurement] | None:
        found = runs.get(row)
        if found is None:
            return None
        return [Measurement(run, "all", column, failed=row in failed) for run in found]

    return measure


@pytest.fixture(scope="module")
def tables() -> dict:
    return load_tables("imgnet")


def claim(higher: str, *lower: str, table: int = 6) -> Claim:
    pairs = tuple((Side(table, higher, "Top-1"), Side(table, low, "Top-1")) for low in lower)
    return Claim("c", "4.2.5", table, "says", "", "Top-1", pairs)


AVG, MAX, FUSED = "vgg-average", "vgg-max", "vgg-fused"


# ------------------------------------------------------------------ bootstrap


def naive(higher: np.ndarray, lower: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The same bootstrap as loops over (seeds, queries) arrays, drawing the queries one by one."""
    rng = np.random.default_rng(seed)
    seeds, queries = higher.shape
    means = []
    for _ in range(resamples):
        chosen = rng.integers(0, queries, queries)
        total = 0.0
        for s in rng.integers(0, seeds, seeds):
            total += (higher[s][chosen] - lower[s][chosen]).mean()
        means.append(100 * total / seeds)
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_equals_the_naive_bootstrap(seeds: int) -> None:
    rng = np.random.default_rng(3)
    easy = rng.random(300)
    higher = (easy + 0.3 * rng.random((seeds, 300)) > 0.65).astype(float)
    lower = (easy + 0.3 * rng.random((seeds, 300)) > 0.72).astype(float)
    expected = np.mean([naive(higher, lower, 1000, seed) for seed in range(3)], axis=0)
    found = paired_difference(list(higher), list(lower))
    assert found.value == pytest.approx(100 * (higher - lower).mean())
    assert (found.seeds, found.queries) == (seeds, 300)
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.5)


def test_interval_of_real_valued_scores() -> None:
    """Scores need not be hits and misses."""
    rng = np.random.default_rng(4)
    higher, lower = rng.random((2, 250))
    found = paired_difference([higher], [lower], resamples=10_000)
    expected = naive(higher[None], lower[None], 5000, 1)
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.5)


def test_width_is_that_of_the_normal_approximation() -> None:
    differences = np.repeat([1.0, 0.0, -1.0], [300, 500, 200])
    found = paired_difference([differences], 0.0, resamples=4000)
    error = 100 * differences.std() / np.sqrt(1000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 10))
def test_swapping_sides_mirrors_the_value(queries: int, seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (list(rng.integers(0, 2, (seeds, queries)).astype(float)) for _ in range(2))
    one, two = (paired_difference(x, y, resamples=100) for x, y in ((a, b), (b, a)))
    assert one.value == pytest.approx(-two.value)
    assert -100 <= one.low <= one.high <= 100


def test_same_runs_differ_by_exactly_zero() -> None:
    scores = np.random.default_rng(0).integers(0, 2, 3000).astype(float)
    found = paired_difference([scores, scores[::-1]], [scores, scores[::-1]])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_bootstrap_is_deterministic() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 500)).astype(float)
    assert paired_difference([a], [b]) == paired_difference([a], [b])
    assert paired_difference([a], [b]) != paired_difference([a], [b], seed=1)


def test_a_seed_that_disagrees_widens_the_interval() -> None:
    """Seeds are drawn too: two seeds of opposite sign leave the sign open."""
    up, down = np.zeros(1000), np.zeros(1000)
    up[:100], down[:100] = 1.0, -1.0
    found = paired_difference([up, down], 0.0)
    assert found.low < -5 and found.high > 5


def test_different_queries_cannot_be_paired() -> None:
    with pytest.raises(DataError, match=r"\[4, 5\]"):
        paired_difference([np.zeros(4)], [np.zeros(5)])
    with pytest.raises(DataError, match="2 seeds with 1"):
        paired_difference([np.zeros(4)] * 2, [np.zeros(4)])
    with pytest.raises(DataError, match="0 seeds"):
        paired_difference([], [])


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


def test_stored_scores_come_before_ranks() -> None:
    run = FakeRun({"mAP": [0.5, np.nan], "Top-1": [0.3, np.nan]}, all=[1, 9])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "mAP")), [0.5, np.nan])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "Top-1")), [0.3, np.nan])
    np.testing.assert_equal(query_scores(Measurement(run, "all", "Top-5")), [1, 0])


def test_queries_without_a_match_are_left_out_on_both_sides() -> None:
    rng = np.random.default_rng(5)
    higher, lower = rng.random((2, 200))
    out = np.arange(200) % 10 == 0
    expected = paired_difference([higher[~out]], [lower[~out]])
    found = paired_difference([np.where(out, np.nan, higher)], [np.where(out, np.nan, lower)])
    assert found == expected and found.queries == 180
    alone = paired_difference([np.where(out, np.nan, higher)], 40.0)
    assert alone.value == pytest.approx(100 * higher[~out].mean() - 40)
    with pytest.raises(DataError, match="180 and 200 queries have a correct image"):
        paired_difference([np.where(out, np.nan, higher)], [lower])
    with pytest.raises(DataError, match="at least one"):
        paired_difference([np.full(3, np.nan)], [np.full(3, np.nan)])


def test_seeds_on_test_splits_of_different_sizes() -> None:
    """Each seed's queries are drawn for themselves; every seed has the same weight."""
    rng = np.random.default_rng(6)
    sizes = (100, 400)
    higher, lower = ([rng.random(n) for n in sizes] for _ in range(2))
    found = paired_difference(higher, lower, resamples=8000)
    differences = [a - b for a, b in zip(higher, lower, strict=True)]
    assert found.value == pytest.approx(50 * sum(d.mean() for d in differences))
    assert (found.seeds, found.queries) == (2, 100)
    means = []
    for drawn in rng.integers(0, 2, (8000, 2)):
        of_seed = [rng.choice(d, len(d)).mean() for d in differences]
        means.append(np.mean([of_seed[s] for s in drawn]))
    expected = 100 * np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.6)


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [(0.6, 0.4, "reproduced"), (0.4, 0.6, "contradicted"), (0.5, 0.495, "undecided")],
)
def test_verdict_of_one_pair(tables: dict, high: float, low: float, expected: str) -> None:
    runs = {MAX: [FakeRun(all=hits(high))], AVG: [FakeRun(all=hits(low, seed=1))]}
    (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert result.verdict == expected
    assert result.difference == pytest.approx(100 * (high - low))
    assert result.ci_low < result.difference < result.ci_high
    assert result.paper_difference == pytest.approx(53.51 - 53.36)
    assert (result.queries, result.seeds) == (400, 1)


def test_identical_runs_are_undecided(tables: dict) -> None:
    run = FakeRun(all=hits(0.5))
    (result,) = judge(
        [claim(MAX, AVG)], tables, measure_of({MAX: [run], AVG: [run]}), synthetic=True
    )
    assert result.verdict == "undecided"
    assert (result.difference, result.ci_low, result.ci_high) == (0, 0, 0)


def test_all_lower_sides_must_be_beaten(tables: dict) -> None:
    def result_of(average: float, maximum: float) -> tuple:
        shares = {FUSED: 0.6, AVG: average, MAX: maximum}
        runs = {row: [FakeRun(all=hits(s, seed=i))] for i, (row, s) in enumerate(shares.items())}
        (found,) = judge([claim(FUSED, AVG, MAX)], tables, measure_of(runs), synthetic=True)
        return found.verdict, found.lower.row

    assert result_of(0.3, 0.4) == ("reproduced", MAX)  # the weakest pair is reported
    assert result_of(0.3, 0.59) == ("undecided", MAX)
    assert result_of(0.8, 0.3) == ("contradicted", AVG)
    assert result_of(0.8, 0.59) == ("contradicted", AVG)


def test_sides_may_be_evaluations_of_one_run(tables: dict) -> None:
    run = FakeRun(one=hits(0.6), two=hits(0.3, seed=1))

    def measure(table: int, row: str, column: str) -> list[Measurement]:
        return [Measurement(run, "one" if row == "vgg-test-all" else "two", column)]

    made = claim("vgg-test-all", "vgg-test-gs", table=3)
    assert judge([made], tables, measure, synthetic=True)[0].verdict == "reproduced"


def test_missing_runs_are_not_run_and_say_why(tables: dict) -> None:
    run = FakeRun(all=hits(0.5))
    made = claim(FUSED, AVG, MAX)

    def verdict_of(runs: dict, failed: Sequence[str] = ()) -> tuple[str, str]:
        (result,) = judge([made], tables, measure_of(runs, failed), synthetic=True)
        assert result.difference is None and result.ci_low is None
        assert result.paper_difference == pytest.approx(54.32 - 53.51)  # the closest pair
        return result.verdict, result.reason

    assert verdict_of({FUSED: [run], AVG: [run]}) == (
        "not_run",
        "row vgg-max (table 6) is not part of this profile",
    )
    assert "not finished" in verdict_of({FUSED: [run], AVG: [run], MAX: [None]})[1]
    assert "failed" in verdict_of({FUSED: [run], AVG: [run], MAX: [None]}, [MAX])[1]
    assert "no seed" in verdict_of({FUSED: [run, None], AVG: [None, run], MAX: [run, run]})[1]


def test_seeds_are_paired(tables: dict) -> None:
    """Only the seed that both sides have counts."""
    runs = {
        MAX: [FakeRun(all=hits(0.9)), FakeRun(all=hits(0.6))],
        AVG: [None, FakeRun(all=hits(0.4, seed=1))],
    }
    (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert result.seeds == 1
    assert result.difference == pytest.approx(20)


def test_different_test_splits_are_refused(tables: dict) -> None:
    runs = {MAX: [FakeRun(all=hits(0.5, 100))], AVG: [FakeRun(all=hits(0.5, 200))]}
    with pytest.raises(DataError, match="different numbers of queries"):
        judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)


def test_cited_numbers_count_on_real_data_only(tables: dict) -> None:
    made = claim("imgnet-vgg", "mia-vgg", "galm-vgg", table=7)
    measure = measure_of({"imgnet-vgg": [FakeRun(all=hits(0.9))]})
    (result,) = judge([made], tables, measure, synthetic=True)
    assert result.verdict == "not_run" and "cite" in result.reason
    (result,) = judge([made], tables, measure, synthetic=False)
    assert result.verdict == "reproduced"
    assert (result.lower.row, result.difference) == ("mia-vgg", pytest.approx(42))
    (result,) = judge([made], tables, measure_of({}), synthetic=False)
    assert result.verdict == "not_run"


def test_metrics_without_values_per_query_are_refused(tables: dict) -> None:
    run = FakeRun(all=hits(0.5))
    measure = lambda *_: [Measurement(run, "all", "mAP")]  # noqa: E731
    with pytest.raises(DataError, match="holds no value per query"):
        judge([claim(MAX, AVG)], tables, measure, synthetic=True)


def test_map_is_judged_by_stored_scores(tables: dict) -> None:
    rng = np.random.default_rng(7)
    low = rng.random(300) / 2
    scores = {AVG: low, MAX: np.minimum(low + 0.2 * rng.random(300), 1)}
    runs = {
        row: FakeRun({"mAP": np.append(values, np.nan)}, all=hits(0.5, 301))
        for row, values in scores.items()
    }
    measure = lambda t, row, c: [Measurement(runs[row], "all", "mAP")]  # noqa: E731
    (result,) = judge([claim(MAX, AVG)], tables, measure, synthetic=True)
    assert result.verdict == "reproduced" and result.queries == 300
    assert result.difference == pytest.approx(100 * (scores[MAX] - scores[AVG]).mean())


# ------------------------------------------------------------------ claims.toml


@pytest.mark.parametrize("paper", ["imgnet", "ssan"])
def test_the_paper_supports_its_claims(paper: str) -> None:
    """Every claim holds in the printed tables, and its quotation is short."""
    tables = load_tables(paper)
    claims = load_claims(paper, tables)
    assert len(claims) >= 35
    assert {c.table for c in claims} == set(tables)
    for made in claims:
        assert len(made.quote.split()) <= 15
        for higher, lower in made.pairs:
            top, bottom = (tables[s.table].printed(s.row, s.column) for s in (higher, lower))
            assert top > bottom, (made.id, higher, lower)


def test_both_backbones_have_the_same_claims(tables: dict) -> None:
    ids = [made.id for made in load_claims("imgnet", tables)]
    vgg = [i.removesuffix("-vgg") for i in ids if i.endswith("-vgg")]
    resnet = [i.removesuffix("-resnet") for i in ids if i.endswith("-resnet")]
    assert sorted(vgg) == sorted(resnet)


def test_every_claim_but_those_on_cited_numbers_can_be_measured(tables: dict) -> None:
    run = FakeRun(all=hits(0.5))
    results = judge(
        load_claims("imgnet", tables),
        tables,
        lambda *a: [Measurement(run, "all", a[2])],
        synthetic=True,
    )
    assert {r.claim.id for r in results if r.verdict == "not_run"} == {
        "gn-image-only",
        "gn-image-only-map",
        *(
            f"state-of-the-art{metric}-{backbone}"
            for metric in ("", "-top-5", "-top-10")
            for backbone in ("vgg", "resnet")
        ),
    }
    assert count_verdicts(results) == dict.fromkeys(VERDICTS, 0) | {
        "undecided": len(results) - 8,
        "not_run": 8,
    }


def test_ssan_s_claims_on_its_own_rows_can_be_measured() -> None:
    tables = load_tables("ssan")
    run = FakeRun(all=hits(0.5))
    results = judge(
        load_claims("ssan", tables),
        tables,
        lambda *_: [Measurement(run, "all", "Top-1")],
        synthetic=True,
    )
    assert {r.claim.id for r in results if r.verdict == "not_run"} == {
        "pfl-vitaa",
        "wam-in-vitaa",
        "baseline-shared",
        "state-of-the-art-vgg",
        "state-of-the-art-resnet",
        "ssan-vitaa-cuhk",
        "ssan-tde-vgg",
        "transfer-cmpm-cmpc",
        "transfer-cmpm-cmpc-rank-5",
        "transfer-man",
        "transfer-source-and-target",
    }


GOOD = """
[[claim]]
id = "a"
section = "4"
table = 6
says = "x"
higher = "vgg-max"
lower = [{ table = 5, row = "vgg-k-2" }, "vgg-average"]
"""


def test_sides_may_name_table_and_column(tmp_path: Path, tables: dict) -> None:
    (tmp_path / "claims.toml").write_text(GOOD)
    (made,) = load_claims("x", tables, tmp_path)
    assert made.metric == "Top-1"
    assert made.pairs == (
        (Side(6, "vgg-max", "Top-1"), Side(5, "vgg-k-2", "Top-1")),
        (Side(6, "vgg-max", "Top-1"), Side(6, "vgg-average", "Top-1")),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"vgg-max"', '"vgg-min"', "vgg-min"),
        ("table = 5", "table = 9", "no table 9"),
        ('says = "x"', 'sayz = "x"', "sayz"),
        ('higher = "vgg-max"', "", "higher and lower"),
        ("table = 5,", 'table = 5, column = "Top-3",', "Top-3"),
        ("[[claim]]", GOOD + "[[claim]]", "twice"),
    ],
)
def test_bad_claims_are_named(
    tmp_path: Path, tables: dict, old: str, new: str, message: str
) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_claims("x", tables, tmp_path)
    assert str(path) in str(caught.value)


def test_summary_rows(tables: dict) -> None:
    runs = {MAX: [FakeRun(all=hits(0.6))], AVG: [FakeRun(all=hits(0.4, seed=1))]}
    made = [claim(MAX, AVG), claim(FUSED, AVG)]
    rows = to_summary(judge(made, tables, measure_of(runs), synthetic=True))
    keys = ["id", "table", "says", "verdict", "difference", "ci_low", "ci_high"]
    assert [list(row) for row in rows] == [keys, keys]
    assert rows[0]["verdict"] == "reproduced" and rows[0]["difference"] == 20.0
    assert rows[1]["verdict"] == "not_run" and rows[1]["ci_low"] is None


def test_checklist_page(tables: dict) -> None:
    runs = {MAX: [FakeRun(all=hits(0.6))], AVG: [FakeRun(all=hits(0.4, seed=1))]}
    results = judge([claim(MAX, AVG), claim(FUSED, AVG)], tables, measure_of(runs), synthetic=True)
    page = claims_table(results, synthetic=True).html
    assert "1 reproduced, 0 contradicted, 0 undecided, 1 not run" in page
    assert "+20.00" in page and "+0.15" in page and 'id="claim-c"' in page
    assert "is not part of this profile" in page


def test_notes_page() -> None:
    from reidlib.papers.tables import Note

    page = notes_list([Note("misprint", "Eq 1", "a < b", "c", "d")]).html
    assert "a &lt; b" in page and '<li id="note-1">' in page
