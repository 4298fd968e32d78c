"""What `./run_all.sh` runs once the environment is there: train what is missing, write reports."""

import sys
import time
from collections.abc import Sequence

import torch

from reidlib.arguments import check, run_all_parser
from reidlib.cli import session_of
from reidlib.errors import DataError, ReidlibError
from reidlib.files import locked
from reidlib.papers import get_paper
from reidlib.report.html import Banner, write_page
from reidlib.report.index import paper_entry, update_summary, write_index
from reidlib.report.notebook import run_notebook
from reidlib.report.results import collect, is_synthetic, write_tables
from reidlib.run.runner import git_commit, plan, python_path, run_missing
from reidlib.run.session import Session, project_root
from reidlib.train import Compute, versions


def main(argv: Sequence[str] | None = None) -> None:
    parser = run_all_parser()
    arguments = parser.parse_args(argv)
    check(arguments, parser)
    try:
        status = write_reports(session_of(arguments), arguments.papers)
    except ReidlibError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this one was", file=sys.stderr)
        status = 130
    sys.exit(status)


def write_reports(session: Session, papers: Sequence[str], *, train: bool = True) -> int:
    """Train (if `train`) and report the papers one by one; returns the exit status.

    A paper that fails, or none of whose data is there, is shown in the index and does not stop the
    others; the status is then 1. Raises `ReidlibError` for what would stop them all: no data for
    any of them, a full disk.
    """
    status = 0
    without_data = []
    for number, paper in enumerate(papers, start=1):
        title = get_paper(paper).TITLE
        print(f"== {title} ({number} of {len(papers)}), profile {session.profile_name}", flush=True)
        started = time.time()
        try:
            error = _one_paper(session, paper, train=train)
        except DataError as why:
            without_data.append(why)
            if len(without_data) == len(papers):
                raise
            error = str(why)
        _record(session, paper, time.time() - started, error)
        if error:
            print(f"error: {title}: {error}", file=sys.stderr, flush=True)
            status = 1
        expected = {name: get_paper(name).TITLE for name in papers}
        index = write_index(session.folder, expected=expected, run_now=papers[:number])
    print(f"Reports: {index}")
    return status


def _one_paper(session: Session, paper: str, *, train: bool) -> str:
    """Train, execute the notebook, write the page; returns what went wrong.

    Raises `DataError` if there is no data for any of its experiments.
    """
    module = get_paper(paper)
    errors = []
    planned = plan(session, [paper], progress=True)
    if train:
        failures = run_missing(session, planned)
        errors += [f"run {key} failed: {why}" for key, why in failures.items()]
    executed = session.folder / f"{paper}.ipynb"
    # Of two commands on one results folder, the second waits here and then writes the same again.
    with locked(session.folder / ".locks" / paper):
        try:
            run_notebook(
                project_root() / "notebooks" / module.NOTEBOOK,
                executed,
                {
                    "profile": session.profile_name,
                    "results": str(session.results),
                    "data": None if session.data is None else str(session.data),
                    "seeds": session.seeds,
                    "device": session.device,
                    "jobs": session.jobs,
                    "world_seed": session.world_seed,
                    "train_missing": False,  # what could be trained was, above
                },
                environment={"PYTHONPATH": python_path()},
            )
        except ReidlibError as error:
            errors.append(str(error))
        failed = "; ".join(errors)
        if executed.exists():
            banner = make_banner(session, paper)
            problems = write_page(executed, session.folder / f"{paper}.html", banner, failed=failed)
            for problem in problems:
                print(f"warning: {paper}.html: {problem}", file=sys.stderr)
    return failed


def _record(session: Session, paper: str, seconds: float, error: str) -> None:
    """Write a paper's tables, and what the index and `summary.json` say of it."""
    with locked(session.folder / ".locks" / paper):
        results = collect(session, paper)
        write_tables(results, session.folder / paper)
        update_summary(
            session.folder,
            {
                "profile": session.profile_name,
                "data": "synthetic" if results.synthetic else "real",
                "device": Compute.choose(session.device).device,
                "versions": versions(),
                "git": git_commit(),
            },
            {
                paper: paper_entry(
                    "failed" if error else "ok",
                    seconds,
                    results.tables.values(),
                    results.claims,
                    title=get_paper(paper).TITLE,
                    error=error,
                )
            },
        )


def make_banner(session: Session, paper: str) -> Banner:
    """What stands at the top of a report; facts about training come from the runs themselves."""
    provenances = [
        run.provenance
        for p in plan(session, [paper])
        if (run := session.store.load(p.key)) is not None
    ]
    trained = sorted({f"{p['device']}, {p['precision']}" for p in provenances})
    commits = sorted({p["git"] for p in provenances if p["git"]})
    taggers = sorted({p["tagger"] for p in provenances if "tagger" in p})
    minutes = sum(p["wall_s"] for p in provenances) / 60
    more = {}
    if provenances:
        more["Runs"] = f"{len(provenances)}, {minutes:.1f} minutes of computing in all"
    synthetic = is_synthetic(session, paper)
    if synthetic and session.data is None:
        more["World"] = f"procedural pedestrians, world seed {session.world_seed}"
    return Banner(
        synthetic=synthetic,
        profile=session.profile_name,
        device=" and ".join(trained) or Compute.choose(session.device).device,
        date=time.strftime("%Y-%m-%d"),
        git=" and ".join(commits) or git_commit(),
        versions={k: v for k, v in versions().items() if k in ("python", "torch", "torchvision")},
        tagger=" and ".join(taggers),
        more=more,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)  # reports are small; workers have their own settings
    main()
