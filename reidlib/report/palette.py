"""The colors of reports, each for light and for dark pages: one list for CSS and for figures.

CSS reads them as custom properties (`--r-ink`), figures as the hex values of the light ones; a
figure that is drawn as SVG follows the page (see `reidlib.report.figures.basics`).
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Color:
    """A color by what it is for; `light` and `dark` are for pages of these themes, "#rrggbb"."""

    name: str
    light: str
    dark: str

    @property
    def css(self) -> str:
        """How a style refers to it."""
        return f"var(--r-{self.name})"


INK = Color("ink", "#1e2430", "#e3e6eb")
MUTED = Color("muted", "#566070", "#a6aebb")
LINE = Color("line", "#d3d8e0", "#414958")
PAPER = Color("paper", "#ffffff", "#171a20")
HEAD = Color("head", "#f1f3f6", "#232831")
LINK = Color("link", "#1f5fa8", "#8abaf4")
WARN = Color("warn", "#fff4d6", "#33290d")  # behind what must not be overlooked
WARN_LINE = Color("warn-line", "#b88600", "#b98d10")
GREEN = Color("green", "#1a7f4b", "#5cc98f")
RED = Color("red", "#b3261e", "#ff8f86")
AMBER = Color("amber", "#7a5c00", "#e2bd5a")
PURPLE = Color("purple", "#7b3f98", "#d3a0ee")
BLUE = Color("blue", "#2a6fb0", "#7db4ee")
ORANGE = Color("orange", "#a85b0c", "#eda45a")
TEAL = Color("teal", "#0d7a83", "#58c9d2")
BROWN = Color("brown", "#8a5a24", "#cfa675")
GRAY = Color("gray", "#636b78", "#9ba4b1")

GROUNDS = (PAPER, HEAD, WARN)  # what text stands on
COLORS = (
    *GROUNDS,
    *(INK, MUTED, LINE, LINK, WARN_LINE),
    *(GREEN, RED, AMBER, PURPLE, BLUE, ORANGE, TEAL, BROWN, GRAY),
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, GRAY, RED, TEAL, BROWN)  # lines of a chart, in this order
MARKERS = "osD^vPX*"  # and their marks: color is never the only difference


def properties(colors: Iterable[Color] = COLORS) -> str:
    """CSS custom properties that follow the `color-scheme` of the element that they stand on."""
    return " ".join(f"--r-{c.name}: light-dark({c.light}, {c.dark});" for c in colors)
