"""Tables as HTML: the paper's beside the measured one, and any data frame."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from reidlib.papers.agreement import order_agreement
from reidlib.papers.bootstrap import Difference, compare, samples
from reidlib.papers.tables import (
    CellResult,
    FilledTable,
    MetricColumn,
    PublishedRow,
    PublishedTable,
)
from reidlib.report import Html, escape

_INTERVAL = "95 % interval"
_GAIN = "gain: paper / here"
_NONE = '<td class="off"><span aria-label="none">–</span></td>'


def published_table(filled: FilledTable, *, synthetic: bool, csv: str | None = None) -> Html:
    """A paper's table beside the measurements.

    On real data each metric shows the paper's number, the measured one and their difference. On
    synthetic data that difference means nothing; there the gain over the table's baseline row is
    shown instead, in the paper and here. A 95 % interval (choice of people, and luck of training
    where there are several; see `reidlib.papers.bootstrap`) stands beside the primary metric of
    each data set.

    Args:
        filled: from `reidlib.papers.tables.fill`.
        synthetic: whether the data is the procedural world.
        csv: link to the table in long form, relative to the page.
    """
    table = filled.table
    shown = _Layout.of(filled, synthetic)
    notes = _Footnotes(table)
    body = []
    for _, rows in groupby(table.rows, key=table.group):
        lines = "\n".join(_row(filled, row, shown, notes) for row in rows)
        body.append(f"<tbody>\n{lines}\n</tbody>")
    caption = f"<strong>Table {table.number}.</strong> {escape(table.title)}"
    if synthetic and table.metrics:
        caption += ' <span class="tag">synthetic data</span>'
    details = [f"{c}: {v} in all rows." for c, v in shown.constant.items()]
    if table.ap_kind:
        details.append(f"mAP of the {table.ap_kind} kind.")
    if shown.gains and table.baseline_says:
        details.append(f"Gains refer to {table.baseline_says}.")
    if details or table.note:
        caption += f"<small>{escape(' '.join([table.note, *details]).strip())}</small>"
    parts = [scrolling(f"Table {table.number}", caption, _head(table, shown), "\n".join(body))]
    below = [_agreement(filled), _chance(filled), _missing(filled, shown)]
    below += [notes.html(), _legend(shown)]
    if csv and table.metrics:
        below.append(f'<p><a href="{escape(csv)}">Table {table.number} as CSV</a></p>')
    parts.append(f'<div class="below">{"".join(below)}</div>')
    return Html(f'<div class="reid">{"".join(parts)}</div>')


@dataclass(frozen=True)
class _Layout:
    """Which columns a table shows."""

    settings: tuple[str, ...]
    kinds: dict[str, str]  # CSS classes of the settings: "flag" (yes or no), "text", "text short"
    constant: dict[str, str]  # settings that are the same in every row; they go to the caption
    synthetic: bool
    gains: bool
    paper_only: frozenset[str]  # metric columns whose cells are all cited

    @classmethod
    def of(cls, filled: FilledTable, synthetic: bool) -> "_Layout":
        table = filled.table
        values = {c: [row.values[c] for row in table.rows] for c in table.settings}
        constant = {
            c: v[0]
            for c, v in values.items()
            if len(set(v)) == 1 and len(v) > 1 and table.metrics and c == table.backbone_column
        }
        columns = [metric.column for metric in table.metrics]
        own = {cell.column for cell in filled if cell.origin == "own"}
        return cls(
            settings=tuple(c for c in table.settings if c not in constant),
            kinds={c: _kind(v) for c, v in values.items()},
            constant=constant,
            synthetic=synthetic,
            gains=synthetic and bool(table.baseline),
            paper_only=frozenset(columns) - own,
        )

    def parts(self, metric: MetricColumn) -> list[str]:
        """The sub-columns of a metric."""
        if metric.column in self.paper_only:
            return ["paper"]
        parts = ["paper", "measured"]
        if self.gains:
            parts.append(_GAIN)
        elif not self.synthetic:
            parts.append("difference")
        if metric.primary and len(parts) == 3:
            parts.append(_INTERVAL)
        return parts


class _Footnotes:
    """Notes of rows or cells, lettered in the order of the rows."""

    def __init__(self, table: PublishedTable) -> None:
        self.number, self.texts = table.number, []
        self.places: dict[tuple[str, str], int] = {}
        for row in table.rows:
            if row.note:
                column, colon, text = row.note.partition(": ")
                known = colon and column in table.columns
                self.texts.append(text if known else row.note)
                self.places[row.slug, column if known else table.columns[0]] = len(self.texts)

    def marker(self, row: str, column: str) -> str:
        n = self.places.get((row, column))
        if n is None:
            return ""
        letter = _letter(n)
        target = f"t{self.number}-note-{letter}"
        return f'<sup><a href="#{target}" aria-label="note {letter}">{letter}</a></sup>'

    def html(self) -> str:
        items = "".join(
            f'<li id="t{self.number}-note-{_letter(n)}">{escape(text)}</li>'
            for n, text in enumerate(self.texts, start=1)
        )
        return f'<ol type="a">{items}</ol>' if items else ""


def _letter(n: int) -> str:
    return chr(ord("a") + n - 1)


def scrolling(label: str, caption: str, head: str, body: str) -> str:
    """A table that scrolls in its own box, with a sticky head; all arguments but `label` HTML."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n<table>\n'
        f"<caption>{caption}</caption>\n<thead>\n{head}\n</thead>\n{body}\n</table>\n</div>"
    )


