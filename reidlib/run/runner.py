"""One run, in this process: train and evaluate an experiment, or find that it is finished."""

import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from reidlib.errors import ReidlibError, StoreError
from reidlib.files import read_regular, write_atomic, write_json
from reidlib.papers import driver
from reidlib.run.plan import Planned, planned_for
from reidlib.run.session import Session, project_root
from reidlib.run.source import source_of
from reidlib.run.store import CHECKPOINT, HISTORY, Run, damage, write_history
from reidlib.train import Compute, versions

FAILURE = "failure.txt"


class Busy(StoreError):
    """Another process is training this run at the moment."""


def run_one(
    session: Session,
    planned: Planned,
    *,
    compute: Compute | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Train and evaluate one experiment in this process, or return its finished run. What it starts
    from is trained first.

    A checkpoint that a killed process left is resumed; a damaged folder is trained anew.

    Raises:
        Busy: another process is training it.
        ReidlibError: what the data, the training or the store raise.
    """
    store, experiment, key = session.store, planned.experiment, planned.key
    folder = store.folder(key)
    with store.claim(key) as held:
        if not held:
            raise Busy(f"{folder}: another process is training this run")
        run = store.load_trained(key)
        if run is not None:
            return run
        store.check_precision(key)
        if damage(Run(key, folder)) != "missing":
            store.discard(key)
        dataset = session.dataset(experiment.dataset)
        before = [  # in a worker they are there: the pool trains them first
            store.load_trained(k) or run_one(session, planned_for(session, e), compute=compute)
            for k, e in zip(planned.before, experiment.before, strict=True)
        ]
        write_json(
            folder / "experiment.json",
            {
                "name": experiment.name,
                **experiment.settings(),
                "start": planned.start,
                **({"joins": list(planned.joins)} if planned.joins else {}),
                "data": {"fingerprint": dataset.fingerprint, "synthetic": dataset.synthetic},
            },
        )
        (folder / FAILURE).unlink(missing_ok=True)
        compute = compute or Compute.choose(session.device, session.threads, session.precision)
        if compute.threads is not None:
            torch.set_num_threads(compute.threads)
        # fp32, of tests above all, has all of its 32 bits, whatever the environment says.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        began = time.time()
        history: list[dict[str, Any]] = []

        def record(epoch: dict[str, Any]) -> None:
            history.append(epoch)
            if on_epoch is not None:
                on_epoch(epoch)

        try:
            result = driver.train_and_evaluate(
                experiment,
                dataset,
                cache_dir=session.cache,
                compute=compute,
                before=[found.weights for found in before],
                checkpoint=folder / CHECKPOINT,
                key=key,
                on_epoch=record,
            )
        except Exception as error:
            text = str(error) if isinstance(error, ReidlibError) else traceback.format_exc()
            write_atomic(folder / FAILURE, text + "\n")
            raise
        write_history(folder / HISTORY, result.history)
        earlier = result.history[: len(result.history) - len(history)]  # before it was resumed
        provenance = {
            "versions": versions(),
            "git": git_commit(),
            "source": source_of(experiment),
            "device": compute.device,
            "processor": processor(),
            "precision": compute.precision,
            "threads": torch.get_num_threads(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "wall_s": round(time.time() - began + sum(e["seconds"] for e in earlier), 2),
            "epochs_in_this_process": len(history),
            **result.evaluated.notes,
        }
        return store.finish(
            key,
            weights=result.weights,
            ranks=result.evaluated.ranks,
            people=result.evaluated.people,
            scores=result.evaluated.scores,
            provenance=provenance,
            metrics=result.metrics,
        )


def failure(session: Session, key: str) -> str:
    """Why the last attempt at a run failed; "" if it did not."""
    try:
        content = read_regular(session.store.folder(key) / FAILURE)
    except OSError:
        return ""
    return content.decode("utf-8", errors="replace").strip()


@cache
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


@cache
def processor() -> str:
    """The kind of processor, and the widest instructions that torch uses on it: runs repeat bit for
    bit on the same kind only."""
    name = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        lines = about.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
