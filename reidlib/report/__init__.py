"""Reports: tables, figures, a notebook's HTML page and the index of a results folder.

`html` and `notebook` need the Jupyter packages; everything else here works without them.
"""

from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

__all__ = ["Html", "escape", "style", "template_text"]


@dataclass(frozen=True, repr=False)
class Html:
    """A piece of HTML that a notebook shows when a cell ends with it."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:  # what the notebook stores as plain text beside the HTML
        return f"<HTML, {len(self.html):,} characters>"

    def __add__(self, other: "Html") -> "Html":
        return Html(f"{self.html}\n{other.html}")


@cache
def template_text(name: str) -> str:
    """The text of a file in `report/templates`."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def style() -> Html:
    """The style of tables and figures; a notebook shows it once, the HTML page has it already."""
    return Html(f'<style data-reidlib="fragments">\n{template_text("fragments.css")}</style>')
