"""Verdicts on claims, what luck gives of them, and the claims of the papers."""

import re
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reidlib.arguments import PAPERS
from reidlib.errors import DataError
from reidlib.papers.claims import (
    VERDICTS,
    Claim,
    ClaimResult,
    Side,
    count_verdicts,
    expected_by_luck,
    judge,
    leans,
    load_claims,
    to_summary,
    verdict,
)
from reidlib.papers.intervals import Difference
from reidlib.papers.tables import Measurement, load_tables
from reidlib.report.claims import claims_table, notes_list

KEYS = count()


class FakeRun:
    """A run of its own with ranks per evaluation, four queries a person; `stored`: the scores of
    its queries, by metric."""

    def __init__(
        self,
        stored: dict[str, Sequence[float]] | None = None,
        chance: float | None = None,
        **ranks: Sequence[int],
    ) -> None:
        self.key = f"fake-{next(KEYS)}"
        self._stored = stored or {}
        self._ranks = {name: np.asarray(r) for name, r in ranks.items()}
        self.metrics = {
            "evaluations": {n: {"Top-1": 100 * (r == 1).mean()} for n, r in self._ranks.items()}
        }
        if chance is not None:
            self.metrics["chance"] = {name: {"Top-1": chance} for name in self._ranks}

    def ranks(self, evaluation: str) -> np.ndarray:
        return self._ranks[evaluation]

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        return np.asarray(self._stored[metric]) if metric in self._stored else None

    def people(self, evaluation: str) -> np.ndarray:
        return np.arange(len(self._ranks[evaluation])) // 4


def hits(share: float, queries: int = 400, seed: int = 0) -> np.ndarray:
    """Ranks, `share` of them 1 and the others 2, in random places."""
    ranks = np.full(queries, 2)
    ranks[: round(share * queries)] = 1
    return np.random.default_rng(seed).permutation(ranks)


def trained(share: float, seeds: int = 3, seed: int = 0, **kwargs: Any) -> list[FakeRun]:
    """Runs that hit `share` of their queries, each others."""
    return [FakeRun(all=hits(share, seed=100 * seed + n), **kwargs) for n in range(seeds)]


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
    return Claim("c", "4.2.5", table, "statement", "", "Top-1", pairs)


