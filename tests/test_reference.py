"""Runs that travel without weights: kept, found by their keys, split into small files."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reidlib.cli import main
from reidlib.errors import DataError, StoreError
from reidlib.papers.tinker import row_of, trainings_of, with_settings
from reidlib.report import steps
from reidlib.run import reference
from reidlib.run.keep import keep
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.run.store import Store


def run(key: str, queries: int = 50, seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    ranks = rng.integers(1, 40, queries).astype(np.int32)
    scores = np.where(np.arange(queries) % 7 == 0, np.nan, rng.random(queries))
    return SimpleNamespace(
        key=key,
        metrics={"evaluations": {"Sg": {"Top-1": 31.25}}, "files": {}, "digest": "x"},
        experiment={"name": "toy", "seed": seed},
        provenance={"device": "cpu"},
        history=[{"epoch": 0, "loss": 1.23456789}],
        ranks=lambda evaluation: ranks,
        people=lambda evaluation: np.arange(queries) // 2,
        scores=lambda evaluation, metric: scores if metric.startswith("mAP") else None,
    )


COMPARED = {"Sg": {"Top-1", "Top-10", "mAP (step)"}}


def test_a_kept_run_says_what_the_tables_compare(tmp_path):
    first = run("a" * 16)
    reference.save(tmp_path, "toy", [(first, COMPARED)])
    found = reference.load(tmp_path)["a" * 16]
    for k in (1, 5, 10):
        assert ((found.ranks("Sg") <= k) == (first.ranks("Sg") <= k)).all()
    assert found.ranks("Sg").dtype == np.int32 and found.ranks("Sg").max() == 11
    assert (found.people("Sg") == first.people("Sg")).all()
    kept, whole = found.scores("Sg", "mAP (step)"), first.scores("Sg", "mAP (step)")
    np.testing.assert_allclose(kept, whole, atol=5e-4)
    assert found.scores("Sg", "Top-1") is None and found.weights is None
    assert found.metrics["evaluations"]["Sg"]["Top-1"] == 31.25
    with pytest.raises(StoreError, match="no ranks of evaluation 'Sl'"):
        found.ranks("Sl")


def test_equal_outcomes_are_kept_once_and_files_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "_MOST", 3000)
    runs = [(run(f"{n:016d}", queries=500, seed=n % 3), COMPARED) for n in range(12)]
    files = reference.save(tmp_path, "toy", runs)
    assert len(files) > 2 and all(path.stat().st_size < 6_000 for path in files)
    assert set(reference.load(tmp_path)) == {f"{n:016d}" for n in range(12)}
    reference.save(tmp_path, "toy", runs[:1])  # replaces what was there
    assert set(reference.load(tmp_path)) == {"0" * 16}


def test_the_order_of_outcomes_changes_no_byte():
    arrays = {name: np.arange(len(name)) for name in ("people", "ranks", "at")}
    turned = dict(reversed(arrays.items()))
    assert list(turned) != list(arrays)
    assert reference._packed(arrays) == reference._packed(turned)


def test_a_store_finds_kept_runs_by_key_and_prefers_its_own(tmp_path):
    reference.save(tmp_path / "kept", "toy", [(run("b" * 16), COMPARED)])
    store = Store(tmp_path / "results", tmp_path / "kept")
    assert store.load("b" * 16).weights is None
    assert store.load_trained("b" * 16) is None
    assert store.load("c" * 16) is None
    assert Store(tmp_path / "results").load("b" * 16) is None


def test_damaged_files_are_named(tmp_path):
    reference.save(tmp_path, "toy", [(run("a" * 16), COMPARED)])
    (tmp_path / "toy.npz").write_bytes(b"PK\x03\x04 nonsense")
    reference.load.cache_clear()
    with pytest.raises(DataError, match=r"toy\.npz: reference runs are unreadable"):
        reference.load(tmp_path)


def test_no_changed_byte_of_kept_runs_counts(tmp_path):
    """Refused, or of no account: an archive has fields, such as times, that say nothing."""
    reference.save(tmp_path, "toy", [(run("a" * 16), COMPARED)])
    whole = numbers(tmp_path)
    refused = 0
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 150)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            try:
                assert numbers(tmp_path) == whole, (path.name, place)
            except DataError as error:
                assert "toy.npz: reference runs are unreadable" in str(error)
                refused += 1
        path.write_bytes(content)
    assert refused > 100


def numbers(folder: Path) -> str:
    reference.load.cache_clear()
    (found,) = reference.load(folder).values()
    rows = [found.metrics, found.experiment, found.provenance, found.history]
    arrays = {name: values.tolist() for name, values in sorted(found.arrays.items())}
    return repr((rows, arrays))


def test_finished_runs_are_kept_and_found_again(finished, tmp_path):
    session, planned = finished
    files = keep(session, ["imgnet"], tmp_path)
    assert [path.name for path in files] == ["imgnet.npz"]
    kept = reference.load(tmp_path)
    assert set(kept) == {p.key for p in planned} | {p.start for p in planned}
    for p in planned:
        whole = session.store.load(p.key)
        assert kept[p.key].metrics["evaluations"] == whole.metrics["evaluations"]
        compared = [name for name in kept[p.key].arrays if name.startswith("ranks/")]
        assert compared
        for evaluation in (name.removeprefix("ranks/") for name in compared):
            top_1 = 100 * (kept[p.key].ranks(evaluation) == 1).mean()
            assert top_1 == pytest.approx(whole.metrics["evaluations"][evaluation]["Top-1"])


def test_what_came_along_says_what_trains_it_and_that_does(
    finished, data, tmp_path, monkeypatch, capsys
):
    """A row that came along without weights is finished; its weights are one more argument away."""
    keep(finished[0], ["imgnet"], tmp_path / "results" / "reference" / "smoke" / "runs")
    monkeypatch.setattr("reidlib.run.session.project_root", lambda: tmp_path)
    monkeypatch.setattr(steps, "project_root", lambda: tmp_path)
    session = Session.create("smoke", data=data, seeds=1)
    (row,) = trainings_of("imgnet", "smoke", "vgg-ch0-sp0-gs1-ls0-gp0-gn")
    assert row_of(row, "smoke") == "vgg-ch0-sp0-gs1-ls0-gp0-gn"
    assert row_of(with_settings(row, {"margin": 0.4}, "smoke"), "smoke") is None
    (said,) = re.findall("<code>(.*)</code>", str(steps.not_trained("It", session, row)))
    command, *arguments = said.removeprefix("python -m reidlib ").split()
    assert command == "run" and arguments.pop() == "--with-weights"

    def trained() -> list[str]:
        with pytest.raises(SystemExit) as ended:
            main([command, *arguments])
        assert ended.value.code == 0 and "2 of 2 runs are finished" in capsys.readouterr().out
        return [path.parent.name for path in session.folder.glob("runs/*/model.safetensors")]

    assert trained() == [] and session.store.load(key_of(session, row)).weights is None
    arguments.append("--with-weights")
    assert key_of(session, row) in trained() and session.store.load(key_of(session, row)).weights
    said = str(steps.not_trained("It", replace(session, kept=False, results=tmp_path / "a b"), row))
    assert "--with-weights" not in said and f"--results &#x27;{tmp_path}/a b&#x27;" in said
    assert "<code>" not in str(steps.not_trained("It"))
