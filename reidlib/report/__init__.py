"""Reports: tables, figures, a notebook's HTML page and the index of a results folder.

`html` and `notebook` need the Jupyter packages; everything else here works without them.
"""

from dataclasses import dataclass
from html import escape

from reidlib.report.style import fragment_css, template_text

__all__ = ["Html", "escape", "style", "template_text"]


@dataclass(frozen=True, repr=False)
class Html:
    """A piece of HTML that a notebook shows when a cell ends with it."""

    html: str

    def _repr_html_(self) -> str:
        """With the style of tables and figures where there are any.

        Every output brings its own: JupyterLab may take the cell with the style out of the page,
        and VS Code may show each output in a document of its own.
        """
        return f"{style()}\n{self.html}" if 'class="reid' in self.html else self.html

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:  # what the notebook stores as plain text beside the HTML
        return f"<HTML, {len(self.html):,} characters>"

    def __add__(self, other: "Html") -> "Html":
        return Html(f"{self.html}\n{other.html}")


def style() -> Html:
    """The style of tables and figures; the HTML page has it already."""
    return Html(f'<style data-reidlib="fragments">\n{fragment_css()}</style>')