def _head(table: PublishedTable, shown: _Layout) -> str:
    rows = 2 if table.metrics else 1
    first = "".join(
        f'<th rowspan="{rows}" scope="col" class="{shown.kinds[c]}">{escape(c)}</th>'
        for c in shown.settings
    )
    second = ""
    for metric in table.metrics:
        parts = shown.parts(metric)
        unit = f' <span class="minor">{escape(metric.unit)}</span>' if metric.unit else ""
        first += (
            f'<th colspan="{len(parts)}" scope="colgroup" class="first">'
            f"{escape(metric.column)}{unit}</th>"
        )
        second += "".join(
            f'<th scope="col"{_first(n)}>{_two_lines(part)}</th>' for n, part in enumerate(parts)
        )
    return f"<tr>{first}</tr>" + (f"\n<tr>{second}</tr>" if second else "")


def _kind(values: list[str]) -> str:
    if any(values) and set(values) <= {"0", "1", ""}:
        return "flag"
    return "text short" if max(map(len, values), default=0) <= 28 else "text"


def _two_lines(part: str) -> str:
    breaks = {_GAIN: "gain:<br>paper / here", _INTERVAL: "95 %<br>interval"}
    return breaks.get(part, escape(part))


def _first(n: int) -> str:
    return ' class="first"' if n == 0 else ""


def _row(filled: FilledTable, row: PublishedRow, shown: _Layout, notes: _Footnotes) -> str:
    table = filled.table
    cells = []
    for n, column in enumerate(shown.settings):
        tag, attributes = ("th", ' scope="row"') if n == 0 else ("td", "")
        value = row.values[column]
        text = _flag(value) if shown.kinds[column] == "flag" else escape(value)
        text += notes.marker(row.slug, column)
        cells.append(f'<{tag}{attributes} class="{shown.kinds[column]}">{text}</{tag}>')
    for metric in table.metrics:
        cells += _metric_cells(filled, filled.cells[row.slug, metric.column], metric, shown, notes)
    cited = ' class="cited"' if row.origin == "cited" else ""
    return f'<tr data-row="{escape(row.slug)}"{cited}>{"".join(cells)}</tr>'


def _flag(value: str) -> str:
    if value == "1":
        return '<span role="img" aria-label="yes">✓</span>'
    return '<span role="img" aria-label="no" class="off">×</span>'


