"""Estimating key points: batches, resuming, weights; the detector itself is torchvision's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from reidlib import cli, pose
from reidlib.data.dataset import Dataset
from reidlib.data.formats import keypoints
from reidlib.data.formats.keypoints import COCO_JOINTS, JOINTS
from reidlib.errors import DataError
from reidlib.run.session import Session

SIZE = (64, 32)


@pytest.fixture
def bare(tmp_path: Path) -> Dataset:
    """A few images without key points."""
    random = np.random.default_rng(0)
    splits = {}
    for split, number in (("train", 9), ("query", 5), ("gallery", 4)):
        (tmp_path / split).mkdir()
        paths = [f"{split}/{i:04d}_c1_f{i:07d}.jpg" for i in range(number)]
        for path in paths:
            pixels = random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / path)
        splits[split] = pd.DataFrame({"pid": 1, "camid": 1, "path": paths})
    return Dataset("some", tmp_path, tmp_path, splits, (), None)


def detection(x: float, scores: tuple[float, ...] = (0.9,)) -> dict[str, Tensor]:
    """People at column x, one below the other joint by joint, sure in different degrees."""
    joints = torch.zeros(len(scores), 17, 3)
    joints[..., 0] = x
    joints[..., 1] = torch.arange(17)
    return {
        "scores": torch.tensor(scores),
        "keypoints": joints,
        "keypoints_scores": torch.full((len(scores), 17), 2.0),
    }


def test_every_image_gets_a_file(bare: Dataset) -> None:
    sizes, done = [], []

    def estimator(images: list[Tensor]) -> list[dict[str, Tensor]]:
        sizes.append(len(images))
        assert all(image.shape == (3, *SIZE) and image.min() >= 0 for image in images)
        assert max(float(image.max()) for image in images) > 0.5
        return [detection(10.0 + float(image.mean())) for image in images]

    total = sum(len(table) for table in bare.splits.values())
    made = pose.estimate(bare, estimator, "cpu", 7, lambda n, of: done.append((n, of)))
    assert made == total == sum(sizes) and set(sizes[:-1]) == {7} and done[-1] == (total, total)
    paths = keypoints.openpose_paths(bare, "query")
    person = keypoints.read_openpose(paths[0], SIZE)
    assert person[JOINTS.index("left ankle"), 1] == COCO_JOINTS.index("left ankle")
    assert person[0, 2] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-3)
    # The image of each file is its own: the column says so.
    for path, image in zip(paths, bare.image_paths("query"), strict=True):
        mean = float(torch.from_numpy(np.array(pose.read_rgb(image))).float().mean() / 255)
        assert keypoints.read_openpose(path)[0, 0] == pytest.approx(10 + mean, abs=2e-3)


def test_a_stopped_run_goes_on(bare: Dataset) -> None:
    seen = 0

    def stops(images: list[Tensor]) -> list[dict[str, Tensor]]:
        nonlocal seen
        if seen >= 8:
            raise KeyboardInterrupt
        seen += len(images)
        return [detection(10.0)] * len(images)

    total = len(pose.missing(bare))
    with pytest.raises(KeyboardInterrupt):
        pose.estimate(bare, stops, "cpu", 4)
    assert len(pose.missing(bare)) == total - 8
    kept = sorted((bare.root / "keypoints").rglob("*.json"))
    before = [path.stat().st_mtime_ns for path in kept]
    assert pose.estimate(bare, lambda i: [detection(9.0)] * len(i), "cpu", 4) == total - 8
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert pose.estimate(bare, stops, "cpu") == 0


def test_unreadable_image_is_named(bare: Dataset) -> None:
    path = bare.image_paths("train")[3]
    path.write_bytes(b"\xff\xd8 no")
    with pytest.raises(DataError, match=path.name):
        pose.estimate(bare, lambda i: [detection(9.0)] * len(i), "cpu", 4)


def test_images_that_nothing_is_read_of_are_left_alone(bare: Dataset) -> None:
    splits = {**bare.splits, "multi_query": bare.splits["query"].assign(path="nothing.jpg")}
    assert len(pose.missing(replace(bare, splits=splits))) == len(pose.missing(bare)) == 18


def test_key_points_that_are_there_stay(bare: Dataset) -> None:
    with pytest.raises(DataError, match=r"generated data.*nothing to estimate"):
        pose.missing(replace(bare, synthetic={}))
    (bare.root / "keypoints.json").write_text("{}")
    with pytest.raises(DataError, match=r"keypoints\.json: key points are there"):
        pose.estimate(bare, lambda i: [detection(9.0)] * len(i), "cpu")


# ------------------------------------------------------------------ the command


def command(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["pose", *arguments])
    return ended.value.code, *capsys.readouterr()


def test_the_command_estimates_what_is_missing(
    bare: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def dataset(session: Session, name: str, progress: bool = False) -> Dataset:
        if name != "market1501":
            raise DataError(f"{name} is not there")
        return bare

    devices = []

    def load_estimator(device: str) -> pose.Estimator:
        devices.append(device)
        return lambda images: [detection(9.0)] * len(images)

    monkeypatch.setattr(Session, "dataset", dataset)
    monkeypatch.setattr(pose, "load_estimator", load_estimator)
    where = ["--data", str(tmp_path), "--device", "cpu", "--batch-size", "4"]
    code, out, err = command(capsys, "--dataset", "market1501", *where)
    assert (code, devices) == (0, ["cpu"])
    assert "market1501: 18 images estimated, in" in out and "poses of market1501" in err
    assert len(list((bare.root / "keypoints").rglob("*_keypoints.json"))) == 18
    code, out, err = command(capsys, *where)  # all: those that are not there are named
    assert code == 1 and "market1501: 0 images estimated" in out
    assert "dukemtmc-reid is left out: dukemtmc-reid is not there" in err
    code, _, err = command(capsys, "--dataset", "dukemtmc-reid", *where)
    assert code == DataError.exit_status and err == "error: dukemtmc-reid is not there\n"


def test_the_command_says_at_once_that_weights_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    code, _, err = command(capsys, "--data", str(tmp_path))
    assert code == DataError.exit_status
    assert pose.WEIGHTS in err and str(tmp_path / "hub" / "checkpoints") in err


def test_people_by_score() -> None:
    found = pose.people(detection(5.0, (0.3, 0.8, 0.6)))
    assert len(found) == 2  # the third is too unsure
    assert len(pose.people(detection(5.0, (0.1,)))) == 1 and pose.people(detection(5.0, ())) == []
    assert len(pose.people(detection(5.0, (0.9,) * 9))) == 5


def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights

    assert KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.url.endswith("/" + pose.WEIGHTS)
    names = KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"]
    assert tuple(name.replace("_", " ") for name in names) == COCO_JOINTS
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        pose.load_estimator("cpu")
    assert pose.WEIGHTS in str(caught.value) and str(tmp_path) in str(caught.value)
    for content in (b"", b"no weights"):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.pth"):
            pose.load_estimator("cpu", tmp_path / "x.pth")
    # Under its own name the file has to be the one that the name promises.
    (tmp_path / pose.WEIGHTS).write_bytes(b"others")
    with pytest.raises(DataError, match=r"fc266e95\.pth: SHA-256 is .* expected fc266e95"):
        pose.load_estimator("cpu", tmp_path / pose.WEIGHTS)
    # Pickles end in many ways: an index that is not there, a text that is none, ...
    for content in (b"\x80\x02h\x07.", b"\x80\x02X\x01\x00\x00\x00\xff.", b"\x80\x02}q\x00(s."):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.pth"):
            pose.load_estimator("cpu", tmp_path / "x.pth")
    for content in ({"weight": torch.zeros(2)}, [1, 2]):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(DataError, match=r"x\.pth: no weights of torchvision's Keypoint"):
            pose.load_estimator("cpu", tmp_path / "x.pth")
