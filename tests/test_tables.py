"""Published tables, their long form, and their HTML."""

import re
import zlib
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reidlib.data.formats.cuhk_pedes import DOMAINS
from reidlib.errors import DataError, StoreError
from reidlib.papers.tables import (
    LONG_COLUMNS,
    Measure,
    Measurement,
    count_rows,
    fill,
    load_notes,
    load_tables,
    long_form,
    write_long_form,
)
from reidlib.report.tables import data_table, published_table, ranged


class FakeRun:
    """What a finished run offers, made from ranks."""

    def __init__(self, key: str, ranks: np.ndarray, evaluation: str = "all") -> None:
        self.key, self._ranks = key, {evaluation: ranks}
        top = {f"Top-{k}": 100 * float((ranks <= k).mean()) for k in (1, 5, 10)}
        self.metrics = {"evaluations": {evaluation: top}}

    def ranks(self, evaluation: str) -> np.ndarray:
        return self._ranks[evaluation]

    def scores(self, evaluation: str, metric: str) -> None:
        return None

    def people(self, evaluation: str) -> np.ndarray:
        return np.arange(len(self._ranks[evaluation])) // 2


def fake_measure(
    seeds: int = 1, missing: Sequence[str] = (), failed: Sequence[str] = (), queries: int = 200
) -> Measure:
    """Runs with pseudo-random ranks for every own row but the missing and the failed ones."""

    def measure(table: int, row: str, column: str) -> list[Measurement] | None:
        if row in missing:
            return None
        if not column.startswith("Top-"):
            return [Measurement(None, value=50.0)] * seeds
        if row in failed:
            return [Measurement(None, "all", column, failed=True)] * seeds
        runs = []
        for seed in range(seeds):
            rng = np.random.default_rng(zlib.crc32(f"{row} {seed}".encode()))
            runs.append(FakeRun(f"{row}-{seed}", rng.integers(1, 12, queries)))
        return [Measurement(run, "all", column) for run in runs]

    return measure


@pytest.fixture(scope="module")
def tables() -> dict:
    return load_tables("imgnet")


