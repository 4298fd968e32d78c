"""Training what is missing and writing the reports: what `./run_all.sh` runs."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reidlib.errors import DataError, ReidlibError
from reidlib.files import locked
from reidlib.papers.claims import VERDICTS
from reidlib.papers.driver import get_paper
from reidlib.report import record
from reidlib.report.html import Banner, write_page
from reidlib.report.index import duration, read_summary, update_summary, write_index
from reidlib.report.notebook import run_notebook
from reidlib.report.results import collect, is_synthetic
from reidlib.run.plan import Planned, plan
from reidlib.run.pool import Progress, missing_of, python_path, run_missing
from reidlib.run.runner import git_commit
from reidlib.run.session import Session, project_root
from reidlib.run.source import is_todays
from reidlib.train import Compute, versions


def publish(session: Session, papers: Sequence[str], *, train: bool = True) -> int:
    """Train (if `train`) and report the papers one by one; returns the exit status.

    A paper that fails, or none of whose data is there, is shown in the index and does not stop the
    others; the status is then 1. Raises `ReidlibError` for what would stop them all: no data for
    any of them, a full disk.
    """
    titles = {paper: get_paper(paper).ABOUT.title for paper in papers}
    plans: dict[str, list[Planned]] = {}
    without_data: dict[str, DataError] = {}
    for paper in papers:
        try:
            plans[paper] = plan(session, [paper], progress=True)
        except DataError as why:
            without_data[paper] = why
            if len(without_data) == len(papers):
                raise
    everything = {p.key: p for planned in plans.values() for p in planned}
    missing = missing_of(session, list(everything.values())) if train else []
    show = Progress(session, [p for p in missing if not p.problem])
    status = 0
    try:
        for number, paper in enumerate(papers, start=1):
            show.say(f"== {titles[paper]} ({number} of {len(papers)}), profile {session.profile}")
            started = time.time()
            trained = False
            if paper in plans:
                trained, error = _one_paper(session, paper, plans[paper], show, train=train)
            else:
                error = str(without_data[paper])
            _summarize(session, paper, time.time() - started if trained or error else None, error)
            if error:
                print(f"error: {titles[paper]}: {error}", file=sys.stderr, flush=True)
                status = 1
            index = write_index(session.folder, expected=titles, run_now=papers[:number])
    finally:
        show.close()
    for line in summary_lines(read_summary(session.folder), papers, session.folder):
        print(line)
    print(f"All of it: {index}")
    return status


def summary_lines(summary: Mapping[str, Any], papers: Sequence[str], folder: Path) -> Iterator[str]:
    """What a command came to, a line for each paper: its verdicts, minutes, and its report."""
    for paper in papers:
        entry = summary["papers"].get(paper)
        if entry is None:
            continue
        counts = Counter(claim["verdict"] for claim in entry["claims"])
        found = ", ".join(
            f"{counts[verdict]} {verdict.replace('_', ' ')}"
            for verdict in VERDICTS
            if counts[verdict]
        )
        failed = " FAILED:" if entry["status"] == "failed" else ""
        yield (
            f"{entry['title']}:{failed} {found or 'no claims'}; "
            f"{duration(entry['wall_s'])}; {folder / f'{paper}.html'}"
        )


def _one_paper(
    session: Session, paper: str, planned: Sequence[Planned], show: Progress, *, train: bool
) -> tuple[bool, str]:
    """Train, execute the notebook (which writes the tables), write the page; returns whether
    anything was trained, and what went wrong."""
    errors = []
    missing = sum(session.store.load(p.key) is None for p in planned)
    if train:
        show.stage("training")
        failures = run_missing(session, planned, show=show)
        errors += [f"run {key} failed: {why}" for key, why in failures.items()]
    executed = session.folder / f"{paper}.ipynb"
    show.stage(f"writing the report of {get_paper(paper).ABOUT.title}")
    # Of two commands on one results folder, the second waits here and then writes the same again.
    with locked(session.folder / ".locks" / paper):
        record.forget(session, paper)
        try:
            run_notebook(
                project_root() / "notebooks" / get_paper(paper).ABOUT.notebook,
                executed,
                {
                    "profile": session.profile,
                    "results": str(session.results),
                    "data": None if session.data is None else str(session.data),
                    "seeds": session.seeds,
                    "device": session.device,
                    "jobs": session.jobs,
                    "world_seed": session.world_seed,
                    "imagefolder": str(session.imagefolder) if session.imagefolder else None,
                    "train_missing": False,  # what could be trained was, above
                    # Only where it says something: a notebook may do without this parameter.
                    **({} if session.precision == "auto" else {"precision": session.precision}),
                },
                environment={"PYTHONPATH": python_path()},
            )
        except ReidlibError as error:
            errors.append(str(error))
        failed = "; ".join(errors)
        if executed.exists():
            banner = make_banner(session, planned)
            problems = write_page(
                executed,
                session.folder / f"{paper}.html",
                banner,
                opening=record.opening_of(session, paper),
                failed=failed,
            )
            for problem in problems:
                print(f"warning: {paper}.html: {problem}", file=sys.stderr)
    return train and missing > 0, failed


def _summarize(session: Session, paper: str, seconds: float | None, error: str) -> None:
    """What the index and `summary.json` say of a paper.

    seconds: None keeps the time of the training, where a report is only rendered again.
    """
    with locked(session.folder / ".locks" / paper):
        outcome = record.recorded(session, paper)
        if outcome is None:  # the notebook failed before it got there
            record.record(session, collect(session, paper))
            outcome = record.recorded(session, paper)
        header = {
            "profile": session.profile,
            "data": outcome["data"],
            "device": Compute.choose(session.device).device,
            "versions": versions(),
            "git": git_commit(),
        }
        entry = {
            **outcome["entry"],
            "status": "failed" if error else "ok",
            "error": error,
            "wall_s": round(seconds or 0.0, 1),
        }
        untrained = [paper] if seconds is None else []
        update_summary(session.folder, header, {paper: entry}, untrained=untrained)


def make_banner(session: Session, planned: Sequence[Planned]) -> Banner:
    """What stands at the top of a report; facts about training come from the runs themselves."""
    runs = {p.key: session.store.load(p.key) for p in planned}
    provenances = [run.provenance for run in runs.values() if run is not None]
    compute = Compute.choose(session.device, precision=session.precision)
    trained = sorted({f"{p['device']}, {p['precision']}" for p in provenances})
    commits = sorted({p["git"] for p in provenances if p["git"]})
    taggers = sorted({p["tagger"] for p in provenances if "tagger" in p})
    minutes = sum(p["wall_s"] for p in provenances) / 60
    more = {}
    if provenances:
        more["Runs"] = f"{len(provenances)}, {minutes:.1f} minutes of computing in all"
    came_along = sum(run is not None and run.weights is None for run in runs.values())
    if came_along:
        more["Trained elsewhere"] = (
            f"{came_along} of these runs came along with the project as reference results: without "
            "weights, so what looks into a model needs a training"
        )
    stale = sum(
        runs[p.key] is not None and not is_todays(p.paper, runs[p.key].provenance.get("source"))
        for p in planned
    )
    if stale:
        more["Source"] = (
            f"{stale} of these runs were computed by other source than today's: their numbers "
            "stand for the code of their commits"
        )
    processors = sorted({p["processor"] for p in provenances if p.get("processor")})
    if processors:
        more["Processor"] = "; ".join(processors) + ": runs repeat bit for bit on the same kind"
    synthetic = is_synthetic(session, [p.experiment for p in planned if p.paper != "pretraining"])
    if synthetic and session.data is None:
        more["World"] = f"procedural pedestrians, world seed {session.world_seed}"
    return Banner(
        synthetic=synthetic,
        profile=session.profile,
        device=" and ".join(trained) or f"{compute.device}, {compute.precision}",
        date=time.strftime("%Y-%m-%d"),
        git=" and ".join(commits) or git_commit(),
        versions={k: v for k, v in versions().items() if k in ("python", "torch", "torchvision")},
        tagger=" and ".join(taggers),
        more=more,
    )
