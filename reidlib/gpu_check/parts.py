"""The parts of a check, and how they are run: each in a process of its own, at most nine minutes.

A part writes `<part>.json` when it has ended, and the page is written after each. The same command
goes on with what is missing, has failed, or was measured by other code or on another machine. A
part that trains is stopped when its time is over and goes on from its checkpoint the next time.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from reidlib.arguments import PAPERS
from reidlib.errors import DeviceError, UsageError
from reidlib.files import read_regular, write_json
from reidlib.gpu_check import memory, page, parity
from reidlib.gpu_check.steps import main_experiment
from reidlib.papers import driver
from reidlib.run.plan import plan_experiments
from reidlib.run.pool import missing_of, python_path, run_missing
from reidlib.run.runner import git_commit, processor, run_one
from reidlib.run.session import Session, project_root
from reidlib.train import Compute, versions

LIMIT = 540  # seconds of a part
CASES = ("market1501", "msmt17", "cuhk-pedes", "icfg-pedes")
UNFINISHED = "unfinished"

Result = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a check is made: on which device, and in which folder."""

    device: str
    folder: Path

    @property
    def dry(self) -> bool:
        """On the CPU a check is a rehearsal: small sizes, and no speed is worth noting."""
        return self.device == "cpu"

    def session(self, profile: str) -> Session:
        """Of this machine's own runs: none that was kept elsewhere counts as measured here."""
        return Session.create(
            profile,
            results=self.folder / "runs",
            seeds=1,
            device=self.device,
            jobs=1,
            kept=False,
        )


@dataclass(frozen=True)
class Part:
    """`run(place)` returns what was found; it has failed if that says so or if it raises."""

    name: str
    what: str
    run: Callable[[Place], Result]


# ---------------------------------------------------------------- what is checked


def machine(place: Place) -> Result:
    """The machine, in words and numbers."""
    found: Result = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "gpus": [],
    }
    if not place.dry:
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            found["gpus"].append({
                "name": about.name,
                "gib": round(about.total_memory / 2**30, 1),
                "capability": f"{about.major}.{about.minor}",
                "processors": about.multi_processor_count,
            })  # fmt: skip
    return found


