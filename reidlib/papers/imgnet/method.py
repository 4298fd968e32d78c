"""How IMG-Net is trained and tested (Section 3.6): two stages, then all four similarities."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from reidlib.data.batches import pairs
from reidlib.data.batches.pairs import Batch, TextImageData, TextImageSplit, shuffled_batches
from reidlib.data.dataset import Dataset
from reidlib.experiment import Experiment, Stage
from reidlib.models.imgnet import (
    ImageCodes,
    IMGNet,
    TextCodes,
    concatenate_texts,
    ranks_of_all_pairs,
)
from reidlib.papers.driver import Evaluated, prepared
from reidlib.papers.text_to_image import encode_images, evaluated, text_blocks
from reidlib.train import Compute


def prepare(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> TextImageData:
    """Images and captions, with the noun phrases of the captions."""
    return prepared(pairs.prepare, dataset, experiment.training.image_size, cache_dir, device)


def build(experiment: Experiment, data: TextImageData) -> IMGNet:
    """The network for as many people and words as the data has."""
    return IMGNet(replace(experiment.model, ids=data.ids, vocabulary=len(data.vocabulary)))


def batches(
    experiment: Experiment,
    model: IMGNet,
    data: TextImageData,
    generator: torch.Generator,
    device: str,
) -> Iterator[Batch]:
    """Image-caption pairs in random order."""
    settings = experiment.training
    return shuffled_batches(
        data.train,
        generator,
        batch_size=settings.batch_size,
        flip=settings.flip,
        crop_pad=settings.crop_pad,
        device=device,
    )


def losses(model: IMGNet, batch: Batch, stage: Stage) -> dict[str, Tensor]:
    """Eq 22 or 23: the ranking losses come with stage 2."""
    return model(
        batch.images, *batch.text, batch.labels, batch.image_ids, ranking=stage.name == "stage 2"
    )


def evaluate(model: IMGNet, data: TextImageData, compute: Compute) -> Evaluated:
    """The ranks of the test captions under every sum of similarities (Eq 18)."""
    images, texts = encode(model, data.test)
    ranks = ranks_of_all_pairs(images, texts, data.test.caption_pids, data.test.image_pids)
    used = "+".join(n for n in ("GS", "LS", "GP") if getattr(model.cfg, n.lower()))
    return evaluated(data, {"test": ranks}, used)


def encode(model: IMGNet, split: TextImageSplit) -> tuple[ImageCodes, TextCodes]:
    """Codes of all images and all captions of a split, in their order."""
    texts = [codes for _, codes in text_blocks(model, split, phrases=True)]
    return encode_images(model, split), concatenate_texts(texts)
