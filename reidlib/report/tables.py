"""Tables as HTML: the paper's beside the measured one, and any data frame.

They have to hold in places that bring styles of their own or drop ours: JupyterLab (its rules for
tables are strong, and of a notebook that is not trusted it drops `<style>`), VS Code, GitHub (drops
every style), and the pages of reports. So what a table cannot be read without stands in attributes
of its cells: alignment, column widths by content, letters of footnotes.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from reidlib.papers.agreement import order_agreement
from reidlib.papers.intervals import Difference, compare, samples
from reidlib.papers.tables import (
    CellResult,
    FilledTable,
    MetricColumn,
    PublishedRow,
    PublishedTable,
    csv_text,
)
from reidlib.report import Html, escape, verdicts
from reidlib.report.labels import FLAGS, marked

_INTERVAL = "95 % interval"
_GAIN = "gain: paper / here"
_BREAKS = {_GAIN: "gain:<br>paper / here", _INTERVAL: "95 %<br>interval"}
_WIDE = 14  # what a page has room for, in columns of numbers
_ROOM = {"flag": 0.5, "text short": 1.5, "text": 3.0}  # what settings take of it
# What a cell's class means where no style sheet applies.
_LEFT = ' align="left" style="text-align:left"'
_TAG = ' style="border:1px solid;padding:0 0.35em"'
_CENTER = ' align="center" style="text-align:center"'
_RIGHT = ' align="right"'
_DASH = '<span class="off" role="img" aria-label="none">–</span>'


def published_table(filled: FilledTable, *, synthetic: bool, csv: str | None = None) -> Html:
    """A paper's table beside the measurements.

    On real data each metric shows the paper's number, the measured one and their difference. On
    synthetic data that difference means nothing; there the gain over the table's baseline row is
    shown instead, in the paper and here. A 95 % interval (choice of people, and luck of training
    where there are several; see `reidlib.papers.intervals`) stands beside the primary metric of
    each data set.

    Args:
        filled: from `reidlib.papers.tables.fill`.
        synthetic: whether the data is the procedural world.
        csv: link to the table in long form, relative to the page. Without one the link holds the
            table itself, so that it works wherever the table is shown.
    """
    table = filled.table
    shown = _Layout.of(filled, synthetic)
    notes = _Footnotes(table)
    body = []
    for _, rows in groupby(table.rows, key=table.group):
        lines = "\n".join(_row(filled, row, shown, notes) for row in rows)
        body.append(f"<tbody>\n{lines}\n</tbody>")
    caption = f"<strong>Table {table.number}.</strong> {marked(table.title)}"
    if synthetic and table.metrics and table.of_data:
        caption += f' <span class="tag"{_TAG}>synthetic data</span>'
    details = [f"{c}: {v} in all rows." for c, v in shown.constant.items()]
    if table.ap_kind:
        details.append(f"mAP of the {table.ap_kind} kind.")
    if shown.gains and table.baseline_description:
        details.append(f"Gains refer to {table.baseline_description}.")
    if details or table.note:
        caption += f"<br><small>{marked(' '.join([table.note, *details]).strip())}</small>"
    kind = "stacked" if shown.stacked else ""
    parts = [
        scrolling(f"Table {table.number}", caption, _head(table, shown), "\n".join(body), kind)
    ]
    below = [_agreement(filled), _chance(filled), _missing(filled, shown)]
    below += [notes.html(), _legend(shown)]
    if table.metrics:
        below.append(f"<p>{_download(filled, csv)}</p>")
    parts.append(f'<div class="below">{"".join(below)}</div>')
    return Html(f'<div class="reid">{"".join(parts)}</div>')


def _download(filled: FilledTable, csv: str | None) -> str:
    """The table in long form: the file if it is known where, else kept in the link itself."""
    number = filled.table.number
    if csv is None:
        content = base64.b64encode(csv_text(filled).encode()).decode()
        target = f"data:text/csv;base64,{content}"
        saved = f' download="{filled.table.paper}_table_{number}.csv"'
    else:
        target, saved = escape(csv), ""
    return f'<a href="{target}"{saved}>Table {number} as CSV</a>'


@dataclass(frozen=True)
class _Layout:
    """Which columns a table shows."""

    settings: tuple[str, ...]
    metrics: tuple[MetricColumn, ...]
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
            metrics=table.metrics,
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

    @property
    def stacked(self) -> bool:
        """Whether the numbers of a metric stand below each other: side by side they would not fit
        a page."""
        room = sum(_ROOM[self.kinds[column]] for column in self.settings)
        return room + sum(len(self.parts(metric)) for metric in self.metrics) > _WIDE


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
            f'<li id="t{self.number}-note-{_letter(n)}">{marked(text)}</li>'
            for n, text in enumerate(self.texts, start=1)
        )
        style = "list-style-type:lower-alpha"
        return f'<ol type="a" class="letters" style="{style}">{items}</ol>' if items else ""


def _letter(n: int) -> str:
    return chr(ord("a") + n - 1)


def scrolling(label: str, caption: str, head: str, body: str, kind: str = "") -> str:
    """A table in a box that scrolls sideways where there is no room; its caption and first column
    stay. All arguments but `label` are HTML; `kind`: classes of the table."""
    classes = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" role="group" aria-label="{escape(label)}" tabindex="0">\n'
        f'<table{classes} style="table-layout:auto">\n'
        f'<caption><div class="caption" style="text-align:left">{caption}</div></caption>\n'
        f"<thead>\n{head}\n</thead>\n{body}\n</table>\n</div>"
    )


def td(text: str, kind: str = "", *, head: str = "", more: str = "") -> str:
    """A table cell of HTML.

    Args:
        text: HTML.
        kind: classes; "text" is aligned left, "flag" centered, everything else right.
        head: scope of a header cell: "col" | "row" | "colgroup"; "" for a cell of numbers.
        more: further attributes.
    """
    classes = set(kind.split())
    align = _LEFT if "text" in classes else _CENTER if classes & {"flag", "over"} else _RIGHT
    tag, scope = ("th", f' scope="{head}"') if head else ("td", "")
    named = f' class="{kind}"' if kind else ""
    return f"<{tag}{scope}{named}{more}{align}>{text}</{tag}>"


def _head(table: PublishedTable, shown: _Layout) -> str:
    rows = 2 if table.metrics else 1
    spans = f' rowspan="{rows}"'
    first = "".join(
        td(f"<span>{marked(c)}</span>", shown.kinds[c], head="col", more=spans)
        for c in shown.settings
    )
    second = ""
    for metric in table.metrics:
        parts = shown.parts(metric)
        unit = f' <span class="minor">{escape(metric.unit)}</span>' if metric.unit else ""
        title = f"{marked(metric.column)}{unit}"
        if shown.stacked:
            first += td(title, "first", head="col")
            lines = "<br>".join(_BREAKS.get(part, escape(part)) for part in parts)
            second += td(lines, "first", head="col")
            continue
        span = f' colspan="{len(parts)}"'
        first += td(title, "first over", head="colgroup", more=span)
        second += "".join(
            td(_BREAKS.get(part, escape(part)), "" if n else "first", head="col")
            for n, part in enumerate(parts)
        )
    return f"<tr>{first}</tr>" + (f"\n<tr>{second}</tr>" if second else "")


def _kind(values: list[str]) -> str:
    if any(values) and set(values) <= FLAGS:
        return "flag"
    return "text short" if max(map(len, values), default=0) <= 28 else "text"


def _row(filled: FilledTable, row: PublishedRow, shown: _Layout, notes: _Footnotes) -> str:
    table = filled.table
    cells = []
    for n, column in enumerate(shown.settings):
        value = row.values[column]
        text = _flag(value) if shown.kinds[column] == "flag" else marked(value)
        text += notes.marker(row.slug, column)
        cells.append(td(text, shown.kinds[column], head="" if n else "row"))
    for metric in table.metrics:
        found = filled.cells[row.slug, metric.column]
        parts = _metric_parts(filled, found, metric, shown, notes)
        cited = " cited" if found.origin == "cited" else ""
        if shown.stacked:
            lines = (
                f'<span class="{kind}">{text}</span>' if kind else text for kind, text in parts
            )
            top = ' valign="top" style="vertical-align:top"'  # lines of a row at one height
            cells.append(td("<br>".join(lines), f"first{cited}", more=top))
            continue
        for k, (kind, text) in enumerate(parts):
            cells.append(td(text, kind if k else f"first{cited}"))
    cited = ' class="cited"' if row.origin == "cited" else ""
    return f'<tr data-row="{escape(row.slug)}"{cited}>{"".join(cells)}</tr>'


def _flag(value: str) -> str:
    if value == "1":
        return '<span role="img" aria-label="yes">✓</span>'
    return '<span role="img" aria-label="no" class="off">×</span>'


def _metric_parts(
    filled: FilledTable,
    found: CellResult,
    metric: MetricColumn,
    shown: _Layout,
    notes: _Footnotes,
) -> list[tuple[str, str]]:
    """The numbers of a cell: class and HTML of each, in the order of `_Layout.parts`."""
    parts = shown.parts(metric)
    best = _emphasis(filled, found, lambda c: c.paper)
    printed = escape(found.printed) if found.printed else "–"
    printed += notes.marker(found.row, found.column)
    texts = [("paper" if shown.stacked else "", _strong(printed, best))]
    if "measured" in parts:
        texts.append(_measured(filled, found))
    if "difference" in parts:
        known = found.measured is not None and found.paper is not None
        gap = signed(found.measured - found.paper, _decimals(found)) if known else _DASH
        texts.append(("", gap))
    elif shown.gains and len(parts) > 1:
        texts.append(_gains(filled, found))
    if _INTERVAL in parts:
        interval = _interval(filled, found, shown)
        text = ranged(interval.low, interval.high) if interval else _DASH
        texts.append(("minor", text))
    if shown.stacked:  # dashes at the end say nothing there
        while len(texts) > 2 and texts[-1][1] == _DASH:
            texts.pop()
    return texts


def _measured(filled: FilledTable, found: CellResult) -> tuple[str, str]:
    if found.measured is None:
        return f"status {found.status}", verdicts.word(found.status)
    text = as_printed(found.measured, found)
    text = _strong(text, _emphasis(filled, found, lambda c: c.measured))
    if found.std is not None:
        text += f' <span class="minor">± {as_printed(found.std, found)}</span>'
    if len(found.values) < len(found.measurements):
        count = f"{len(found.values)} of {len(found.measurements)} seeds"
        text += f' <span class="tag">{count}</span>'
    return "", text


def _gains(filled: FilledTable, found: CellResult) -> tuple[str, str]:
    base = filled.baseline(found)
    if base is None or found.origin == "cited":
        return "", _DASH
    if base.row == found.row:
        return "minor", "baseline"

    def gain(of: Callable[[CellResult], float | None]) -> str:
        values = of(found), of(base)
        if values[0] is None or values[1] is None:
            return _DASH
        return signed(values[0] - values[1], min(1, _decimals(found)))

    both = f"{gain(lambda c: c.paper)} / {gain(lambda c: c.measured)}"
    return "", both


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
                f", 95 % interval {ranged(found.low, found.high, 2)}{once}: "
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
    rows: dict[str, set[str]] = {}  # statuses of the cells of each own row
    for cell in filled:
        if cell.origin == "own":
            rows.setdefault(cell.row, set()).add(cell.status)
    counts = {
        "were not run": sum(statuses == {"not_run"} for statuses in rows.values()),
        "were run in part": sum("not_run" in s and len(s) > 1 for s in rows.values()),
        "failed": sum("failed" in statuses for statuses in rows.values()),
    }
    parts = [f"{n} of {len(rows)} own rows {what}" for what, n in counts.items() if n]
    if shown.gains and any(c.measured is not None for c in filled):
        base = [c for slug in filled.table.baseline.values() for c in filled if c.row == slug]
        lacking = [c.measured is None for c in base]
        if any(lacking):
            word = "was not run" if all(lacking) else "was run in part"
            parts.append(f"the baseline row {word}, so some gains are missing")
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


def as_printed(value: float, cell: CellResult) -> str:
    """A number of a cell with as many decimals as the paper prints there; counts have none."""
    return _number(value, _decimals(cell))


def _decimals(cell: CellResult) -> int:
    _, point, digits = cell.printed.partition(".")
    if cell.printed.isdigit() and cell.values and all(m.run is None for m in cell.measurements):
        return 0  # counted
    return len(digits) if point and digits.isdigit() else 2


def _number(value: float, decimals: int) -> str:
    return f"{value:.3g}" if abs(value) >= 1e5 else f"{value:.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """The number with its sign, a minus as in print; no sign where it rounds to zero."""
    text = _number(abs(value), decimals)
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def ranged(low: float | None, high: float | None, decimals: int = 1) -> str:
    """An interval in points: −1.2 … +1.4; "" where there is none. An end that lies on the side of
    the other one has the decimals to show it: −3.00 … −0.03."""
    if low is None or high is None:
        return ""
    ends = [signed(end, decimals) for end in (low, high)]
    if low * high > 0 and decimals < 4 and any(end[0] not in "+−" for end in ends):
        return ranged(low, high, decimals + 1)
    return " … ".join(ends)


def _strong(text: str, best: bool) -> str:
    return f'<strong class="best">{text}</strong>' if best else text


def data_table(frame: pd.DataFrame, caption: str, *, decimals: int | None = 2) -> Html:
    """A data frame with a caption; the index is left out, all text but `Html` is escaped. Signs in
    the names of columns (`L_rank`) are set as in the paper.

    decimals: of numbers that are not whole; None = four significant digits.
    """
    numeric = {c: pd.api.types.is_numeric_dtype(frame[c]) for c in frame.columns}
    whole = {c: pd.api.types.is_integer_dtype(frame[c]) for c in frame.columns}

    def shown(column: str, value: object, n: int) -> str:
        kind = "" if numeric[column] else "text"
        head = "" if n else "row"
        if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
            return td(_DASH, kind, head=head)
        if whole[column]:
            text = f"{value:,}"
        elif numeric[column]:
            text = f"{value:.4g}" if decimals is None else _number(value, decimals)
        else:
            text = value.html if isinstance(value, Html) else escape(str(value))
        return td(text, kind, head=head)

    head = "".join(
        td(marked(str(c)), "" if numeric[c] else "text", head="col") for c in frame.columns
    )
    rows = [
        "<tr>"
        + "".join(shown(c, v, n) for n, (c, v) in enumerate(zip(frame.columns, line, strict=True)))
        + "</tr>"
        for line in frame.itertuples(index=False, name=None)
    ]
    body = "<tbody>\n" + "\n".join(rows) + "\n</tbody>"
    table = scrolling(caption, escape(caption), f"<tr>{head}</tr>", body)
    return Html(f'<div class="reid">{table}</div>')