def cuda_tests(place: Place) -> Result:
    """The tests that need a GPU. Without one they are skipped; a few are enough for a dry run."""
    which = ["tests/test_losses.py", "tests/test_first_match.py"] if place.dry else ["tests"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", *which]
    done = subprocess.run(
        command, cwd=checkout(), env=environment(), capture_output=True, text=True
    )
    lines = done.stdout.strip().splitlines()
    return {
        "summary": lines[-1] if lines else done.stderr[-500:],
        "output": "" if done.returncode == 0 else "\n".join(lines[-60:]),
        "ok": done.returncode == 0,
    }


def smoke(paper: str, place: Place) -> Result:
    """The paper's own row of the profile smoke, trained and tested."""
    session = place.session("smoke")
    planned = plan_experiments(session, [main_experiment(paper, "smoke")])
    run = run_one(session, planned[-1])
    return {
        "experiment": run.experiment["name"],
        "headline": run.metrics["headline"],
        "final_loss": run.metrics["final_loss"],
        "images_per_s": round(run.metrics["images_per_s"], 1),
        "wall_s": run.provenance["wall_s"],
        "precision": run.provenance["precision"],
        "device": run.provenance["device"],
        "trained": len(planned),
        "ok": run.provenance["device"] == place.device,
    }


def compare(paper: str, place: Place) -> Result:
    """CPU and GPU on one batch and one test; see `parity`."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    session = place.session("smoke")
    experiment = main_experiment(paper, "smoke")
    planned = plan_experiments(session, [experiment])[-1]
    trained = session.store.load_trained(planned.key)
    before = [session.store.load_trained(key) for key in planned.before]
    if trained is None or None in before:  # the part smoke has not been run
        run_one(session, planned)
        trained = session.store.load_trained(planned.key)
        before = [session.store.load_trained(key) for key in planned.before]
    found = parity.parity(
        experiment,
        session.dataset(experiment.dataset),
        session.cache,
        place.device,
        trained.weights,
        tuple(run.weights for run in before),
    )
    return {**found, "ok": found["agrees"]}


def benchmark(script: str, *arguments: str, place: Place) -> Result:
    """What a script of benchmarks/ prints: the JSON of its last line."""
    path = checkout() / "benchmarks" / f"{script}.py"
    command = [sys.executable, str(path), "--device", place.device, *arguments]
    if place.dry:
        command.append("--quick")
    done = subprocess.run(
        command, cwd=checkout(), env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        return {"ok": False, "output": (done.stdout + done.stderr)[-3000:]}
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "ok": True}


def bench(paper: str, place: Place) -> Result:
    """The paper's own row of the profile bench, and what it starts from. A dry run takes smoke."""
    profile = "smoke" if place.dry else "bench"
    session = place.session(profile)
    planned = plan_experiments(session, [main_experiment(paper, profile)])
    failures = run_missing(session, planned, bar=False)
    runs = [session.store.load(p.key) for p in planned]
    trainings = len(driver.experiments(paper, profile, 1))
    own = runs[-1]
    return {
        "profile": profile,
        "trainings": trainings,
        # One after the other, each as long as the own row, which is among the longest.
        "all_trainings_min": None if own is None else trainings * own.provenance["wall_s"] / 60,
        "runs": [
            {
                "experiment": run.experiment["name"],
                "headline": run.metrics["headline"],
                "images_per_s": round(run.metrics["images_per_s"], 1),
                "training_s": round(run.metrics["seconds"], 1),
                "evaluation_s": round(run.metrics["evaluation_seconds"], 1),
                "wall_s": run.provenance["wall_s"],
            }
            for run in runs
            if run is not None
        ],
        "failures": failures,
        "ok": not failures and not missing_of(session, planned),
    }


def paper_memory(paper: str, place: Place) -> Result:
    """See `memory`: a step of every network of the profile paper."""
    compute = Compute.choose(place.device)
    networks = memory.networks(paper)
    found = [
        memory.measure(experiment, place.folder / "worlds", compute, place.dry)
        for experiment in (networks[:1] if place.dry else networks)
    ]
    return {"networks": found, "ok": True}


def speed(paper: str, place: Place) -> Result:
    """A training step at the paper's and at the study's size."""
    return benchmark("training", "--paper", paper, place=place)


def evaluation(case: str, place: Place) -> Result:
    """A test of the size of a real dataset against the bare product."""
    return benchmark("evaluation", "--case", case, place=place)


def _of_papers(name: str, what: str, run: Callable[[str, Place], Result]) -> list[Part]:
    return [Part(f"{name}-{paper}", what, partial(run, paper)) for paper in PAPERS]


PARTS = (
    Part("machine", "what the check is made on", machine),
    Part("tests", "the tests that need a GPU", cuda_tests),
    *_of_papers("smoke", "the own row of the profile smoke", smoke),
    *_of_papers("parity", "CPU against GPU, and fp32 against bf16", compare),
    *_of_papers("speed", "a training step at the paper's and the study's size", speed),
    *(
        Part(f"evaluation-{case}", "a test against the bare product", partial(evaluation, case))
        for case in CASES
    ),
    *_of_papers("memory", "memory of the profile paper", paper_memory),
    *_of_papers("bench", "the own row of the profile bench", bench),
)


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts called so, or beginning so before a "-" ("smoke"); all if none is named.

    Raises `UsageError` for a name that no part has.
    """
    for name in names:
        if not any(_is_called(part, name) for part in PARTS):
            kinds = dict.fromkeys(part.name.partition("-")[0] for part in PARTS)
            raise UsageError(f"gpu-check has no part {name!r}: expected {', '.join(kinds)}")
    return [part for part in PARTS if not names or any(_is_called(part, n) for n in names)]


def _is_called(part: Part, name: str) -> bool:
    return part.name == name or part.name.startswith(f"{name}-")


# ---------------------------------------------------------------- how it is run


def checkout() -> Path:
    """The checkout, with its tests and benchmarks. Raises `UsageError` where it is installed."""
    root = project_root()
    for needed in ("tests", "benchmarks"):
        if not (root / needed).is_dir():
            raise UsageError(f"{root}: no folder {needed}; gpu-check is run in a checkout")
    return root


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path()}


def check(place: Place, names: Sequence[str], again: bool = False, limit: float = LIMIT) -> int:
    """Run what is missing; write the page. Returns 0 if nothing failed and nothing is left.

    again: run parts that have ended well, too. Raises `DeviceError` if there is no such device.
    """
    require(place.device)
    checkout()
    place.folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, Result] = {}
    parts = chosen(names)
    for number, part in enumerate(parts, 1):
        record = None if again else finished(place, part)
        if record is None:
            print(f"[{number}/{len(parts)}] {part.name}: {part.what}", flush=True)
            record = _in_a_process(place, part, limit)
            write_json(place.folder / f"{part.name}.json", record)
            print(f"    {record['status']} after {record['seconds']:.0f} s", flush=True)
        records[part.name] = record
        page.write(place.folder, PARTS, place.device)
    left = [name for name, record in records.items() if record["status"] != "ok"]
    print(
        f"{len(records) - len(left)} of {len(records)} parts are fine: {place.folder / page.PAGE}"
    )
    if left:
        print(f"the same command goes on with {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


def require(device: str) -> None:
    """Raise `DeviceError` where there is no GPU, with what can be done without."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "gpu-check: this machine has no usable CUDA GPU "
            f"(torch {torch.__version__}, built for CUDA {torch.version.cuda}); "
            "`python -m reidlib gpu-check --device cpu` is a dry run in small sizes"
        )