def _metric_cells(
    filled: FilledTable,
    cell: CellResult,
    metric: MetricColumn,
    shown: _Layout,
    notes: _Footnotes,
) -> list[str]:
    parts = shown.parts(metric)
    best = _emphasis(filled, cell, lambda c: c.paper)
    printed = escape(cell.printed) if cell.printed else "–"
    printed += notes.marker(cell.row, cell.column)
    extra = " cited" if cell.origin == "cited" else ""
    cells = [f'<td class="first{extra}">{_strong(printed, best)}</td>']
    if "measured" in parts:
        cells.append(_measured(filled, cell, metric))
    if "difference" in parts:
        value = None if cell.measured is None or cell.paper is None else cell.measured - cell.paper
        cells.append(_NONE if value is None else f"<td>{signed(value, _decimals(cell))}</td>")
    elif shown.gains and len(parts) > 1:
        cells.append(_gains(filled, cell))
    if _INTERVAL in parts:
        interval = _interval(filled, cell, shown)
        cells.append(
            f'<td class="minor">{signed(interval.low, 1)} … {signed(interval.high, 1)}</td>'
            if interval
            else _NONE
        )
    return cells


def _measured(filled: FilledTable, cell: CellResult, metric: MetricColumn) -> str:
    if cell.measured is None:
        word = {"not_run": "not run"}.get(cell.status, cell.status)
        return f'<td class="status {cell.status}">{word}</td>'
    text = _number(cell.measured, _decimals(cell))
    text = _strong(text, _emphasis(filled, cell, lambda c: c.measured))
    if cell.std is not None:
        text += f' <span class="minor">± {_number(cell.std, _decimals(cell))}</span>'
    if len(cell.values) < len(cell.measurements):
        count = f"{len(cell.values)} of {len(cell.measurements)} seeds"
        text += f' <span class="tag">{count}</span>'
    return f"<td>{text}</td>"


def _gains(filled: FilledTable, cell: CellResult) -> str:
    base = filled.baseline(cell)
    if base is None or cell.origin == "cited":
        return _NONE
    if base.row == cell.row:
        return '<td class="minor">baseline</td>'

    def gain(of: Callable[[CellResult], float | None]) -> str:
        values = of(cell), of(base)
        if values[0] is None or values[1] is None:
            return '<span class="off">–</span>'
        return signed(values[0] - values[1], min(1, _decimals(cell)))

    return f'<td>{gain(lambda c: c.paper)} <span class="minor">/</span> ' + (
        f"{gain(lambda c: c.measured)}</td>"
    )


def _interval(filled: FilledTable, cell: CellResult, shown: _Layout) -> Difference | None:
    """Of the gain over the baseline row on synthetic data, of measured - paper on real data."""
    own = samples(cell.measurements)
    if not shown.synthetic:
        return None if cell.paper is None else compare(own, cell.paper)
    base = filled.baseline(cell)
    if base is None or base.row == cell.row:
        return None
    return compare(own, samples(base.measurements))


def _emphasis(
    filled: FilledTable, cell: CellResult, of: Callable[[CellResult], float | None]
) -> bool:
    """Whether the cell is the best of its column among the rows of its group."""
    table = filled.table
    better = table.metric(cell.column).better
    group = table.group(table.row(cell.row))
    peers = [filled.cells[r.slug, cell.column] for r in table.rows if table.group(r) == group]
    values = [v for peer in peers if (v := of(peer)) is not None]
    if better == "none" or len(values) < 2 or of(cell) is None:
        return False
    return of(cell) == (max(values) if better == "higher" else min(values))


def _agreement(filled: FilledTable) -> str:
    """How far the measured rows stand in the paper's order, for each primary metric."""
    sentences = []
    for metric in filled.table.metrics:
        if not metric.primary or metric.better == "none":
            continue
        found = order_agreement(filled, metric.column)
        if found is None:
            continue
        text = (
            f"{metric.column}: {found.same} of {found.pairs} pairs of measured rows "
            f"({100 * found.same / found.pairs:.0f} %) stand in the paper's order; Kendall's tau "
            f"{signed(found.tau, 2)}"
        )
        if found.low is not None and found.high is not None:
            once = ", choice of people alone" if found.seeds == 1 else ""
            text += (
                f", 95 % interval {signed(found.low, 2)} … {signed(found.high, 2)}{once}: "
                f"{found.told_apart} of the pairs can be told apart from luck"
            )
        sentences.append(text + ".")
    return f"<p>{escape(' '.join(sentences))}</p>" if sentences else ""


