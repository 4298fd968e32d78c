"""The pose resolve net's training on key points: a run of the store, with PCK as its result."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors

from reidlib.data.batches import pose_people
from reidlib.data.formats import coco_keypoints
from reidlib.data.formats.keypoints import JOINTS
from reidlib.errors import DataError, UsageError
from reidlib.experiment import Stage, Training
from reidlib.metrics.pck import pck
from reidlib.models.parts import backbones
from reidlib.models.parts.backbones import imagenet_path
from reidlib.models.pose_resolve import PoseResolveNet, joints_of
from reidlib.papers import driver
from reidlib.papers.pose_pretraining import ABOUT, method, pose_pretraining_of
from reidlib.run.plan import planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.train import Compute
from reidlib.world.write import write

SIZE = (64, 32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    write("coco-keypoints", root, seed=3, ids=(30, 10), size=SIZE)
    return root


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory):
    """The session, the experiment, and its run."""
    session = Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=world)
    experiment = pose_pretraining_of(0.125, SIZE, "smoke")
    return session, experiment, run_one(session, planned_for(session, experiment))


def test_it_is_a_package_like_those_of_papers() -> None:
    package = driver.get_paper("pose_pretraining")
    assert all(hasattr(package, name) for name in driver.CONTRACT)
    assert ABOUT.citation and package.cells("demo") == {}
    with pytest.raises(UsageError, match="profile moon has no pretraining on coco-keypoints"):
        pose_pretraining_of(1.0, SIZE, "moon")


def test_its_result_is_pck_of_the_held_out_people(finished) -> None:
    """The same by a loop over single pictures."""
    session, experiment, run = finished
    found = run.metrics["evaluations"][method.VAL]
    assert set(found) == {"PCK", *JOINTS} and all(0 <= value <= 100 for value in found.values())
    dataset = session.dataset("coco-keypoints")
    data = method.prepare(experiment, dataset, session.cache, "cpu")
    model = driver.load_trained(experiment, data, run.weights)
    rows, nothing = torch.arange(len(data.val)), torch.Generator()
    peaks, true, heights = [], [], []
    for row in rows:
        one = pose_people.batch(data.val, row[None], pose_people.PLAIN, nothing, "cpu")
        with torch.inference_mode():
            peaks.append(joints_of(model(one.images)[-1].H)[0].numpy())
        true.append(one.joints[0, 0].numpy())
        heights.append(float(one.heights[0]))
    again = pck(np.stack(peaks), np.stack(true), np.array(heights), alpha=0.1)
    assert found["PCK"] == pytest.approx(again["PCK"])
    for k, name in enumerate(JOINTS):
        assert found[name] == pytest.approx(again[f"joint {k}"])
    assert run.metrics["queries"] == len(rows)


def test_it_learns_where_joints_are(world: Path, tmp_path: Path) -> None:
    """After some steps the mean error of the maps has fallen, and joints are found."""
    session = Session.create("smoke", results=tmp_path, data=world)
    training = Training((Stage("all", (3e-3,) * 3),), batch_size=16, image_size=SIZE, steps=20)
    experiment = replace(pose_pretraining_of(0.125, SIZE, "smoke"), training=training)
    result = driver.train_and_evaluate(
        experiment, session.dataset("coco-keypoints"), cache_dir=tmp_path, compute=Compute("cpu", 1)
    )
    losses = [epoch["loss"] for epoch in result.history]
    assert losses[-1] < 0.8 * losses[0]
    names = {name for epoch in result.history for name in epoch if name.startswith("L_")}
    assert names == {f"L_S{stream}^{stage}" for stream in (1, 2) for stage in (1, 2, 3)}


def test_the_paper_starts_from_vgg19(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    experiment = pose_pretraining_of(1.0, (256, 128), "paper")
    assert experiment.training.pretrained == "imagenet"
    with pytest.raises(DataError, match=r"vgg19-dcbb9e9d\.pth"):
        driver.check_weights(experiment)
    from torchvision.models import vgg19

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in vgg19().features.state_dict().items()}
    state = {f"features.{name}": torch.full(shape, 0.5) for name, shape in shapes.items()}
    path = imagenet_path("vgg19")
    path.parent.mkdir(parents=True)
    torch.save({**state, "classifier.0.weight": torch.zeros(1)}, path)
    driver.check_weights(experiment)
    with pytest.raises(DataError, match=r"vgg19-dcbb9e9d\.pth: SHA-256 is"):
        driver.initialized(experiment, None)  # of the same form, and not the weights of that name
    name = f"vgg19-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(path.with_name(name))
    monkeypatch.setitem(backbones.IMAGENET_FILES, ("vgg19", "V1"), name)
    net = driver.initialized(experiment, None)
    assert isinstance(net, PoseResolveNet)
    assert all(bool((net.front[i].weight == 0.5).all()) for i in (0, 2, 5, 19, 21))
    assert not bool((net.front[23].weight == 0.5).any())


def test_weights_fit_a_net_of_the_same_width(finished) -> None:
    _, experiment, run = finished
    state = load_safetensors(run.weights.read_bytes())
    net = PoseResolveNet(experiment.model)
    net.load_state_dict(state)
    assert experiment.dataset == coco_keypoints.NAME and "parse_H.0.squeeze.weight" not in state
