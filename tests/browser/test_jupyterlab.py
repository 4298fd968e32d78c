"""The notebooks in a real JupyterLab: run there, and opened as they come out of a report's run."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from chromium import CONTRASTS, TABLES, check_tables, opened
from lab import Lab, jupyterlab, problems

from reidlib.arguments import PAPERS
from reidlib.papers.driver import get_paper
from reidlib.report.figures.galleries import gallery

# Running all six would take minutes: a text and an image method are run, and the first notebook.
RUN = ("00_start_here", "02_ssan", "03_gla")
STORED = [paper for paper in PAPERS if Path(get_paper(paper).ABOUT.notebook).stem not in RUN]
DESK = {"viewport": {"width": 1440, "height": 900}}
# Without it JupyterLab asks which kernel to take, and waits.
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
LOOKS = """
from reidlib.report import Html
from reidlib.report.verdicts import LOOKS, bar, label

labels = "".join(f"<p>{label(kind)}</p>" for kind in LOOKS)
Html(f'<div class="reid">{labels}{bar(dict.fromkeys(LOOKS, 3))}</div>')
"""
PLACES = """
() => [...document.querySelectorAll(".picture")].map(picture => Object.fromEntries(
  ["over", "img", "under"].map(part => {
    const found = picture.querySelector(part === "img" ? part : "." + part);
    const {top, bottom, left, right} = found.getBoundingClientRect();
    return [part, {top, bottom, left, right, middle: (left + right) / 2}];
  })))
"""
SENTENCE = "a woman with long hair wears a red jacket and blue jeans"


@pytest.fixture(scope="module")
def lab(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab"), results) as running:
        yield running


@pytest.fixture(scope="module", params=RUN)
def run(request: pytest.FixtureRequest, browser: Any, lab: Lab) -> Iterator[tuple[Any, Any, Any]]:
    """A notebook after all its cells ran: its page, its code cells, and what went wrong."""
    with opened(browser, **DESK, color_scheme="dark", accept_downloads=True) as (page, wrong):
        lab.show(page, f"{request.param}.ipynb")
        yield page, lab.run(page), wrong


def too_faint(page: Any) -> list[dict[str, Any]]:
    texts = page.evaluate(CONTRASTS, ".reid, .reid *")
    assert texts
    return [text for text in texts if text["contrast"] < 4.5]


def test_all_cells_run(run: tuple) -> None:
    _, cells, wrong = run
    assert problems(cells) == []
    assert [what for what in wrong if what.startswith("a request")] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tables_hold_and_can_be_read(run: tuple, lab: Lab, theme: str) -> None:
    """In either theme; the system is dark, and the theme decides all the same."""
    page, _, _ = run
    lab.use(page, theme)
    assert check_tables(page.evaluate(TABLES)) >= 2
    assert too_faint(page) == []
    shown = page.evaluate(
        "() => [...document.querySelectorAll('.reid ol.letters')]"
        ".map(list => getComputedStyle(list).listStyleType)"
    )
    assert set(shown) <= {"lower-alpha"}


def test_a_table_is_to_be_had_as_csv(run: tuple) -> None:
    page, cells, _ = run
    link = page.get_by_role("link", name="as CSV")
    if not any("outcome.table" in "".join(cell["source"]) for cell in cells):
        pytest.skip("this notebook has no table of a paper")
    with page.expect_download() as download:
        link.first.click()
    assert download.value.suggested_filename.endswith(".csv")
    assert Path(download.value.path()).read_text().startswith("row,dataset,")


def test_a_panel_searches_the_gallery(run: tuple) -> None:
    """A sentence that is typed in is answered; where pictures are searched for, one is."""
    page, cells, _ = run
    if not any("anel(" in "".join(cell["source"]) for cell in cells):
        pytest.skip("this notebook has no search panel")
    panel = page.locator(".reid-search").first
    results = panel.locator(".reid-results")
    results.locator("img").first.wait_for()
    box = panel.get_by_placeholder("Describe a person")
    if box.count() == 0:
        return
    before = results.inner_html()
    box.fill(SENTENCE)
    box.press("Enter")
    page.wait_for_function(
        """before => { const found = document.querySelector('.reid-search .reid-results');
                       return found.innerHTML !== before && found.querySelector('img'); }""",
        arg=before,
    )


@pytest.mark.parametrize(("system", "theme"), [("dark", "light"), ("light", "dark")])
def test_verdicts_follow_the_theme_and_not_the_system(
    browser: Any, lab: Lab, system: str, theme: str
) -> None:
    cells = [nbformat.v4.new_code_cell(LOOKS)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    nbformat.write(notebook, lab.folder / "looks.ipynb")
    with opened(browser, **DESK, color_scheme=system) as (page, _):
        lab.show(page, "looks.ipynb")
        assert problems(lab.run(page)) == []
        lab.use(page, theme)
        assert too_faint(page) == []


@pytest.mark.parametrize("paper", STORED)
def test_tables_hold_where_nothing_was_run(
    browser: Any, lab: Lab, results: Path, paper: str
) -> None:
    """A notebook from elsewhere is not trusted: JupyterLab drops every style sheet in it."""
    executed = results / "smoke" / f"{paper}.ipynb"
    if not executed.exists():
        pytest.skip(f"these results have no {executed.name}")
    shutil.copy(executed, lab.folder)
    with opened(browser, **DESK) as (page, _):
        lab.show(page, executed.name)
        assert check_tables(page.evaluate(TABLES), cue=False) >= 2


def test_pictures_stand_beside_each_other_where_nothing_was_run(browser: Any, lab: Lab) -> None:
    """Each with its number over it and its score under it, without any style sheet."""
    images = [np.full((48, 16, 3), shade, np.uint8) for shade in (40, 120, 200)]
    found = gallery("a man", images, [True, False, True], scores=[0.9, 0.8, 0.7])
    output = nbformat.v4.new_output("display_data", {"text/html": found._repr_html_()})
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL)
    nbformat.write(notebook, lab.folder / "elsewhere.ipynb")
    with opened(browser, **DESK) as (page, _):
        lab.show(page, "elsewhere.ipynb")
        shown = page.evaluate(PLACES)
    assert len(shown) == 3
    assert len({place["img"]["top"] for place in shown}) == 1
    for place, following in zip(shown, [*shown[1:], None], strict=True):
        assert place["over"]["bottom"] <= place["img"]["top"]
        assert place["img"]["bottom"] <= place["under"]["top"]
        for text in ("over", "under"):
            assert place["img"]["left"] <= place[text]["middle"] <= place["img"]["right"]
        if following is not None:
            assert place["img"]["right"] < following["img"]["left"]
