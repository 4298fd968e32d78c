"""What tests of every paper's tables and claims share."""

from collections.abc import Mapping

from reidlib.papers.claims import Claim
from reidlib.papers.tables import PublishedTable


def origins(tables: Mapping[int, PublishedTable]) -> dict[int, tuple[int, int]]:
    """Number of a table -> how many of its rows are the authors' own, and how many cited."""
    return {
        number: tuple(sum(row.origin == kind for row in table.rows) for kind in ("own", "cited"))
        for number, table in tables.items()
    }


def check_supported(claim: Claim, tables: Mapping[int, PublishedTable]) -> None:
    """Every pair of a claim is printed, the higher side above the lower; it has a quote."""
    for higher, lower in claim.pairs:
        above = tables[higher.table].printed(higher.row, higher.column)
        below = tables[lower.table].printed(lower.row, lower.column)
        assert above is not None and below is not None and above > below
    assert claim.quote
