"""Training what is missing: independent runs, in worker processes, several at a time."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch
from tqdm.auto import tqdm

from reidlib.errors import DataError, ReidlibError, StoreError, TrainingError
from reidlib.experiment import Experiment
from reidlib.files import write_atomic, write_json
from reidlib.papers import get_paper
from reidlib.run.session import Session, cpu_count, project_root
from reidlib.run.store import CHECKPOINT, HISTORY, Run, damage, write_history
from reidlib.train import Compute, versions

FAILURE = "failure.txt"


@dataclass(frozen=True)
class Planned:
    """An experiment of a paper's plan with the key that it has on this session's data."""

    paper: str
    experiment: Experiment
    key: str
    problem: str = ""  # why it cannot be trained here, such as data that is not there


class Busy(StoreError):
    """Another process is training this run at the moment."""


def plan(session: Session, papers: Iterable[str], progress: bool = False) -> list[Planned]:
    """Every distinct experiment that the papers' tables need in this session's profile.

    Loads (and, on the procedural world, renders) the datasets: keys depend on them. Where some of
    the real datasets are missing, the experiments on the others are planned all the same.

    Raises `DataError` if there is no data for any of them.
    """
    planned: dict[str, Planned] = {}
    missing: dict[str, DataError] = {}
    found = False
    for paper in papers:
        module = get_paper(paper)
        for experiment in module.experiments(session.profile_name, session.seeds):
            name, fingerprint = experiment.dataset, ""
            problem = str(missing.get(name, ""))
            if not problem:
                try:
                    dataset = session.dataset(name, progress)
                    fingerprint, found = dataset.fingerprint, True
                except DataError as error:
                    missing[name] = error
                    problem = str(error)
            if not problem:
                try:
                    module.check(experiment, dataset)
                    fingerprint = module.fingerprint(experiment, dataset)
                except DataError as error:
                    problem = str(error)
            key = experiment.key(fingerprint)
            planned.setdefault(key, Planned(paper, experiment, key, problem))
    if missing and (not found or session.data is None):
        raise next(iter(missing.values()))
    return list(planned.values())


def key_of(session: Session, experiment: Experiment, progress: bool = False) -> str:
    """The key of an experiment on this session's data."""
    dataset = session.dataset(experiment.dataset, progress)
    return experiment.key(get_paper(experiment.paper).fingerprint(experiment, dataset))


def find(session: Session, papers: Iterable[str], key: str) -> Planned:
    """The planned experiment whose key starts with `key`; raises `StoreError` if not just one."""
    found = [p for p in plan(session, papers) if p.key.startswith(key) and not p.problem]
    if len(found) != 1:
        raise StoreError(
            f"key {key!r} fits {len(found)} of the planned runs, expected one; "
            "`python -m reidlib run --dry-run` lists them"
        )
    return found[0]


