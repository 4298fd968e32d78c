"""The store: complete or not there; damage, locks, full disks."""

import dataclasses
import errno
import io
import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reidlib import files
from reidlib.errors import StoreError
from reidlib.experiment import Experiment, Stage, Training
from reidlib.files import locked, write_atomic, write_json
from reidlib.run.store import (
    METRICS,
    Run,
    Store,
    _digest,
    _digest_of,
    damage,
    read_arrays,
    write_history,
)
from reidlib.train import _read_checkpoint, _seal

KEY = "0123456789abcdef"


def finish(store: Store, key: str = KEY, scores: dict | None = None) -> Run:
    folder = store.folder(key)
    write_json(folder / "experiment.json", {"name": "toy"})
    write_history(folder / "history.jsonl", [{"epoch": 0, "loss": 1.5}])
    (folder / "checkpoint.pt").write_bytes(b"state")
    return store.finish(
        key,
        weights=b"weights",
        ranks={"GS": np.array([1, 3, 2], np.int32)},
        people={"GS": np.array([7, 7, 9])},
        provenance={"device": "cpu"},
        metrics={"evaluations": {"GS": {"Top-1": 100 / 3}}},
        scores=scores,
    )


def test_round_trip(tmp_path):
    store = Store(tmp_path)
    assert store.load(KEY) is None
    finish(store)
    run = store.load(KEY)
    assert run.ranks("GS").tolist() == [1, 3, 2]
    assert run.ranks("GS").dtype == np.int32
    assert run.metrics["evaluations"]["GS"]["Top-1"] == 100 / 3
    assert run.history == [{"epoch": 0, "loss": 1.5}]
    assert run.provenance == {"device": "cpu"}
    assert not (run.folder / "checkpoint.pt").exists()
    with pytest.raises(StoreError, match="no evaluation 'LS'; it holds GS"):
        run.ranks("LS")
    assert run.scores("GS", "Top-1") is None
    assert run.people("GS").tolist() == [7, 7, 9]
    assert run.weights.read_bytes() == b"weights"


SCORES = {"single query": {"mAP (trapezoid)": np.array([0.25, np.nan, 1.0])}}


def test_scores_of_queries_round_trip(tmp_path):
    store = Store(tmp_path)
    finish(store, scores=SCORES)
    run = store.load(KEY)
    found = run.scores("single query", "mAP (trapezoid)")
    np.testing.assert_array_equal(found, [0.25, np.nan, 1.0])
    assert found.dtype == np.float64
    assert run.scores("single query", "mAP (step)") is None
    assert run.ranks("GS").tolist() == [1, 3, 2]


@pytest.mark.parametrize("how", ["truncated", "removed", "same size, other bytes"])
def test_a_run_with_damaged_scores_is_not_taken_for_finished(tmp_path, how):
    store = Store(tmp_path)
    path = finish(store, scores=SCORES).folder / "scores.npz"
    if how == "removed":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.write_bytes(b"\xff" * path.stat().st_size)
    assert store.load(KEY) is None
    assert damage(Run(KEY, store.folder(KEY)))


# Weights are opened only by those who use them: until then only their size is checked.
@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("experiment.json", "history.jsonl", "ranks.npz", "people.npz", "metrics.json")
        for how in ("truncated", "removed", "same size, other bytes")
    ]
    + [("model.safetensors", "truncated"), ("model.safetensors", "removed")],
)
def test_a_damaged_run_is_not_taken_for_finished(tmp_path, name, how):
    store = Store(tmp_path)
    path = finish(store).folder / name
    if how == "removed":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.write_bytes(b"\xff" * path.stat().st_size)
    assert store.load(KEY) is None
    why = damage(Run(KEY, store.folder(KEY)))
    assert why == ("missing" if name == "metrics.json" and how == "removed" else why)
    assert why
    store.discard(KEY)
    assert not store.folder(KEY).exists()


def test_weights_of_other_bytes_are_refused_when_they_are_read(tmp_path):
    run = finish(Store(tmp_path))
    (run.folder / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(StoreError, match=r"model\.safetensors: its content is not what was"):
        _ = Store(tmp_path).load(KEY).weights


def test_a_flipped_bit_anywhere_is_seen(tmp_path):
    store = Store(tmp_path)
    folder = finish(store, scores=SCORES).folder
    for path in sorted(folder.iterdir()):
        if path.name == "model.safetensors":
            continue
        content = path.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 40)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            assert store.load(KEY) is None, (path.name, place)
        path.write_bytes(content)
    assert store.load(KEY) is not None


def test_metrics_that_the_ranks_contradict_are_not_taken(tmp_path):
    """Also where whoever edited them knew how digests are made."""
    store = Store(tmp_path)
    path = finish(store, scores={"GS": {"mAP": np.array([0.5, np.nan, 1.0])}}).folder / METRICS
    plain = {k: v for k, v in json.loads(path.read_text()).items() if k != "digest"}
    for metric, value, right in (("Top-1", 66.7, 100 / 3), ("mAP", 50.0, 75.0)):
        for changed, taken in ((value, False), (right, True)):
            content = {**plain, "evaluations": {"GS": {metric: changed}}}
            write_json(path, {**content, "digest": _digest_of(content)})
            said = "" if taken else f"{path}: GS, {metric} {value:.2f}; the queries come to"
            assert damage(Run(KEY, path.parent)).startswith(said)
            assert (store.load(KEY) is not None) == taken


