"""The index of a results folder: `summary.json`, and `index.html` made from it.

`summary.json` keeps the papers of earlier runs in the same folder; only what was run is replaced.
The page begins with the answer: how many claims came out how, of each paper and in all.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from reidlib.arguments import PAPERS
from reidlib.errors import StoreError
from reidlib.files import locked, read_regular, write_atomic, write_json
from reidlib.papers.claims import ClaimResult, to_summary
from reidlib.papers.tables import FilledTable, count_rows
from reidlib.report import escape, template_text
from reidlib.report.labels import marked
from reidlib.report.style import page_css
from reidlib.report.tables import signed
from reidlib.report.verdicts import (
    LOOKS,
    ORDER,
    bar,
    by_likely_reason,
    counted,
    counts,
    is_judged,
    kind_in,
    label,
    leaning,
    word,
)

STATUSES = ("ok", "failed", "not_run")
_HEADER = ("profile", "data", "device", "versions", "git")


def paper_entry(
    status: str,
    wall_s: float,
    tables: Iterable[FilledTable] = (),
    claims: Iterable[ClaimResult] = (),
    *,
    title: str = "",
    error: str = "",
) -> dict[str, Any]:
    """A paper's entry in `summary.json`.

    Args:
        status: ok | failed | not_run, of its notebook.
        wall_s: seconds it took, trainings included.
        tables: its filled tables; those without metrics are left out.
        claims: its claims with their verdicts.
        title: for people.
        error: what failed.
    """
    if status not in STATUSES:
        raise ValueError(f"status {status!r}, expected one of {STATUSES}")
    results = list(claims)
    records = to_summary(results)
    for record, result in zip(records, results, strict=True):
        if result.reason and result.difference is not None:
            record["reason"] = result.reason
    return {
        "status": status,
        "title": title,
        "error": error,
        "wall_s": round(wall_s, 1),
        "finished": datetime.now().astimezone().isoformat(timespec="minutes"),
        "tables": {str(t.table.number): count_rows(t) for t in tables if t.table.metrics},
        "claims": records,
    }


def update_summary(
    folder: Path,
    header: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    *,
    untrained: Collection[str] = (),
) -> dict[str, Any]:
    """Merge papers into `<folder>/summary.json` and return the whole of it.

    Args:
        folder: `results/<profile>`.
        header: "profile", "data" (synthetic | real), "device", "versions", "git" of this run.
        entries: by paper, from `paper_entry`.
        untrained: papers of which this command trained nothing but only wrote the report again;
            the time of the command that trained them is kept.

    Raises:
        StoreError: an existing `summary.json` cannot be read, or the folder cannot be written.
    """
    if missing := [key for key in _HEADER if key not in header]:
        raise ValueError(f"the header lacks {', '.join(missing)}")
    path = folder / "summary.json"
    with locked(folder / ".summary.lock"):
        papers = read_summary(folder)["papers"] if path.exists() else {}
        for name, entry in entries.items():
            record = {key: header[key] for key in ("data", "device", "git")}
            if name in untrained and name in papers:
                record["wall_s"] = papers[name]["wall_s"]
            papers[name] = {**entry, **record}
        # NaN is no JSON; nothing here should be, and if it is, it is not a number to show.
        summary = {
            **{key: header[key] for key in _HEADER},
            "wall_s": round(sum(entry["wall_s"] for entry in papers.values()), 1),
            "papers": papers,
        }
        write_json(path, _finite(summary))
    return summary


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of `<folder>/summary.json`; raises `StoreError` if it is unreadable."""
    path = folder / "summary.json"
    try:
        summary = json.loads(read_regular(path))
        entries = summary["papers"].values()
        if not all({"status", "wall_s", "tables", "claims"} <= set(entry) for entry in entries):
            raise KeyError("a paper lacks status, wall_s, tables or claims")
        _ = sum(entry["wall_s"] for entry in entries)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return summary


def _unreadable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: unreadable ({error}); expected the summary of earlier reports. Remove it and "
        "run `python -m reidlib report` to write it anew."
    )


def write_index(
    folder: Path,
    *,
    expected: Mapping[str, str] | None = None,
    run_now: Sequence[str] | None = None,
) -> Path:
    """Write `<folder>/index.html` from `<folder>/summary.json`.

    Args:
        folder: `results/<profile>`.
        expected: papers that should be there, name -> title; those without an entry are said to
            be missing.
        run_now: papers of this run; the others are marked as from an earlier one.
    """
    summary = read_summary(folder)
    try:
        page = _page(folder, summary, expected, run_now)
    except (LookupError, AttributeError, TypeError, ValueError, jinja2.TemplateError) as error:
        raise _unreadable(folder / "summary.json", error) from error
    path = folder / "index.html"
    write_atomic(path, page)
    return path


