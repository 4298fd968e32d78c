"""How a pretraining is prepared, trained and tested: what a paper's package offers the driver."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.images import DeviceImages, image_cache
from reidlib.data.dataset import Dataset
from reidlib.data.formats.strangers import named_labels
from reidlib.devices import send, tested_at_a_time
from reidlib.errors import DataError
from reidlib.experiment import Experiment, Stage
from reidlib.models.pretraining import FiveBranches, Pretraining, network
from reidlib.papers.driver import Evaluated, prepared
from reidlib.train import Compute

Network = Pretraining | FiveBranches

VAL = "held out"  # the one evaluation: pictures of other people, or other pictures of the classes


@dataclass(frozen=True)
class LabelledSplit:
    """N images and their labels, int64 (N, number of labels), -1 = none; on the device."""

    images: DeviceImages
    labels: Tensor


@dataclass(frozen=True)
class LabelledData:
    """Both splits; `values` are the names of each label's values."""

    dataset: Dataset
    train: LabelledSplit
    val: LabelledSplit
    values: dict[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of values of each label."""
        return tuple(map(len, self.values.values()))


@dataclass(frozen=True)
class LabelledBatch:
    """B images float (B, 3, h, w), normalized, and their labels int64 (B, number of labels)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def prepare(experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str) -> LabelledData:
    """Images and labels of both splits, on the device.

    Raises `DataError` for images that cannot be read, and if none of the labels is there.
    """
    size, labels = experiment.training.image_size, experiment.model.labels
    return prepared(_prepare, dataset, size, cache_dir, device, labels=labels)


def _prepare(
    dataset: Dataset, *, image_size: tuple[int, int], cache_dir: Path, device: str, labels: str
) -> LabelledData:
    values = used_labels(dataset.splits["train"], labels)
    if not values:
        raise DataError(f"{dataset.root}: {dataset.name} has no labels of the set {labels!r}")

    def split(name: str) -> LabelledSplit:
        paths = dataset.image_paths(name)
        pixels = image_cache(paths, image_size, cache_dir, jobs=os.cpu_count() or 1)
        frame = dataset.splits[name]
        codes = np.stack([frame[label].cat.codes.to_numpy(np.int64) for label in values], axis=1)
        return LabelledSplit(DeviceImages(pixels, device), torch.from_numpy(codes).to(device))

    return LabelledData(dataset, split("train"), split("val"), values)


def used_labels(frame: pd.DataFrame, labels: str) -> dict[str, tuple[str, ...]]:
    """The labels of a set, "kinds", "kinds+colors" or "classes", and the names of their values."""
    there = named_labels(frame)
    if labels == "kinds":
        return {name: values for name, values in there.items() if name.startswith("kind of ")}
    return there


def build(experiment: Experiment, data: LabelledData) -> Network:
    """The experiment's network for a dataset."""
    return network(replace(experiment.model, classes=data.classes))


def batches(
    experiment: Experiment,
    model: Network,
    data: LabelledData,
    generator: torch.Generator,
    device: str,
) -> Iterator[LabelledBatch]:
    """One pass over the training images in random order; the last incomplete batch is dropped."""
    settings = experiment.training
    order = torch.randperm(len(data.train.images), generator=generator)
    for rows in order.split(settings.batch_size):
        if len(rows) == settings.batch_size:
            images = data.train.images.batch(
                rows, flip=settings.flip, crop_pad=settings.crop_pad, generator=generator
            )
            yield LabelledBatch(images, data.train.labels[send(rows, device)])


def losses(model: Network, batch: LabelledBatch, stage: Stage) -> dict[str, Tensor]:
    """The mean cross-entropy of all labels."""
    return model(batch.images, batch.labels)


@torch.inference_mode()
def evaluate(model: Network, data: LabelledData, compute: Compute) -> Evaluated:
    """Share of held-out images whose label is right, in percent: of each label, of those images
    that have it, and the mean of all labels. As `chance`, that of the most common value.
    """
    model.eval()
    images, labels = data.val.images, data.val.labels.cpu()
    rows = torch.arange(len(images)).split(tested_at_a_time(images.device))
    logits = zip(*(model.logits(images.batch(part)) for part in rows), strict=True)
    accuracy, chance = {}, {}
    for i, (name, blocks) in enumerate(zip(data.values, logits, strict=True)):
        has = labels[:, i] >= 0
        if not has.any():
            continue
        true = labels[has, i]
        predicted = torch.cat(blocks).argmax(1).cpu()[has]
        accuracy[name] = 100 * float((predicted == true).double().mean())
        chance[name] = 100 * float(true.bincount().max() / len(true))
    found = {"mean": float(np.mean(list(accuracy.values()))), **accuracy}
    usual = {"mean": float(np.mean(list(chance.values()))), **chance}
    return Evaluated(
        evaluations={VAL: found},
        chance={VAL: usual},
        headline=f"{found['mean']:.1f} % of {len(accuracy)} labels right",
        queries=len(images),
        gallery=0,
        notes={"labels": {name: list(values) for name, values in data.values.items()}},
    )
