"""How SSAN and the methods it is compared with are trained and tested.

Each method is a module of its own in `reidlib.models`, which says itself what it needs; the names
that all of them have are listed in `reidlib.models`.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.batches import pairs
from reidlib.data.batches.pairs import Batch, TextImageData, TextImageSplit
from reidlib.data.dataset import Dataset
from reidlib.experiment import Experiment, Stage
from reidlib.metrics.first_match import first_match_ranks
from reidlib.models.ssan import fuse
from reidlib.papers.driver import Evaluated, prepared
from reidlib.papers.text_to_image import encode_images, evaluated, text_blocks
from reidlib.train import Compute


def module_of(config: Any) -> ModuleType:
    """The module of the method that a configuration is of."""
    return sys.modules[type(config).__module__]


def evaluations_of(config: Any) -> Mapping[str, Mapping[str, float]]:
    """Which weighted sums of similarities rank the gallery; the last is that of the test stage."""
    return module_of(config).evaluations(config)


def prepare(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> TextImageData:
    """Images and captions, with the masks of the training images if the method needs them."""
    size = experiment.training.image_size
    masks = {"masks": True} if "masks" in experiment.needs else {}
    return prepared(pairs.prepare, dataset, size, cache_dir, device, **masks)


def build(experiment: Experiment, data: TextImageData) -> nn.Module:
    """The method's network for as many people and words as the data has."""
    config = replace(experiment.model, ids=data.ids, vocabulary=len(data.vocabulary))
    return module_of(config).NETWORK(config)


def batches(
    experiment: Experiment,
    model: nn.Module,
    data: TextImageData,
    generator: torch.Generator,
    device: str,
) -> Iterator[Batch]:
    """One epoch of image-caption pairs, drawn as the method wants them."""
    settings, train = experiment.training, data.train
    image = {"flip": settings.flip, "crop_pad": settings.crop_pad, "device": device}
    drawn = module_of(experiment.model).draw(model, train, generator, settings.batch_size)
    for captions, weak in drawn:
        yield pairs.pairs(train, captions, generator, weak=weak, **image)


def losses(model: nn.Module, batch: Batch, stage: Stage) -> dict[str, Tensor]:
    """The method's named losses of a batch."""
    return module_of(model.cfg).losses(model, batch, stage)


def evaluate(model: nn.Module, data: TextImageData, compute: Compute) -> Evaluated:
    """The ranks of all test captions under the method's similarities."""
    ranks = {name: rank(model, split) for name, split in data.tests.items()}
    last = list(evaluations_of(model.cfg))[-1]
    return evaluated(data, ranks, last)


@torch.inference_mode()
def rank(model: nn.Module, split: TextImageSplit) -> dict[str, np.ndarray]:
    """Per evaluation the rank of each caption's first correct image: int32 (captions,)."""
    method, evaluations = module_of(model.cfg), evaluations_of(model.cfg)
    images = encode_images(model, split)
    ranks: dict[str, list[np.ndarray]] = {name: [] for name in evaluations}
    # Texts are encoded and compared block by block: SCAN's hold every word of a caption.
    for rows, texts in text_blocks(model, split, method.PHRASES):
        similarity = method.similarities(images, texts)
        pids = split.caption_pids[rows.numpy()]
        for name, weights in evaluations.items():
            scores = fuse(similarity, weights)
            ranks[name].append(first_match_ranks(scores, pids, split.image_pids))
    return {name: np.concatenate(blocks) for name, blocks in ranks.items()}
