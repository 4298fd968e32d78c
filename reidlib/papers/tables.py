"""Published tables as data, and the same tables filled with what was measured.

A paper's folder holds `table_<n>.csv`, exactly as printed, and `tables.toml`, which says what the
columns mean. The CSV begins with `row` (a slug, unique in its table), then come the printed
columns, then `origin` (own | cited) and `note`. A note may start with the name of a column and a
colon; it then belongs to that cell. The keys of `tables.toml` are those of `PublishedTable` and
`MetricColumn` below.
"""

import csv
import io
import math
import statistics
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from reidlib.errors import DataError, StoreError
from reidlib.files import write_atomic

LONG_COLUMNS = (
    "row",
    "dataset",
    "backbone",
    "metric",
    "paper",
    "measured",
    "std",
    "seeds",
    "origin",
    "status",
)
ORIGINS = ("own", "cited")


class RunLike(Protocol):
    """What a report needs of a finished run; `reidlib.run.store.Run` is one."""

    key: str
    metrics: Mapping[str, Any]

    def ranks(self, evaluation: str) -> np.ndarray: ...

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None: ...

    def people(self, evaluation: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Measurement:
    """One seed's measurement of one cell.

    `run` is None while it is planned but not finished; `failed` says that its training crashed.
    `value` is for cells that no training measures, such as parameter counts.
    """

    run: RunLike | None
    evaluation: str = ""
    metric: str = ""
    failed: bool = False
    value: float | None = None

    def result(self) -> float | None:
        """The measured number, percentages 0..100; None if there is none (yet).

        Raises `StoreError` if the run lacks the evaluation or the metric.
        """
        if self.value is not None or self.run is None:
            return self.value
        evaluations = self.run.metrics["evaluations"]
        try:
            return float(evaluations[self.evaluation][self.metric])
        except KeyError:
            known = "; ".join(f"{e}: {', '.join(m)}" for e, m in sorted(evaluations.items()))
            raise StoreError(
                f"run {self.run.key}: no metric {self.metric!r} of evaluation "
                f"{self.evaluation!r}; its metrics.json holds {known}"
            ) from None

    def chance(self) -> float | None:
        """What a random ranking reaches, in percent; None if the run does not say."""
        if self.run is None:
            return None
        levels = self.run.metrics.get("chance", {}).get(self.evaluation, {})
        return levels.get(self.metric)


# (table, row slug, printed column) -> one measurement per seed; None = not planned in this profile
Measure = Callable[[int, str, str], Sequence[Measurement] | None]


@dataclass(frozen=True)
class MetricColumn:
    """A printed column that holds numbers a run can measure."""

    column: str  # as printed
    metric: str  # name in the long form; default: the column
    dataset: str  # default: that of the table
    backbone: str | None = None  # overrides that of the table
    origin: str | None = None  # own | cited; overrides the row's (tables that mix both in a row)
    primary: bool = False  # shown with its interval; default: the first of each data set
    better: str = "higher"  # higher | lower | none: what is emphasized as best
    unit: str = "%"


@dataclass(frozen=True)
class PublishedRow:
    """One printed row. `values` maps the printed columns to their text."""

    slug: str
    values: Mapping[str, str]
    origin: str
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper, as printed. A table without metric columns only states settings."""

    paper: str
    number: int
    title: str
    section: str
    dataset: str
    rows: tuple[PublishedRow, ...]
    columns: tuple[str, ...]
    metrics: tuple[MetricColumn, ...]
    backbone: str = ""  # of every row, or ""
    backbone_column: str | None = None
    group_column: str | None = None  # rows are compared within groups; default: backbone_column
    baseline: Mapping[str, str] = field(default_factory=dict)  # group -> row the gains refer to
    baseline_description: str = ""  # the baseline row in words
    ap_kind: str | None = None  # step | trapezoid, where mAP is compared
    note: str = ""
    of_data: bool = True  # False: its numbers are those of networks alone, whatever the data

    @property
    def settings(self) -> tuple[str, ...]:
        """The printed columns that describe a row."""
        measured = {metric.column for metric in self.metrics}
        return tuple(column for column in self.columns if column not in measured)

    def row(self, slug: str) -> PublishedRow:
        """Raises `DataError` for an unknown row."""
        for row in self.rows:
            if row.slug == slug:
                return row
        raise DataError(f"{self.paper}, table {self.number}: no row {slug!r}")

    def metric(self, column: str) -> MetricColumn:
        """Raises `DataError` for a column that is no metric column."""
        for metric in self.metrics:
            if metric.column == column:
                return metric
        raise DataError(f"{self.paper}, table {self.number}: no metric column {column!r}")

    def recorded(self, name: str) -> str:
        """The name that runs record a metric under: of mAP there are two kinds."""
        return f"mAP ({self.ap_kind})" if name == "mAP" else name

    def group(self, row: PublishedRow) -> str:
        return row.values[self.group_column] if self.group_column else ""

    def backbone_of(self, row: PublishedRow, metric: MetricColumn) -> str:
        in_row = row.values[self.backbone_column] if self.backbone_column else self.backbone
        return metric.backbone or in_row

    def origin(self, row: PublishedRow, metric: MetricColumn) -> str:
        return metric.origin or row.origin

    def printed(self, slug: str, column: str) -> float | None:
        """The printed number of a cell; None if the cell is empty."""
        self.metric(column)
        return _number(self.row(slug).values[column])


def load_tables(paper: str, folder: Path | None = None) -> dict[int, PublishedTable]:
    """The published tables of a paper by number.

    Raises `DataError`, naming the file, if a file is missing or not as described above.
    """
    folder = folder or Path(__file__).parent / paper
    path = folder / "tables.toml"
    content = load_toml(path)
    tables = {}
    for entry in content.get("table", []):
        table = _table(paper, folder, path, dict(entry), content.get("dataset"))
        if table.number in tables:
            raise DataError(f"{path}: table {table.number} stands there twice")
        tables[table.number] = table
    return dict(sorted(tables.items()))


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `DataError` naming it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error


def build(kind: type, path: Path, entry: Mapping[str, Any], what: str) -> Any:
    """`kind(**entry)`, with an error that names the file and the unknown or missing key."""
    try:
        return kind(**entry)
    except TypeError as error:
        raise DataError(f"{path}: {what}: {str(error).split(') ')[-1]}") from error


def _table(
    paper: str, folder: Path, path: Path, entry: dict[str, Any], dataset: str | None
) -> PublishedTable:
    what = f"table {entry.get('number')}"
    entry.setdefault("dataset", dataset)
    entry.setdefault("section", "")
    entry.setdefault("group_column", entry.get("backbone_column"))
    columns, rows = _read_csv(folder / f"table_{entry.get('number')}.csv")
    metrics = _metrics(path, what, entry.pop("metrics", []), entry["dataset"])
    baseline = entry.pop("baseline", {})
    if isinstance(baseline, str):
        baseline = {"": baseline}
    table = build(
        PublishedTable,
        path,
        {**entry, "paper": paper, "rows": rows, "columns": columns, "metrics": metrics}
        | {"baseline": baseline},
        what,
    )
    _check(table, path)
    return table


def _metrics(
    path: Path, what: str, entries: list[dict[str, Any]], dataset: str | None
) -> tuple[MetricColumn, ...]:
    metrics, seen = [], set()
    for entry in entries:
        column = entry.get("column", "?")
        values = {"metric": column, "dataset": dataset} | entry
        if not values["dataset"]:
            raise DataError(f"{path}: {what}: column {column!r} has no data set")
        values.setdefault("primary", (values["dataset"], values.get("backbone")) not in seen)
        seen.add((values["dataset"], values.get("backbone")))
        metrics.append(build(MetricColumn, path, values, f"{what}, column {column!r}"))
    return tuple(metrics)


def _read_csv(path: Path) -> tuple[tuple[str, ...], tuple[PublishedRow, ...]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    lines = list(csv.reader(io.StringIO(text)))
    header = lines[0] if lines else []
    if len(header) < 4 or header[0] != "row" or header[-2:] != ["origin", "note"]:
        raise DataError(f"{path}: expected the columns row, …, origin, note; found {header}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise DataError(f"{path}, line {number}: {len(line)} cells, expected {len(header)}")
        slug, *values, origin, note = line
        if origin not in ORIGINS:
            raise DataError(f"{path}, line {number}: origin {origin!r}, expected own or cited")
        rows.append(PublishedRow(slug, dict(zip(header[1:-2], values, strict=True)), origin, note))
    return tuple(header[1:-2]), tuple(rows)


def _check(table: PublishedTable, path: Path) -> None:
    def fail(message: str) -> None:
        raise DataError(f"{path}: table {table.number}: {message}")

    slugs = [row.slug for row in table.rows]
    if len(set(slugs)) != len(slugs):
        fail(f"rows that stand there twice: {sorted({s for s in slugs if slugs.count(s) > 1})}")
    extra = [c for c in (table.backbone_column, table.group_column) if c]
    for column in [metric.column for metric in table.metrics] + extra:
        if column not in table.columns:
            fail(f"no printed column {column!r}; there are {', '.join(table.columns)}")
    for metric in table.metrics:
        if metric.better not in ("higher", "lower", "none"):
            fail(f"better = {metric.better!r}, expected higher, lower or none")
        if metric.origin not in (None, *ORIGINS):
            fail(f"origin = {metric.origin!r}, expected own or cited")
    keys = set()
    for row in table.rows:
        for metric in table.metrics:
            text = row.values[metric.column]
            if text and _number(text) is None:
                fail(f"row {row.slug}, column {metric.column}: {text!r} is no number")
            key = (row.slug, metric.dataset, table.backbone_of(row, metric), metric.metric)
            if key in keys:
                fail(f"two columns are both called {metric.metric!r}: give one another metric")
            keys.add(key)
    groups = {row.slug: table.group(row) for row in table.rows}
    for group, slug in table.baseline.items():
        if groups.get(slug) != group:
            fail(f"baseline {slug!r} is no row of group {group!r}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class CellResult:
    """A printed cell beside its measurement. `status` is measured | not_run | cited | failed."""

    row: str
    column: str
    dataset: str
    backbone: str
    metric: str
    printed: str
    origin: str
    status: str
    measurements: tuple[Measurement, ...]  # those of the planned seeds
    values: tuple[float, ...]  # one per finished seed

    @property
    def paper(self) -> float | None:
        return _number(self.printed)

    @property
    def measured(self) -> float | None:
        """Mean over the finished seeds; each counts the same, whatever its number of queries."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Standard deviation between trainings, from n - 1 of them; None with fewer than two.

        It is how far single trainings scatter, test splits of their own included, not how far the
        mean may be off: for that see `reidlib.papers.intervals`.
        """
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def chance(self) -> float | None:
        """What a random ranking reaches, mean over the finished seeds; None if unknown."""
        levels = [c for m in self.measurements if (c := m.chance()) is not None]
        return statistics.fmean(levels) if levels else None


@dataclass(frozen=True)
class FilledTable:
    """A published table with the result of every cell, by (row slug, printed column)."""

    table: PublishedTable
    cells: Mapping[tuple[str, str], CellResult]

    def __iter__(self) -> Iterator[CellResult]:
        return iter(self.cells.values())

    def baseline(self, cell: CellResult) -> CellResult | None:
        """The cell of the group's baseline row in the same column; None without a baseline."""
        slug = self.table.baseline.get(self.table.group(self.table.row(cell.row)))
        return self.cells[slug, cell.column] if slug else None


def fill(table: PublishedTable, measure: Measure) -> FilledTable:
    """Look up what was measured for every cell of a table; cited cells are not asked for."""
    cells = {}
    for row in table.rows:
        for metric in table.metrics:
            cells[row.slug, metric.column] = _cell(table, row, metric, measure)
    return FilledTable(table, cells)


def _cell(
    table: PublishedTable, row: PublishedRow, metric: MetricColumn, measure: Measure
) -> CellResult:
    origin = table.origin(row, metric)
    measurements: tuple[Measurement, ...] = ()
    if origin == "own":
        measurements = tuple(measure(table.number, row.slug, metric.column) or ())
    values = tuple(v for m in measurements if (v := m.result()) is not None)
    if origin == "cited":
        status = "cited"
    elif values:
        status = "measured"
    else:
        status = "failed" if any(m.failed for m in measurements) else "not_run"
    return CellResult(
        row=row.slug,
        column=metric.column,
        dataset=metric.dataset,
        backbone=table.backbone_of(row, metric),
        metric=metric.metric,
        printed=row.values[metric.column],
        origin=origin,
        status=status,
        measurements=measurements,
        values=values,
    )


def long_form(filled: FilledTable) -> pd.DataFrame:
    """One line per cell with the columns `LONG_COLUMNS`; percentages 0..100, NaN where empty."""
    lines = [
        (
            cell.row,
            cell.dataset,
            cell.backbone,
            cell.metric,
            cell.paper,
            cell.measured,
            cell.std,
            len(cell.values),
            cell.origin,
            cell.status,
        )
        for cell in filled
    ]
    frame = pd.DataFrame(lines, columns=list(LONG_COLUMNS))
    return frame.astype({"paper": float, "measured": float, "std": float, "seeds": int})


def csv_text(filled: FilledTable) -> str:
    """The long form as CSV; the column `paper` keeps the printed text (79.30)."""
    frame = long_form(filled)
    frame = frame.assign(paper=[cell.printed for cell in filled])
    for column in ("measured", "std"):
        frame[column] = ["" if pd.isna(v) else f"{v:.6g}" for v in frame[column]]
    return frame.to_csv(index=False, lineterminator="\n")


def write_long_form(filled: FilledTable, folder: Path) -> Path:
    """Write `csv_text` as `<folder>/table_<n>.csv`."""
    path = folder / f"table_{filled.table.number}.csv"
    write_atomic(path, csv_text(filled))
    return path


def count_rows(filled: FilledTable) -> dict[str, int]:
    """How many rows are own, measured and cited; a row counts once per data set.

    A row that mixes both kinds (own columns, cited columns) counts as own and as cited. It is
    measured if each of its own cells is.
    """
    own: dict[tuple[str, str], list[str]] = {}
    cited = set()
    for cell in filled:
        if cell.origin == "cited":
            cited.add((cell.row, cell.dataset))
        else:
            own.setdefault((cell.row, cell.dataset), []).append(cell.status)
    measured = sum(all(status == "measured" for status in cells) for cells in own.values())
    return {"own": len(own), "measured": measured, "cited": len(cited)}


@dataclass(frozen=True)
class Note:
    """A place where the paper is ambiguous, silent or misprinted, and what is done about it."""

    kind: str  # ambiguous | unspecified | misprint
    where: str
    what: str
    chosen: str
    why: str


def load_notes(paper: str, folder: Path | None = None) -> tuple[Note, ...]:
    """The numbered notes of a paper from `notes.toml`, in their order; raises `DataError`."""
    path = (folder or Path(__file__).parent / paper) / "notes.toml"
    notes = []
    for number, entry in enumerate(load_toml(path).get("note", []), start=1):
        note = build(Note, path, entry, f"note {number}")
        if note.kind not in ("ambiguous", "unspecified", "misprint"):
            raise DataError(
                f"{path}: note {number}: kind {note.kind!r}, expected ambiguous, unspecified or "
                "misprint"
            )
        notes.append(note)
    return tuple(notes)
