"""Training runs for real, in this process and in workers: resume, damage, crashes, two at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reidlib.errors import StoreError, TrainingError, UsageError
from reidlib.models.imgnet import IMGNet
from reidlib.papers import PAPERS, get_paper
from reidlib.papers.tables import load_tables
from reidlib.run.runner import (
    Busy,
    Planned,
    failure,
    find,
    plan,
    raise_if_failed,
    run_missing,
    run_one,
)
from reidlib.run.session import Session
from reidlib.run.store import CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data(tiny_world):
    return tiny_world


def session_in(results: Path, data: Path) -> Session:
    return Session.create("smoke", results=results, data=data)


def some(session: Session, *names: str) -> list[Planned]:
    """Planned runs by their names' beginnings, which are those of two cheap rows by default."""
    names = names or (
        "vgg16_bn, channel+spatial, GS+LS+GP, GN, k=6, fused",
        "vgg16_bn, no attention, GS, GN, k=6, fused",
    )
    planned = plan(session, ["imgnet"])
    return [next(p for p in planned if p.experiment.name.startswith(n)) for n in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A session with two finished runs."""
    session = session_in(tmp_path_factory.mktemp("results"), data)
    planned = some(session)
    for p in planned:
        run_one(session, p.experiment)
    return session, planned


def test_smoke_plans_all_74_distinct_trainings(data, tmp_path):
    planned = plan(session_in(tmp_path, data), ["imgnet"])
    assert len(planned) == 74 == len({p.key for p in planned})
    with_seeds = Session.create("smoke", results=tmp_path, data=data, seeds=3)
    assert len(plan(with_seeds, ["imgnet"])) == 3 * 74


@pytest.mark.parametrize("profile", ["smoke", "bench", "paper"])
def test_every_own_row_but_those_of_table_4_is_planned(profile):
    module = get_paper("imgnet")
    for number, table in load_tables("imgnet").items():
        for row in table.rows:
            cell = module.cell(profile, number, row.slug, "Top-1", 1)
            assert (cell is not None) == (row.origin == "own" and number != 4), row.slug


def test_demo_plans_both_full_models_and_what_the_main_claims_compare():
    module = get_paper("imgnet")
    names = [e.name for e in module.experiments("demo", 1)]
    assert (
        sum("channel+spatial, GS+LS+GP, GN" in n and "fused" in n for n in names) == 4
    )  # 2 more k
    assert any(", BN," in n for n in names)
    for row in load_tables("imgnet")[3].rows:
        assert module.cell("demo", 3, row.slug, "Top-1", 1) is not None
    for slug in ("imgnet-vgg", "imgnet-resnet"):
        assert module.cell("demo", 7, slug, "Top-1", 1) is not None


def test_paper_profile_is_the_papers_own_schedule_and_size():
    experiment = get_paper("imgnet").cell("paper", 3, "vgg-test-all", "Top-1", 1).experiments[0]
    training = experiment.training
    assert training.image_size == (384, 128)
    assert training.batch_size == 32 and training.pretrained
    first, second = training.stages
    assert first.lrs == (1e-3,) * 10 and first.freeze_backbone
    assert second.lrs == (2e-4,) * 15 + (2e-4 / 10,) * 5 and not second.freeze_backbone
    config = experiment.model
    assert (config.P, config.E, config.k, config.width, config.depths) == (1024, 300, 6, 1.0, None)


def test_a_finished_run_holds_what_the_contract_says(finished):
    session, planned = finished
    run = session.store.load(planned[0].key)
    evaluations = run.metrics["evaluations"]
    assert set(evaluations) == {"GS", "LS", "GP", "GS+LS", "GS+GP", "LS+GP", "GS+LS+GP"}
    queries = run.metrics["queries"]
    for name, values in evaluations.items():
        ranks = run.ranks(name)
        assert ranks.shape == (queries,) and ranks.min() >= 1
        for k in (1, 5, 10):
            assert values[f"Top-{k}"] == pytest.approx(100 * np.mean(ranks <= k))
    assert [h["stage"] for h in run.history] == ["stage 1", "stage 2", "stage 2"]
    assert "rank_gs" not in run.history[0] and "rank_gs" in run.history[1]
    assert run.provenance["device"] == "cpu"
    assert run.provenance["versions"]["torch"] == torch.__version__
    assert run.experiment["data"]["fingerprint"] == session.dataset("cuhk-pedes").fingerprint


def test_the_same_seed_gives_the_same_bits(finished, data, tmp_path):
    session, planned = finished
    other = session_in(tmp_path, data)
    again = run_one(other, planned[0].experiment)
    first = session.store.load(planned[0].key)
    assert again.key == first.key
    assert again.metrics["evaluations"] == first.metrics["evaluations"]
    weights = (load_file(r.folder / "model.safetensors") for r in (first, again))
    for a, b in zip(*(w.items() for w in weights), strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1])


def test_a_finished_run_is_not_trained_again(finished):
    session, planned = finished
    before = (session.store.folder(planned[0].key) / "metrics.json").stat().st_mtime_ns
    epochs = []
    run_one(session, planned[0].experiment, on_epoch=epochs.append)
    assert epochs == []
    assert run_missing(session, planned) == {}
    after = (session.store.folder(planned[0].key) / "metrics.json").stat().st_mtime_ns
    assert before == after


def test_a_corrupted_run_is_trained_again_and_comes_to_the_same(finished, data, tmp_path):
    session, planned = finished
    other = session_in(tmp_path, data)
    key = run_one(other, planned[1].experiment).key
    (other.store.folder(key) / "ranks.npz").write_bytes(b"damaged")
    assert other.store.load(key) is None
    assert run_missing(other, planned[1:]) == {}
    run, first = other.store.load(key), session.store.load(key)
    assert run.metrics["evaluations"] == first.metrics["evaluations"]


def test_nan_loss_fails_the_run_says_why_and_leaves_the_others(
    finished, monkeypatch, data, tmp_path
):
    session = session_in(tmp_path, data)
    planned = some(session)
    real = IMGNet.loss

    def broken(self, *args, **kwargs):
        terms = real(self, *args, **kwargs)
        return {**terms, "id_t": terms["id_t"] * float("nan")}

    monkeypatch.setattr(IMGNet, "loss", broken)
    with pytest.raises(TrainingError, match="not a finite number in epoch 0"):
        run_one(session, planned[0].experiment)
    assert "not a finite number" in failure(session, planned[0].key)
    assert session.store.load(planned[0].key) is None
    monkeypatch.undo()
    run_one(session, planned[0].experiment)
    assert failure(session, planned[0].key) == ""


def test_a_run_that_another_process_trains_is_busy(data, tmp_path):
    session = session_in(tmp_path, data)
    (p,) = some(session)[:1]
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with session.store.claim(p.key):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(30)
    try:
        with pytest.raises(Busy, match="another process is training"):
            run_one(session, p.experiment)
    finally:
        leave.set()
        thread.join()


def test_find_by_the_beginning_of_a_key(finished):
    session, planned = finished
    assert find(session, ["imgnet"], planned[0].key[:10]) == planned[0]
    with pytest.raises(StoreError, match="fits 74 of the planned runs"):
        find(session, ["imgnet"], "")
    with pytest.raises(StoreError, match="fits 0"):
        find(session, ["imgnet"], "no such key")


def test_unknown_paper():
    with pytest.raises(UsageError, match=r"unknown paper 'resnet': expected .*imgnet"):
        get_paper("resnet")
    for name in PAPERS:
        assert get_paper(name).TITLE


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
        "    if a[7] == 2:\n"
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


def test_a_crashed_worker_is_reported_and_does_not_stop_the_others(data, tmp_path):
    session = session_in(tmp_path, data)
    planned = some(session)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        "import reidlib.train as t\n"
        "plain = t._epoch\n"
        "def _epoch(model, *a):\n"
        "    if model.cfg.channel:\n"
        "        os.abort()\n"
        "    return plain(model, *a)\n"
        "t._epoch = _epoch\n"
    )
    script = (
        "import sys, json\n"
        "from reidlib.run.session import Session\n"
        "from reidlib.run.runner import find, run_missing\n"
        "s = Session.from_json(sys.argv[1])\n"
        "planned = [find(s, ['imgnet'], key) for key in sys.argv[2:]]\n"
        "print('RESULT', json.dumps(run_missing(s, planned, bar=False)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, session.to_json(), *(p.key for p in planned)],
        env={**ENV, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        timeout=120, capture_output=True, text=True,
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
    assert "0 of 74 runs are finished" in done.stdout
    assert done.stderr.count("no space left while writing it. Finished runs are untouched") == 1
    assert "Traceback" not in done.stderr
    assert len(list((session.folder / "runs").glob("*/experiment.json"))) == 1
    assert all(session.store.load(p.key) is None for p in planned)


# ------------------------------------------------------------------ CUDA


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("paper", PAPERS)
def test_cuda_trains_every_method_of_a_paper(paper, tmp_path):
    """The whole way of a run, batches and evaluation included, once for each kind of network."""
    session = Session.create("smoke", results=tmp_path, device="cuda")
    planned = plan(session, [paper])
    kinds = {(type(p.experiment.model), p.experiment.dataset): p for p in planned}
    for p in kinds.values():
        run = run_one(session, p.experiment)
        assert run.provenance["device"] == "cuda"
        assert np.isfinite(run.metrics["final_loss"])