def finished(place: Place, part: Part) -> Result | None:
    """The record of a part that has ended well, here and with today's code."""
    try:
        record = json.loads(read_regular(place.folder / f"{part.name}.json"))
    except (OSError, ValueError):
        return None
    same = record.get("made_by") == made_by(place.device)
    return record if same and record.get("status") == "ok" else None


def made_by(device: str) -> Result:
    """What a record belongs to: results of another machine, or of other code, are made anew."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "torch": torch.__version__,
        "git": git_commit(),
    }


def _in_a_process(place: Place, part: Part, limit: float) -> Result:
    command = [
        sys.executable, "-m", "reidlib", "gpu-check", "--part", part.name,
        "--device", place.device, "--results", str(place.folder),
    ]  # fmt: skip
    began, in_time = time.monotonic(), True
    output = place.folder / f"{part.name}.log"
    with output.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=project_root(), env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            in_time = False
            _stop(process)
            log.write(f"stopped after {limit:.0f} s\n")
        except BaseException:
            _stop(process)
            raise
    said = output.read_text(encoding="utf-8", errors="replace").strip()
    record = _record(said.splitlines()[-1] if said else "")
    seconds = round(time.monotonic() - began, 1)
    base = {"part": part.name, "seconds": seconds, "made_by": made_by(place.device)}
    if record is not None:
        output.unlink()
        status = "ok" if record.pop("ok", True) else "failed"
        return {**base, "status": status, "result": record}
    status = "failed" if in_time else UNFINISHED
    return {**base, "status": status, "result": {"output": said[-3000:]}}


def _record(line: str) -> Result | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _stop(process: subprocess.Popen) -> None:
    """End a part and all that it has started; its own session is its process group."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, 9)
    else:
        process.kill()
    process.wait()


def run_part(place: Place, name: str) -> int:
    """Run one part in this process; its result is the last line of the output."""
    require(place.device)
    (part,) = (part for part in PARTS if part.name == name)
    print(json.dumps(part.run(place), default=str), flush=True)
    return 0
