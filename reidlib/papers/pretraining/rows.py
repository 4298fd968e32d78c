"""The pretraining that an experiment starts from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reidlib.data.formats import imagefolder, strangers
from reidlib.errors import UsageError
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.attention_driven import AttentionDrivenConfig
from reidlib.models.pretraining import FIVE_BRANCHES, PretrainingConfig
from reidlib.papers.driver import Measured, Place, load_sizes

RECIPE = 1  # raised whenever a change of the code changes what a training comes to
# What strangers are labelled with, see `reidlib.models.pretraining`. The second one is for the
# question how much the choice matters.
OWN = (strangers.NAME, imagefolder.NAME)  # data of our own pretrainings
LABELS = ("kinds", "kinds+colors")
STARTS = "starts"  # in place of a table's number, see `starts`


@dataclass(frozen=True)
class Size:
    """What a profile changes: budgets, nothing else; see sizes.toml."""

    epochs: int
    lr: float
    batch_size: int
    steps: int | None = None  # of an epoch; None: one pass
    crop_pad: int = 0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: str = "none"
    drop_every: int = 0  # epochs, after which the learning rate is divided by ten; 0: it is not


SIZES = load_sizes("pretraining", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """None: no table of a paper says what a pretraining comes to."""
    return {}


def starts(
    measured: Mapping[Place, Measured], places: Iterable[Place], profile: str
) -> dict[Place, Measured]:
    """The trainings behind some cells from each start: how much of their order does it decide?

    Rows are those of the cells, columns "random", and the sets of labels. From random weights
    nothing is spared: no backbone is frozen or learns at a smaller rate than the rest.
    """
    found = {}
    for place in places:
        cell = measured[place]
        usual = cell.experiment
        training = replace(
            usual.training,
            pretrained="",
            backbone_lr_factor=1.0,
            stages=tuple(replace(s, freeze_backbone=False) for s in usual.training.stages),
        )
        random = replace(usual, training=training, start=None, name=f"{usual.name}, from random")
        found[STARTS, place[1], "random"] = replace(cell, experiment=random)
        for labels in LABELS:
            start = pretraining_of(usual, profile, labels)
            other = replace(usual, start=start, name=f"{usual.name}, from {labels}")
            found[STARTS, place[1], labels] = replace(cell, experiment=other)
    return found


def started(experiment: Experiment, profile: str) -> Experiment:
    """The experiment with the pretraining that it starts from, if it starts from one of ours."""
    if experiment.training.pretrained not in OWN:
        return experiment
    return replace(experiment, start=pretraining_of(experiment, profile))


def pretraining_of(experiment: Experiment, profile: str, labels: str = "kinds") -> Experiment:
    """What an experiment starts from whose `training.pretrained` is "strangers" or "imagefolder".

    It has the backbone, width and depths of the experiment's model, its picture size, and the
    normalization that its `backbone_norm` names, BN where there is no such name; it does
    not depend on anything else of it, nor on its seed, so that all rows of all papers share it.

    Args:
        labels: of strangers: "kinds", or "kinds+colors" to see what that would change.

    Raises:
        UsageError: the experiment starts from something else, or the profile pretrains nothing.
    """
    data = experiment.training.pretrained
    if data not in OWN:
        raise UsageError(f"{experiment.name}: no pretraining on {data!r}")
    classes = data == imagefolder.NAME
    model = PretrainingConfig(
        **_shape(experiment.model),
        # Weights of one stride fit the other. Small pictures keep more of their rows with 1.
        last_stride=2 if classes else 1,
        labels="classes" if classes else labels,
        norm=getattr(experiment.model, "backbone_norm", "bn"),
    )
    section = f"{profile}-{data}"
    size = SIZES.get(f"{section}-{model.backbone.replace(' ', '-')}") or SIZES.get(section)
    if size is None:
        raise UsageError(f"profile {profile} has no pretraining on {data}")
    training = Training(
        stages=(Stage("all", _rates(size)),),
        batch_size=size.batch_size,
        image_size=experiment.training.image_size,
        optimizer=size.optimizer,
        weight_decay=size.weight_decay,
        crop_pad=size.crop_pad,
        steps=size.steps,
        warmup_steps=size.warmup_steps,
        decay=size.decay,
    )
    name = f"{model.backbone} on {data} ({model.labels})" + (", GN" if model.norm == "gn" else "")
    return Experiment("pretraining", name, data, model, training, 0, RECIPE)


def _shape(config: Any) -> dict[str, Any]:
    """What a pretraining has of the network that is to start from it."""
    if isinstance(config, AttentionDrivenConfig):
        shape = {"backbone": FIVE_BRANCHES, "depths": config.units, "E": (config.E_g, config.E_p)}
    else:
        shape = {"backbone": getattr(config, "backbone", "resnet50"), "depths": config.depths}
    return {**shape, "width": config.width}


def _rates(size: Size) -> tuple[float, ...]:
    every = size.drop_every or size.epochs
    return tuple(size.lr / 10 ** (epoch // every) for epoch in range(size.epochs))
