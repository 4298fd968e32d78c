"""What is trained: an experiment is plain frozen data, and its key is a hash of that data."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

PRETRAINED = ("", "imagenet", "imagefolder", "strangers")


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
    # Where the backbone starts: "" random, "imagenet" torchvision's weights, "imagefolder" and
    # "strangers" a pretraining of our own, which the experiment then names as its `start`.
    pretrained: str = ""
    steps: int | None = None  # optimizer steps of an epoch; None: one pass over the training split
    # Captions are the words that came with them (`processed_tokens`), not cut anew by our rules.
    release_tokens: bool = False
    # What makes short trainings steadier; off in the papers' own settings.
    warmup_steps: int = 0  # first steps, over which learning rates rise linearly
    decay: str = "none"  # of learning rates, per step, to 0: "none" | "linear" | "cosine"
    ema: float = 0.0  # share of the old in the running average of the weights; 0 = no average
    ema_epochs: int = 0  # last epochs, over which weights are averaged; the average is evaluated

    @property
    def epochs(self) -> int:
        return sum(len(stage.lrs) for stage in self.stages)


@dataclass(frozen=True)
class Experiment:
    """A dataset, a model, a training and a seed.

    `dataset` carries the protocol in its name ("cuhk-pedes", "cuhk03-classic-labeled").
    `model` is the paper's own frozen config dataclass. `recipe` is raised by hand whenever the
    code changes in a way that changes results, so that older runs are not taken for new ones.
    `needs` names what is read beside the dataset itself (`reidlib.data.extras`). `start` is the
    training whose weights this one starts from: a pretraining, or an earlier phase of a method.
    `joins` are trainings whose weights come in addition, for parts that `start` does not have.
    """

    paper: str
    name: str = field(compare=False)  # for people; not part of the key
    dataset: str
    model: Any
    training: Training
    seed: int
    recipe: int
    needs: tuple[str, ...] = ()
    start: "Experiment | None" = None
    joins: tuple["Experiment", ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names in `reidlib.data.extras` of all that is read: `needs`, and what settings add."""
        return (*self.needs, "tokens") if self.training.release_tokens else self.needs

    @property
    def before(self) -> tuple["Experiment", ...]:
        """The trainings that have to be finished first, in the order in which weights are taken."""
        return self.joins if self.start is None else (self.start, *self.joins)

    @property
    def all_before(self) -> tuple["Experiment", ...]:
        """`before`, and what those start from in turn: each behind all that it rests on."""
        return tuple(e for earlier in self.before for e in (*earlier.all_before, earlier))

    def settings(self) -> dict[str, Any]:
        """The experiment as JSON-ready data, without its name and what it starts from."""
        values = asdict(replace(self, start=None, joins=()))
        for hidden in ("name", "start", "joins"):
            del values[hidden]
        return {**values, "model": {"class": type(self.model).__name__, **values["model"]}}

    def key(
        self,
        fingerprint: str,
        start: str = "",
        joins: tuple[str, ...] = (),
        precision: str = "",
    ) -> str:
        """16 hex digits that stand for all that decides what the training comes to.

        Only settings that differ from their defaults are hashed: a new switch whose default is the
        old behavior leaves the keys of finished runs as they are.

        Args:
            fingerprint: of the data that it is trained and tested on.
            start: key of the training that it starts from; "" if it starts from none.
            joins: keys of `joins`.
            precision: "bf16" if it was asked for, "" otherwise.
        """
        settings = changed(replace(self, start=None, joins=()))
        for hidden in ("name", "needs"):  # what is needed is part of the fingerprint
            settings.pop(hidden, None)
        settings["model"] = {"class": type(self.model).__name__, **settings["model"]}
        content = {"experiment": settings, "data": fingerprint}
        more = {"start": start, "joins": list(joins), "precision": precision}
        return hash_json(content | {name: value for name, value in more.items() if value})


def changed(value: Any) -> Any:
    """JSON-ready data of a value, of dataclasses only the fields that differ from their defaults.

    Example:
        >>> changed(Training((Stage("all", (0.1,)),), 32, (64, 32), flip=False))["flip"]
        False
        >>> "crop_pad" in changed(Training((Stage("all", (0.1,)),), 32, (64, 32)))
        False
    """
    if is_dataclass(value):
        return {
            f.name: changed(getattr(value, f.name))
            for f in fields(value)
            if getattr(value, f.name) != _default(f) or _default(f) is MISSING
        }
    if isinstance(value, (tuple, list)):
        return [changed(entry) for entry in value]
    if isinstance(value, dict):
        return {name: changed(entry) for name, entry in value.items()}
    return value


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def hash_json(value: Any, digits: int = 16) -> str:
    """The first `digits` hex digits of the SHA-256 of the canonical JSON of `value`."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:digits]
