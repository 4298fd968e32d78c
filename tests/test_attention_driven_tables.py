"""Attention driven re-ID's tables, claims and notes as data: what is printed supports claims."""

import pytest
from published import check_supported, origins

from reidlib.papers.claims import Claim, load_claims
from reidlib.papers.tables import load_notes, load_tables

TABLES = load_tables("attention_driven")
CLAIMS = load_claims("attention_driven", TABLES)


def test_own_and_cited_rows() -> None:
    assert origins(TABLES) == {
        1: (7, 0), 2: (4, 0), 3: (1, 17), 4: (1, 9), 5: (1, 11), 6: (6, 0), 7: (7, 0), 8: (2, 0),
        9: (3, 0), 10: (11, 0), 11: (7, 0), 12: (6, 0),
    }  # fmt: skip
    assert not TABLES[1].metrics
    assert TABLES[3].printed("duatm", "R5") == 97.09
    assert TABLES[5].printed("mlfn", "CUHK03-L R1") is None
    assert TABLES[10].printed("lambda-0.7", "Duke mAP") == 69.42
    assert TABLES[12].printed("full-model", "FLOPs") == 2.69e9


def test_rows_that_share_a_model_have_the_same_numbers() -> None:
    six = TABLES[6].printed
    for row, six_row in (("ours", "intra-inter-tuned"),):
        assert TABLES[3].printed(row, "R1") == six(six_row, "Market R1")
        assert TABLES[3].printed(row, "mAP") == six(six_row, "Market mAP")
        assert TABLES[4].printed(row, "Rank-1") == six(six_row, "Duke R1")
        for box in "LD":
            assert TABLES[5].printed(row, f"CUHK03-{box} R1") == six(six_row, f"CUHK03-{box} R1")
    for column in [metric.column for metric in TABLES[10].metrics]:
        assert TABLES[10].printed("lambda-0.5", column) == six("intra-inter", column)
    for kind in ("R1", "R5", "R10", "mAP"):
        market = TABLES[11].printed("beta-5h-48", f"Market {kind}")
        assert market == TABLES[7].printed("global-part", f"With {kind}")
        assert market == TABLES[8].printed("decomposed", kind)
        without = TABLES[7].printed("global-part", f"Without {kind}")
        assert without == TABLES[9].printed("inter-attention", kind)
    for kind in ("R1", "mAP"):
        assert TABLES[9].printed("concatenation", kind) == six("aligned", f"Market {kind}")
        assert TABLES[9].printed("inter-attention", kind) == six("inter", f"Market {kind}")


def test_differences_that_the_text_states() -> None:
    def gain(table: int, column: str, row: str, over: str) -> float:
        printed = TABLES[table].printed
        return round(printed(row, column) - printed(over, column), 2)

    assert (gain(3, "R1", "ours", "duatm"), gain(3, "mAP", "ours", "duatm")) == (3.57, 9.85)
    assert (gain(3, "R1", "ours", "spindle"), gain(3, "mAP", "ours", "spindle")) == (18.09, 21.8)
    assert gain(3, "R1", "ours", "pdc") == 10.85  # the text says 10.95
    assert gain(3, "mAP", "ours", "pdc") == 23.06
    assert (gain(3, "R1", "ours", "glad"), gain(3, "mAP", "ours", "glad")) == (5.09, 12.57)
    assert (gain(4, "Rank-1", "ours", "duatm"), gain(4, "mAP", "ours", "duatm")) == (4.88, 6.84)
    assert gain(5, "CUHK03-L R1", "ours", "hp-net") == 4.63
    assert gain(5, "CUHK03-D R1", "ours", "mlfn") == 10.78
    assert gain(8, "R1", "decomposed", "not-decomposed") == 1.39
    assert gain(8, "mAP", "decomposed", "not-decomposed") == 2.75


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_printed_numbers_support_every_claim(claim: Claim) -> None:
    check_supported(claim, TABLES)
    assert claim.section in ("4.2", "4.3", "4.4")


def test_claims_compare_the_metrics_that_their_tables_show() -> None:
    """Top-1 and, where the table has it, mAP of the same data set."""
    for claim in CLAIMS:
        columns = {side.column for pair in claim.pairs for side in pair}
        shown = {metric.column for metric in TABLES[claim.table].metrics}
        for column in columns:
            prefix = column.removesuffix("R1").removesuffix("Rank-1").removesuffix("mAP")
            both = {c for c in (f"{prefix}R1", f"{prefix}Rank-1", f"{prefix}mAP") if c in shown}
            assert both <= columns, claim.id
    ids = {claim.id for claim in CLAIMS}
    assert {"complementary-with-intra", "complementary-without-intra"} <= ids
    assert len({claim.table for claim in CLAIMS}) == 9  # 3 to 11


def test_notes() -> None:
    notes = load_notes("attention_driven")
    assert len(notes) == len({(note.where, note.what) for note in notes}) >= 30
    misprints = " ".join(note.what for note in notes if note.kind == "misprint")
    for word in ("H/10", "10.95", "64.67", "48.96", "2.26e9"):
        assert word in misprints
