"""The claims checklist: printed words for rows, verdicts, reasons."""

import re

import numpy as np
import pytest

from reidlib.papers.claims import Claim, ClaimResult, Side
from reidlib.papers.tables import load_tables
from reidlib.report.claims import claims_table

TABLES = load_tables("imgnet")
FULL = "vgg-ch1-sp1-gs1-ls1-gp1-gn"
CHANNEL = "vgg-ch1-sp0-gs1-ls1-gp1-gn"
SPATIAL = "vgg-ch0-sp1-gs1-ls1-gp1-gn"


def result(**changes: object) -> ClaimResult:
    full, channel, spatial = (Side(1, slug, "Top-1") for slug in (FULL, CHANNEL, SPATIAL))
    pairs = ((full, channel), (full, spatial))
    claim = Claim("both", "4.2", 1, "both are better than k_1", "a < b", "Top-1", pairs)
    values = {"verdict": "undecided", "higher": full, "lower": spatial, "paper_difference": 0.68}
    values |= {"difference": -1.25, "ci_low": -4.0, "ci_high": 2.0, "seeds": 3, "queries": 9}
    return ClaimResult(claim, **(values | changes))


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_rows_are_named_as_printed() -> None:
    page = claims_table([result()], synthetic=True, tables=TABLES).html
    assert "weakest of 2: against Spatial, GS, LS, GP, GN" in text(page)
    assert not any(slug in page for slug in (FULL, CHANNEL, SPATIAL))
    assert "both are better than k<sub>1</sub>" in page and "“a &lt; b”" in page
    assert "+0.68 −1.25 −4.0 … +2.0" in text(page)


def test_reasons_are_said_in_printed_words() -> None:
    reason = f"row {SPATIAL} (table 1) is not finished"
    missing = {"difference": None, "ci_low": None, "ci_high": None}
    found = result(verdict="not_run", reason=reason, **missing)
    page = text(claims_table([found], synthetic=True, tables=TABLES).html)
    assert "row “Spatial, GS, LS, GP, GN” (Table 1) is not finished" in page
    assert "– not run" in page and "weakest of" not in page


def test_without_tables_slugs_are_kept() -> None:
    assert SPATIAL in claims_table([result()], synthetic=True).html


def test_a_claim_that_needs_no_verdict_gets_none() -> None:
    found = result(verdict="contradicted")
    page = claims_table([found], synthetic=True, judged=False).html
    assert "contradicted" not in page and "−1.25" in page
    assert "contradicted" in claims_table([found], synthetic=True).html


@pytest.mark.parametrize("judged", [True, False])
def test_every_line_has_a_cell_per_column(judged: bool) -> None:
    page = claims_table([result()] * 2, synthetic=False, judged=judged).html
    counts = [len(re.findall(r"<t[hd]\b", row)) for row in page.split("<tr")[1:]]
    assert np.unique(counts).tolist() == [6 if judged else 5]


def test_text_is_aligned_without_any_style_sheet() -> None:
    page = claims_table([result()], synthetic=True).html
    (claim,) = re.findall(r'<th scope="row"[^>]*>', page)
    assert 'align="left"' in claim and "text-align:left" in claim
    assert 'style="table-layout:auto"' in page
