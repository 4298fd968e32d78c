"""What all figures share: their frame as HTML, charts that follow the page's theme, small pictures.

Charts are drawn with matplotlib without pyplot, so that nothing is left open, and become SVG images
whose colors follow the page they stand in (light or dark). Photographs are PNG images in a row that
wraps. Marks never rely on color alone. Text that comes from a dataset is drawn literally (no math
markup) and escaped in captions.
"""

import base64
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image

from reidlib.report import Html, escape, palette
from reidlib.report.palette import COLORS, INK, LINE, MARKERS, PAPER, Color

# Drawn with these, shown in the page's: see `themed`.
BLUE, ORANGE, GREEN, RED, GRAY = (
    color.light
    for color in (palette.BLUE, palette.ORANGE, palette.GREEN, palette.RED, palette.GRAY)
)
SERIES = tuple(color.light for color in palette.SERIES)
__all__ = ["BLUE", "GRAY", "GREEN", "MARKERS", "ORANGE", "RED", "SERIES", "figure", "new_figure"]
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "reidlib",
    "grid.color": LINE.light,
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), PAPER.light),
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK.light
    ),
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
PICTURE = 84  # width of a picture in a row, CSS pixels


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> Any:
    """A matplotlib figure of width x height inches and its axes, ndarray (rows, columns)."""
    with matplotlib.rc_context(_STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.subplots(rows, columns, squeeze=False, **kwargs)


def figure(fig: Figure, alt: str, caption: str, *, dpi: int = 144, data: str = "") -> Html:
    """A matplotlib figure as `<figure>` with a PNG in place; closes it if pyplot made it.

    Args:
        fig: any matplotlib figure.
        alt: what the figure shows, for those who cannot see it; must not be empty.
        caption: plain text, shown below.
        dpi: pixels per inch.
        data: HTML of a table with the figure's numbers, shown on demand.

    Raises:
        ValueError: `alt` is empty.
    """
    image = image_of(fig, alt, _saved(fig, "png", dpi=dpi), "image/png")
    box = 'class="frame" role="group" aria-label="figure" tabindex="0"'  # scrolls, with keys too
    return framed(f"<div {box}>{image}</div>", caption, data=data)


def chart(panels: Sequence[tuple[Figure, str]], caption: str, *, data: str = "") -> Html:
    """Charts side by side, below each other where there is no room; they follow the page's theme.

    Args:
        panels: matplotlib figures, each with its alternative text, which must not be empty.
        caption, data: as for `figure`.

    Raises:
        ValueError: an alternative text is empty.
    """
    images = [
        image_of(fig, alt, themed(_saved(fig, "svg", metadata=_NO_METADATA)), "image/svg+xml")
        for fig, alt in panels
    ]
    return framed(f'<div class="panels">{"".join(images)}</div>', caption, data=data)


def framed(content: str, caption: str, *, data: str = "") -> Html:
    """`<figure>` around HTML, with a caption in plain text and, on demand, a table of numbers."""
    more = f"<details><summary>The numbers</summary>{data}</details>" if data else ""
    return Html(
        f'<figure class="reid">{content}<figcaption>{escape(caption)}</figcaption>{more}</figure>'
    )


def image_of(fig: Figure, alt: str, content: bytes, kind: str) -> str:
    """`<img>` of a drawn figure; raises `ValueError` without alternative text."""
    if not alt.strip():
        raise ValueError("a figure needs alternative text")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    width = round(fig.get_figwidth() * 96)
    return f'<img alt="{escape(alt)}" width="{width}" src="{data_uri(content, kind)}">'


def _saved(fig: Figure, kind: str, **kwargs: Any) -> bytes:
    # What was added to the axes later than they were made still has matplotlib's own colors.
    for text in fig.findobj(Text):
        if to_hex(text.get_color()) == "#000000":
            text.set_color(INK.light)
    for legend in fig.findobj(Legend):
        legend.get_frame().set_edgecolor(LINE.light)
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        fig.savefig(buffer, format=kind, bbox_inches="tight", pad_inches=0.08, **kwargs)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# ------------------------------------------------------------------ colors of the page


_BY_LIGHT = {color.light: color for color in COLORS}


def svg_style(colors: Sequence[Color] = COLORS) -> str:
    """`<style>` for an SVG image: the palette in the color scheme of the element that shows it."""
    light, dark = (
        "".join(f"--r-{c.name}:{getattr(c, theme)};" for c in colors) for theme in ("light", "dark")
    )
    return (
        f"<style>:root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    )


def themed(svg: bytes) -> bytes:
    """An SVG drawn in the palette's light colors, which then follow the page's theme."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: _BY_LIGHT[match[0]].css if match[0] in _BY_LIGHT else match[0],
        text,
    )
    opening = text.index(">") + 1
    return (text[:opening] + svg_style() + text[opening:]).encode()


# ------------------------------------------------------------------ rows of pictures


def encoded(image: np.ndarray, *, lossy: bool = False) -> str:
    """The data URI of an image uint8 (h, w, 3), made smaller where it is wider than it is shown
    on a fine screen; as PNG, or as JPEG if `lossy`."""
    shown, width = Image.fromarray(np.ascontiguousarray(image)), 2 * PICTURE
    if shown.width > width:
        size = (width, max(1, round(shown.height * width / shown.width)))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if lossy:
        shown.save(buffer, format="JPEG", quality=88, optimize=True)
        return data_uri(buffer.getvalue(), "image/jpeg")
    shown.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


# JupyterLab drops the stylesheet of a notebook that was executed elsewhere, and keeps this.
_PLAIN = (
    f' style="display:inline-block;width:{PICTURE}px;margin-right:8px;vertical-align:bottom;'
    'text-align:center"'
)


def picture(
    image: np.ndarray,
    alt: str,
    *,
    over: str = "",
    under: str = "",
    kind: str = "",
    lossy: bool = False,
) -> str:
    """A picture uint8 (h, w, 3) of a row, with short texts (plain) over and under it.

    kind: "" | "good" | "wrong" | "meant" | "left-out"; the frame is solid, dashed, double, dotted.
    """
    above, below = (
        f'<span class="{where}" style="display:block">{escape(text)}</span> ' if text else ""
        for where, text in (("over", over), ("under", under))
    )
    return (
        f'<span class="{f"picture {kind}".strip()}"{_PLAIN}>{above}'
        f'<img alt="{escape(alt)}" width="{PICTURE}" src="{encoded(image, lossy=lossy)}"> '
        f"{below}</span>"
    )


def pictures(items: Sequence[str], label: str) -> str:
    """A row of `picture`s that wraps; `label` says what they are."""
    return _row("pictures", "".join(items), label)


def groups(items: Sequence[Sequence[str]], label: str, *, most: int) -> str:
    """The same of groups of `picture`s that stay together; `most` groups a line."""
    each = "".join(f'<span class="group">{"".join(group)}</span>' for group in items)
    width = most * (max(map(len, items)) * (PICTURE + 6) + 12)  # gaps as in fragments.css
    return _row("pictures groups", each, label, f' style="max-width:{width}px"')


def _row(kind: str, content: str, label: str, more: str = "") -> str:
    return f'<div class="{kind}" role="group" aria-label="{escape(label)}"{more}>{content}</div>'