CSV = """row,Method,Backbone,Market R1,Market mAP,Duke R1,Params,origin,note
base,basel. [1],R50,80.30,69.80,,1.07e9,own,
ours,ours,R50,91.5,86.4,85.9,2.1e9,own,Market mAP: printed as 85.4 elsewhere.
else,other <b> [2],V16,60.0,,70.1,,cited,
"""
TOML = """
dataset = "market-1501"
[[table]]
number = 1
title = "T"
backbone_column = "Backbone"
baseline = { R50 = "base" }
metrics = [
  { column = "Market R1", metric = "Rank-1" },
  { column = "Market mAP", metric = "mAP" },
  { column = "Duke R1", metric = "Rank-1", dataset = "dukemtmc-reid" },
  { column = "Params", metric = "parameters", better = "lower", unit = "" },
]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tables.toml").write_text(TOML)
    (tmp_path / "table_1.csv").write_text(CSV)
    return tmp_path


def test_imgnet_tables_are_complete(tables: dict) -> None:
    """Rows and their origin as in the paper: 98 own rows and 13 cited. Of Table 4 the paper cites
    the columns with BN, which are measured here all the same."""
    assert {n: len(t.rows) for n, t in tables.items()} == {
        1: 30,
        2: 30,
        3: 14,
        4: 4,
        5: 12,
        6: 6,
        7: 15,
    }
    counts = {n: count_rows(fill(t, fake_measure())) for n, t in tables.items()}
    assert counts[4] == {"own": 4, "measured": 4, "cited": 0}
    assert counts[7] == {"own": 2, "measured": 2, "cited": 13}
    assert sum(c["own"] for c in counts.values()) == 98


def test_imgnet_numbers_as_printed(tables: dict) -> None:
    """Misprints stay and have a note; the full models repeat in five tables."""
    assert tables[5].row("resnet-k-2").values["Top-1"] == "44.82"
    assert "54.82" in tables[5].row("resnet-k-2").note
    assert tables[2].printed("resnet-ch0-sp1-gs1-ls1-gp0-gn", "Top-10") == 86.54
    for column, vgg, resnet in (
        ("Top-1", "54.32", "56.48"),
        ("Top-5", "75.93", "76.89"),
        ("Top-10", "84.21", "85.01"),
    ):
        rows = {
            1: "vgg-ch1-sp1-gs1-ls1-gp1-gn",
            3: "vgg-test-all",
            5: "vgg-k-6",
            6: "vgg-fused",
            7: "imgnet-vgg",
        }
        assert {tables[n].row(r).values[column] for n, r in rows.items()} == {vgg}
        rows = {
            2: "resnet-ch1-sp1-gs1-ls1-gp1-gn",
            3: "resnet-test-all",
            5: "resnet-k-8",
            6: "resnet-fused",
            7: "imgnet-resnet",
        }
        assert {tables[n].row(r).values[column] for n, r in rows.items()} == {resnet}


def test_imgnet_slugs_match_their_settings(tables: dict) -> None:
    for number in (1, 2):
        for row in tables[number].rows:
            v = row.values
            norm = "gn" if v["GN"] == "1" else "bn"
            assert v["BN"] != v["GN"]
            settings = f"ch{v['Channel']}-sp{v['Spatial']}-gs{v['GS']}-ls{v['LS']}-gp{v['GP']}"
            assert row.slug.split("-", 1)[1] == f"{settings}-{norm}"


def test_every_number_of_imgnet_is_monotone_in_k(tables: dict) -> None:
    """Top-1 <= Top-5 <= Top-10 in every printed row."""
    for number in (1, 2, 3, 5, 6, 7):
        for row in tables[number].rows:
            values = [tables[number].printed(row.slug, c) for c in ("Top-1", "Top-5", "Top-10")]
            known = [v for v in values if v is not None]
            assert known == sorted(known)


@pytest.mark.parametrize("paper", ["imgnet", "ssan"])
def test_notes(paper: str) -> None:
    notes = load_notes(paper)
    assert len(notes) >= 25
    assert {note.kind for note in notes} == {"ambiguous", "unspecified", "misprint"}
    assert all(note.where and note.what and note.chosen and note.why for note in notes)


def test_ssan_tables_are_complete() -> None:
    """Rows and their origin as in the paper; a row counts once per data set."""
    counts = {n: count_rows(fill(t, fake_measure())) for n, t in load_tables("ssan").items()}
    assert {n: (c["own"], c["cited"]) for n, c in counts.items()} == {
        1: (12, 0),  # six rows on two data sets
        2: (3, 1),
        3: (4, 13),
        4: (6, 0),
        5: (12, 20),  # eight rows on four domains
    }


def test_ssan_numbers_as_printed() -> None:
    """The same models stand in several tables, and Rank-1 <= Rank-5 <= Rank-10 everywhere."""
    tables = load_tables("ssan")
    same = [
        ((1, "ssan", "CUHK-PEDES Rank-1"), (3, "ssan-resnet", "Rank-1"), "61.37"),
        ((1, "ssan", "CUHK-PEDES Rank-10"), (3, "ssan-resnet", "Rank-10"), "86.73"),
        ((1, "baseline", "CUHK-PEDES Rank-5"), (3, "baseline-resnet", "Rank-5"), "75.42"),
        ((1, "ssan", "ICFG-PEDES Rank-1"), (4, "ssan", "Rank-1"), "54.23"),
        ((1, "pfl", "CUHK-PEDES Rank-1"), (2, "pfl", "Global+Part"), "59.26"),
        ((2, "scan", "Global+Part"), (3, "scan-resnet", "Rank-1"), "55.86"),
        ((2, "vitaa", "Global+Part"), (3, "vitaa-resnet", "Rank-1"), "55.97"),
    ]
    for first, second, printed in same:
        for number, row, column in (first, second):
            assert tables[number].row(row).values[column] == printed
    assert "Possibly copied" in tables[5].row("so-mia").note
    for number in (1, 3, 4, 5):
        table = tables[number]
        for row in table.rows:
            by_data: dict[str, list[float]] = {}
            for metric in table.metrics:
                value = table.printed(row.slug, metric.column)
                if value is not None:
                    by_data.setdefault(metric.dataset, []).append(value)
            assert all(values == sorted(values) for values in by_data.values())


def test_ssan_domains_are_known() -> None:
    domains = {metric.dataset for metric in load_tables("ssan")[5].metrics}
    assert domains == set(DOMAINS) - {"cuhk-pedes-ssm"}


def test_long_form(folder: Path) -> None:
    table = load_tables("x", folder)[1]

    def measure(_: int, row: str, column: str) -> list[Measurement] | None:
        if column == "Params":
            return [Measurement(None, value=123.0)]
        if row == "base":
            return None
        if column == "Duke R1":
            return [Measurement(None, "all", "Top-1", failed=True)]
        runs = [FakeRun(f"s{s}", np.array([1, 1, 9, 9 - 8 * s])) for s in range(2)]
        return [Measurement(run, "all", "Top-1") for run in runs] + [Measurement(None)]

    filled = fill(table, measure)
    frame = long_form(filled)
    assert tuple(frame.columns) == LONG_COLUMNS
    assert len(frame) == 12

    def line(row: str, dataset: str, metric: str) -> pd.Series:
        chosen = (frame.row == row) & (frame.dataset == dataset) & (frame.metric == metric)
        return frame[chosen].squeeze()

    ours = line("ours", "market-1501", "Rank-1")
    assert (ours.backbone, ours.paper, ours.seeds, ours.status) == ("R50", 91.5, 2, "measured")
    assert ours.measured == pytest.approx(62.5)  # 50 and 75
    assert ours["std"] == pytest.approx(np.std([50, 75], ddof=1))
    assert line("ours", "dukemtmc-reid", "Rank-1").status == "failed"
    assert line("base", "market-1501", "mAP").status == "not_run"
    assert np.isnan(line("base", "dukemtmc-reid", "Rank-1").paper)
    assert line("else", "market-1501", "Rank-1").status == "cited"
    assert line("base", "market-1501", "parameters").measured == 123
    # A row counts once per data set, and as measured if all its cells are: ours on Market.
    assert count_rows(filled) == {"own": 4, "measured": 1, "cited": 2}


def test_csv_keeps_the_printed_text(folder: Path, tmp_path: Path) -> None:
    filled = fill(load_tables("x", folder)[1], lambda *_: None)
    path = write_long_form(filled, tmp_path / "out")
    assert path.name == "table_1.csv"
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(LONG_COLUMNS)
    assert lines[1] == "base,market-1501,R50,Rank-1,80.30,,,0,own,not_run"
    assert len(pd.read_csv(path)) == 12


def test_cited_cells_are_never_measured(tables: dict) -> None:
    asked = []

    def measure(table: int, row: str, column: str) -> None:
        asked.append((row, column))

    fill(tables[7], measure)
    assert {row for row, _ in asked} == {"imgnet-vgg", "imgnet-resnet"}
    asked.clear()
    fill(load_tables("gla")[6], measure)
    assert {row for row, _ in asked} == {"basel", "proposed"}
    assert "mia-vgg" not in {row for row, _ in asked}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tables.toml", 'title = "T"', 'title = "T"\ncolour = 1', "colour"),
        ("tables.toml", '"Market R1", metric', '"Market R2", metric', "no printed column"),
        ("tables.toml", '{ R50 = "base" }', '{ R50 = "else" }', "baseline"),
        ("tables.toml", 'dataset = "market-1501"', "", "no data set"),
        ("tables.toml", '"mAP" }', '"Rank-1" }', "both called"),
        ("tables.toml", 'better = "lower"', 'better = "less"', "better"),
        ("tables.toml", "[[table]]", "[[table", "tables.toml"),
        ("table_1.csv", "ours,ours", "base,ours", "twice"),
        ("table_1.csv", "91.5", "91,5", "line 3"),
        ("table_1.csv", "91.5", "high", "no number"),
        ("table_1.csv", ",cited,", ",copied,", "origin"),
        ("table_1.csv", "row,", "name,", "expected the columns"),
    ],
)
def test_bad_files_are_named(folder: Path, file: str, old: str, new: str, message: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_tables("x", folder)
    assert str(folder) in str(caught.value)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "table_1.csv").unlink()
    with pytest.raises(DataError, match=r"table_1\.csv"):
        load_tables("x", folder)
    with pytest.raises(DataError, match=r"notes\.toml"):
        load_notes("x", folder)


def test_unknown_metric_of_a_run_is_an_error(tables: dict) -> None:
    run = FakeRun("k1", np.ones(3))
    with pytest.raises(StoreError, match=r"k1.*Top-7.*Top-10"):
        fill(tables[6], lambda *_: [Measurement(run, "all", "Top-7")])


# ------------------------------------------------------------------ HTML


class _Grid(HTMLParser):
    """Cells per row of the first table, spans multiplied out."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.pending: list[int] = []  # columns still covered by a rowspan

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "tr":
            self.widths.append(sum(n > 0 for n in self.pending))
            self.pending = [n - 1 for n in self.pending if n > 1]
        if tag in ("td", "th"):
            self.widths[-1] += int(values.get("colspan") or 1)
            if int(values.get("rowspan") or 1) > 1:
                self.pending.append(int(values["rowspan"]) - 1)


