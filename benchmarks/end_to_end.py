"""How long the small profiles take, and where the time of a small run goes.

    python benchmarks/end_to_end.py [--device cpu|cuda] [--profile smoke|demo] [--paper NAME]
        [--whole] [--profiled-epochs N]

For every paper its own row is trained in this process, from starts that were trained for an epoch
only (what they have learned takes no time), with a clock on every part of a run. `shares` of the
run's time: encoders and loss (forward, backward), optimizer, batches (drawn, augmented, moved),
what is prepared (dataset, caches, model), checkpoints, encoding to test (what the same encoders
take for queries and gallery), evaluation (the rest of it), what is stored, and the rest.
`start_up_s` is what a worker process takes before its first run: imports. `beside_computing` is the
part of the time of a run that is neither encoders nor losses nor the optimizer in training;
`beside_encoders` leaves out encoding to test as well; `..._with_start_up`, as if each run had a
process of its own.

--whole also times the real command, `python -m reidlib run`, for each paper: rendering, workers,
all runs of the profile. Smoke takes minutes, demo a quarter of an hour a paper. The last line is
JSON.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from timing import arguments, begin, report

from reidlib import train
from reidlib.arguments import PAPERS
from reidlib.experiment import Experiment, Training
from reidlib.gpu_check.steps import main_experiment
from reidlib.papers import driver
from reidlib.run.plan import plan_experiments
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.run.store import Store

COMPUTING = ("encoders and losses", "optimizer")
TESTED, ENCODED = "evaluation", "encoding to test"
ENCODERS = ("encode", "embed", "encode_images", "encode_text", "encode_descriptions")


class Clock:
    """Seconds by part, those of a part inside another counted once, with the inner one; on a GPU,
    of all that the part started there."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # seconds of parts inside, for each part that is open

    def now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = self.now() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inner.pop()
            self._inner[-1] += whole

    def on(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return work(*given, **named)

        return timed

    def on_each(self, work: Callable[..., Iterator[Any]], name: str) -> Callable[..., Any]:
        """The time that it takes to come to each next one."""

        def timed(*given: Any, **named: Any) -> Iterator[Any]:
            with self.part(name):
                found = iter(work(*given, **named))
            while True:
                with self.part(name):
                    batch = next(found, None)
                if batch is None:
                    return
                yield batch

        return timed


def profiled(paper: str, session: Session, device: str, epochs: int | None) -> dict[str, Any]:
    """A run of the paper's own row, in parts."""
    module = driver.get_paper(paper)
    experiment = main_experiment(paper, session.profile)
    if epochs is not None:
        name = f"{experiment.name}, shortened"
        experiment = replace(experiment, training=shortened(experiment.training, epochs), name=name)
    experiment = with_short_starts(experiment)
    planned = plan_experiments(session, [experiment])
    for start in planned[:-1]:
        run_one(session, start)
    session.dataset(experiment.dataset)  # rendered before it is measured
    clock = Clock(device)
    with ExitStack() as stack:
        enter = stack.enter_context

        def watch(where: Any, name: str, part: str) -> None:
            enter(mock.patch.object(where, name, clock.on(getattr(where, name), part)))

        def evaluate(model: torch.nn.Module, *given: Any, real: Any = module.evaluate) -> Any:
            with ExitStack() as inside, clock.part(TESTED):
                for name in ENCODERS:
                    if work := getattr(model, name, None):
                        inside.enter_context(
                            mock.patch.object(model, name, clock.on(work, ENCODED))
                        )
                return real(model, *given)

        enter(mock.patch.object(module, "evaluate", evaluate))
        watch(module, "prepare", "prepared")
        watch(driver, "initialized", "prepared")
        watch(driver, "place", "prepared")
        watch(driver, "weights_of", "stored")
        watch(module, "losses", "encoders and losses")
        watch(torch.Tensor, "backward", "encoders and losses")
        watch(torch.optim.Adam, "step", "optimizer")
        watch(torch.optim.SGD, "step", "optimizer")
        watch(train, "_write_checkpoint", "checkpoints")
        watch(Store, "finish", "stored")
        enter(mock.patch.object(module, "batches", clock.on_each(module.batches, "batches")))
        start = clock.now()
        run = run_one(session, planned[-1])
        whole = clock.now() - start
    parts = {**clock.seconds, "the rest": whole - sum(clock.seconds.values())}
    computing = sum(parts.get(name, 0.0) for name in COMPUTING)
    encoding = parts.get(ENCODED, 0.0)
    return {
        "paper": paper,
        "experiment": run.experiment["name"],
        "run_s": round(whole, 3),
        "shares": {name: round(value / whole, 4) for name, value in parts.items()},
        "beside_computing": round(1 - computing / whole, 4),
        "beside_encoders": round(1 - (computing + encoding) / whole, 4),
        "computing_s": round(computing, 3),
    }


def shortened(training: Training, epochs: int, steps: int | None = None) -> Training:
    """The first epochs of each stage, of so many steps at most."""
    stages = tuple(replace(stage, lrs=stage.lrs[:epochs]) for stage in training.stages)
    short = replace(training, stages=stages)
    if short.steps is not None and steps is not None:
        short = replace(short, steps=min(short.steps, steps))
    return replace(short, ema_epochs=min(short.ema_epochs, short.epochs))


def with_short_starts(experiment: Experiment) -> Experiment:
    """What an experiment starts from, trained for an epoch of a few steps: what it has learned does
    not change how long the rest takes."""

    def short(start: Experiment) -> Experiment:
        return with_short_starts(replace(start, training=shortened(start.training, 1, steps=2)))

    return replace(
        experiment,
        start=experiment.start and short(experiment.start),
        joins=tuple(short(start) for start in experiment.joins),
    )


def start_up() -> float:
    """What a worker takes to be ready for its first run."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import reidlib.run.worker"], check=True)
    return time.perf_counter() - start


def command(paper: str, profile: str, device: str, folder: Path) -> float:
    """The real command, from nothing but the rendered world."""
    given = ["--papers", paper, "--profile", profile, "--device", device]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "reidlib", "run", *given, "--results", str(folder)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    parser = arguments(__doc__, turns=1)
    parser.add_argument("--profile", default="smoke", choices=("smoke", "demo", "study"))
    parser.add_argument("--paper", choices=PAPERS, action="append", help="(default: all)")
    parser.add_argument("--whole", action="store_true", help="time the command, too")
    parser.add_argument("--profiled-epochs", type=int, help="of each stage (default: all)")
    args = parser.parse_args()
    args.threads = args.threads or 1  # as a run of a small profile has it
    device = begin(args)
    ready = start_up()
    rows = []
    with tempfile.TemporaryDirectory(prefix="reidlib-end-") as folder:
        session = Session.create(
            args.profile, results=Path(folder) / "profiled", seeds=1, device=device, jobs=1
        )
        for paper in args.paper or (PAPERS[2:3] if args.quick else PAPERS):
            row = profiled(paper, session, device, args.profiled_epochs)
            own = row["run_s"] + ready
            row["beside_computing_with_start_up"] = round(1 - row["computing_s"] / own, 4)
            if args.whole:
                row["command_s"] = round(
                    command(paper, args.profile, device, Path(folder) / "whole"), 2
                )
            rows.append(row)
            named = ", ".join(f"{name} {100 * s:.1f} %" for name, s in row["shares"].items())
            print(f"{paper}: {row['run_s']:.1f} s: {named}", flush=True)
    result = {"profile": args.profile, "start_up_s": round(ready, 2), "rows": rows}
    report("end_to_end", args, result)


if __name__ == "__main__":
    main()
