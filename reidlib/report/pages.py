"""A profile's results as pages in Markdown, to be read where nothing can be run.

<folder>/README.md             all papers: how many claims came out how, and which were decided
<folder>/<paper>.md            verdicts, forest plot, claims, tables
<folder>/<paper>-claims.svg    the forest plot
<folder>/<paper>/table_<n>.csv each table in long form
<folder>/summary.json          the same for programs
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from reidlib.errors import DataError
from reidlib.files import write_atomic, write_json
from reidlib.papers import driver
from reidlib.papers.claims import ClaimResult, expected_by_luck, to_summary
from reidlib.papers.stability import together
from reidlib.papers.tables import (
    CellResult,
    FilledTable,
    count_rows,
    load_notes,
    write_long_form,
)
from reidlib.report import markdown
from reidlib.report.figures.forest import forest_svg
from reidlib.report.labels import plain, row_label, with_labels
from reidlib.report.markdown import escaped
from reidlib.report.results import PaperResults, collect
from reidlib.report.summary_text import SMOKE, in_three_sentences
from reidlib.report.tables import as_printed, ranged, signed
from reidlib.report.verdicts import (
    LOOKS,
    by_likely_reason,
    counted,
    counts,
    is_judged,
    kind_of,
    steadiness,
)
from reidlib.run.plan import plan
from reidlib.run.session import Session

_SYNTHETIC = (
    "**Synthetic data** (procedural pedestrians). Which row is better can be compared with the "
    "paper; the numbers themselves mean nothing beside the paper's."
)


@dataclass(frozen=True)
class _Found:
    """What a profile has of one paper."""

    title: str
    results: PaperResults
    begun: bool  # whether one of its own trainings is finished
    done: int  # finished trainings, pretrainings among them
    planned: int
    processors: tuple[str, ...]


def write_pages(session: Session, papers: Sequence[str], folder: Path) -> list[Path]:
    """Write the pages of the papers of which a training is finished; returns the Markdown files.

    The first is the page of all papers; those that are not named here stand there, too.
    """
    found = {paper: _found(session, paper, named=paper in papers) for paper in driver.PAPERS}
    begun = {paper: each for paper, each in found.items() if each.begun}
    pages = [folder / "README.md"]
    there = {paper for paper in begun if paper in papers or (folder / f"{paper}.md").exists()}
    write_atomic(pages[0], _front(session, found, there))
    write_json(folder / "summary.json", _summary(session, begun))
    for paper in papers:
        if paper not in begun:
            continue
        results = begun[paper].results
        for filled in results.tables.values():
            if filled.table.metrics:
                write_long_form(filled, folder / paper)
        if plot := forest_svg(results.claims):
            write_atomic(folder / f"{paper}-claims.svg", plot)
        pages.append(folder / f"{paper}.md")
        write_atomic(pages[-1], _page(session, paper, begun[paper]))
    return pages


def _found(session: Session, paper: str, *, named: bool) -> _Found:
    try:
        planned = plan(session, [paper])
    except DataError:  # some of the real datasets may not be there
        planned = []
    runs = {p.key: session.store.load(p.key) for p in planned}
    done = {key: run for key, run in runs.items() if run is not None}
    begun = any(p.key in done for p in planned if p.paper == paper)
    processors = {
        run.provenance.get("processor") or run.provenance["device"] for run in done.values()
    }
    title = driver.get_paper(paper).ABOUT.title
    # Pages that travel are the same whether or not this machine has drawn what they count.
    results = collect(session, paper, draw=named and begun)
    return _Found(title, results, begun, len(done), len(planned), tuple(sorted(processors)))


def _front(session: Session, found: Mapping[str, _Found], there: Collection[str]) -> str:
    """The page of all papers, which leads to those that are `there`: the answer first."""
    begun = {paper: each for paper, each in found.items() if each.begun}
    claims = [c for each in begun.values() for c in each.results.claims]
    done, planned = (sum(getattr(f, name) for f in found.values()) for name in ("done", "planned"))
    verdicts = counted(counts(map(kind_of, claims)))
    lines = [
        f"# What `{session.profile}` found",
        "",
        f"{_data(begun.values())} {_how_many(done, planned)} "
        f"Of the {len(claims)} claims of the papers below: {verdicts}. "
        f"{sum(c.by_luck > 0 for c in claims)} could be decided; if no row were better than "
        f"another, luck alone would decide about {expected_by_luck(claims):.0f} of these (rows "
        "taken as independent and equally uncertain). "
        f"{steadiness(together(each.results.stability for each in begun.values()))}",
        "",
    ]
    heads = ("paper", "trainings", "reproduced", "contradicted", "undecided", "not run")
    rows = []
    for paper, each in found.items():
        if not each.begun:
            rows.append((each.title, f"0 of {each.planned}", *[""] * 4))
            continue
        n = counts(map(kind_of, each.results.claims))
        numbers = (n["reproduced"], n["contradicted"], n["undecided"])
        absent = n["not_run"] + n.get("failed", 0)
        name = f"[{each.title}]({paper}.md)" if paper in there else each.title
        rows.append((name, f"{each.done} of {each.planned}", *map(str, (*numbers, absent))))
    lines += markdown.table(heads, rows)
    if not is_judged(session.profile):
        lines += [" ".join(SMOKE), ""]
    for kind in ("contradicted", "reproduced"):
        decided = [
            line
            for each in begun.values()
            for line in _decided(each.title, [c for c in each.results.claims if kind_of(c) == kind])
        ]
        if decided:
            lines += [f"## {kind.capitalize()}", "", *decided, ""]
    lines += [
        "Differences are in percentage points, with their 95 % intervals; the paper's own stands "
        "behind them. A claim is *reproduced* where the intervals of all its comparisons lie above "
        "zero, *contradicted* where one lies below (each at 95 %, not corrected for their number), "
        "with at least three trainings a side; the weakest comparison is shown. *Not run* are "
        "above all comparisons with numbers that the authors cite from elsewhere.",
        "",
        f"`python -m reidlib report --profile {session.profile}` makes the full reports of these "
        "runs without training anything; "
        f"`python -m reidlib keep --profile {session.profile}` writes these pages.",
        "",
    ]
    return "\n".join(lines)


def _decided(title: str, claims: Iterable[ClaimResult]) -> list[str]:
    """Claims as lines of a list, each likely reason below those that have it."""
    lines = []
    for likely, found in by_likely_reason(claims, attrgetter("likely")):
        lines += [f"- {title}: {_said(c)} ({_numbers(c)})" for c in found]
        if likely:
            those = " of these" if len(found) > 1 else ""
            lines += [
                "",
                f"  *Likely reason{those}*, measured in `study`: {escaped(plain(likely))}",
                "",
            ]
    return lines


def _page(session: Session, paper: str, found: _Found) -> str:
    results = found.results
    about = driver.get_paper(paper).ABOUT
    lines = [
        f"# {found.title}, profile `{session.profile}`",
        "",
        f"{escaped(about.citation)}",
        "",
        f"{_data([found])} {_how_many(found.done, found.planned)} Trained on "
        f"{escaped('; '.join(found.processors))}.",
        "",
        escaped(in_three_sentences(results, profile=session.profile)),
        "",
    ]
    if any(c.difference is not None for c in results.claims):
        lines += [f"![Claims with their intervals]({paper}-claims.svg)", ""]
    lines += [
        "## Claims",
        "",
        *markdown.table(
            ("verdict", "claim", "section, table", "paper", "measured", "95 % interval"),
            [_claim(c, results) for c in results.claims],
            numbers=(3, 4, 5),
        ),
        *_likely(results),
        *([steady, ""] if (steady := steadiness(results.stability)) else []),
        "## Tables",
        "",
        f"Each cell: printed → measured, mean ± standard deviation{_between(results)}.",
        "",
    ]
    for filled in results.tables.values():
        if filled.table.metrics:
            lines += _table(filled, paper)
    lines += ["## Notes", "", "Where the paper is silent, ambiguous or misprinted.", ""]
    for number, note in enumerate(load_notes(paper), start=1):
        what, chosen, why = (escaped(plain(text)) for text in (note.what, note.chosen, note.why))
        place = f"{escaped(note.where)}, {escaped(note.kind)}"
        lines.append(f"{number}. **{place}**: {what} *Chosen:* {chosen} *Why:* {why}")
    return "\n".join([*lines, ""])


def _likely(results: PaperResults) -> list[str]:
    """The likely reasons of what is contradicted, and of how many claims each is."""
    groups = by_likely_reason(results.claims, attrgetter("likely"))
    found = [(text, len(claims)) for text, claims in groups if text]
    if not found:
        return []
    lines = ["Why some are contradicted, as far as that was looked for in `study`:", ""]
    for text, number in found:
        of = f" ({number} claims)" if number > 1 else ""
        lines.append(f"- {escaped(plain(text))}{of}")
    return [*lines, ""]


def _between(results: PaperResults) -> str:
    """How many trainings a measured mean rests on."""
    cells = (cell for filled in results.tables.values() for cell in filled.cells.values())
    found = sorted({len(cell.values) for cell in cells if cell.std is not None})
    return f" between {' or '.join(map(str, found))} trainings" if found else ""


def _claim(result: ClaimResult, results: PaperResults) -> list[str]:
    look = LOOKS[kind_of(result)]
    text = _said(result)
    if result.reason:
        tables = {number: filled.table for number, filled in results.tables.items()}
        text += f" ({escaped(plain(with_labels(result.reason, tables)))})"
    numbers = [
        "–" if value is None else signed(value, 1)
        for value in (result.paper_difference, result.difference)
    ]
    place = f"{escaped(result.claim.section)}, {result.claim.table}"
    return [f"{look.mark} {look.word}", text, place, *numbers, _interval(result) or "–"]


def _table(filled: FilledTable, paper: str) -> list[str]:
    table = filled.table
    rows = [
        [
            escaped(plain(row_label(table, row.slug))),
            *[_cell(filled.cells[row.slug, m.column]) for m in table.metrics],
        ]
        for row in table.rows
    ]
    return [
        f"### Table {table.number}: {escaped(plain(table.title))}",
        "",
        f"[as CSV]({paper}/table_{table.number}.csv)",
        "",
        *markdown.table(
            ("", *[escaped(m.column) for m in table.metrics]),
            rows,
            numbers=range(1, len(table.metrics) + 1),
        ),
    ]


def _cell(cell: CellResult) -> str:
    printed = escaped(cell.printed) or "–"
    if cell.origin == "cited":
        return f"{printed} (cited)" if cell.printed else printed
    if cell.measured is None:
        return f"{printed} → {cell.status.replace('_', ' ')}"
    spread = "" if cell.std is None else f" ± {as_printed(cell.std, cell)}"
    return f"{printed} → {as_printed(cell.measured, cell)}{spread}"


def _said(result: ClaimResult) -> str:
    return escaped(plain(result.claim.statement))


def _numbers(result: ClaimResult) -> str:
    printed = result.paper_difference
    there = "" if printed is None else f"; {signed(printed, 1)} in the paper"
    return f"{signed(result.difference, 1)}, {_interval(result)}{there}"


def _interval(result: ClaimResult) -> str:
    return ranged(result.ci_low, result.ci_high)


def _how_many(done: int, planned: int) -> str:
    if done == planned:
        return f"All {planned} trainings are finished."
    return f"**{done} of {planned} trainings are finished.**"


def _data(found: Iterable[_Found]) -> str:
    synthetic = {each.results.synthetic for each in found}
    return _SYNTHETIC if True in synthetic else "Real data."


def _summary(session: Session, found: Mapping[str, _Found]) -> dict[str, object]:
    papers = {
        paper: {
            "title": each.title,
            "data": "synthetic" if each.results.synthetic else "real",
            "trainings": {"done": each.done, "planned": each.planned},
            "tables": {
                str(t.table.number): count_rows(t)
                for t in each.results.tables.values()
                if t.table.metrics
            },
            "claims": to_summary(each.results.claims),
        }
        for paper, each in found.items()
    }
    return {"profile": session.profile, "papers": papers}
