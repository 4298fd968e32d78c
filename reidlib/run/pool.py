"""Training what is missing: independent runs, in worker processes, several at a time."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch
from tqdm.auto import tqdm

from reidlib.arguments import PAPERS
from reidlib.devices import RUNS_ON_GPU
from reidlib.errors import ReidlibError, TrainingError, UsageError
from reidlib.papers import driver
from reidlib.profiles import get_profile
from reidlib.run.plan import Planned, work_of
from reidlib.run.runner import run_one
from reidlib.run.session import Session, cpu_count
from reidlib.run.worker import MARK, to_line
from reidlib.train import Compute


@dataclass
class _Worker:
    """A worker process, and what it is busy with."""

    process: subprocess.Popen[str]
    slot: dict[str, str]  # its part of the environment
    task: Planned | None = None
    stderr_tail: list[str] = field(default_factory=list)

    def send(self, task: Planned) -> None:
        self.task = task
        with contextlib.suppress(BrokenPipeError):  # it died; its end is an event and is reported
            self.process.stdin.write(to_line(task))
            self.process.stdin.flush()


def run_missing(
    session: Session,
    planned: Sequence[Planned],
    *,
    bar: bool | None = None,
    show: "Progress | None" = None,
) -> dict[str, str]:
    """Train every planned run that the store lacks; returns the failed ones: key -> why.

    Runs are independent, but for those that start from another one and wait for it. One that fails
    or whose process dies is reported and does not stop the others, unless the store itself cannot
    be written: then no further run is started. A run that another process is training is waited
    for. `bar` shows a progress bar instead of a line per epoch; by default where there is a
    terminal or a notebook to show it. `show` is a progress over more than these runs.
    """
    missing = missing_of(session, planned)
    failures = {p.key: p.problem for p in missing if p.problem}
    for why in dict.fromkeys(failures.values()):
        number = sum(problem == why for problem in failures.values())
        print(f"{number} run(s) cannot be trained: {why}", flush=True)
    missing = [p for p in missing if not p.problem]
    if not missing:
        return failures
    for name in dict.fromkeys(p.experiment.dataset for p in missing):
        session.dataset(name, progress=True)  # drawn here, with a bar, and not by several workers
    missing = in_order(session, missing)
    own = show or Progress(session, missing, bar)
    try:
        _Pool(session, missing, failures, own).run()
    finally:
        if show is None:
            own.close()
    return failures


def in_order(session: Session, missing: Sequence[Planned]) -> list[Planned]:
    """What others start from first, then what the papers' tables show, then the rest; of each the
    longest first, so that the last ones to finish are short.

    All seeds of a row stand together: where a night is cut short, some rows can be decided.
    """
    starts = {key for p in missing for key in p.before}
    in_tables = {
        experiment
        for paper in {p.paper for p in missing} & set(PAPERS)
        for experiment in driver.experiments(
            paper, session.profile, session.seeds, tables_only=True
        )
    }

    def place(p: Planned) -> tuple[bool, bool, float, str, int, str]:
        row = p.experiment
        beside = row not in in_tables
        return p.key not in starts, beside, -work_of(session, p), row.name, row.seed, p.key

    return sorted(missing, key=place)


def missing_of(session: Session, planned: Sequence[Planned]) -> list[Planned]:
    """What has to be trained: what is wanted and not finished, and all that this starts from whose
    weights are not there (they may have come along without)."""
    by_key = {p.key: p for p in planned}
    missing: dict[str, Planned] = {}
    waiting = [p for p in planned if p.wanted and session.store.load(p.key) is None]
    while waiting:
        p = waiting.pop()
        missing[p.key] = p
        waiting += [
            by_key[key]
            for key in p.before
            if key in by_key and key not in missing and session.store.load_trained(key) is None
        ]
    return [p for p in planned if p.key in missing]


class _Pool:
    """The state of one `run_missing`: what waits, what is being trained, what came of it."""

    def __init__(
        self,
        session: Session,
        missing: Sequence[Planned],
        failures: dict[str, str],
        show: "Progress",
    ) -> None:
        self.session, self.failures, self.show = session, failures, show
        self.waiting = list(missing)
        self.open = {p.key for p in missing}  # not finished yet, nor failed
        self.elsewhere: list[Planned] = []
        self.events: Queue[tuple[_Worker, dict[str, Any] | None]] = Queue()
        self.workers = [self._start(slot) for slot in _slots(session, len(missing))]

    def run(self) -> None:
        try:
            self._employ()
            while self.workers:
                try:
                    worker, event = self.events.get(timeout=1.0)
                except Empty:
                    continue
                if event is None:
                    self._ended(worker)
                elif event["event"] == "epoch":
                    self.show.epoch(worker.task, event)
                else:
                    self._finished(worker, event)
                self._employ()
        finally:
            for worker in self.workers:
                worker.process.kill()
        for task in self.elsewhere:
            self.failures.update(_wait_for(self.session, task))

    def _employ(self) -> None:
        """Give every idle worker something to do; those that are not needed any more may go."""
        for worker in self.workers:
            if worker.task is not None or worker.process.stdin.closed:
                continue
            ready = next((p for p in self.waiting if self.open.isdisjoint(p.before)), None)
            if ready is not None:
                self.waiting.remove(ready)
                worker.send(ready)
            elif not self.waiting:
                worker.process.stdin.close()  # it ends by itself, and its end is an event

    def _ended(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        if worker.task is not None:
            self._failed(worker.task, _exit_message(worker))
            self.workers.append(self._start(worker.slot))

    def _finished(self, worker: _Worker, event: dict[str, Any]) -> None:
        task, worker.task = worker.task, None
        if event["event"] == "failed":
            self._failed(task, event["error"])
            if event.get("stop"):
                self.waiting.clear()
        elif event["event"] == "busy":
            self.elsewhere.append(task)
            self.open.discard(task.key)
            if any(task.key in p.before for p in self.waiting):  # others wait for it
                self.failures.update(_wait_for(self.session, task))
        else:
            self.open.discard(task.key)
            self.show.done(task, event["outcome"])

    def _failed(self, task: Planned, why: str) -> None:
        self.failures[task.key] = why
        self.open.discard(task.key)
        self.show.done(task, f"FAILED: {why}")
        for other in [p for p in self.waiting if task.key in p.before]:
            if other not in self.waiting:  # it failed with another that it waited for
                continue
            self.waiting.remove(other)
            self._failed(other, f"it starts from run {task.key}, which failed")

    def _start(self, slot: dict[str, str]) -> _Worker:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "reidlib.run.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **slot, "PYTHONPATH": python_path()},
        )
        worker = _Worker(process, slot)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self.session.to_json() + "\n")
            process.stdin.flush()

        def listen() -> None:
            try:
                for line in process.stdout:
                    if line.startswith(MARK):
                        self.events.put((worker, json.loads(line[len(MARK) :])))
            finally:  # whatever it said, its end is told
                process.wait()
                complaints.join()
                self.events.put((worker, None))

        def listen_to_complaints() -> None:
            for line in process.stderr:
                worker.stderr_tail.append(line)
                del worker.stderr_tail[:-40]

        complaints = threading.Thread(target=listen_to_complaints, daemon=True)
        complaints.start()
        threading.Thread(target=listen, daemon=True).start()
        return worker


def _wait_for(session: Session, task: Planned) -> dict[str, str]:
    """Wait until another process is done with a run; train it here if that one gave up."""
    with session.store.claim(task.key, wait=True):
        pass
    try:
        run_one(session, task)
    except ReidlibError as error:
        return {task.key: str(error)}
    return {}


def _slots(session: Session, runs: int) -> list[dict[str, str]]:
    """The environment of each worker: which GPU it sees, how many CPU threads it starts."""
    compute = Compute.choose(session.device)
    profile = get_profile(session.profile)
    if compute.device == "cuda":
        gpus = torch.cuda.device_count()
        jobs = min(session.jobs or gpus * profile.jobs_per_gpu, runs)
        threads = str(max(1, cpu_count() // jobs))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if visible != [""] else [str(i) for i in range(gpus)]
        shared = {RUNS_ON_GPU: str(-(-jobs // gpus)), "OMP_NUM_THREADS": threads}
        return [{"CUDA_VISIBLE_DEVICES": names[i % gpus], **shared} for i in range(jobs)]
    # One thread per run where runs are small: two runs side by side beat one on two threads,
    # and results do not depend on how many cores there are.
    default = cpu_count() if profile.threads == 1 else 1
    jobs = min(session.jobs or default, runs)
    threads = profile.threads or max(1, cpu_count() // jobs)
    return [{"OMP_NUM_THREADS": str(threads)}] * jobs


def python_path() -> str:
    """PYTHONPATH with which another process imports the same reidlib, installed or not."""
    here = str(Path(__file__).resolve().parents[2])
    if os.pathsep in here:
        raise UsageError(
            f"{here}: a {os.pathsep!r} in the path of the checkout ends it in PYTHONPATH; move it"
        )
    return os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)


def _exit_message(worker: _Worker) -> str:
    code = worker.process.returncode
    cause = f"by signal {-code}" if code < 0 else f"with exit status {code}"
    hint = "; out of memory?" if code in (-9, 137) else ""
    tail = "".join(worker.stderr_tail[-6:]).strip()
    return f"its process ended {cause}{hint}" + (f"\n{tail}" if tail else "")


class Progress:
    """A bar over all runs of a command, or a line per epoch where no one watches a bar.

    It advances with the multiply-adds that are done, so that the time left is that of all runs,
    long and short.
    """

    def __init__(
        self, session: Session, missing: Sequence[Planned], bar: bool | None = None
    ) -> None:
        # What an epoch of each run adds, and how many are left.
        self.step = {
            p.key: max(work_of(session, p), 1.0) / p.experiment.training.epochs for p in missing
        }
        self.left = {p.key: p.experiment.training.epochs for p in missing}
        self.runs, self.finished = len(missing), 0
        if bar is None:
            bar = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.bar = tqdm(
            total=sum(self.step[key] * epochs for key, epochs in self.left.items()),
            desc="training",
            disable=not bar or not missing,
            bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed}, left {remaining}{postfix}",
        )
        self.lines = not bar

    def epoch(self, task: Planned, record: dict[str, Any]) -> None:
        self._advance(task, 1)
        if self.lines:
            total = task.experiment.training.epochs
            self.say(
                f"{_name(task)}: epoch {record['epoch'] + 1}/{total} "
                f"loss {record['loss']:.3f} {record['images_per_s']:.0f} images/s"
            )
        else:
            self.bar.set_postfix_str(f"{self.finished} of {self.runs} runs")

    def done(self, task: Planned, outcome: str) -> None:
        self.finished += 1
        self._advance(task, self.left.get(task.key, 0))
        self.say(f"[{self.finished}/{self.runs}] {_name(task)}: {outcome}")
        self.bar.set_postfix_str(f"{self.finished} of {self.runs} runs")

    def _advance(self, task: Planned, epochs: int) -> None:
        if self.left.get(task.key, 0) >= epochs:
            self.left[task.key] = self.left.get(task.key, 0) - epochs
            self.bar.update(epochs * self.step.get(task.key, 0.0))

    def stage(self, doing: str) -> None:
        """What is being done now, where it is not training."""
        if self.bar.disable:
            print(doing, flush=True)
        else:
            self.bar.set_description_str(doing)

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.write(line)

    def close(self) -> None:
        self.bar.close()


def _name(task: Planned) -> str:
    """A run as people know it: the paper's method, where, and which of several trainings."""
    experiment = task.experiment
    where = "" if experiment.dataset in experiment.name else f" on {experiment.dataset}"
    return f"{experiment.name}{where}, seed {experiment.seed}"


def raise_if_failed(failures: dict[str, str]) -> None:
    """Raise one `TrainingError` that lists the failed runs, if there are any."""
    if failures:
        lines = "\n".join(f"  {key}: {why.splitlines()[-1]}" for key, why in failures.items())
        raise TrainingError(f"{len(failures)} run(s) failed:\n{lines}")
