"""One run in this process: the same bits, resume, damage, failures."""

import shutil
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import session_in, some

from reidlib.arguments import PAPERS
from reidlib.errors import StoreError, TrainingError
from reidlib.models.imgnet import IMGNet
from reidlib.papers import driver
from reidlib.report.publish import make_banner
from reidlib.run import reference
from reidlib.run.keep import keep
from reidlib.run.plan import plan, planned_for
from reidlib.run.pool import run_missing
from reidlib.run.runner import Busy, failure, run_one
from reidlib.run.session import Session
from reidlib.run.store import Store


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
    again = run_one(other, planned[0])
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
    run_one(session, planned[0], on_epoch=epochs.append)
    assert epochs == []
    assert run_missing(session, planned) == {}
    after = (session.store.folder(planned[0].key) / "metrics.json").stat().st_mtime_ns
    assert before == after


def test_a_corrupted_run_is_trained_again_and_comes_to_the_same(finished, data, tmp_path):
    session, planned = finished
    other = session_in(tmp_path, data)
    key = run_one(other, planned[1]).key
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
        run_one(session, planned[0])
    assert "not a finite number" in failure(session, planned[0].key)
    assert session.store.load(planned[0].key) is None
    monkeypatch.undo()
    run_one(session, planned[0])
    assert failure(session, planned[0].key) == ""


def test_why_a_run_failed_is_read_whatever_it_holds(tmp_path):
    session = session_in(tmp_path / "results", tmp_path)
    assert failure(session, "0" * 16) == ""
    folder = session.store.folder("0" * 16)
    folder.mkdir(parents=True)
    (folder / "failure.txt").write_bytes(b"\xff\xfe out of memory\n")
    assert failure(session, "0" * 16) == "\ufffd\ufffd out of memory"
    (folder / "failure.txt").unlink()
    (folder / "failure.txt").mkdir()
    assert failure(session, "0" * 16) == ""


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
            run_one(session, p)
    finally:
        leave.set()
        thread.join()


def test_the_time_of_a_resumed_run_is_that_of_all_its_processes(data, tmp_path, monkeypatch):
    """Epochs before the last are of a process that is gone: told of by the checkpoint alone."""
    session = session_in(tmp_path, data)
    (p,) = some(session)[:1]
    plain = driver.train_and_evaluate

    def resumed(*args, on_epoch, **kwargs):
        result = plain(*args, on_epoch=None, **kwargs)
        *earlier, last = result.history
        for epoch in earlier:
            epoch["seconds"] = 1000.0
        on_epoch(last)
        return result

    run_one(session, planned_for(session, p.experiment.start))
    monkeypatch.setattr(driver, "train_and_evaluate", resumed)
    run = run_one(session, p)
    assert len(run.history) == 3 and run.provenance["epochs_in_this_process"] == 1
    assert 2000 < run.provenance["wall_s"] < 2100


# ------------------------------------------------------------------ precision


def precise(results, data, precision):
    return Session.create("smoke", results=results, data=data, precision=precision)


def test_keys_of_bf16_are_their_own_and_all_others_are_as_they_were(finished, data):
    session, planned = finished
    keys = {
        precision: {p.key for p in plan(precise(session.results, data, precision), ["imgnet"])}
        for precision in ("auto", "fp32", "bf16")
    }
    assert keys["auto"] == keys["fp32"] >= {p.key for p in planned}
    assert len(keys["bf16"]) == len(keys["auto"]) and not keys["bf16"] & keys["auto"]


def test_bf16_trains_runs_of_its_own_says_so_and_tests_in_fp32(
    finished, data, tmp_path, monkeypatch
):
    plain, planned = finished
    session = precise(tmp_path, data, "bf16")
    (p,) = some(session)[:1]
    dtypes = []
    encode = IMGNet.encode_images

    def watched(self, *args, **kwargs):
        codes = encode(self, *args, **kwargs)
        if not self.training:
            dtypes.append(codes.VG.dtype)
        return codes

    monkeypatch.setattr(IMGNet, "encode_images", watched)
    run = run_one(session, p)
    assert run.provenance["precision"] == "bf16 autocast"
    assert set(dtypes) == {torch.float32}
    assert make_banner(session, [p]).device == "cpu, bf16 autocast"
    first = plain.store.load(planned[0].key)
    assert first.provenance["precision"] == "fp32" and run.key != first.key
    weights = [load_file(r.folder / "model.safetensors") for r in (first, run)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_of_bf16_under_a_key_of_any_precision_is_none_of_fp32(finished, data, tmp_path):
    """What `auto` trained on a GPU: it counts where nothing was said, and not as fp32."""
    shutil.copytree(finished[0].results, tmp_path, dirs_exist_ok=True)
    auto, full = (precise(tmp_path, data, precision) for precision in ("auto", "fp32"))
    (p,) = some(full)[:1]
    run = full.store.load(p.key)
    provenance = {**run.provenance, "precision": "bf16 autocast"}
    names = run.metrics["evaluations"]
    metrics = {k: v for k, v in run.metrics.items() if k not in ("key", "files", "digest")}
    auto.store.finish(
        p.key,
        weights=run.weights.read_bytes(),
        ranks={name: run.ranks(name) for name in names},
        people={name: run.people(name) for name in names},
        provenance=provenance,
        metrics=metrics,
    )
    assert auto.store.load(p.key) is not None and run_one(auto, p).provenance == provenance
    assert full.store.load(p.key) is None
    with pytest.raises(StoreError, match=r"trained in bf16 autocast; to have it in fp32 as well"):
        run_one(full, p)
    kept = keep(auto, ["imgnet"], tmp_path / "kept")
    assert kept and reference.load(tmp_path / "kept")[p.key].provenance == provenance
    for precision, found in (("auto", True), ("fp32", False), ("bf16", True)):
        store = Store(tmp_path / "elsewhere", tmp_path / "kept", precision)
        assert (store.load(p.key) is not None) == found


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
        run = run_one(session, p)
        assert run.provenance["device"] == "cuda"
        assert np.isfinite(run.metrics["final_loss"])
