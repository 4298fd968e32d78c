"""Every benchmark runs, in tiny sizes, and keeps the contract of `benchmarks/README.md`."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from reidlib.papers import driver

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

_NOT_HERE = (
    "timing",  # what all of them import
    "notebook_time",  # needs a finished results folder
)

TINY = {
    "training": ("--paper", "gla", "--batch", "4", "--trace"),
    "evaluation": ("--scale", "0.01", "--dim", "16"),
    "data": ("--images", "16", "--batch", "8", "--workers", "1", "--size", "48", "16"),
    "world": ("--pictures", "2"),
    "search": ("--threads", "1"),
    "end_to_end": ("--paper", "gla", "--profiled-epochs", "1"),
    "budget": ("--paper", "gla"),
    "night": ("--paper", "gla", "--every", "10"),
    "bilinear_pooling": ("--batch", "1", "--map", "2", "2"),
    "group_norm": ("--batch", "2"),
    "five_branches": ("--batch", "2",),
}  # fmt: skip

CONTRACT = {
    "benchmark": str, "device": str, "processor": str, "cores": int, "threads": int, "torch": str,
    "numpy": str, "python": str, "peak_gib": float, "turns": int, "quick": bool,
}  # fmt: skip


def scripts() -> list[str]:
    return sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in _NOT_HERE)


@pytest.fixture
def run(monkeypatch, capsys):
    """A benchmark's JSON, the last line of what it prints."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()

    def run(name: str, *given: str) -> dict:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    yield run
    torch.set_num_threads(threads)


def test_all_are_tested():
    assert scripts() == sorted(TINY)


@pytest.mark.parametrize("name", sorted(TINY))
def test_quick(name, run):
    found = run(name, "--quick", *TINY[name])
    for key, kind in CONTRACT.items():
        assert isinstance(found[key], kind), (key, found[key])
    assert found["benchmark"] == name and found["quick"] and found["turns"] == 1
    assert found["peak_gib"] > 0
    _CHECKS.get(name, lambda found: None)(found)


def _training(found: dict) -> None:
    (row,) = found["rows"]
    assert row["paper"] == "gla" and row["size"] == "study" and row["batch"] == 4
    works = {"encoders", "step", "loop", "draw"}
    assert works == set(row["images_per_s"]) == set(row["seconds"])
    assert all(rate > 0 for rate in row["images_per_s"].values())
    assert row["step_over_encoders"] > 0 and 0 < row["waiting_share"] < 1
    assert row["mfu"] is None and found["mfu_note"]
    for parts in row["trace_ms"].values():  # of encoders and of the step
        assert parts["convolutions"] > 0 and parts["normalization"] > 0
    assert row["trace_ms"]["step"]["recurrent"] > 0


def _evaluation(found: dict) -> None:
    whats = [row["what"] for row in found["rows"]]
    assert len(whats) == len(set(whats)) == 5
    assert all(row["over_product"] > 0 for row in found["rows"])
    imgnet = next(row for row in found["rows"] if "IMG-Net" in row["what"])
    assert imgnet["max_error"] < 1e-4


def _data(found: dict) -> None:
    names = {"decode", "cache build", "cached", "per image", "loader"}
    assert set(found["images_per_s"]) == names and found["cached_over_loader"] > 0


def _world(found: dict) -> None:
    for name in ("pictures 96x48", "pictures 384x128", "captions"):
        assert found[name]["min"] <= found[name]["median"] <= found[name]["max"]


def _end_to_end(found: dict) -> None:
    (row,) = found["rows"]
    assert sum(row["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert {"encoders and losses", "optimizer", "batches", "evaluation", "encoding to test"} <= set(
        row["shares"]
    )
    assert row["beside_encoders"] < row["beside_computing"]
    assert all(value > -1e-3 for value in row["shares"].values())


def _five_branches(found: dict) -> None:
    assert found["copied_gb_per_s"] > 0
    assert 0 < found["share_of_bare_at_most"] < 1
    seconds = found["moved_gb"] / found["copied_gb_per_s"]
    assert found["moving_s"] == pytest.approx(seconds, abs=2e-3)


def _budget(found: dict) -> None:
    assert found["profile"] == "smoke" and {row["paper"] for row in found["rows"]} == {
        "gla", "pretraining",
    }  # fmt: skip
    for row in found["rows"]:
        work = row["images"] * row["gflop_of_an_image"] / 1e6
        assert row["pflop"] == pytest.approx(work, rel=0.1, abs=1e-6) and work > 0
    (gla,) = (row for row in found["rows"] if row["paper"] == "gla")
    assert gla["trainings"] == len(driver.experiments("gla", "smoke", 1))
    assert gla["images"] == 16 * gla["trainings"]  # two steps of eight
    assert found["minutes"] == pytest.approx(found["pflop"] * 1e3 / found["tflops"] / 60, abs=0.1)


def test_a_budget_without_a_number_of_steps_is_refused(run):
    with pytest.raises(SystemExit, match="one pass over the data"):
        run("budget", "--profile", "paper", "--paper", "ssan")


def _night(found: dict) -> None:
    planned = driver.experiments("gla", "smoke", 1)
    assert found["profile"] == "smoke" and found["trained"] == {
        "pretraining": 1, "gla": -(-len(planned) // 10),
    }  # fmt: skip
    assert found["trainings"] == len(planned) + 1
    assert found["core_hours"].keys() == found["trained"].keys()
    beside = (found["drawing_s"] + found["preparing_s"]) / 3600
    hours = sum(found["core_hours"].values()) / found["jobs"] + beside
    assert found["hours"] == pytest.approx(hours, abs=2e-3) and found["preparing_s"] > 0


_CHECKS = {
    "budget": _budget,
    "night": _night,
    "five_branches": _five_branches,
    "training": _training,
    "evaluation": _evaluation,
    "data": _data,
    "world": _world,
    "end_to_end": _end_to_end,
}


def test_no_gpu_is_a_clear_error(run, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        run("bilinear_pooling", "--device", "cuda")
    assert ended.value.code == 2 and "no usable CUDA GPU" in capsys.readouterr().err


def test_the_readme_knows_them_all():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in scripts() if f"`{name}.py`" not in text] == []