@pytest.mark.parametrize("paper", ["imgnet", "ssan"])
@pytest.mark.parametrize("synthetic", [True, False])
def test_html_tables_are_rectangular(paper: str, synthetic: bool) -> None:
    for table in load_tables(paper).values():
        page = published_table(fill(table, fake_measure(2)), synthetic=synthetic).html
        grid = _Grid()
        grid.feed(page)
        assert len(grid.widths) == len(table.rows) + 2
        assert len(set(grid.widths)) == 1, (table.number, grid.widths)
        assert page.count("<caption>") == 1
        assert all('scope="' in th for th in re.findall(r"<th\b[^>]*>", page))


def _row(page: str, slug: str) -> str:
    return re.search(rf'<tr data-row="{slug}".*?</tr>', page, re.DOTALL)[0]


def test_synthetic_tables_show_gains_and_no_difference(tables: dict) -> None:
    def measure(table: int, row: str, column: str) -> list[Measurement]:
        hits = {"vgg-average": 20, "vgg-max": 30}.get(row, 10)
        ranks = np.array([1] * hits + [50] * (100 - hits))
        return [Measurement(FakeRun(row, ranks), "all", column)]

    page = published_table(fill(tables[6], measure), synthetic=True).html
    assert "difference" not in page.split("<tbody>")[0]
    row = re.sub(r"<[^>]+>", "", _row(page, "vgg-max"))
    assert "+0.1 / +10.0" in row  # 53.51 - 53.36, 30 - 20
    assert "baseline" in _row(page, "vgg-average")
    # As in the paper max beats average; fused is below both here; the ResNet rows all tie.
    assert "Top-1: 1 of 3 pairs of measured rows (33 %) stand in the paper&#x27;s order" in page
    assert "Kendall&#x27;s tau −0.24, 95 % interval −1.00 … +0.67, choice of people alone" in page
    real = published_table(fill(tables[6], measure), synthetic=False).html
    assert "difference" in real
    assert "−23.51" in _row(real, "vgg-max")  # 30 - 53.51