AVG, MAX, FUSED = "vgg-average", "vgg-max", "vgg-fused"


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [(0.6, 0.4, "reproduced"), (0.4, 0.6, "contradicted"), (0.5, 0.495, "undecided")],
)
def test_verdict_of_one_pair(tables: dict, high: float, low: float, expected: str) -> None:
    runs = {MAX: trained(high), AVG: trained(low, seed=1)}
    (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert (result.verdict, result.leans, result.reason) == (expected, "", "")
    assert result.difference == pytest.approx(100 * (high - low))
    assert result.ci_low < result.difference < result.ci_high
    assert result.paper_difference == pytest.approx(53.51 - 53.36)
    assert (result.queries, result.people, result.seeds) == (400, 100, 3)


@pytest.mark.parametrize("seeds", [(1, 1), (2, 2), (2, 5), (5, 2)])
@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [(0.6, 0.4, "reproduced"), (0.4, 0.6, "contradicted"), (0.5, 0.495, "")],
)
def test_fewer_than_three_trainings_lean(
    tables: dict, seeds: tuple[int, int], high: float, low: float, expected: str
) -> None:
    runs = {MAX: trained(high, seeds[0]), AVG: trained(low, seeds[1], seed=1)}
    (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert (result.verdict, result.leans, result.seeds) == ("undecided", expected, min(seeds))
    assert result.ci_low is not None and result.by_luck == 0


def test_claims_of_several_pairs_lean_as_they_would_be_judged(tables: dict) -> None:
    def leaning(average: float, maximum: float, seeds: int = 1) -> tuple[str, str]:
        runs = {
            FUSED: trained(0.6, 3),
            AVG: trained(average, seeds, 1),
            MAX: trained(maximum, 3, 2),
        }
        (found,) = judge([claim(FUSED, AVG, MAX)], tables, measure_of(runs), synthetic=True)
        return found.verdict, found.leans

    assert leaning(0.4, 0.4) == ("undecided", "reproduced")
    assert leaning(0.8, 0.4) == ("undecided", "contradicted")
    assert leaning(0.59, 0.4) == ("undecided", "")
    assert leaning(0.4, 0.59) == ("undecided", "")
    assert leaning(0.4, 0.8) == ("contradicted", "")  # by the pair with three trainings
    assert leaning(0.59, 0.4, seeds=3) == ("undecided", "")


def test_the_luck_of_training_is_covered(tables: dict) -> None:
    """The same mean difference, once steady and once not: people alone would decide both."""
    runs = {AVG: trained(0.4, seed=1)}
    steady = measure_of(runs | {MAX: trained(0.5)})
    shaky = measure_of(runs | {MAX: [FakeRun(all=hits(s, seed=9)) for s in (0.35, 0.5, 0.65)]})
    found = [judge([claim(MAX, AVG)], tables, m, synthetic=True)[0] for m in (steady, shaky)]
    assert [result.verdict for result in found] == ["reproduced", "undecided"]
    assert found[0].difference == pytest.approx(found[1].difference)


def test_verdicts_follow_the_interval() -> None:
    def difference(low: float, high: float, seeds: int) -> Difference:
        return Difference((low + high) / 2, low, high, seeds, 9, 9, low, high)

    for low, high, word in ((1, 2, "reproduced"), (-2, -1, "contradicted"), (-1, 0, "")):
        assert verdict(difference(low, high, 3)) == (word or "undecided")
        assert leans(difference(low, high, 3)) == ""
        assert verdict(difference(low, high, 2)) == "undecided"
        assert leans(difference(low, high, 2)) == word


def test_identical_runs_are_undecided(tables: dict) -> None:
    runs = trained(0.5)
    (result,) = judge([claim(MAX, AVG)], tables, measure_of({MAX: runs, AVG: runs}), synthetic=True)
    assert result.verdict == "undecided"
    assert (result.difference, result.ci_low, result.ci_high) == (0, 0, 0)


def test_all_lower_sides_must_be_beaten(tables: dict) -> None:
    def result_of(average: float, maximum: float) -> tuple:
        shares = {FUSED: 0.6, AVG: average, MAX: maximum}
        runs = {row: trained(s, seed=i) for i, (row, s) in enumerate(shares.items())}
        (found,) = judge([claim(FUSED, AVG, MAX)], tables, measure_of(runs), synthetic=True)
        return found.verdict, found.lower.row

    assert result_of(0.3, 0.4) == ("reproduced", MAX)  # the weakest pair is reported
    assert result_of(0.3, 0.59) == ("undecided", MAX)
    assert result_of(0.8, 0.3) == ("contradicted", AVG)
    assert result_of(0.8, 0.59) == ("contradicted", AVG)


def test_sides_may_be_evaluations_of_one_run(tables: dict) -> None:
    runs = [FakeRun(one=hits(0.6, seed=n), two=hits(0.3, seed=9 + n)) for n in range(3)]

    def measure(table: int, row: str, column: str) -> list[Measurement]:
        return [Measurement(run, "one" if row == "vgg-test-all" else "two", column) for run in runs]

    made = claim("vgg-test-all", "vgg-test-gs", table=3)
    assert judge([made], tables, measure, synthetic=True)[0].verdict == "reproduced"


# ------------------------------------------------------------------ rows that did not learn


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("high", "low", "row", "share"),
    [(0.6, 0.05, AVG, "5.0"), (0.05, 0.6, MAX, "5.0"), (0.05, 0.04, AVG, "4.0")],
)
def test_a_side_at_chance_leaves_a_claim_undecided(
    tables: dict, seeds: int, high: float, low: float, row: str, share: str
) -> None:
    runs = {MAX: trained(high, seeds, chance=4.5), AVG: trained(low, seeds, seed=1, chance=4.5)}
    (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert (result.verdict, result.leans, result.by_luck) == ("undecided", "", 0)
    assert result.reason == f"not trained: {row} is not above chance ({share} % against 4.5 %)"
    assert result.difference == pytest.approx(100 * (high - low))


def test_sides_above_chance_and_runs_that_do_not_know_it_are_judged(tables: dict) -> None:
    for chance in (4.5, None):
        runs = {MAX: trained(0.6, chance=chance), AVG: trained(0.2, seed=1, chance=chance)}
        (result,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
        assert (result.verdict, result.reason) == ("reproduced", "")


def test_one_untrained_rival_does_not_hide_a_contradiction(tables: dict) -> None:
    def result_of(fused: float) -> ClaimResult:
        runs = {FUSED: trained(fused), AVG: trained(0.04, seed=1, chance=4.5), MAX: trained(0.4)}
        return judge([claim(FUSED, AVG, MAX)], tables, measure_of(runs), synthetic=True)[0]

    assert result_of(0.2).verdict == "contradicted" and result_of(0.2).reason == ""
    better = result_of(0.6)
    assert better.verdict == "undecided" and better.reason.startswith(f"not trained: {AVG} is")
    assert better.lower.row == MAX  # the comparison that says something is shown
    assert better.difference == pytest.approx(20) and better.ci_low > 0
    assert 0.02 < better.by_luck < 0.03  # it can still be contradicted


# ------------------------------------------------------------------ verdicts that luck gives


def luck_of(tables: dict, *pairs: tuple[str, str]) -> float:
    sides = tuple(tuple(Side(6, row, "Top-1") for row in pair) for pair in pairs)
    made = Claim("c", "4", 6, "", "", "Top-1", sides)
    runs = {row: trained(0.5) for pair in pairs for row in pair}
    (result,) = judge([made], tables, measure_of(runs), synthetic=True)
    assert expected_by_luck([result, result]) == 2 * result.by_luck
    return result.by_luck


def test_luck_decides_one_claim_in_twenty_if_it_has_one_pair(tables: dict) -> None:
    assert luck_of(tables, (MAX, AVG)) == 0.05
    # Pairs on sides of their own: contradicted unless no pair is, reproduced if both are.
    two = luck_of(tables, (MAX, AVG), ("resnet-max", "resnet-average"))
    assert two == pytest.approx(1 - 0.975**2 + 0.025**2, abs=0.004)
    # With a side in common, differences are correlated by a half: both more often agree.
    both = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf([-1.96, -1.96])
    shared = luck_of(tables, (FUSED, AVG), (FUSED, MAX))
    assert shared == pytest.approx((0.05 - both) + both, abs=0.004)
    four = [(FUSED, row) for row in (AVG, MAX, "resnet-max", "resnet-average")]
    assert 0.05 < luck_of(tables, *four) < 1 - 0.975**4
    assert expected_by_luck([]) == 0


def test_luck_decides_as_often_as_it_says(tables: dict) -> None:
    """Claims about rows that are equally good, trained anew 400 times."""
    rng = np.random.default_rng(0)
    decided, said = 0, 0.0
    liking = rng.normal(0, 0.8, 100).repeat(4)

    def runs(n: int) -> list[FakeRun]:
        worth = liking + rng.normal(0, 0.1, (n, 1)) + rng.normal(0, 1, (n, 400))
        return [FakeRun(all=np.where(w > 0, 1, 2)) for w in worth]

    for _ in range(400):
        measure = measure_of({row: runs(4) for row in (FUSED, AVG, MAX)})
        (result,) = judge([claim(FUSED, AVG, MAX)], tables, measure, synthetic=True)
        decided += result.verdict in ("reproduced", "contradicted")
        said += result.by_luck
    assert said == pytest.approx(20, abs=2)
    assert decided == pytest.approx(said, abs=3 * said**0.5)


# ------------------------------------------------------------------ what is not run


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


def test_a_failed_training_is_not_a_contradiction(tables: dict) -> None:
    runs = {FUSED: trained(0.5), AVG: [None] * 3, MAX: None}
    for failed in ([], [AVG]):
        (result,) = judge([claim(FUSED, AVG)], tables, measure_of(runs, failed), synthetic=True)
        assert (result.verdict, result.failed) == ("not_run", bool(failed))
        page = claims_table([result], synthetic=True).html
        word = "failed" if failed else "not_run"
        assert f'<span class="{word}">' in page and 'contradicted"' not in page


def test_seeds_with_their_own_test_split_need_both_sides(tables: dict) -> None:
    """Only the seed that both sides have counts; on one split all do."""

    def result_of(splits: Sequence[int]) -> ClaimResult:
        high = [FakeRun(all=hits(s, n)) for s, n in zip((0.9, 0.6), splits, strict=True)]
        low = [None, FakeRun(all=hits(0.4, splits[1], seed=1))]
        runs = {MAX: high, AVG: low}
        return judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)[0]

    own, one = result_of((200, 400)), result_of((400, 400))
    assert (own.seeds, own.queries) == (1, 400) and own.difference == pytest.approx(20)
    assert one.difference == pytest.approx(75 - 40)
    runs = {MAX: [FakeRun(all=hits(0.9, 200)), None], AVG: [None, FakeRun(all=hits(0.9))]}
    (none,) = judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)
    assert none.verdict == "not_run" and "no seed is finished for both" in none.reason


