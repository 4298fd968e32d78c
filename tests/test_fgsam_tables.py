"""FGSAM's tables, claims and notes as data: the printed numbers support every claim."""

import pytest
from published import check_supported, origins

from reidlib.papers.claims import Claim, load_claims
from reidlib.papers.tables import load_notes, load_tables

TABLES = load_tables("fgsam")
CLAIMS = load_claims("fgsam", TABLES)


def test_own_and_cited_rows() -> None:
    assert origins(TABLES) == {1: (3, 0), 2: (1, 15), 3: (1, 1), 4: (4, 0), 5: (2, 0)}
    assert TABLES[2].printed("mhn-6-ide", "Duke Rank-10") == 95.6
    assert TABLES[2].printed("spindle", "Market mAP") is None
    assert TABLES[3].printed("arp", "Rank-10") == 75.7
    assert not TABLES[1].metrics


def test_rows_that_share_a_model_have_the_same_numbers_but_one() -> None:
    different = {
        column
        for column in ("Market Rank-1", "Market mAP", "Duke Rank-1", "Duke mAP")
        if TABLES[2].printed("ours", column) != TABLES[4].printed("base-pose-lram-ftl", column)
    }
    assert different == {"Market mAP"}  # 85.4 and 86.4, which has a note
    for column in ("Rank-1", "mAP"):
        whole = TABLES[4].printed("base-pose-lram-ftl", f"Market {column}")
        assert TABLES[5].printed("ours", column) == whole


def test_differences_that_the_text_states() -> None:
    def gain(table: int, column: str, row: str, over: str) -> float:
        printed = TABLES[table].printed
        return round(printed(row, column) - printed(over, column), 1)

    assert gain(2, "Market mAP", "ours", "mhn-6-ide") == 1.8
    assert gain(2, "Duke mAP", "ours", "ianet") == 0.7
    assert (gain(3, "Rank-1", "ours", "arp"), gain(3, "mAP", "ours", "arp")) == (3.9, 1.4)
    assert gain(4, "Market Rank-1", "base-pose", "base") == 7.8
    assert gain(4, "Market mAP", "base-pose", "base") == 5.8
    assert gain(4, "Market mAP", "base-pose-lram", "base-pose") == 7.9
    assert gain(4, "Duke mAP", "base-pose-lram", "base-pose") == 1.4
    assert gain(4, "Market mAP", "base-pose-lram-ftl", "base-pose-lram") == 2.9
    assert gain(4, "Duke mAP", "base-pose-lram-ftl", "base-pose-lram") == 2.1  # the text: 1.4
    assert gain(5, "Rank-1", "ours", "ours-without-cpb") == 1.6
    assert gain(5, "mAP", "ours", "ours-without-cpb") == 1.0


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_printed_numbers_support_every_claim(claim: Claim) -> None:
    check_supported(claim, TABLES)
    assert claim.section in ("IV-C", "IV-D")


def test_notes() -> None:
    notes = load_notes("fgsam")
    assert len(notes) == len({(note.where, note.what) for note in notes}) >= 20
    misprints = " ".join(note.what for note in notes if note.kind == "misprint")
    for name in ("85.4", "86.4", "1.4", "not at bag and handbag", "75.7"):
        assert name in misprints
