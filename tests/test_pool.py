"""Runs in worker processes: killed, crashed, two commands at once, a full disk."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import kill
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import session_in, some

from reidlib.devices import RUNS_ON_GPU
from reidlib.errors import StoreError
from reidlib.papers import driver
from reidlib.run import pool, worker
from reidlib.run.plan import Planned, plan, work_of
from reidlib.run.pool import Progress, raise_if_failed, run_missing
from reidlib.run.session import Session
from reidlib.run.store import CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]


def command(session: Session, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "reidlib", "run", "--profile", "smoke", "--papers", "imgnet",
        "--data", str(session.data), "--results", str(session.results), *more,
    ]  # fmt: skip


ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_workers_train_what_is_missing(data, tmp_path, finished):
    """Through worker processes: the same bits as in this process."""
    session = session_in(tmp_path, data)
    planned = some(session)
    raise_if_failed(run_missing(session, planned, bar=False))
    for p in planned:
        ranks = [s.store.load(p.key).ranks("GS+LS+GP") for s in (session, finished[0])]
        assert np.array_equal(*ranks)
        assert not (session.store.folder(p.key) / CHECKPOINT).exists()


def test_sigkill_in_mid_run_then_the_same_command_resumes_to_the_bit(data, tmp_path, finished):
    """Parent and worker are both gone; the checkpoint of the last whole epoch is used."""
    session = session_in(tmp_path, data)
    (p,) = some(session)[:1]
    folder = session.store.folder(p.key)
    # A fault injected from outside: the worker stops itself at its third epoch's first batch.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, signal\n"
        "import reidlib.train as t\n"
        "plain = t._epoch\n"
        "def _epoch(*a):\n"
        "    if a[-2] == 2:\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(*a)\n"
        "t._epoch = _epoch\n"
    )
    environment = {**ENV, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    killed = subprocess.run(command(session, "--key", p.key), env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (folder / CHECKPOINT).exists() and session.store.load(p.key) is None
    done = subprocess.run(
        command(session, "--key", p.key), env=ENV, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run, whole = session.store.load(p.key), finished[0].store.load(p.key)
    assert run.provenance["epochs_in_this_process"] == 1
    for a, b in zip(
        load_file(run.folder / "model.safetensors").values(),
        load_file(whole.folder / "model.safetensors").values(),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_killed_at_any_moment_it_comes_to_the_same_tables(tmp_path):
    """While it starts, draws, caches, trains or reports; 20 times: `python -m tests.kill`."""
    assert kill.kills(tmp_path, 3, seed=1, small=True).total() == 3


def test_kills_in_parts_add_up(tmp_path, monkeypatch, capsys):
    seeds = []

    def kills(root, number, seed=0, small=False, say=print):
        seeds.append(seed)
        return Counter(training=number)

    monkeypatch.setattr(kill, "kills", kills)
    arguments = ["--kills", "4", "--seed", "7", "--add-to", str(tmp_path / "kills.json")]
    assert kill.main(arguments) == kill.main(arguments) == 0
    assert seeds == [7, 11] and "8 kills (training 8), the last 4 in" in capsys.readouterr().out


def test_a_crashed_worker_is_reported_and_does_not_stop_the_others(data, tmp_path):
    session = session_in(tmp_path, data)
    planned = some(session)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        # Whatever a worker says before its main is none of the parent's business.
        "print('hello', '{\"event\": \"done\"}', sep='\\n', flush=True)\n"
        "os.write(1, b'\\xff{[\\n')\n"
        "import reidlib.train as t\n"
        "plain = t._epoch\n"
        "def _epoch(model, *a):\n"
        "    if getattr(model.cfg, 'channel', False):\n"
        "        os.abort()\n"
        "    return plain(model, *a)\n"
        "t._epoch = _epoch\n"
    )
    script = (
        "import sys, json\n"
        "from reidlib.run.session import Session\n"
        "from reidlib.run.plan import find, plan\n"
        "from reidlib.run.pool import run_missing\n"
        "from reidlib.run.runner import run_one\n"
        "s = Session.from_json(sys.argv[1])\n"
        "planned = [find(plan(s, ['imgnet']), key) for key in sys.argv[2:]]\n"
        "run_one(s, find(plan(s, ['imgnet']), planned[0].start))\n"
        "print('RESULT', json.dumps(run_missing(s, planned, bar=False)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, session.to_json(), *(p.key for p in planned)],
        env={**ENV, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        timeout=120, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    failures = json.loads(last.removeprefix("RESULT"))
    assert list(failures) == [planned[0].key]
    assert "ended by signal 6" in failures[planned[0].key]
    assert session.store.load(planned[1].key) is not None


def test_two_commands_at_once_share_the_work(data, tmp_path):
    session = session_in(tmp_path, data)
    planned = some(session)
    commands = [command(session, "--key", planned[0].key) for _ in range(2)]
    processes = [
        subprocess.Popen(c, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for c in commands
    ]
    started = time.time()
    outputs = [p.communicate(timeout=180)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert session.store.load(planned[0].key) is not None
    assert time.time() - started < 180
    # One of the two trained it; the other one waited for it, or came when it was done.
    assert sum("epoch 1/3" in output for output in outputs) == 1


def test_a_full_disk_stops_the_others_and_says_so_once(data, tmp_path):
    """The disk is full from the first checkpoint on: nothing more is started."""
    session = Session.create("smoke", results=tmp_path / "results", data=data, jobs=1)
    planned = some(session)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, os, sys\n"
        "import reidlib.train as t\n"
        "def full(*a):\n"
        "    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "def _write_checkpoint(*a):\n"
        "    os.fsync = full\n"
        "    plain(*a)\n"
        "plain, t._write_checkpoint = t._write_checkpoint, _write_checkpoint\n"
    )
    done = subprocess.run(
        command(session, "--jobs", "1"),
        env={**ENV, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"0 of {len(plan(session, ['imgnet']))} runs are finished" in done.stdout
    assert done.stderr.count("no space left while writing it. Finished runs are untouched") == 1
    assert "Traceback" not in done.stderr
    assert len(list((session.folder / "runs").glob("*/experiment.json"))) == 1
    assert all(session.store.load(p.key) is None for p in planned)


def test_progress_is_told_in_work_and_not_in_runs(data, tmp_path, capsys):
    """A run that costs twice as much moves the bar twice as far; what fails is not left over."""
    session = session_in(tmp_path, data)
    planned = some(session)
    show = Progress(session, planned, bar=True)
    whole = [work_of(session, p) for p in planned]
    assert show.bar.total == pytest.approx(sum(whole))
    epochs = planned[0].experiment.training.epochs
    show.epoch(planned[0], {"epoch": 0, "loss": 1.0, "images_per_s": 10.0})
    assert show.bar.n == pytest.approx(whole[0] / epochs)
    show.done(planned[0], "FAILED: for a test")
    assert show.bar.n == pytest.approx(whole[0])
    show.done(planned[1], "done")
    assert show.bar.n == pytest.approx(show.bar.total)
    show.close()
    lines = Progress(session, planned, bar=False)
    lines.epoch(planned[0], {"epoch": 0, "loss": 1.0, "images_per_s": 10.0})
    lines.stage("writing the report of IMG-Net")
    out = capsys.readouterr().out
    assert f"epoch 1/{epochs} loss 1.000 10 images/s" in out
    assert "writing the report of IMG-Net" in out


# ------------------------------------------------------------------ what waits for what


class Stored:
    """Stands for a session whose store holds some runs, with their weights or without."""

    def __init__(self, trained: str = "", without_weights: str = "") -> None:
        self.store = self
        self.trained, self.finished = set(trained), set(trained + without_weights)

    def load(self, key: str) -> str | None:
        return key if key in self.finished else None

    def load_trained(self, key: str) -> str | None:
        return key if key in self.trained else None


# d starts from b and joins c; b, a row of its own, starts from a; e joins c.
PLAN = [
    Planned(None, "a", wanted=False),
    Planned(None, "b", "a"),
    Planned(None, "c", wanted=False),
    Planned(None, "d", "b", ("c",)),
    Planned(None, "e", "", ("c",)),
]


@pytest.mark.parametrize(
    ("trained", "without_weights", "missing"),
    [
        ("", "", "abcde"),
        ("abc", "", "de"),
        ("abcde", "", ""),
        ("", "abcde", ""),  # all that counts is there
        ("e", "abc", "abcd"),  # of what d needs no weights came along
        ("b", "ac", "cde"),  # b can be started from, so that a is not needed
        ("bde", "", ""),  # what nothing waits for is not trained for its own sake
        ("de", "", "ab"),  # a row is, also if others start from it
    ],
)
def test_what_is_missing_and_what_that_needs(trained, without_weights, missing):
    found = pool.missing_of(Stored(trained, without_weights), PLAN)
    assert sorted(p.key for p in found) == sorted(missing)


def test_nothing_is_begun_before_all_that_it_needs_and_failures_are_passed_on():
    waiting = pool._Pool.__new__(pool._Pool)
    waiting.waiting, waiting.open, waiting.failures = PLAN[:], set("abcde"), {}
    sent, said = [], []
    waiting.show = SimpleNamespace(done=lambda task, outcome: said.append(task.key))

    def idle():
        worker = SimpleNamespace(task=None, process=SimpleNamespace(stdin=io.StringIO()))
        worker.send = lambda task: sent.append(task.key)
        return worker

    waiting.workers = [idle(), idle()]
    waiting._employ()
    assert sent == ["a", "c"]  # b waits for a, d for b and c, e for c
    waiting.open.discard("c")
    waiting.workers = [idle()]
    waiting._employ()
    assert sent == ["a", "c", "e"]
    waiting._failed(PLAN[0], "out of luck")
    assert set(waiting.failures) == {"a", "b", "d"} and sorted(said) == ["a", "b", "d"]
    assert "starts from run b, which failed" in waiting.failures["d"]
    assert waiting.waiting == []


def test_starts_come_first_then_tables_long_rows_and_all_seeds_of_a_row_together(monkeypatch):
    by_name = {}
    for experiment in driver.experiments("ssan", "study", 2):
        by_name[experiment.name, experiment.dataset, experiment.seed] = experiment
    works: dict[str, float] = {}
    monkeypatch.setattr(pool, "work_of", lambda session, p: works[p.key])

    def planned(key: str, row: str, seed: int, work: float, start: str = "start") -> Planned:
        works[key] = work
        return Planned(by_name[row, "cuhk-pedes", seed], key, start)

    full, baseline = "SSAN (ssan), resnet50", "SSAN (baseline), resnet50"
    kinds = by_name[full, "cuhk-pedes", 0].start
    works["start"] = 1.0
    missing = [
        planned("figure", f"{full}, alpha_2 = 0.1", 0, 9.0),
        planned("k1", full, 1, 5.0),
        planned("k2", baseline, 0, 5.0),
        planned("k3", full, 0, 5.0),
        planned("k4", "SCAN, resnet50", 0, 7.0),
        planned("k5", baseline, 1, 5.0),
        Planned(kinds, "start"),
    ]
    session = SimpleNamespace(profile="study", seeds=2)
    found = [p.key for p in pool.in_order(session, missing)]
    assert found == ["start", "k4", "k2", "k5", "k3", "k1", "figure"]


def test_what_stops_the_others_is_the_disk_and_not_a_damaged_file(monkeypatch):
    def told(error: Exception) -> dict:
        def run_one(*_, **__):
            raise error

        monkeypatch.setattr(worker, "run_one", run_one)
        return worker._train(None, None, None)

    full = StoreError("no space left")
    full.__cause__ = OSError(28, "no space left on device")
    assert told(full) == {"event": "failed", "error": "no space left", "stop": True}
    damaged = told(StoreError("the weights are damaged"))
    assert damaged == {"event": "failed", "error": "the weights are damaged", "stop": False}


def test_a_worker_ends_with_an_error_of_its_gpu(monkeypatch, capsys):
    """Such errors last as long as the process: the parent starts another one."""

    class Ended(BaseException):
        pass

    def ended(code: int) -> None:
        raise Ended(code)

    def run_one(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(worker, "run_one", run_one)
    monkeypatch.setattr(worker.os, "_exit", ended)
    assert "device-side assert" in worker._train(None, None, None)["error"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(Ended, match="1"):
        worker._train(None, None, None)
    assert "device-side assert" in capsys.readouterr().err  # the last words


def test_workers_know_how_many_share_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    session = Session.create("bench", results=tmp_path, device="cuda", jobs=5)
    slots = pool._slots(session, 100)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1", "0", "1", "0"]
    assert {slot[RUNS_ON_GPU] for slot in slots} == {"3"}
