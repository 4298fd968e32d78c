"""What any three of the trainings would have decided."""

import time
from dataclasses import replace
from itertools import combinations

import pytest

from reidlib.papers.claims import ClaimResult, judge, verdict
from reidlib.papers.intervals import compare, samples
from reidlib.papers.stability import CHOICES, Stability, stability, together
from reidlib.papers.tables import load_tables
from reidlib.report.claims import claims_table
from reidlib.report.verdicts import steadiness
from tests.test_claims import AVG, FUSED, MAX, FakeRun, claim, hits, measure_of, trained

TABLES = load_tables("imgnet")


def rows(*shares: float, seed: int = 0) -> list[FakeRun]:
    """A training for each share of hits."""
    return [FakeRun(all=hits(share, seed=100 * seed + n)) for n, share in enumerate(shares)]


def found(runs: dict, *claims) -> tuple[list[ClaimResult], Stability]:
    measure = measure_of(runs)
    results = judge(claims, TABLES, measure, synthetic=True)
    return results, stability(results, TABLES, measure, synthetic=True)


def test_every_three_of_five_against_a_loop() -> None:
    runs = {MAX: rows(0.60, 0.63, 0.52, 0.58, 0.66), AVG: rows(0.45, 0.5, 0.42, 0.49, 0.52, seed=1)}
    (result,), stable = found(runs, claim(MAX, AVG))
    assert result.verdict == "reproduced"
    votes = []
    for chosen in combinations(range(5), 3):
        sides = (
            samples(measure_of({row: [runs[row][n] for n in chosen]})(6, row, "Top-1"))
            for row in (MAX, AVG)
        )
        votes.append(verdict(compare(*sides)))
    assert len(votes) == 10 and 0 < votes.count("reproduced") < 10, "decided by some threes only"
    assert stable == Stability(1, (5,), 10, votes.count("reproduced"), 0, ())


def test_a_claim_that_threes_decide_both_ways() -> None:
    """Rows swap places between the first three seeds and the last three: all six leave it open."""
    up, down = (0.7, 0.71, 0.72), (0.3, 0.31, 0.32)
    (result,), stable = found({MAX: rows(*up, *down), AVG: rows(*down, *up)}, claim(MAX, AVG))
    assert result.verdict == "undecided"
    assert stable == Stability(1, (6,), 0, 0, 0, ("c",))
    assert "one is reproduced by some three of them and contradicted by others." in steadiness(
        stable
    )


def test_choices_that_decide_against_all_trainings_are_counted_apart(monkeypatch) -> None:
    """Three trainings rarely outvote all: here they do in two choices of ten, by decree."""
    runs = {MAX: trained(0.6, 5), AVG: trained(0.4, 5, seed=1)}
    measure = measure_of(runs)
    results = judge([claim(MAX, AVG)], TABLES, measure, synthetic=True)
    verdicts = iter(["contradicted"] * 2 + ["undecided"] * 3 + ["reproduced"] * 5)

    def by_decree(*_, **__) -> list[ClaimResult]:
        return [replace(results[0], verdict=next(verdicts))]

    monkeypatch.setattr("reidlib.papers.stability.judge", by_decree)
    stable = stability(results, TABLES, measure, synthetic=True)
    assert stable == Stability(1, (5,), decided=10, repeated=5, reversed=2, torn=("c",))


@pytest.mark.parametrize(
    "runs",
    [
        {MAX: trained(0.6), AVG: trained(0.4, seed=1)},  # three each
        {MAX: trained(0.6, 5), AVG: trained(0.4, 4, seed=1)},  # not as many
        {MAX: [None, *trained(0.6, 4)], AVG: [None, *trained(0.4, 4, seed=1)]},  # not the first
        {MAX: trained(0.6, 5), AVG: [None] * 5},
        {},
    ],
)
def test_claims_without_a_choice_of_three_are_left_out(runs: dict) -> None:
    _, stable = found(runs, claim(MAX, AVG))
    assert stable == Stability() and steadiness(stable) == ""


def test_of_many_trainings_only_some_choices_are_asked() -> None:
    runs = {
        row: trained(share, 30, seed=n) for n, (row, share) in enumerate([(MAX, 0.6), (AVG, 0.4)])
    }
    started = time.process_time()
    _, stable = found(runs, claim(MAX, AVG))
    assert (stable.decided, stable.repeated) == (CHOICES, CHOICES)
    assert time.process_time() - started < 20


def test_papers_together_and_in_words() -> None:
    runs = {MAX: trained(0.6, 5), AVG: trained(0.4, 5, seed=1), FUSED: trained(0.6, 4, seed=2)}
    _, one = found(runs, claim(MAX, AVG))
    _, other = found({row: runs[row][:4] for row in (FUSED, AVG)}, claim(FUSED, AVG))
    both = together([one, None, other])
    assert both == Stability(2, (4, 5), 14, 14, 0, ())
    assert steadiness(both) == (
        "2 claims rest on four or five trainings a side; none is reproduced by some three of them "
        "and contradicted by others. What all of them decide, three alone decide in 100 % of the "
        "choices, the same way."
    )
    assert steadiness(Stability(3, (5,), 30, 20, 3, ("a", "b"))) == (
        "3 claims rest on five trainings a side; 2 are reproduced by some three of them and "
        "contradicted by others. What all of them decide, three alone decide in 67 % of the "
        "choices the same way, in 10.0 % the other way; the rest they leave undecided."
    )


def test_it_stands_below_the_claims() -> None:
    runs = {MAX: trained(0.6, 5), AVG: trained(0.4, 5, seed=1)}
    results, stable = found(runs, claim(MAX, AVG))
    page = claims_table(results, synthetic=True, stability=stable).html
    assert steadiness(stable) in page
    assert "trainings a side; none" not in claims_table(results, synthetic=True).html
