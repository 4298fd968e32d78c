"""Results as pages in Markdown: they say what the store says, and Markdown can read them."""

import json
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from nbconvert.filters import markdown2html

from reidlib.arguments import PAPERS
from reidlib.papers.claims import ClaimResult, load_claims
from reidlib.papers.tables import CellResult, Measurement, load_tables
from reidlib.report.figures.forest import forest_svg
from reidlib.report.labels import plain
from reidlib.report.pages import _decided, write_pages
from reidlib.report.results import collect
from reidlib.report.tables import as_printed

COLUMNS = re.compile(r"(?<!\\)\|")


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    session, _ = finished
    folder = tmp_path_factory.mktemp("pages")
    return session, folder, write_pages(session, ["imgnet"], folder)


def test_every_measured_cell_stands_in_its_table(written):
    session, folder, pages = written
    assert [page.name for page in pages] == ["README.md", "imgnet.md"]
    text = pages[1].read_text()
    for number, filled in collect(session, "imgnet").tables.items():
        if not filled.table.metrics:
            continue
        heading = text.index(f"### Table {number}: ")
        part = text[heading : text.find("### Table", heading + 5)]
        measured = [c for c in filled if c.measured is not None]
        for cell in measured:
            assert f"→ {as_printed(cell.measured, cell)}" in part
        assert part.count("(cited)") == sum(c.origin == "cited" and c.printed != "" for c in filled)
        frame = pd.read_csv(folder / "imgnet" / f"table_{number}.csv")
        assert len(frame) == len(list(filled))


@pytest.mark.parametrize(
    ("printed", "run", "value", "shown"),
    [
        ("32668", None, 13060.0, "13060"),  # counted
        ("49.97", object(), 5.016, "5.02"),
        ("81.5", object(), 5.016, "5.0"),
        ("–", object(), 5.016, "5.02"),
    ],
)
def test_a_measured_number_has_the_decimals_of_the_printed_one(printed, run, value, shown):
    cell = CellResult(
        "row", "column", "", "", "", printed, "own", "measured", (Measurement(run),), (value,)
    )  # fmt: skip
    assert as_printed(value, cell) == shown


def test_lines_of_a_table_have_as_many_cells_as_its_head(written):
    _, _, pages = written
    for page in pages:
        width = 0
        for line in page.read_text().splitlines():
            cells = len(COLUMNS.findall(line)) if line.startswith("|") else 0
            assert not (cells and width) or cells == width, line
            width = cells
        assert "<table>" in markdown2html(page.read_text())


def test_the_front_page_counts_and_names_those_without_a_training(written):
    session, folder, pages = written
    text = pages[0].read_text()
    claims = collect(session, "imgnet").claims
    row = next(line for line in text.splitlines() if line.startswith("| [IMG-Net](imgnet.md)"))
    assert sum(map(int, re.findall(r" (\d+)(?= \|)", row)[1:])) == len(claims)
    assert f"Of the {len(claims)} claims" in text and "The numbers mean nothing" in text
    assert "| SSAN | 0 of" in text
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["papers"]) == ["imgnet"]
    assert len(summary["papers"]["imgnet"]["claims"]) == len(claims)


def test_likely_reasons_stand_below_what_they_are_about():
    """In a list that stays one, and once for several claims."""
    first, second, third, *_ = load_claims("imgnet", load_tables("imgnet"))
    found = [
        ClaimResult(c, "contradicted", *c.pairs[0], 3.0, -2.0, -3.0, -1.0, seeds=5, likely=likely)
        for c, likely in ((first, ""), (second, "too <short>"), (third, "too <short>"))
    ]
    lines = _decided("IMG-Net", found)
    html = markdown2html("\n".join(lines))
    assert html.count("<ul>") == 1 and html.count("<li>") == 3 and html.count("&lt;short&gt;") == 1
    places = [html.index(plain(c.statement)[:30]) for c in (second, third, first)]
    assert sorted(places) == places
    assert places[1] < html.index("Likely reason of these") < places[2]


def results() -> list[ClaimResult]:
    """A result per claim of each paper, with made numbers and verdicts."""
    found = []
    for paper in PAPERS:
        for n, claim in enumerate(load_claims(paper, load_tables(paper))):
            value = (n * 37 % 23) - 11.0
            verdict = ("undecided", "reproduced", "contradicted")[n % 3]
            higher, lower = claim.pairs[0]
            ends = {"ci_low": value - 2.5, "ci_high": value + 1.5}
            found.append(ClaimResult(claim, verdict, higher, lower, 3.0, value, **ends, seeds=5))
    return found


def test_the_plot_alone_is_an_image_with_every_tested_claim():
    tested = results()
    untested = ClaimResult(
        tested[0].claim, "not_run", tested[0].higher, tested[0].lower, None, reason="no data"
    )
    root = ElementTree.fromstring(forest_svg([*tested, untested]))
    said = " ".join("".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text"))
    for result in tested:
        assert plain(result.claim.statement) in said
    assert said.count("…") >= len(tested)
    width, height = float(root.get("width")), float(root.get("height"))
    bottom = max(float(t.get("y")) for t in root.findall("{http://www.w3.org/2000/svg}text"))
    assert bottom < height and width < 1100
    assert forest_svg([untested]) == ""
