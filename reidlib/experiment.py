"""What is trained: an experiment is plain frozen data, and its key is a hash of that data."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One stage of a training: a learning rate per epoch, and whether the backbone is frozen."""

    name: str
    lrs: tuple[float, ...]
    freeze_backbone: bool = False


@dataclass(frozen=True)
class Training:
    """Everything about a training that changes its outcome, apart from the model and the seed."""

    stages: tuple[Stage, ...]
    batch_size: int
    image_size: tuple[int, int]  # (height, width) in pixels
    optimizer: str = "adam"  # "adam" | "sgd" (momentum 0.9)
    weight_decay: float = 0.0
    backbone_lr_factor: float = 1.0
    flip: bool = True  # horizontal flip with probability 1/2
    crop_pad: int = 0  # pixels of zero padding for a random crop
    pretrained: bool = False  # ImageNet weights
    max_steps: int | None = None  # optimizer steps per epoch at most (smoke tests)

    @property
    def epochs(self) -> int:
        return sum(len(stage.lrs) for stage in self.stages)


@dataclass(frozen=True)
class Experiment:
    """A dataset, a model, a training and a seed.

    `dataset` carries the protocol in its name ("cuhk-pedes", "cuhk03-classic-labeled").
    `model` is the paper's own frozen config dataclass. `recipe` is raised by hand whenever the
    code changes in a way that changes results, so that older runs are not taken for new ones.
    """

    paper: str
    name: str  # for people; not part of the key
    dataset: str
    model: Any
    training: Training
    seed: int
    recipe: int

    def settings(self) -> dict[str, Any]:
        """The experiment as JSON-ready data, without its name."""
        values = asdict(self)
        del values["name"]
        return {**values, "model": {"class": type(self.model).__name__, **values["model"]}}

    def key(self, fingerprint: str) -> str:
        """16 hex digits; `fingerprint` is that of the data it is trained on."""
        return hash_json({"experiment": self.settings(), "data": fingerprint})


def hash_json(value: Any, digits: int = 16) -> str:
    """The first `digits` hex digits of the SHA-256 of the canonical JSON of `value`."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:digits]
