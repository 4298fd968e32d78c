"""Reports and their index in chromium, without a network: on a desk, on a phone, on paper."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import TABLES, check_tables, opened

from reidlib.arguments import PAPERS

DESK = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
A4 = {"viewport": {"width": 718, "height": 1047}}  # less the margins that chromium leaves


@pytest.fixture(params=["index", *PAPERS])
def report(request: pytest.FixtureRequest, results: Path) -> str:
    path = results / "smoke" / f"{request.param}.html"
    if not path.exists():
        pytest.skip(f"these results have no {path.name}")
    return path.as_uri()


def is_within_its_page(page: Any) -> None:
    """Nothing makes the page scroll sideways, and what is wider has a box of its own."""
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for table in page.evaluate(TABLES):
        place = table["box"] or table
        assert place["left"] >= -1 and place["right"] <= width + 1, (table["name"], place)


def has_no_barrier(page: Any, *rules: str) -> None:
    """axe finds nothing, of whatever impact, by these rules of its own or by all of them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = axe.Axe().run(page, options=options).response["violations"]
    assert not found, [(v["impact"], v["id"], [n["html"] for n in v["nodes"][:3]]) for v in found]


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")


@contextlib.contextmanager
def read(browser: Any, report: str, **screen: Any) -> Iterator[Any]:
    """A report with all that folds unfolded, which holds on a screen and keeps nobody out."""
    with opened(browser, **screen, offline=True) as (page, wrong):
        page.goto(report)
        unfold(page)
        check_tables(page.evaluate(TABLES))
        is_within_its_page(page)
        has_no_barrier(page)
        assert wrong == []
        yield page


def test_on_a_desk(browser: Any, report: str) -> None:
    with read(browser, report, **DESK) as page:
        page.emulate_media(color_scheme="dark")
        has_no_barrier(page, "color-contrast")


def test_on_a_phone(browser: Any, report: str) -> None:
    with read(browser, report, **PHONE):
        pass


def test_on_paper(browser: Any, report: str) -> None:
    """In print nothing scrolls: every column is on the page, also for who has a dark system."""
    with opened(browser, **A4, offline=True, color_scheme="dark") as (page, wrong):
        page.goto(report)
        page.emulate_media(media="print")
        check_tables(page.evaluate(TABLES), scrolls=False)
        is_within_its_page(page)
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert wrong == []


def test_a_table_that_does_not_hold_is_seen(browser: Any) -> None:
    """What the other tests measure, on a table as JupyterLab used to show it."""
    row = "<tr><th class=text>a long name of a row</th><td>12345.678</td><td>9.1</td></tr>"
    table = f"<table style='table-layout:fixed;width:90px;text-align:right'>{row}</table>"
    with opened(browser, **PHONE) as (page, _):
        page.set_content(f"<div class=reid>{table}</div><style>td {{white-space:nowrap}}</style>")
        (found,) = page.evaluate(TABLES)
        assert "12345.678 | 9.1" in found["overlaps"]
        with pytest.raises(AssertionError, match=r"12345\.678"):
            check_tables([found])
        page.set_content(f"<div style='overflow-x:auto;width:40px'>{table}</div>")
        with pytest.raises(AssertionError, match="hidden"):
            check_tables([{**page.evaluate(TABLES)[0], "overlaps": []}])