def test_different_test_splits_are_refused(tables: dict) -> None:
    runs = {MAX: [FakeRun(all=hits(0.5, 100))], AVG: [FakeRun(all=hits(0.5, 200))]}
    with pytest.raises(DataError, match="other numbers of queries"):
        judge([claim(MAX, AVG)], tables, measure_of(runs), synthetic=True)


def test_cited_numbers_count_on_real_data_only(tables: dict) -> None:
    made = claim("imgnet-vgg", "mia-vgg", "galm-vgg", table=7)
    measure = measure_of({"imgnet-vgg": trained(0.9)})
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
    low = rng.random((3, 300)) / 2
    scores = {AVG: low, MAX: np.minimum(low + 0.3 * rng.random((3, 300)), 1)}
    runs = {
        row: [FakeRun({"mAP": np.append(v, np.nan)}, all=hits(0.5, 301)) for v in values]
        for row, values in scores.items()
    }
    measure = lambda t, row, c: [Measurement(run, "all", "mAP") for run in runs[row]]  # noqa: E731
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
        lambda table, _, column: [Measurement(run, "all", "Top-1" if table == 4 else column)],
        synthetic=True,
    )
    assert {r.claim.id for r in results if r.verdict == "not_run"} == {
        *(
            f"state-of-the-art{metric}-{backbone}"
            for metric in ("", "-top-5", "-top-10")
            for backbone in ("vgg", "resnet")
        ),
        *("over-pwm-ath", "over-mia", "over-galm"),
    }
    assert count_verdicts(results) == dict.fromkeys(VERDICTS, 0) | {
        "undecided": len(results) - 9,
        "not_run": 9,
    }


