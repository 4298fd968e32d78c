"""How a phase of FGSAM is trained (Section IV-B) and tested: persons by images, and attributes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reidlib.data.batches import attributed
from reidlib.data.batches.attributed import AttributedBatch, AttributedData, batches_of_persons
from reidlib.data.dataset import Dataset
from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.models.fgsam import FGSAM, UNLABELED
from reidlib.papers.driver import Evaluated, prepared
from reidlib.papers.image_to_image import search_by_image
from reidlib.train import Compute

EACH = 4  # images of each person in a batch
ATTRIBUTES = "attributes"  # the evaluation of what is recognized; the mean and each by its name


def prepare(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> AttributedData:
    """Images with the attributes of their persons, as far as the phase learns them."""
    size, labeled = experiment.training.image_size, "attributes" in experiment.needs
    return prepared(attributed.prepare, dataset, size, cache_dir, device, labeled=labeled)


def build(experiment: Experiment, data: AttributedData) -> FGSAM:
    """The network for as many people as the data has."""
    model = FGSAM(replace(experiment.model, ids=data.ids))
    if experiment.model.pose:  # the second of its two convolutional networks; see `driver.place`
        model.pose.to(memory_format=torch.channels_last)
    return model


def batches(
    experiment: Experiment,
    model: FGSAM,
    data: AttributedData,
    generator: torch.Generator,
    device: str,
) -> Iterator[AttributedBatch]:
    """`EACH` images of each person."""
    settings = experiment.training
    return batches_of_persons(
        data,
        generator,
        persons=settings.batch_size // EACH,
        each=EACH,
        flip=settings.flip,
        crop_pad=settings.crop_pad,
        device=device,
        # Small sets have few batches of different images; an epoch has its steps all the same.
        batches=settings.steps,
    )


def losses(model: FGSAM, batch: AttributedBatch, stage: Stage) -> dict[str, Tensor]:
    """Eq 11, as far as the phase has its terms."""
    return model(batch.images, batch.labels, batch.known)


def evaluate(model: FGSAM, data: AttributedData, compute: Compute) -> Evaluated:
    """Persons are searched by images; attributes are recognized in the queries' images.

    The second phase with attributes, which is no row of any table, is tested on these alone.
    """
    model.eval()
    if not model.cfg.attributes:
        return search_by_image(model.embed, data)
    right, usual = accuracies(recognized(model, data).numpy(), data.query_known.numpy())
    names = [name for name, _ in model.cfg.attributes]
    scored = {ATTRIBUTES: _named(names, right)}, {ATTRIBUTES: _named(names, usual)}
    if not model.cfg.lram:
        headline = f"{scored[0][ATTRIBUTES]['mean']:.1f} % of {len(names)} attributes right"
        return Evaluated(scored[0], headline, len(data.query.frame), 0, chance=scored[1])
    found = search_by_image(model.embed, data)
    return replace(
        found,
        evaluations={**found.evaluations, **scored[0]},
        chance={**found.chance, **scored[1]},
    )


@torch.inference_mode()
def recognized(model: FGSAM, data: AttributedData, batch_size: int | None = None) -> Tensor:
    """The classes that the model sees in the queries' images: int64 (Q, A)."""
    classes = []
    numbers = torch.arange(len(data.query.frame))
    for rows in numbers.split(batch_size or tested_at_a_time(data.query.images.device)):
        logits = model.attribute_logits(model.encode(data.query.images.batch(rows)))
        classes.append(torch.stack([values.argmax(1) for values in logits], 1).cpu())
    return torch.cat(classes)


def accuracies(found: np.ndarray, true: np.ndarray) -> tuple[list[float], list[float]]:
    """Of each attribute the share of images in which it is right, and the share of the most common
    class, in percent of the images that are labeled; NaN where none is.

    found, true: int (N, A); true is `UNLABELED` where nothing is known.
    """
    right, usual = [], []
    for mine, column in zip(found.T, true.T, strict=True):
        known = column != UNLABELED
        labeled = column[known]
        right.append(100 * float((mine[known] == labeled).mean()) if known.any() else np.nan)
        usual.append(100 * float(np.bincount(labeled).max() / len(labeled)) if known.any()
                     else np.nan)  # fmt: skip
    return right, usual


def _named(names: list[str], values: list[float]) -> dict[str, float]:
    """By attribute, those without any label left out; their mean first."""
    known = {name: value for name, value in zip(names, values, strict=True) if value == value}
    return {"mean": float(np.mean(list(known.values()))), **known}
