"""What IMG-Net's package offers the driver: its own network and what Table 4 compares, which
searches images by images."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from reidlib.data.dataset import Dataset
from reidlib.experiment import Experiment, Stage
from reidlib.models.imgnet import IMGNetConfig
from reidlib.papers import image_to_image, text_to_image
from reidlib.papers.driver import Evaluated, Measured, Place
from reidlib.papers.imgnet import rows, table_4
from reidlib.train import Compute


def _way(config: Any) -> ModuleType:
    """How a method searches: by sentences, or by images."""
    return text_to_image if isinstance(config, IMGNetConfig) else image_to_image


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows that the profile measures."""
    return rows.cells(profile) | table_4.cells(profile)


def prepare(experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str) -> Any:
    """Images, with captions where they are searched by sentences."""
    return _way(experiment.model).prepare(experiment, dataset, cache_dir, device)


def build(experiment: Experiment, data: Any) -> nn.Module:
    """The experiment's network for a dataset."""
    return _way(experiment.model).build(experiment, data)


def batches(
    experiment: Experiment, model: nn.Module, data: Any, generator: torch.Generator, device: str
) -> Iterator[Any]:
    """One epoch of batches."""
    return _way(experiment.model).batches(experiment, model, data, generator, device)


def losses(model: nn.Module, batch: Any, stage: Stage) -> dict[str, Tensor]:
    """The method's named losses of a batch."""
    return _way(model.cfg).losses(model, batch, stage)


def evaluate(model: nn.Module, data: Any, compute: Compute) -> Evaluated:
    """The test by sentences, or by images."""
    return _way(model.cfg).evaluate(model, data, compute)