def test_sentences_on_two_whole_tables_are_tested_on_all_their_rows() -> None:
    """Sections 4.2.1 and 4.2.2 speak of Tables 1 and 2 as a whole: every row with GN is in some
    claim of each kind, and the one comparison that the numbers contradict is in none."""
    tables = load_tables("imgnet")
    claims = load_claims("imgnet", tables)
    for backbone, table in (("vgg", 1), ("resnet", 2)):
        made = [c for c in claims if c.table == table and c.section in ("4.2.1", "4.2.2")]
        pairs = {(high.row, low.row) for c in made for high, low in c.pairs}
        rows = [row.slug for row in tables[table].rows if row.slug.endswith("-gn")]
        assert {row for pair in pairs for row in pair} == set(rows) and len(rows) == 28
        attention = {"ch0-sp0": 0, "ch1-sp0": 1, "ch0-sp1": 1, "ch1-sp1": 2}
        slug = re.compile(rf"{backbone}-(ch.-sp.)-(gs.-ls.-gp.)-gn").fullmatch
        for high in rows:
            for low in rows:
                (more, parts), (less, fewer) = slug(high).groups(), slug(low).groups()
                above = parts == fewer and attention[more] == attention[less] + 1
                supported = tables[table].printed(high, "Top-1") > tables[table].printed(
                    low, "Top-1"
                )
                assert above <= (((high, low) in pairs) == supported), (high, low)


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
statement = "x"
higher = "vgg-max"
lower = [{ table = 5, row = "vgg-k-2" }, "vgg-average"]
"""

REASON = """
[[reason]]
claims = ["a"]
likely = "Because."
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
        ('statement = "x"', 'says = "x"', "says"),
        ('higher = "vgg-max"', "", "higher and lower"),
        ("table = 5,", 'table = 5, column = "Top-3",', "Top-3"),
        ("[[claim]]", GOOD + "[[claim]]", "twice"),
        ("[[claim]]", REASON.replace('"a"', '"b"') + "[[claim]]", "no claim 'b'"),
        ("[[claim]]", REASON.replace("likely", "why") + "[[claim]]", "claims and likely"),
        ("[[claim]]", REASON.replace("Because.", "") + "[[claim]]", "claims and likely"),
        ("[[claim]]", REASON + REASON + "[[claim]]", "reason 2: claim 'a' has a reason already"),
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


