"""`python -m reidlib doctor | synth | run | report`. Needs no Jupyter package but for `report`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reidlib.arguments import (
    DATASETS,
    add_session_arguments,
    at_least_1,
    check,
    folder,
)
from reidlib.errors import ReidlibError

if TYPE_CHECKING:  # importing these takes seconds (torch); --help should not
    from reidlib.experiment import Experiment
    from reidlib.run.runner import Planned
    from reidlib.run.session import Session


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m reidlib", description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)

    doctor = commands.add_parser("doctor", help="what was found: datasets, weights, devices")
    doctor.add_argument("--data", type=folder, metavar="DIR", help="default: data/")

    synth = commands.add_parser("synth", help="write synthetic datasets in the real formats")
    synth.add_argument("--dataset", choices=(*DATASETS, "all"), default="all")
    synth.add_argument(
        "--scale",
        type=float,
        default=0.01,
        metavar="S",
        help="fraction of the real size; 1.0 = the real counts exactly (default: 0.01)",
    )
    synth.add_argument("--seed", type=int, default=0, metavar="N", help="world seed (default: 0)")
    synth.add_argument("--out", type=Path, required=True, metavar="DIR")
    synth.add_argument("--jobs", type=at_least_1, metavar="N", help="processes (default: cores)")

    run = commands.add_parser("run", help="train and evaluate what the papers' tables need")
    add_session_arguments(run)
    run.add_argument("--dry-run", action="store_true", help="print the runs and their cost only")
    run.add_argument("--key", metavar="KEY", help="only the run with this key (or its beginning)")

    report = commands.add_parser("report", help="render reports from finished runs, train nothing")
    add_session_arguments(report)
    return main


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. Errors that a user can act on are printed without a traceback."""
    arguments = parser().parse_args(argv)
    if "profile" in arguments:
        check(arguments, parser())
    try:
        status = _COMMANDS[arguments.command](arguments)
    except ReidlibError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this one was", file=sys.stderr)
        status = 130
    sys.exit(status)


def _doctor(arguments: argparse.Namespace) -> int:
    from reidlib.doctor import examine, format_findings, is_fine
    from reidlib.run.session import project_root

    findings = examine(arguments.data or project_root() / "data")
    print(format_findings(findings))
    return 0 if is_fine(findings) else 1


def _synth(arguments: argparse.Namespace) -> int:
    from reidlib.run.session import Bar, cpu_count
    from reidlib.world.write import write

    names = DATASETS if arguments.dataset == "all" else (arguments.dataset,)
    for name in names:
        path = write(
            name,
            arguments.out,
            seed=arguments.seed,
            scale=arguments.scale,
            jobs=arguments.jobs or cpu_count(),
            progress=Bar(f"rendering {name}"),
        )
        print(path)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from reidlib.run.runner import find, plan, run_missing

    session = session_of(arguments)
    if arguments.key:
        planned = [find(session, arguments.papers, arguments.key)]
    else:
        planned = plan(session, arguments.papers, progress=True)
    if arguments.dry_run:
        print(describe(session, planned))
        return 0
    failures = run_missing(session, planned)
    finished = sum(session.store.load(p.key) is not None for p in planned)
    print(f"{finished} of {len(planned)} runs are finished in {session.folder}")
    for key, why in failures.items():
        print(f"error: run {key} failed: {why}", file=sys.stderr)
    return 0 if finished == len(planned) else 1


def _report(arguments: argparse.Namespace) -> int:
    from reidlib.report.write import write_reports

    return write_reports(session_of(arguments), arguments.papers, train=False)


_COMMANDS = {"doctor": _doctor, "synth": _synth, "run": _run, "report": _report}


def session_of(arguments: argparse.Namespace) -> "Session":
    """The session that the parsed arguments describe."""
    from reidlib.run.session import Session

    return Session.create(
        profile=arguments.profile,
        results=arguments.results,
        data=arguments.data,
        seeds=arguments.seeds,
        device=arguments.device,
        jobs=arguments.jobs,
        world_seed=arguments.world_seed,
    )


def describe(session: "Session", planned: "Sequence[Planned]") -> str:
    """The runs of a plan as text: key, whether it is done, its cost, its name."""
    from reidlib.papers import get_paper

    lines = [f"{'key':16}  {'status':8} {'epochs':>6} {'GMAC/image':>10} {'minutes':>8}  run"]
    done = 0.0
    rates = []  # multiply-adds per second of finished runs
    rows = []
    for p in planned:
        run = session.store.load(p.key)
        gmac = get_paper(p.paper).cost(p.experiment) / 1e9
        images = 0
        if not p.problem:
            images = p.experiment.training.epochs * _images_per_epoch(session, p.experiment)
        if run is not None:
            done += 1
            rates.append(run.metrics["seconds"] / (gmac * images))
        rows.append((p, run, gmac, images))
    rate = sum(rates) / len(rates) if rates else None
    left = 0.0
    for p, run, gmac, images in rows:
        minutes = "?" if rate is None else f"{gmac * images * rate / 60:.1f}"
        if run is not None:
            minutes = f"{run.metrics['seconds'] / 60:.1f}"
        elif rate is not None:
            left += gmac * images * rate / 60
        status = "done" if run else "no data" if p.problem else "missing"
        lines.append(
            f"{p.key:16}  {status:8} {p.experiment.training.epochs:6} {gmac:10.4f} {minutes:>8}  "
            f"{p.paper}: {p.experiment.name}"
        )
    lines.append(
        f"{len(rows)} runs, {done:.0f} done"
        + (f", about {left:.0f} minutes of computing left" if rate else "")
        + ("; minutes are known once one run has finished here" if rate is None else "")
    )
    return "\n".join(lines)


def _images_per_epoch(session: "Session", experiment: "Experiment") -> int:
    dataset = session.dataset(experiment.dataset)
    frame = dataset.splits["train"]
    pairs = int(frame["captions"].map(len).sum()) if "captions" in frame else len(frame)
    steps = pairs // experiment.training.batch_size
    if experiment.training.max_steps is not None:
        steps = min(steps, experiment.training.max_steps)
    return steps * experiment.training.batch_size
