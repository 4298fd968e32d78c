"""What a paper's results leave on disk: its tables as CSV, and what the index and the page say.

The notebook collects the results once and writes them; the command that ran it reads them.
"""

import json
from typing import Any

from reidlib.files import read_regular, write_json
from reidlib.papers.driver import get_paper
from reidlib.papers.tables import write_long_form
from reidlib.report import Html
from reidlib.report.index import paper_entry
from reidlib.report.opening import opening
from reidlib.report.results import PaperResults
from reidlib.run.session import Session

RESULTS = "results.json"


def record(session: Session, results: PaperResults) -> None:
    """Write the tables in long form, `<paper>/table_<n>.csv`, the entry of a summary, and what the
    paper's page begins with."""
    folder = session.folder / results.paper
    for filled in results.tables.values():
        write_long_form(filled, folder)
    title = get_paper(results.paper).ABOUT.title
    content = {
        "data": "synthetic" if results.synthetic else "real",
        "entry": paper_entry("ok", 0.0, results.tables.values(), results.claims, title=title),
        "opening": opening(results, profile=session.profile).html,
    }
    write_json(folder / RESULTS, content)


def recorded(session: Session, paper: str) -> dict[str, Any] | None:
    """What `record` wrote; None if it has not since `forget`, or if it cannot be read."""
    try:
        found = json.loads(read_regular(session.folder / paper / RESULTS))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"data", "entry", "opening"} <= set(found) else None


def opening_of(session: Session, paper: str) -> Html | None:
    """What the paper's page begins with; None where nothing is recorded."""
    found = recorded(session, paper)
    return None if found is None else Html(found["opening"])


def forget(session: Session, paper: str) -> None:
    """Remove what an earlier report recorded."""
    (session.folder / paper / RESULTS).unlink(missing_ok=True)
