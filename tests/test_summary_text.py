"""What a paper's results come to, in three sentences."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from reidlib.papers.claims import Claim, ClaimResult, Side
from reidlib.report.results import PaperResults
from reidlib.report.summary_text import in_three_sentences, verdict

SIDE = Side(1, "a", "Top-1")


def claim(kind: str, difference: float | None, says: str, half: float = 2.0) -> ClaimResult:
    stated = Claim(says, "4", 1, says, "", "Top-1", ((SIDE, SIDE),))
    if difference is None:
        return ClaimResult(stated, kind, SIDE, SIDE, 1.5, reason="not planned")
    return ClaimResult(
        stated, kind, SIDE, SIDE, 1.5, difference, difference - half, difference + half, 3, 99
    )


def results(*claims: ClaimResult, synthetic: bool = True) -> PaperResults:
    return PaperResults("imgnet", synthetic, {}, claims)


MIXED = (
    claim("reproduced", 9.0, "a wide one", half=8.0),
    claim("reproduced", 6.0, "lambda_T = 0.1 is best"),
    claim("contradicted", -4.0, "GN is better"),
    claim("contradicted", -3.0, "less clear"),
    claim("undecided", 0.5, "open"),
    claim("not_run", None, "absent"),
)


def test_counts_the_clearest_of_both_kinds_and_what_for() -> None:
    """Clearest is what lies farthest from zero, not what is largest."""
    assert in_three_sentences(results(*MIXED)) == (
        "Of the paper's 6 claims 5 were tested: 2 reproduced, 2 contradicted, 1 undecided. "
        "Most clearly reproduced is “λ_T = 0.1 is best” (+6.0 points here, +1.5 in the paper), "
        "most clearly contradicted is “GN is better” (−4.0 points here, +1.5 in the paper). "
        "The data is synthetic: which variant is better can be compared with the paper, the "
        "numbers themselves cannot."
    )


def test_that_a_rival_hardly_learned_is_not_what_is_clearest() -> None:
    """Unless nothing else was decided."""
    sides = SIDE, Side(1, "b", "Top-1")
    above, hardly = (
        replace(claim("reproduced", d, says), higher=sides[0], lower=sides[1])
        for d, says in ((3.0, "fair"), (50.0, "against nothing"))
    )
    cells = {("a", "Top-1"): cell(60.0), ("b", "Top-1"): cell(11.0)}
    fair = replace(above, lower=Side(2, "b", "Top-1"))
    tables = {1: SimpleNamespace(cells=cells), 2: SimpleNamespace(cells={})}
    one = PaperResults("imgnet", True, tables, (fair, hardly))
    assert "Most clearly reproduced is “fair”" in in_three_sentences(one)
    other = PaperResults("imgnet", True, tables, (hardly,))
    assert "Most clearly reproduced is “against nothing”" in in_three_sentences(other)
    cells["b", "Top-1"] = cell(12.5)
    assert "is “against nothing”" in in_three_sentences(one)


def cell(measured: float) -> SimpleNamespace:
    return SimpleNamespace(measured=measured)


def test_undecided_claims_say_where_they_point() -> None:
    open_ = [claim("undecided", d, str(d)) for d in (1.0, 0.5, -0.5)]
    text = in_three_sentences(results(*open_, synthetic=False))
    assert text.startswith("All 3 claims of the paper were tested: 0 reproduced")
    assert "points the paper's way in 2 of 3 of them." in text
    assert text.endswith("The data is real, so the numbers can be compared with the paper's.")


def test_nothing_tested() -> None:
    text = in_three_sentences(results(claim("not_run", None, "absent")))
    assert text.startswith("None of the paper's 1 claims has been tested yet. So nothing can")


@pytest.mark.parametrize("profile", ["demo", "study", "bench", "paper", ""])
def test_three_sentences_each(profile: str) -> None:
    for found in (results(*MIXED), results(MIXED[4]), results(MIXED[5]), results(MIXED[0])):
        text = in_three_sentences(found, profile=profile)
        assert text.count(". ") == 2 and text.endswith("."), text


def test_a_smoke_run_means_nothing() -> None:
    text = in_three_sentences(results(*MIXED), profile="smoke")
    assert text.count(". ") == 2 and "The numbers mean nothing." in text
    for word in ("reproduced", "contradicted", "undecided"):
        assert word not in text and word not in verdict(results(*MIXED), profile="smoke").html


def test_the_verdict_is_a_bar_and_the_sentences() -> None:
    html = verdict(results(*MIXED), profile="demo").html
    assert 'aria-label="2 reproduced, 2 contradicted, 1 undecided, 1 not run"' in html
    assert "λ_T = 0.1 is best" in html


def test_one_claim_was_tested() -> None:
    text = in_three_sentences(results(MIXED[0], MIXED[-1]))
    assert text.startswith("Of the paper's 2 claims 1 was tested: 1 reproduced")
