"""The contract of a paper's package, and what the driver makes of it."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reidlib.arguments import PAPERS
from reidlib.errors import DataError
from reidlib.experiment import Experiment, Stage, Training
from reidlib.papers import driver
from reidlib.papers.driver import CONTRACT, About, get_paper
from reidlib.profiles import PROFILES


def test_the_contract_is_at_most_seven_names():
    assert len(CONTRACT) <= 7
    for name in CONTRACT:
        assert name in driver.__doc__


@pytest.mark.parametrize("name", PAPERS)
def test_a_package_offers_the_contract_and_nothing_else(name):
    paper = get_paper(name)
    assert sorted(paper.__all__) == sorted(CONTRACT)
    assert isinstance(paper.ABOUT, About)
    for profile in PROFILES:
        found = paper.cells(profile)
        assert found and all(isinstance(cell, driver.Measured) for cell in found.values())
        assert all(cell.experiment.seed == 0 for cell in found.values())
        assert all(cell.experiment.paper == name for cell in found.values())


def toy(**changes) -> Experiment:
    training = Training((Stage("all", (1e-3,)),), batch_size=4, image_size=(8, 4))
    base = Experiment("imgnet", "toy", "cuhk01", Toy(), training, seed=0, recipe=1)
    return dataclasses.replace(base, **changes)


@dataclasses.dataclass(frozen=True)
class Toy:
    backbone: str = "resnet50"


def test_seeds_take_random_splits_and_phases_but_share_pretrainings():
    pretraining = toy(paper="pretraining", dataset="strangers")
    phase = toy(name="first phase", start=pretraining)
    second = driver.with_seed(toy(start=phase), 12)
    assert second.seed == 12 and second.dataset == "cuhk01-split-2"
    assert second.start.seed == 12 and second.start.dataset == "cuhk01-split-2"
    assert second.start.start == pretraining and second.start.start.seed == 0


def test_what_is_joined_is_seeded_as_a_start_is():
    pose = toy(paper="pose_pretraining", dataset="coco-keypoints")
    other = toy(name="another phase")
    second = driver.with_seed(toy(start=toy(), joins=(pose, other)), 3)
    assert second.joins[0] == pose and second.joins[1].seed == 3
    assert second.joins[1].dataset == "cuhk01-split-3"
    assert driver._identity(toy(joins=(pose,))) != driver._identity(toy())


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 3), nn.Linear(3, 1)


def test_a_start_goes_into_the_backbone_unless_the_model_knows_better():
    model, other = Network(), Network()
    before = model.head.weight.clone()
    state = {f"backbone.{k}": v for k, v in other.backbone.state_dict().items()}
    driver.load_start(model, {**state, "head.weight": torch.ones(1, 3)}, "start.safetensors")
    assert torch.equal(model.backbone.weight, other.backbone.weight)
    assert torch.equal(model.head.weight, before)

    class Own(Network):
        def load_start(self, state):
            self.head.load_state_dict({"weight": state["w"], "bias": torch.zeros(1)})

    own = Own()
    driver.load_start(own, {"w": torch.ones(1, 3)}, "start.safetensors")
    assert torch.equal(own.head.weight, torch.ones(1, 3))


def test_weights_come_from_the_start_and_then_from_what_is_joined(tmp_path, monkeypatch):
    """Each file in turn; a run that is not finished is said to be missing."""
    first, second = toy(name="first"), toy(name="second")
    taken = []

    class Both(Network):
        def load_start(self, state):
            taken.append(float(state["w"]))

    paper = SimpleNamespace(build=lambda experiment, data: Both())
    monkeypatch.setattr(driver, "get_paper", lambda name: paper)
    paths = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for number, path in enumerate(paths):
        save_file({"w": torch.tensor(float(number))}, path)
    driver.initialized(toy(start=first, joins=(second,)), None, paths)
    assert taken == [0.0, 1.0]
    driver.initialized(toy(joins=(second,)), None, paths[1:])
    assert taken == [0.0, 1.0, 1.0]
    with pytest.raises(DataError, match="starts from a run that is not finished"):
        driver.initialized(toy(start=first, joins=(second,)), None, paths[:1])


def test_a_start_that_does_not_fit_is_named():
    with pytest.raises(DataError, match=r"start\.safetensors does not fit this network"):
        driver.load_start(Network(), {"backbone.weight": torch.ones(5, 5)}, "start.safetensors")


@dataclasses.dataclass(frozen=True)
class Size:
    width: float
    lrs: tuple[tuple[int, float], ...]
    pool: int = 1


def test_sizes_are_read_from_toml(tmp_path):
    (tmp_path / "sizes.toml").write_text(
        "[small]\nwidth = 0.5\nlrs = [[2, 0.1], [1, 0.01]]\n"
        '[large]\nlike = "small"\nwidth = 1.0\npool = 2\n'
    )
    sizes = driver.load_sizes("toy", Size, tmp_path)
    assert sizes["small"] == Size(0.5, ((2, 0.1), (1, 0.01)))
    assert sizes["large"] == Size(1.0, ((2, 0.1), (1, 0.01)), pool=2)
    assert driver.rates(sizes["small"].lrs) == (0.1, 0.1, 0.01)


@pytest.mark.parametrize("written, why", [
    ("[small]\nwidth = 1.0\nlrs = []\nwidht = 2.0\n", "small: unknown widht"),
    ("[small]\nwidth = 1.0\n", "missing 1 required positional argument: 'lrs'"),
])  # fmt: skip
def test_a_mistake_in_sizes_names_file_and_profile(tmp_path, written, why):
    (tmp_path / "sizes.toml").write_text(written)
    with pytest.raises(DataError, match=rf"sizes\.toml: .*{why}"):
        driver.load_sizes("toy", Size, tmp_path)


def test_costs_know_backbones_words_and_sizes():
    def cost(*place):
        return driver.cost(driver.cell(*place).experiments[0])

    small = cost("ssan", "smoke", 1, "baseline", "CUHK-PEDES Rank-1")
    large = cost("ssan", "demo", 1, "baseline", "CUHK-PEDES Rank-1")
    with_cr = cost("ssan", "demo", 1, "ssan", "CUHK-PEDES Rank-1")
    assert 0 < small < large < with_cr
