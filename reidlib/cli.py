"""`python -m reidlib doctor | synth | pose | run | report | keep | gpu-check`; only `report` needs
Jupyter."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reidlib.arguments import (
    DATASETS,
    add_session_arguments,
    at_least_1,
    check,
    folder,
)
from reidlib.errors import ReidlibError, UsageError

# Image sets whose people are taken apart by their poses.
POSED = ("market1501", "dukemtmc-reid", "cuhk03-classic-labeled", "cuhk03-classic-detected")

if TYPE_CHECKING:  # importing these takes seconds (torch); --help should not
    from reidlib.run.session import Session


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m reidlib", description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)

    doctor = commands.add_parser("doctor", help="what was found: datasets, weights, devices")
    doctor.add_argument("--data", type=folder, metavar="DIR", help="default: data/")
    doctor.add_argument("--results", type=folder, metavar="DIR", help="default: results/")

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

    pose = commands.add_parser(
        "pose", help="estimate the key points of real image sets, with Keypoint R-CNN"
    )
    pose.add_argument(
        "--data", type=folder, required=True, metavar="DIR", help="folder that holds the datasets"
    )
    pose.add_argument("--dataset", choices=(*POSED, "all"), default="all")
    pose.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    pose.add_argument(
        "--batch-size", type=at_least_1, default=16, metavar="N", help="images (default: 16)"
    )
    pose.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="where images are kept that come inside other files (default: results/)",
    )

    run = commands.add_parser("run", help="train and evaluate what the papers' tables need")
    add_session_arguments(run)
    run.add_argument("--dry-run", action="store_true", help="print the runs and their cost only")
    run.add_argument("--key", metavar="KEY", help="only the run with this key (or its beginning)")
    run.add_argument(
        "--row", metavar="ROW", help="only the trainings behind this row of the tables"
    )
    run.add_argument("--dataset", metavar="NAME", help="with --row: only on this dataset")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="with --row: another value of a field of the model or the training; a run of its own",
    )
    run.add_argument(
        "--with-weights",
        action="store_true",
        help="train what came along without weights, too: attention maps and galleries need them",
    )

    report = commands.add_parser("report", help="render reports from finished runs, train nothing")
    add_session_arguments(report)

    keep = commands.add_parser(
        "keep",
        help="write finished runs as small files without weights, and pages to read, to travel or "
        "to commit",
    )
    add_session_arguments(keep)
    keep.add_argument(
        "--out", type=Path, metavar="DIR", help="default: results/reference/<profile>"
    )

    gpu = commands.add_parser(
        "gpu-check", help="prove and measure the whole suite on this machine's GPU"
    )
    gpu.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run in small sizes"
    )
    gpu.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="default: results/gpu-check/, or results/gpu-check-dry/ for a dry run",
    )
    gpu.add_argument(
        "--only",
        default="",
        metavar="PARTS",
        help="comma-separated: machine, tests, smoke, parity, speed, evaluation, memory, bench, or "
        "one of them for a paper, such as smoke-gla",
    )
    gpu.add_argument("--again", action="store_true", help="parts that have ended well, too")
    gpu.add_argument("--part", help=argparse.SUPPRESS)  # what the check runs, one by one

    everything = commands.add_parser("all", help="what ./run_all.sh does: train and report")
    add_session_arguments(everything)
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

    root = project_root()
    findings = examine(arguments.data or root / "data", arguments.results or root / "results")
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


def _pose(arguments: argparse.Namespace) -> int:
    from reidlib import pose
    from reidlib.data.formats import keypoints
    from reidlib.errors import DataError
    from reidlib.run.session import Bar, Session
    from reidlib.train import Compute

    device = Compute.choose(arguments.device).device
    estimator = pose.load_estimator(device)  # fails at once if the weights are not there
    session = Session.create("paper", arguments.results, arguments.data, device=arguments.device)
    every = arguments.dataset == "all"
    status = 0
    for name in POSED if every else (arguments.dataset,):
        try:
            dataset = session.dataset(name)
            made = pose.estimate(
                dataset, estimator, device, arguments.batch_size, Bar(f"poses of {name}")
            )
        except DataError as error:
            if not every:
                raise
            print(f"{name} is left out: {error}", file=sys.stderr)
            status = 1
            continue
        print(f"{name}: {made:,} images estimated, in {keypoints.folder_of(dataset)}")
    return status


def _run(arguments: argparse.Namespace) -> int:
    from reidlib.papers import driver, tinker
    from reidlib.run.plan import describe, find, plan, plan_experiments, with_all_before
    from reidlib.run.pool import run_missing

    if arguments.row is None and arguments.set:
        raise UsageError(f"--set {arguments.set[0]}: changes a row; say which with --row")
    if arguments.row is None and arguments.dataset is not None:
        raise UsageError(
            f"--dataset {arguments.dataset}: chooses among the trainings of a row; say which with "
            "--row"
        )
    session = session_of(arguments)
    if arguments.with_weights:
        session = replace(session, kept=False)
    if arguments.row is not None:
        settings = tinker.parse_settings(arguments.set)
        experiments = [
            driver.with_seed(tinker.with_settings(experiment, settings, session.profile), seed)
            for paper in arguments.papers
            for experiment in tinker.trainings_of(
                paper, session.profile, arguments.row, arguments.dataset
            )
            for seed in range(session.seeds)
        ]
        planned = plan_experiments(session, experiments, progress=True)
    else:
        planned = plan(session, arguments.papers, progress=True)
    if arguments.key is not None:
        planned = with_all_before(planned, find(planned, arguments.key))
    if arguments.dry_run:
        print(describe(session, planned))
        return 0
    failures = run_missing(session, planned)
    finished = [run for p in planned if (run := session.store.load(p.key)) is not None]
    if arguments.row is not None:
        for run in finished:
            print(f"{run.key} {run.experiment['name']}: {run.metrics['headline']}")
    print(f"{len(finished)} of {len(planned)} runs are finished in {session.folder}")
    for key, why in failures.items():
        print(f"error: run {key} failed: {why}", file=sys.stderr)
    there = {run.key for run in finished}
    return 0 if all(p.key in there for p in planned if p.wanted) else 1


def _report(arguments: argparse.Namespace) -> int:
    from reidlib.report.publish import publish

    return publish(session_of(arguments), arguments.papers, train=False)


def _all(arguments: argparse.Namespace) -> int:
    from reidlib.report.publish import publish

    return publish(session_of(arguments), arguments.papers)


def _keep(arguments: argparse.Namespace) -> int:
    from reidlib.report.pages import write_pages
    from reidlib.run.keep import keep

    session = session_of(arguments)
    out = arguments.out or session.store.references.parent
    kept = keep(session, arguments.papers, out / "runs")
    for path in [*kept, *write_pages(session, arguments.papers, out)]:
        print(f"{path.stat().st_size:9,} bytes  {path}")
    return 0


def _gpu_check(arguments: argparse.Namespace) -> int:
    from reidlib.gpu_check.parts import Place, check, run_part
    from reidlib.run.session import project_root

    folder = "gpu-check" if arguments.device == "cuda" else "gpu-check-dry"
    folder = (arguments.results or project_root() / "results" / folder).absolute()
    place = Place(arguments.device, folder)
    if arguments.part is not None:
        return run_part(place, arguments.part)
    names = [name.strip() for name in arguments.only.split(",") if name.strip()]
    return check(place, names, arguments.again)


_COMMANDS = {
    "doctor": _doctor,
    "synth": _synth,
    "pose": _pose,
    "run": _run,
    "report": _report,
    "keep": _keep,
    "gpu-check": _gpu_check,
    "all": _all,
}


def session_of(arguments: argparse.Namespace) -> "Session":
    """The session that the parsed arguments describe."""
    from reidlib.run.session import Session

    names = ("profile", "results", "data", "seeds", "device", "jobs", "world_seed", "imagefolder",
             "precision")  # fmt: skip
    return Session.create(**{name: getattr(arguments, name) for name in names})
