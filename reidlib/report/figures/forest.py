"""Claims as lines with their intervals: a table whose middle is drawn, readable at any width."""

import textwrap
from collections.abc import Sequence

from reidlib.papers.claims import ClaimResult
from reidlib.report import Html, escape
from reidlib.report.figures.basics import data_uri, framed, svg_style
from reidlib.report.labels import marked, plain
from reidlib.report.palette import INK, LINE, MUTED, ORANGE, PAPER, Color
from reidlib.report.tables import ranged, scrolling, signed, td
from reidlib.report.verdicts import LOOKS, Look, counted, counts, kind_of, label

_HEIGHT = 24  # pixels of a line
_INK = f"fill:{INK.css}"
_RULE = f"stroke:{INK.css}"
_SHAPES = {  # around their middle
    "circle": '<circle r="4.5"{}/>',
    "cross": '<path d="M-5-5L5 5M-5 5L5-5" fill="none" stroke-linecap="round"{}/>',
    "square": '<rect x="-4" y="-4" width="8" height="8"{}/>',
    "diamond": '<path d="M0-5L4 0L0 5L-4 0Z"{}/>',
}


def forest(
    results: Sequence[ClaimResult],
    *,
    judged: bool = True,
    caption: str = "",
) -> Html:
    """Claims with the measured differences, their 95 % intervals and the paper's differences.

    A filled circle is a claim reproduced, a cross one contradicted, an open circle one undecided;
    the small diamond is the paper's own difference. Claims that were not run are left out.

    Args:
        results: claims with their verdicts.
        judged: False shows the numbers without verdicts, for runs that mean nothing.
        caption: said first.
    """
    run = [r for r in results if r.difference is not None]
    kinds = [kind_of(r) if judged else "undecided" for r in run]
    left_out = len(results) - len(run)
    note = caption or "Measured differences with their intervals, and the paper's."
    if judged:
        were = "claim was" if len(run) == 1 else "claims were"
        note += f" {len(run)} {were} tested: {counted(_decided(kinds))}."
    if left_out:
        were = "claims were" if left_out > 1 else "claim was"
        note += f" {left_out} {were} not run and {'are' if left_out > 1 else 'is'} left out."
    if not run:
        return framed("<p>No claim was tested yet.</p>", note)
    scale = _Scale(run)
    heads = (("text short", "verdict"), ("text claim", "claim"), ("interval", scale.axis()))
    heads = heads[0 if judged else 1 :]
    head = "".join(td(text, kind, head="col") for kind, text in heads)
    head += td("points, 95 % interval", head="col")
    rows = "\n".join(
        _line(result, LOOKS[kind], scale, judged) for result, kind in zip(run, kinds, strict=True)
    )
    title = "Claims and how clearly they were measured, in percentage points"
    table = scrolling(title, title, f"<tr>{head}</tr>", f"<tbody>\n{rows}\n</tbody>")
    legend = [label(kind) for kind in LOOKS if kind in kinds] if judged else []
    legend.append(f'<span style="color:{ORANGE.css}">◆</span> difference in the paper')
    below = f'<p class="legend">{" · ".join(legend)}</p>'
    return framed(f'<div class="forest">{table}{below}</div>', note)


def forest_svg(results: Sequence[ClaimResult]) -> str:
    """The same plot as one SVG image that needs no page around it; "" if no claim was tested."""
    run = [r for r in results if r.difference is not None]
    if not run:
        return ""
    scale = _Scale(run)
    left, middle, right, line = 520, 300, 180, 15  # pixels
    width, y = left + middle + right, _HEIGHT
    plot = f'<svg x="{left}" y="{{}}" width="{middle}" height="{{}}" overflow="visible">{{}}</svg>'
    parts = [plot.format(0, _HEIGHT, scale.ticks())]
    for result in run:
        look = LOOKS[kind_of(result)]
        said = textwrap.wrap(f"{look.mark} {plain(result.claim.statement)}", 84)
        height = max(_HEIGHT, line * len(said) + 8)
        color = f"fill:{look.color.css}"
        parts += [
            f'<text x="4" y="{y + 16 + line * n}" style="{color}">{escape(text)}</text>'
            for n, text in enumerate(said)
        ]
        drawn, _ = scale.drawn(result, look)
        zero = f'<line x1="{scale.at(0)}" x2="{scale.at(0)}" y1="0" y2="{height}" style="{_RULE}"/>'
        parts.append(plot.format(y, height, zero + drawn))
        numbers = signed(result.difference, 1)
        if interval := ranged(result.ci_low, result.ci_high):
            numbers += f"  ({interval})"
        parts.append(f'<text x="{width - right + 14}" y="{y + 16}" style="{_INK}">{numbers}</text>')
        y += height
    y += _HEIGHT
    parts.append(
        f'<text x="4" y="{y - 6}" style="fill:{MUTED.css}">Percentage points with their 95 % '
        "intervals. ◆ is the difference in the paper.</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'height="{y}" font-family="sans-serif" font-size="12">{svg_style()}'
        f'<rect width="{width}" height="{y}" style="fill:{PAPER.css}"/>{"".join(parts)}</svg>\n'
    )


