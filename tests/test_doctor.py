"""The doctor's findings, and their text."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from reidlib import doctor
from reidlib.data.formats.cuhk_pedes import ANNOTATION, FOLDER
from reidlib.errors import DataError


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where torch.hub would look for weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def cuhk_pedes(root: Path) -> list[doctor.Finding]:
    return [row for row in doctor.datasets(root) if row["name"] == "cuhk-pedes"]


def test_found_dataset_comes_with_its_counts(tiny_world: Path) -> None:
    (row,) = cuhk_pedes(tiny_world)
    assert row["state"] == "ok" and row["synthetic"]
    images = {c["split"]: (c["found"], c["expected"]) for c in row["counts"] if c["unit"] == "ids"}
    assert images == {"train": (12, 12), "val": (3, 3), "test": (6, 6)}
    assert "12 / 12" in row["detail"] and "synthetic" in row["detail"]


def test_missing_and_rendered_datasets(tiny_world: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_world, tmp_path / "synthetic" / "demo" / "cuhk-pedes-seed0")
    real, rendered = cuhk_pedes(tmp_path)
    assert real["state"] == "missing" and "data/README.md" in real["detail"]
    assert rendered["state"] == "ok" and rendered["path"].startswith(str(tmp_path / "synthetic"))
    assert {row["state"] for row in doctor.datasets(tmp_path / "nowhere")} == {"missing"}


def test_broken_dataset_says_what_the_loader_says(tiny_world: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_world, tmp_path / "data")
    (tmp_path / "data" / FOLDER / "SYNTHETIC.json").unlink()  # now it passes for real data
    (row,) = cuhk_pedes(tmp_path / "data")
    assert row["state"] == "wrong" and not row["synthetic"]
    assert "37 / 34,054 *" in row["detail"]
    (tmp_path / "data" / FOLDER / ANNOTATION).write_text("[")
    (row,) = cuhk_pedes(tmp_path / "data")
    assert row["state"] == "wrong" and "not valid JSON" in row["detail"]


def test_weights_are_compared_with_their_names(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {row["state"] for row in doctor.weights()} == {"missing"}
    content = b"weights"
    good = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    names = {("vgg16", "V1"): good, ("resnet50", "V1"): "net-00000000.pth"}
    monkeypatch.setattr("reidlib.models.parts.backbones.IMAGENET_FILES", names)
    monkeypatch.setattr(doctor, "IMAGENET_FILES", names)
    (checkpoints / good).write_bytes(content)
    (checkpoints / "net-00000000.pth").write_bytes(content)
    fine, wrong = doctor.weights()
    assert fine["state"] == "ok" and fine["path"] == str(checkpoints / good)
    assert wrong["state"] == "wrong" and "expected 00000000" in wrong["detail"]


def test_unreadable_tagger_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DataError("folder: expected the tagger")

    monkeypatch.setattr(doctor, "load_tagger", broken)
    assert doctor.tagger()["state"] == "wrong"


def test_text_of_everything(tiny_world: Path, checkpoints: Path) -> None:
    findings = doctor.examine(tiny_world)
    text = doctor.format_findings(findings)
    topics = ("version", "device", "dataset", "weights", "tagger", "disk")
    positions = [text.splitlines().index(topic) for topic in topics]
    assert positions == sorted(positions)
    for finding in findings:
        assert finding["state"] in ("ok", "missing", "wrong")
        assert finding["detail"].splitlines()[0] in text
    assert torch.__version__.partition("+")[0] in text
    assert doctor.format_findings([]) == ""


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert str(tmp_path) in doctor.disk(tmp_path / "a" / "b")["detail"]
