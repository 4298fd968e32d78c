"""How rows and settings are called: printed words instead of slugs."""

import pytest

from reidlib.arguments import PAPERS
from reidlib.errors import DataError
from reidlib.papers.claims import Side
from reidlib.papers.tables import load_tables
from reidlib.report.labels import marked, plain, row_label, side_label, with_labels

TABLES = {paper: load_tables(paper) for paper in PAPERS}


@pytest.mark.parametrize(
    ("text", "html", "signs"),
    [
        ("basel.+rank^2 [63]", "basel.+rank<sup>2</sup> [63]", "basel.+rank² [63]"),
        ("lambda_T = 0.1", "λ<sub>T</sub> = 0.1", "λ_T = 0.1"),
        ("S_GS+LS", "S<sub>GS+LS</sub>", "S_GS+LS"),
        ("L_rank", "L<sub>rank</sub>", "L_rank"),
        ("L_CEL^ID", "L<sub>CEL</sub><sup>ID</sup>", "L_CEL^ID"),
        ("theta^g, psi_k", "θ<sup>g</sup>, ψ<sub>k</sub>", "θ^g, ψ_k"),
        ("M_", "M′", "M′"),
        ("last_stride, not_run", "last_stride, not_run", "last_stride, not_run"),
        ("a < b & c", "a &lt; b &amp; c", "a < b & c"),
        ("+ PFL+1×1 Conv", "+ PFL+1×1 Conv", "+ PFL+1×1 Conv"),
    ],
)
def test_printed_signs(text: str, html: str, signs: str) -> None:
    assert marked(text) == html
    assert plain(text) == signs


@pytest.mark.parametrize(
    ("paper", "table", "slug", "label"),
    [
        ("imgnet", 1, "vgg-ch1-sp0-gs1-ls1-gp1-gn", "Channel, GS, LS, GP, GN"),
        ("imgnet", 3, "vgg-test-gs-ls", "S_GS+LS, VGG-16"),
        ("imgnet", 5, "vgg-k-6", "k = 6, VGG-16"),
        ("imgnet", 6, "resnet-fused", "Fused pooling, ResNet-50"),
        ("ssan", 1, "pfl-prl", "+ PFL + PRL"),
        ("ssan", 5, "so-scan", "SO, SCAN [26]"),
        ("gla", 2, "basel-rank2", "basel.+rank^2 [63]"),
        ("gla", 3, "lambda-t-0.1", "lambda_T = 0.1"),
    ],
)
def test_rows_in_printed_words(paper: str, table: int, slug: str, label: str) -> None:
    assert row_label(TABLES[paper][table], slug) == label


@pytest.mark.parametrize("paper", list(TABLES))
def test_labels_tell_the_rows_of_a_table_apart(paper: str) -> None:
    for table in TABLES[paper].values():
        labels = [row_label(table, row.slug) for row in table.rows]
        assert len(set(labels)) == len(labels), table.number


def test_an_unknown_row_is_an_error() -> None:
    with pytest.raises(DataError, match="no row 'x'"):
        row_label(TABLES["gla"][2], "x")


def test_sides_without_tables_keep_their_slugs() -> None:
    side = Side(5, "vgg-k-6", "Top-1")
    assert side_label(side, None) == "vgg-k-6"
    assert side_label(side, TABLES["imgnet"]) == "k = 6, VGG-16"


def test_reasons_name_rows_as_printed() -> None:
    tables = TABLES["imgnet"]
    assert with_labels("row vgg-k-6 (table 5) is not finished", tables) == (
        "row “k = 6, VGG-16” (Table 5) is not finished"
    )
    assert with_labels("no seed is finished for both vgg-max and vgg-average", tables) == (
        "no seed is finished for both “Max pooling, VGG-16” and “Average pooling, VGG-16”"
    )
    assert with_labels("row vgg-k-6 (table 5)", None) == "row vgg-k-6 (table 5)"
    assert with_labels("not-vgg-max-either", tables) == "not-vgg-max-either"


@pytest.mark.parametrize("paper", TABLES)
def test_no_word_of_a_reason_is_a_row(paper: str) -> None:
    for reason in (
        "compares with numbers that the authors cite: only meaningful on the real data",
        "no published number",
        "the training of row (table 1) failed",
        "row is not finished, is not part of this profile",
        "not trained: is not above chance (1.0 % against 0.6 %)",
    ):
        assert with_labels(reason, TABLES[paper]) == reason
