"""GLA's tables, claims and notes as data: the printed numbers support every claim."""

import pytest
from published import check_supported, origins

from reidlib.papers.claims import Claim, load_claims
from reidlib.papers.tables import load_notes, load_tables

TABLES = load_tables("gla")
CLAIMS = load_claims("gla", TABLES)


def test_own_and_cited_rows() -> None:
    assert origins(TABLES) == {1: (5, 0), 2: (6, 0), 3: (5, 0), 4: (1, 3), 5: (2, 7), 6: (2, 16)}
    assert TABLES[2].printed("proposed", "SYSU mAP") == 91.4
    assert TABLES[6].printed("svdnet", "CUHK03 detected top-1") == 81.8
    assert TABLES[6].printed("acn", "CUHK03 labeled top-1") is None
    assert not TABLES[1].metrics


def test_rows_that_share_a_model_have_the_same_numbers() -> None:
    different = [
        metric.column
        for metric in TABLES[2].metrics
        if TABLES[2].printed("basel-gda", metric.column)
        != TABLES[3].printed("lambda-t-0.1", metric.column)
    ]
    assert different == ["SYSU top-5"]  # a misprint, which has a note
    for row in ("basel", "proposed"):
        for kind in ("mAP", "top-1"):
            assert TABLES[2].printed(row, f"Market {kind}") == TABLES[6].printed(
                row, f"Market single-query {kind}"
            )


def test_differences_that_the_text_states() -> None:
    def gain(table: int, column: str, row: str, over: str) -> float:
        printed = TABLES[table].printed
        return round(printed(row, column) - printed(over, column), 1)

    for column, gda, lra, ranking in (("Market mAP", 5.6, 5.2, 2.3), ("SYSU mAP", 4.4, 3.9, 1.4)):
        assert gain(2, column, "basel-gda", "basel") == gda
        assert gain(2, column, "basel-lra", "basel") == lra
        assert gain(2, column, "basel-gda", "basel-rank2") == ranking
    assert gain(5, "top-1", "proposed", "basel") == 7.8
    assert gain(6, "CUHK03 labeled top-5", "d-person", "proposed") == 0.2


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_printed_numbers_support_every_claim(claim: Claim) -> None:
    check_supported(claim, TABLES)
    assert claim.section in ("4.2", "4.3", "4.4", "4.5", "5")


def test_notes() -> None:
    notes = load_notes("gla")
    assert len(notes) == len({(note.where, note.what) for note in notes}) >= 25
    misprints = " ".join(note.what for note in notes if note.kind == "misprint")
    for name in ("D-Person", "OLMANS", "MuDeep", "basel. + GDA"):
        assert name in misprints
