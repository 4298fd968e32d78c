"""Colors and styles: contrasts on every ground, themes, and rules that hold in JupyterLab."""

import re

import pytest

from reidlib.report import Html, palette, style
from reidlib.report.palette import COLORS, GROUNDS, LINE, WARN_LINE, Color, properties
from reidlib.report.style import fragment_css, page_css
from reidlib.report.verdicts import LOOKS

LINES = (LINE, WARN_LINE)  # nothing is written in these
TEXT = [color for color in COLORS if color not in (*GROUNDS, *LINES)]
# What surrounds a fragment elsewhere: JupyterLab's and VS Code's light and dark themes.
ELSEWHERE = [Color("jupyterlab", "#ffffff", "#111111"), Color("vscode", "#ffffff", "#1f1f1f")]


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it, of #rrggbb."""
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_as_in_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("color", TEXT, ids=lambda color: color.name)
def test_text_can_be_read_on_every_ground(color: Color, theme: str) -> None:
    for ground in (*GROUNDS, *ELSEWHERE):
        assert contrast(getattr(color, theme), getattr(ground, theme)) >= 4.5, ground.name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_counts_can_be_read_inside_bars(theme: str) -> None:
    paper = getattr(palette.PAPER, theme)
    for look in LOOKS.values():
        assert contrast(getattr(look.color, theme), paper) >= 4.5, look.kind


def test_colors_can_be_told_apart_by_their_light_values() -> None:
    """A chart's colors are found by these and put into the page's."""
    assert len({color.light for color in COLORS}) == len(COLORS)
    assert all(re.fullmatch("#[0-9a-f]{6}", v) for c in COLORS for v in (c.light, c.dark))


def test_colors_follow_the_scheme_of_their_place() -> None:
    assert f"--r-ink: light-dark({palette.INK.light}, {palette.INK.dark});" in properties()
    css = fragment_css()
    assert '[data-jp-theme-light="true"]' in css and '[data-jp-theme-light="false"]' in css
    assert ".vscode-dark" in css and ".vscode-light" in css
    assert "prefers-color-scheme" not in css  # the system decides only where nobody else does
    assert "--jp-" not in css  # colors of a theme that we did not measure


def test_every_color_that_is_used_exists() -> None:
    names = {color.name for color in COLORS}
    assert set(re.findall(r"var\(--r-([\w-]+)\)", page_css())) <= names


def test_rules_are_stronger_than_jupyterlabs() -> None:
    """`:not(.x).jp-RenderedHTMLCommon td` has two classes and a tag; ours have three and more."""
    css = fragment_css()
    inside = css[css.index(".reid.reid.reid {") :]
    for rule in ("table-layout: auto", "list-style-type: lower-alpha", "text-align: left"):
        assert rule in inside
    assert css.count("{") == css.count("}")


def test_a_fragment_brings_its_style_and_a_page_has_it() -> None:
    table = Html('<div class="reid">x</div>')
    assert table._repr_html_().startswith('<style data-reidlib="fragments">')
    assert str(table) == table.html and "<style" not in table.html
    assert Html("<p>a</p>")._repr_html_() == "<p>a</p>"
    assert style().html.count("<style") == 1
    assert fragment_css() in page_css()


def test_paper_is_light() -> None:
    assert re.search(r"@media print \{[^}]*color-scheme: light !important", page_css())