class Payload:
    """Something whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_nothing_pickled_is_read(tmp_path):
    """Whoever hands over data, runs or checkpoints cannot have code run by it."""
    trace = tmp_path / "trace"
    buffer = io.BytesIO()
    np.savez(buffer, GS=np.array([Payload(trace)], dtype=object))
    np.load(io.BytesIO(buffer.getvalue()), allow_pickle=True)["GS"]
    assert trace.exists()  # the trap works
    trace.rmdir()
    path = tmp_path / "some.npz"
    path.write_bytes(buffer.getvalue())
    assert files.read_arrays(path) is None
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_arrays(path)
    store = Store(tmp_path)
    folder = finish(store).folder
    (folder / "ranks.npz").write_bytes(buffer.getvalue())
    metrics = json.loads((folder / METRICS).read_text())
    del metrics["digest"]
    metrics["files"]["ranks.npz"] = _digest(folder / "ranks.npz")
    write_json(folder / METRICS, {**metrics, "digest": _digest_of(metrics)})
    assert "allow_pickle=False" in damage(Run(KEY, folder))
    checkpoint = tmp_path / "checkpoint.pt"
    state = pickle.dumps(Payload(trace))
    checkpoint.write_bytes(_seal(state) + state)
    model = nn.Linear(1, 1)
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        assert _read_checkpoint(checkpoint, torch.device("cpu"), model, {}) is None
    assert not trace.exists()


def test_a_run_under_another_key_is_not_taken(tmp_path):
    store = Store(tmp_path)
    finish(store)
    store.folder(KEY).rename(store.folder("f" * 16))
    assert store.load("f" * 16) is None
    assert "of run 0123456789abcdef, expected ffff" in damage(Run("f" * 16, store.folder("f" * 16)))


def test_half_a_character_can_be_written(tmp_path):
    """Some writers of JSON leave them behind; a page or a record that quotes one is written."""
    write_atomic(tmp_path / "page", "before \ud800 after")
    assert (tmp_path / "page").read_text() == "before \\ud800 after"
    write_json(tmp_path / "record", {"a": "\ud800"})
    assert json.loads((tmp_path / "record").read_text()) == {"a": "\ud800"}


def test_a_linked_run_folder_is_left_alone_when_it_is_damaged(tmp_path):
    store = Store(tmp_path / "results")
    folder = finish(store).folder
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert store.load(KEY) is not None
    (folder / "ranks.npz").write_bytes(b"damaged")
    assert store.load(KEY) is None
    store.discard(KEY)
    assert not folder.exists() and (tmp_path / "elsewhere" / "ranks.npz").exists()


def test_a_full_disk_is_a_clear_error_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomic(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match=r"metrics\.json: no space left .* Finished runs"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_no_space_while_finishing_a_run_leaves_it_unfinished_and_others_whole(
    tmp_path, monkeypatch
):
    store = Store(tmp_path)
    finish(store, "a" * 16)
    real = os.fsync
    calls = []

    def full_after_three(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full_after_three)
    with pytest.raises(StoreError, match="no space left"):
        finish(store)
    monkeypatch.undo()
    assert store.load(KEY) is None
    assert store.load("a" * 16) is not None
    assert (store.folder(KEY) / "checkpoint.pt").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="not writable"):
        write_atomic(tmp_path / "sub" / "x", "y")


def _hold(path: str, ready, release) -> None:
    with locked(Path(path)):
        ready.set()
        release.wait(30)


def test_locks_between_processes_and_after_a_killed_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    store = Store(tmp_path)
    path = store.root / "runs" / ".locks" / KEY
    holder = context.Process(target=_hold, args=(str(path), ready, release))
    holder.start()
    assert ready.wait(30)
    with store.claim(KEY) as held:
        assert held is False
    holder.kill()
    holder.join()
    with store.claim(KEY) as held:
        assert held is True


@dataclasses.dataclass(frozen=True)
class ToyModel:
    width: float = 1.0


def experiment(**changes) -> Experiment:
    training = Training((Stage("all", (1e-3,)),), batch_size=4, image_size=(8, 4))
    base = Experiment("imgnet", "toy", "cuhk-pedes", ToyModel(), training, seed=0, recipe=1)
    return dataclasses.replace(base, **changes)


def test_keys_depend_on_everything_but_the_name():
    base = experiment()
    assert base.key("f") == experiment(name="another name").key("f")
    training = dataclasses.replace(base.training, batch_size=8)
    others = [
        experiment(seed=1),
        experiment(recipe=2),
        experiment(dataset="icfg-pedes"),
        experiment(model=ToyModel(0.5)),
        experiment(training=training),
    ]
    keys = {e.key("f") for e in others} | {base.key("f"), base.key("g")}
    assert len(keys) == 7
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)


def test_a_new_switch_leaves_keys_as_they_are():
    """Only what differs from the defaults is hashed."""
    fields = [("width", float, 1.0), ("switch", bool, False)]
    later = dataclasses.make_dataclass("ToyModel", fields, frozen=True)
    base = experiment().key("f")
    assert experiment(model=later()).key("f") == base
    assert experiment(model=later(switch=True)).key("f") != base


def test_keys_are_the_same_on_every_machine():
    """A fixed value: results that were stored by another version are found again."""
    assert json.dumps(experiment().settings())  # plain data
    assert experiment(seed=1, start=experiment()).key("f", "s") != experiment(seed=1).key("f")
    assert experiment().key("f") == "c64f9aea39074a8f"