def test_a_likely_reason_is_said_of_what_the_world_contradicts_only(
    tmp_path: Path, tables: dict
) -> None:
    (tmp_path / "claims.toml").write_text(
        GOOD.replace('{ table = 5, row = "vgg-k-2" }, ', "") + REASON
    )
    made = load_claims("x", tables, tmp_path)
    assert [c.likely for c in made] == ["Because."]

    def result(high: float, low: float, synthetic: bool) -> ClaimResult:
        runs = {MAX: trained(high), AVG: trained(low, seed=1)}
        return judge(made, tables, measure_of(runs), synthetic=synthetic)[0]

    for high, low, synthetic in ((0.6, 0.4, True), (0.5, 0.495, True), (0.4, 0.6, False)):
        silent = result(high, low, synthetic)
        assert silent.likely == "" and "likely" not in to_summary([silent])[0]
        assert "Because." not in claims_table([silent], synthetic=synthetic).html
    told = result(0.4, 0.6, True)
    assert told.likely == "Because." and to_summary([told])[0]["likely"] == "Because."
    page = claims_table([told], synthetic=True).html
    assert page.count("Because.") == 1 and '<a href="#likely-1">' in page
    assert '<li id="likely-1">' in page
    assert "Because." not in claims_table([told], synthetic=True, judged=False).html


@pytest.mark.parametrize("paper", PAPERS)
def test_likely_reasons_are_of_claims_on_own_rows(paper: str) -> None:
    """What nothing in the world can contradict needs no reason."""
    tables = load_tables(paper)
    for made in load_claims(paper, tables):
        for side in (side for pair in made.pairs for side in pair if made.likely):
            table = tables[side.table]
            assert table.origin(table.row(side.row), table.metric(side.column)) == "own"


def test_summary_rows(tables: dict) -> None:
    runs = {MAX: trained(0.6), AVG: trained(0.4, seed=1)}
    made = [claim(MAX, AVG), claim(FUSED, AVG)]
    rows = to_summary(judge(made, tables, measure_of(runs), synthetic=True))
    keys = ["id", "table", "says", "verdict", "difference", "ci_low", "ci_high"]
    assert [list(row) for row in rows] == [keys, keys]
    assert rows[0]["verdict"] == "reproduced" and rows[0]["difference"] == 20.0
    assert rows[1]["verdict"] == "not_run" and rows[1]["ci_low"] is None


def page_of(tables: dict, seeds: int) -> str:
    runs = {MAX: trained(0.6, seeds), AVG: trained(0.4, seeds, seed=1)}
    results = judge([claim(MAX, AVG), claim(FUSED, AVG)], tables, measure_of(runs), synthetic=True)
    return claims_table(results, synthetic=True).html


def test_checklist_page(tables: dict) -> None:
    page = page_of(tables, 3)
    assert "1 reproduced, 0 contradicted, 0 undecided, 1 not run" in page
    assert "+20.00" in page and "+0.15" in page and 'id="claim-c"' in page
    assert "is not part of this profile" in page
    assert "1 claim could be decided, and 1 was." in page
    assert "luck alone would decide about 0.1" in page
    assert "lean" not in page


def test_checklist_page_of_single_trainings(tables: dict) -> None:
    page = page_of(tables, 1)
    assert "0 reproduced, 0 contradicted, 1 undecided, 1 not run" in page
    assert "leans to reproduced" in page and "--seeds 3" in page
    assert "luck alone" not in page
    assert "--seeds 3" not in page_of(tables, 2)


def test_notes_page() -> None:
    from reidlib.papers.tables import Note

    page = notes_list([Note("misprint", "Eq 1", "a < b", "c", "d")]).html
    assert "a &lt; b" in page and '<li id="note-1">' in page
