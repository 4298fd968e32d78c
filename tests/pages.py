"""What tests of the notebooks share: a paper's notebook executed, as a page."""

from pathlib import Path

from reidlib.papers.driver import get_paper
from reidlib.report.html import Banner, write_page
from reidlib.report.notebook import run_notebook
from reidlib.run.session import Session

ROOT = Path(__file__).resolve().parents[1]


def page_of_notebook(session: Session, paper: str, out: Path) -> str:
    """The page of a paper's notebook, executed in `out` on what is in the session's store, without
    training; it has no problems."""
    done = run_notebook(
        ROOT / "notebooks" / get_paper(paper).ABOUT.notebook,
        out / f"{paper}.ipynb",
        {
            "profile": "smoke",
            "results": str(session.results),
            "data": str(session.data),
            "train_missing": False,
        },
        environment={"PYTHONPATH": str(ROOT)},
    )
    assert done.cells > 25
    banner = Banner(synthetic=True, profile="smoke", device="cpu", date="2030-01-02")
    assert write_page(done.path, out / f"{paper}.html", banner) == []
    return (out / f"{paper}.html").read_text()