def _decided(kinds: Sequence[str]) -> dict[str, int]:
    return {kind: n for kind, n in counts(kinds).items() if kind != "not_run"}


def _line(result: ClaimResult, look: Look, scale: "_Scale", judged: bool) -> str:
    numbers = signed(result.difference, 1)
    if interval := ranged(result.ci_low, result.ci_high):
        numbers += f' <span class="minor">{interval}</span>'
    cells = [td(label(look.kind), "text short")] if judged else []
    cells += [
        td(marked(result.claim.statement), "text claim", head="row"),
        td(scale.line(result, look), "interval", more=scale.zero()),
        td(numbers, "numbers"),
    ]
    return f"<tr>{''.join(cells)}</tr>"


class _Scale:
    """Percentage points as places along a line, in percent of its width."""

    def __init__(self, results: Sequence[ClaimResult]) -> None:
        known = [0.0]
        for r in results:
            values = (r.difference, r.ci_low, r.ci_high, r.paper_difference)
            known += [value for value in values if value is not None]
        room = 0.06 * (max(known) - min(known)) or 1.0
        self.low, self.high = min(known) - room, max(known) + room

    def at(self, value: float) -> str:
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def zero(self) -> str:
        """Attribute of a cell that draws the line at zero through it."""
        ink = f"linear-gradient({INK.css}, {INK.css})"
        return f' style="background:{ink} {self.at(0)} 0 / 1px 100% no-repeat"'

    def line(self, result: ClaimResult, look: Look) -> str:
        """`drawn` as an image that says the same in words."""
        drawn, said = self.drawn(result, look)
        return _image(drawn, said, (look.color, ORANGE, PAPER))

    def drawn(self, result: ClaimResult, look: Look) -> tuple[str, str]:
        """The interval, the measured difference and the paper's: as SVG, and in words."""
        color, parts = look.color.css, []
        said = f"measured {signed(result.difference, 1)}"
        if result.ci_low is not None and result.ci_high is not None:
            parts.append(
                f'<line x1="{self.at(result.ci_low)}" x2="{self.at(result.ci_high)}" y1="12" '
                f'y2="12" style="stroke:{color};stroke-width:2"/>'
            )
            said += f", interval {signed(result.ci_low, 1)} to {signed(result.ci_high, 1)}"
        if result.paper_difference is not None:
            parts.append(self._mark(result.paper_difference, "diamond", 5, f"fill:{ORANGE.css}"))
            said += f"; {signed(result.paper_difference, 1)} in the paper"
        fill = color if look.filled else PAPER.css
        parts.append(
            self._mark(
                result.difference, look.marker, 12, f"stroke:{color};stroke-width:2;fill:{fill}"
            )
        )
        return "".join(parts), said

    def _mark(self, value: float, shape: str, y: int, style: str) -> str:
        drawn = _SHAPES[shape].format(f' style="{style}"')
        return f'<svg x="{self.at(value)}" y="{y}" overflow="visible">{drawn}</svg>'

    def axis(self) -> str:
        """`ticks` as an image."""
        return _image(self.ticks(), "scale in percentage points", (LINE, MUTED))

    def ticks(self) -> str:
        """The scale with its numbers, as SVG."""
        step, edge = self._step(), 0.04 * (self.high - self.low)  # a number needs room beside it
        first = -(-(self.low + edge) // step)
        last = (self.high - edge) // step
        ticks = [n * step for n in range(int(first), int(last) + 1)]
        return "".join(
            f'<line x1="{self.at(t)}" x2="{self.at(t)}" y1="19" y2="24" '
            f'style="stroke:{LINE.css}"/><text x="{self.at(t)}" y="15" text-anchor="middle" '
            f'style="fill:{MUTED.css};font:11px sans-serif">{signed(t, 0 if step >= 1 else 1)}'
            "</text>"
            for t in ticks
        )

    def _step(self) -> float:
        """A round distance that gives at most six ticks."""
        span = self.high - self.low
        steps = (base * 10.0**power for power in range(-1, 4) for base in (1, 2, 5))
        return next(step for step in steps if span / step <= 6)


def _image(content: str, alt: str, colors: Sequence[Color]) -> str:
    """A line of the plot, as wide as the place it stands in."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="{_HEIGHT}">'
        f"{svg_style(colors)}{content}</svg>"
    )
    source = data_uri(svg.encode(), "image/svg+xml")
    return f'<img alt="{escape(alt)}" height="{_HEIGHT}" src="{source}">'