def _chance(filled: FilledTable) -> str:
    """What a random ranking reaches, for each metric whose runs know it."""
    parts = []
    for metric in filled.table.metrics:
        levels = [c.chance for c in filled if c.column == metric.column and c.chance is not None]
        if levels:
            # Rows differ where a row was tested on other splits than the others.
            low, high = (f"{value:.1f}" for value in (min(levels), max(levels)))
            parts.append(f"{metric.column} {low if low == high else f'{low} to {high}'}")
    return f"<p>A random ranking reaches: {escape('; '.join(parts))}.</p>" if parts else ""


def _missing(filled: FilledTable, shown: _Layout) -> str:
    """Say in words what was not run or failed."""
    rows: dict[str, set[str]] = {}
    for cell in filled:
        if cell.origin == "own":
            rows.setdefault(cell.status, set()).add(cell.row)
    own = set().union(*rows.values()) if rows else set()
    parts = []
    for status, word in (("not_run", "not run"), ("failed", "failed")):
        if found := len(rows.get(status, ())):
            parts.append(f"{found} of {len(own)} own rows {'were ' * (status == 'not_run')}{word}")
    if shown.gains and any(c.measured is not None for c in filled):
        base = [c for slug in filled.table.baseline.values() for c in filled if c.row == slug]
        if any(c.measured is None for c in base):
            parts.append("the baseline row was not run, so some gains are missing")
    return f"<p>{escape('; '.join(parts).capitalize())}.</p>" if parts else ""


def _legend(shown: _Layout) -> str:
    if shown.gains:
        text = (
            "Gain: difference to the baseline row of the same group, in the paper / here; the "
            "interval is that of the gain here."
        )
    elif not shown.synthetic:
        text = "Difference: measured minus printed, with its interval."
    else:
        return ""
    return f"<p>{text} Bold: best of the column in its group.</p>"


def _decimals(cell: CellResult) -> int:
    _, point, digits = cell.printed.partition(".")
    return len(digits) if point and digits.isdigit() else 2


def _number(value: float, decimals: int) -> str:
    return f"{value:.3g}" if abs(value) >= 1e5 else f"{value:.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """The number with its sign, a minus as in print; no sign where it rounds to zero."""
    text = _number(abs(value), decimals)
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def _strong(text: str, best: bool) -> str:
    return f'<strong class="best">{text}</strong>' if best else text


def data_table(frame: pd.DataFrame, caption: str, *, decimals: int = 2) -> Html:
    """A data frame with a caption; the index is left out, all text is escaped."""
    numeric = {c: pd.api.types.is_numeric_dtype(frame[c]) for c in frame.columns}
    whole = {c: pd.api.types.is_integer_dtype(frame[c]) for c in frame.columns}

    def cell(column: str, value: object, n: int) -> str:
        if value is None or (isinstance(value, float) and pd.isna(value)):
            return _NONE
        if whole[column]:
            text = f"{value:,}"
        else:
            text = _number(value, decimals) if numeric[column] else escape(str(value))
        kind = "" if numeric[column] else ' class="text"'
        tag, scope = ("th", ' scope="row"') if n == 0 else ("td", "")
        return f"<{tag}{scope}{kind}>{text}</{tag}>"

    head = "<tr>" + "".join(
        f'<th scope="col"{"" if numeric[c] else " class=text"}>{escape(str(c))}</th>'
        for c in frame.columns
    )
    rows = [
        "<tr>"
        + "".join(cell(c, v, n) for n, (c, v) in enumerate(zip(frame.columns, line, strict=True)))
        + "</tr>"
        for line in frame.itertuples(index=False, name=None)
    ]
    body = "<tbody>\n" + "\n".join(rows) + "\n</tbody>"
    table = scrolling(caption, escape(caption), head + "</tr>", body)
    return Html(f'<div class="reid">{table}</div>')