def _page(
    folder: Path,
    summary: Mapping[str, Any],
    expected: Mapping[str, str] | None,
    run_now: Sequence[str] | None,
) -> str:
    # In the suite's own order, whichever of them was run last; then what is none of them.
    found = {*(expected or {}), *summary["papers"]}
    names = [*(name for name in PAPERS if name in found), *sorted(found.difference(PAPERS))]
    papers = [_paper(folder, name, summary, (expected or {}).get(name), run_now) for name in names]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = duration
    environment.filters["claim_line"] = _claim_line
    environment.filters["marked"] = marked
    return environment.from_string(template_text("index.html.j2")).render(
        css=page_css(),
        summary=summary,
        papers=papers,
        total=_total(papers),
        looks=LOOKS,
        judged=is_judged(summary["profile"]),
        folds=[
            ("undecided", "Claims that are undecided"),
            ("reproduced", "Claims that were reproduced"),
            ("failed", "Claims whose trainings failed"),
            ("not_run", "Claims that were not run"),
        ],
    )


def _total(papers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of all papers together."""
    claims = [claim for paper in papers for claim in paper["claims"]]
    found = counts(map(kind_in, claims))
    known = sum(1 for paper in papers if paper["claims"])
    of = f" of {known} papers" if known > 1 else ""
    return {
        "claims": claims,
        "counts": found,
        "counted": counted(found),
        "bar": bar(found),
        "sentence": f"{len(claims)} claims{of}: {counted(found)}.",
        "contradicted": found["contradicted"],
        "tested": len(claims) - found["not_run"] - found.get("failed", 0),
    }


def _paper(
    folder: Path,
    name: str,
    summary: Mapping[str, Any],
    title: str | None,
    run_now: Sequence[str] | None,
) -> dict[str, Any]:
    """What the index shows of a paper."""
    entry = summary["papers"].get(name, {})
    html, notebook = f"{name}.html", f"{name}.ipynb"
    exists = (folder / html).exists()
    status = entry.get("status", "not_run")
    trouble = ""
    if status == "failed":
        trouble = f"failed: {entry.get('error') or 'no message was left'}"
    elif status == "not_run":
        trouble = "not run in this results folder"
    elif not exists:
        trouble = f"the report {html} is missing"
    tables = [
        (n, table | {"csv": csv if (folder / csv).exists() else ""})
        for n, table in sorted(entry.get("tables", {}).items(), key=lambda item: int(item[0]))
        for csv in [f"{name}/table_{n}.csv"]
    ]
    claims = entry.get("claims", [])
    found = counts(map(kind_in, claims))
    by_kind = {kind: [c for c in claims if kind_in(c) == kind] for kind in ORDER}
    older = ""
    if entry and run_now is not None and name not in run_now:
        older = " in this folder"
    if entry and any(entry.get(k, summary[k]) != summary[k] for k in ("data", "device", "git")):
        older = f" on {entry['data']} data, {entry['device']}, git {entry['git'] or 'unknown'}"
    return {
        "name": name,
        "title": entry.get("title") or title or name,
        "status": word(status),
        "trouble": trouble,
        "trouble_kind": "failed" if status == "failed" else "not_run",
        "older": older,
        "finished": entry.get("finished", ""),
        "wall_s": entry.get("wall_s", 0),
        "tables": tables,
        "rows_missing": any(table["own"] > table["measured"] for _, table in tables),
        "claims": claims,
        "tested": sum(claim["difference"] is not None for claim in claims),
        "by_kind": by_kind,
        "contradicted": by_likely_reason(
            by_kind["contradicted"], lambda claim: claim.get("likely", "")
        ),
        "bar": bar(found),
        "counted": counted(found),
        "html": html,
        "html_exists": exists,
        "notebook": notebook if (folder / notebook).exists() else "",
    }


def _claim_line(claim: Mapping[str, Any], paper: Mapping[str, Any]) -> str:
    """A claim as HTML: verdict, what it says, what was measured, the reason where one is known."""
    kind = kind_in(claim)
    text = marked(claim["says"])
    if paper["html_exists"]:
        text = f'<a href="{paper["html"]}#claim-{escape(claim["id"])}">{text}</a>'
    facts = [f"Table {claim['table']}", _measured(claim), leaning(claim.get("leans", ""))]
    about = "; ".join(fact for fact in facts if fact)
    line = f'{label(kind)}: {text} <span class="minor">({about})</span>'
    if reason := claim.get("reason", ""):
        line += f'<br><span class="reason">{escape(reason)}</span>'
    return line


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _measured(claim: Mapping[str, Any]) -> str:
    if claim["difference"] is None:
        return ""
    text = f"measured {signed(claim['difference'], 1)} points"
    if claim["ci_low"] is not None and claim["ci_high"] is not None:
        text += f", interval {signed(claim['ci_low'], 1)} to {signed(claim['ci_high'], 1)}"
    return text


def _finite(value: Any) -> Any:
    """The same data with numbers that JSON cannot hold replaced by null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