def test_statuses_are_said(tables: dict) -> None:
    measure = fake_measure(2, missing=["vgg-max"], failed=["resnet-max"])
    page = published_table(fill(tables[6], measure), synthetic=True, csv="i/table_6.csv").html
    assert "not run" in _row(page, "vgg-max")
    assert "failed" in _row(page, "resnet-max")
    assert "±" in _row(page, "vgg-fused")
    assert "1 of 6 own rows were not run; 1 of 6 own rows failed." in page
    assert 'href="i/table_6.csv"' in page
    whole = fake_measure(2)

    def in_part(table: int, row: str, column: str) -> list[Measurement]:
        return [] if column == "Top-10" and row == "vgg-average" else whole(table, row, column)

    page = published_table(fill(tables[6], in_part), synthetic=True).html
    assert "1 of 6 own rows were run in part" in page and "were not run" not in page
    assert "the baseline row was run in part, so some gains are missing" in page


def test_the_chance_level_is_said_where_runs_know_it(tables: dict) -> None:
    def measure(table: int, row: str, column: str) -> list[Measurement]:
        measured = fake_measure(2)(table, row, column)
        for seed, measurement in enumerate(measured):
            measurement.run.metrics["chance"] = {"all": {"Top-1": 4.0 + seed, "Top-5": 20.04}}
        return measured

    filled = fill(tables[6], measure)
    assert filled.cells["vgg-max", "Top-1"].chance == 4.5
    assert filled.cells["vgg-max", "Top-10"].chance is None
    page = published_table(filled, synthetic=True).html
    assert "A random ranking reaches: Top-1 4.5; Top-5 20.0." in page
    without = published_table(fill(tables[6], fake_measure()), synthetic=True).html
    assert "random ranking" not in without