def run_one(
    session: Session,
    experiment: Experiment,
    *,
    compute: Compute | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Train and evaluate one experiment in this process, or return its finished run.

    A checkpoint that a killed process left is resumed; a damaged folder is trained anew.

    Raises:
        Busy: another process is training it.
        ReidlibError: what the data, the training or the store raise.
    """
    store = session.store
    dataset = session.dataset(experiment.dataset)
    key = key_of(session, experiment)
    folder = store.folder(key)
    with store.claim(key) as held:
        if not held:
            raise Busy(f"{folder}: another process is training this run")
        run = store.load(key)
        if run is not None:
            return run
        if damage(Run(key, folder)) != "missing":
            store.discard(key)
        write_json(
            folder / "experiment.json",
            {
                "name": experiment.name,
                **experiment.settings(),
                "data": {"fingerprint": dataset.fingerprint, "synthetic": dataset.synthetic},
            },
        )
        (folder / FAILURE).unlink(missing_ok=True)
        compute = compute or Compute.choose(session.device, session.profile.threads)
        if compute.threads is not None:
            torch.set_num_threads(compute.threads)
        started = time.time()
        history: list[dict[str, Any]] = []

        def record(epoch: dict[str, Any]) -> None:
            history.append(epoch)
            if on_epoch is not None:
                on_epoch(epoch)

        try:
            result = get_paper(experiment.paper).train_and_evaluate(
                experiment,
                dataset,
                cache_dir=session.cache,
                compute=compute,
                checkpoint=folder / CHECKPOINT,
                on_epoch=record,
            )
        except Exception as error:
            text = str(error) if isinstance(error, ReidlibError) else traceback.format_exc()
            write_atomic(folder / FAILURE, text + "\n")
            raise
        write_history(folder / HISTORY, result.history)
        provenance = {
            "versions": versions(),
            "git": git_commit(),
            "device": compute.device,
            "precision": "bf16 autocast" if compute.bf16 else "fp32",
            "threads": torch.get_num_threads(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "wall_s": round(time.time() - started, 2),
            "epochs_in_this_process": len(history),
            **result.notes,
        }
        return store.finish(
            key,
            weights=result.weights,
            ranks=result.ranks,
            scores=result.scores,
            provenance=provenance,
            metrics=result.metrics,
        )


def failure(session: Session, key: str) -> str:
    """Why the last attempt at a run failed; "" if it did not."""
    path = session.store.folder(key) / FAILURE
    return path.read_text().strip() if path.exists() else ""


def git_commit() -> str:
    """Commit of the checkout, with "+changes" if files differ from it; "" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12", "--match="]
    try:
        done = subprocess.run(
            command, cwd=project_root(), capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@dataclass
class _Worker:
    """A worker process, and what it is busy with."""

    process: subprocess.Popen[str]
    task: Planned | None = None
    told: list[str] = field(default_factory=list)  # the end of its standard error

    def send(self, task: Planned) -> None:
        self.task = task
        self.process.stdin.write(json.dumps({"paper": task.paper, "key": task.key}) + "\n")
        self.process.stdin.flush()


def run_missing(
    session: Session, planned: Sequence[Planned], *, bar: bool | None = None
) -> dict[str, str]:
    """Train every planned run that the store lacks; returns the failed ones: key -> why.

    Runs are independent: one that fails or whose process dies is reported and does not stop the
    others, unless the store itself cannot be written: then no further run is started. A run that
    another process is training is waited for. `bar` shows a progress bar instead of a line per
    epoch; by default where there is a terminal or a notebook to show it.
    """
    missing = [p for p in planned if session.store.load(p.key) is None]
    failures = {p.key: p.problem for p in missing if p.problem}
    for why in dict.fromkeys(failures.values()):
        number = sum(problem == why for problem in failures.values())
        print(f"{number} run(s) cannot be trained: {why}", flush=True)
    missing = [p for p in missing if not p.problem]
    if not missing:
        return failures
    # Longest first, so that the last ones to finish are short.
    missing.sort(key=lambda p: (-_work(p.experiment), p.key))
    slots = _slots(session, len(missing))
    show = _Progress(missing, bar)
    waiting = list(missing)
    elsewhere: list[Planned] = []
    events: Queue[tuple[_Worker, dict[str, Any] | None]] = Queue()
    workers = [_start(session, slot, events) for slot in slots]
    try:
        for worker in list(workers):
            _next(worker, waiting, workers)
        while workers:
            try:
                worker, event = events.get(timeout=1.0)
            except Empty:
                continue
            if event is None:  # the process has ended
                workers.remove(worker)
                if worker.task is not None:
                    failures[worker.task.key] = _obituary(worker)
                    show.done(worker.task, f"FAILED: {failures[worker.task.key]}")
                    replacement = _start(session, slots[len(workers) % len(slots)], events)
                    workers.append(replacement)
                    _next(replacement, waiting, workers)
                continue
            kind = event.pop("event")
            if kind == "epoch":
                show.epoch(worker.task, event)
                continue
            if kind == "failed":
                failures[worker.task.key] = event["error"]
                show.done(worker.task, f"FAILED: {event['error']}")
                if event.get("stop"):
                    waiting.clear()
            elif kind == "busy":
                elsewhere.append(worker.task)
            else:
                show.done(worker.task, event["says"])
            worker.task = None
            _next(worker, waiting, workers)
    finally:
        for worker in workers:
            worker.process.kill()
        show.close()
    for task in elsewhere:
        failures.update(_wait_for(session, task))
    return failures


def _wait_for(session: Session, task: Planned) -> dict[str, str]:
    """Wait until another process is done with a run; train it here if that one gave up."""
    with session.store.claim(task.key, wait=True):
        pass
    try:
        run_one(session, task.experiment)
    except ReidlibError as error:
        return {task.key: str(error)}
    return {}


def _work(experiment: Experiment) -> float:
    return get_paper(experiment.paper).cost(experiment) * experiment.training.epochs


def _slots(session: Session, runs: int) -> list[dict[str, str]]:
    """The environment of each worker: which GPU it sees, how many CPU threads it starts."""
    compute = Compute.choose(session.device)
    profile = session.profile
    if compute.device == "cuda":
        gpus = torch.cuda.device_count()
        jobs = min(session.jobs or gpus * profile.jobs_per_gpu, runs)
        threads = str(max(1, cpu_count() // jobs))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if visible != [""] else [str(i) for i in range(gpus)]
        return [
            {"CUDA_VISIBLE_DEVICES": names[i % gpus], "OMP_NUM_THREADS": threads}
            for i in range(jobs)
        ]
    # One thread per run where runs are small: two runs side by side beat one on two threads,
    # and results do not depend on how many cores there are.
    default = cpu_count() if profile.threads == 1 else 1
    jobs = min(session.jobs or default, runs)
    threads = profile.threads or max(1, cpu_count() // jobs)
    return [{"OMP_NUM_THREADS": str(threads)}] * jobs


def _start(
    session: Session, environment: dict[str, str], events: "Queue[tuple[_Worker, Any]]"
) -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-m", "reidlib.run.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment, "PYTHONPATH": python_path()},
    )
    worker = _Worker(process)
    process.stdin.write(session.to_json() + "\n")
    process.stdin.flush()

    def listen() -> None:
        for line in process.stdout:
            events.put((worker, json.loads(line)))
        process.wait()
        complaints.join()
        events.put((worker, None))

    def listen_to_complaints() -> None:
        for line in process.stderr:
            worker.told.append(line)
            del worker.told[:-40]

    complaints = threading.Thread(target=listen_to_complaints, daemon=True)
    complaints.start()
    threading.Thread(target=listen, daemon=True).start()
    return worker


def python_path() -> str:
    """PYTHONPATH with which another process imports the same reidlib, installed or not."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)


def _next(worker: _Worker, waiting: list[Planned], workers: list[_Worker]) -> None:
    if not waiting:
        worker.process.stdin.close()  # it ends by itself, and its end is an event
        return
    with contextlib.suppress(BrokenPipeError):  # it died; its end is an event and is reported
        worker.send(waiting.pop(0))


def _obituary(worker: _Worker) -> str:
    code = worker.process.returncode
    cause = f"by signal {-code}" if code < 0 else f"with exit status {code}"
    hint = "; out of memory?" if code in (-9, 137) else ""
    tail = "".join(worker.told[-6:]).strip()
    return f"its process ended {cause}{hint}" + (f"\n{tail}" if tail else "")


class _Progress:
    """A bar over all epochs of all runs, or a line per epoch where no one watches a bar."""

    def __init__(self, missing: Sequence[Planned], bar: bool | None) -> None:
        self.epochs = {p.key: p.experiment.training.epochs for p in missing}
        self.runs, self.finished = len(missing), 0
        if bar is None:
            bar = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.bar = tqdm(
            total=sum(self.epochs.values()), unit="epoch", desc="training", disable=not bar
        )

    def epoch(self, task: Planned, record: dict[str, Any]) -> None:
        self.epochs[task.key] -= 1
        if self.bar.disable:
            total = task.experiment.training.epochs
            self._say(
                f"{task.key} {task.experiment.name}: epoch {record['epoch'] + 1}/{total} "
                f"loss {record['loss']:.3f} {record['images_per_s']:.0f} images/s"
            )
        else:
            self.bar.update()
            self.bar.set_postfix_str(f"{self.finished}/{self.runs} runs, loss {record['loss']:.2f}")

    def done(self, task: Planned, says: str) -> None:
        self.finished += 1
        self.bar.update(self.epochs.pop(task.key, 0))
        self._say(
            f"[{self.finished}/{self.runs}] {task.paper} {task.key} {task.experiment.name}: {says}"
        )

    def _say(self, line: str) -> None:
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.write(line)

    def close(self) -> None:
        self.bar.close()


def raise_if_failed(failures: dict[str, str]) -> None:
    """Raise one `TrainingError` that lists the failed runs, if there are any."""
    if failures:
        lines = "\n".join(f"  {key}: {why.splitlines()[-1]}" for key, why in failures.items())
        raise TrainingError(f"{len(failures)} run(s) failed:\n{lines}")