def test_a_missing_seed_is_said(tables: dict) -> None:
    complete = fake_measure(2)

    def measure(table: int, row: str, column: str) -> list[Measurement]:
        return [complete(table, row, column)[0], Measurement(None)]

    page = published_table(fill(tables[6], measure), synthetic=True).html
    assert "1 of 2 seeds" in _row(page, "vgg-max")


def test_misprints_get_footnotes_at_their_cell(tables: dict) -> None:
    page = published_table(fill(tables[5], fake_measure()), synthetic=True).html
    assert re.search(r'44\.82<sup><a href="#t5-note-a"', _row(page, "resnet-k-2"))
    assert re.search(r'<li id="t5-note-a">44\.82 is probably', page)


def test_best_is_marked_apart_for_paper_and_measured(folder: Path) -> None:
    table = load_tables("x", folder)[1]

    def measure(_: int, row: str, column: str) -> list[Measurement]:
        return [Measurement(None, value={"base": 90.0, "ours": 80.0}[row])]

    page = published_table(fill(table, measure), synthetic=False).html
    assert '<strong class="best">91.5</strong>' in _row(page, "ours")
    assert '<strong class="best">90.00</strong>' in _row(page, "base")
    assert '<strong class="best">1.07e9</strong>' in _row(page, "base")  # fewer is better
    assert '<tr data-row="else" class="cited">' in page
    assert "other &lt;b&gt; [2]" in page


def test_settings_only_table(tmp_path: Path) -> None:
    (tmp_path / "tables.toml").write_text('[[table]]\nnumber = 1\ntitle = "Attributes"\n')
    (tmp_path / "table_1.csv").write_text("row,Data,hat,origin,note\na,Market,1,own,\nb,D,,own,\n")
    table = load_tables("x", tmp_path)[1]
    page = published_table(fill(table, lambda *_: None), synthetic=True).html
    assert long_form(fill(table, lambda *_: None)).empty
    assert "✓" in _row(page, "a")
    assert "own rows" not in page


def test_data_table_escapes_and_labels() -> None:
    frame = pd.DataFrame({"split": ["<train>", "test"], "images": [12345, 7], "share": [0.5, None]})
    page = data_table(frame, "Counts & more").html
    assert "&lt;train&gt;" in page and "Counts &amp; more" in page
    assert "12,345" in page and "0.50" in page and "nan" not in page.lower()


def test_html_is_deterministic(tables: dict) -> None:
    first, second = (
        published_table(fill(tables[1], fake_measure(2)), synthetic=True) for _ in range(2)
    )
    assert first == second


def test_an_end_of_an_interval_that_leaves_zero_out_does_not_print_as_zero() -> None:
    assert ranged(-3.0, -0.0316) == "−3.00 … −0.03"
    assert ranged(0.004, 1.25) == "+0.004 … +1.250"
    assert ranged(-0.02, 1.25) == "0.0 … +1.2"  # zero is in it, and stays in it
    assert ranged(-1.25, 2.0) == "−1.2 … +2.0"
    assert ranged(0.0, 2.0) == "0.0 … +2.0"
    assert ranged(1e-9, 2.0) == "0.0000 … +2.0000"
    assert ranged(None, 2.0) == ""
