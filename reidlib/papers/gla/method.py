"""How GLA is trained (Section 3.4) and tested: by images, on CUHK-PEDES by descriptions."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from reidlib.data.batches import pairs, tuples
from reidlib.data.batches.pairs import TextImageData, TextImageSplit, text_of
from reidlib.data.batches.tuples import (
    KINDS,
    DescribedData,
    TupleBatch,
    batches_of_tuples,
    tuples_of,
)
from reidlib.data.dataset import Dataset
from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.metrics.first_match import first_match_ranks
from reidlib.models.gla import GLA, text_to_image_scores
from reidlib.papers.driver import Evaluated, prepared
from reidlib.papers.image_to_image import search_by_image
from reidlib.papers.text_to_image import evaluated
from reidlib.train import Compute

TUPLES = 2  # of each person in a batch (Section 3.4)
TEXT_TO_IMAGE = "text to image"

Data = DescribedData | TextImageData


def prepare(experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str) -> Data:
    """Images with their descriptions, as far as the method reads them."""
    size = experiment.training.image_size
    if "captions" in dataset.splits["train"]:
        more = {"release_tokens": True} if experiment.training.release_tokens else {}
        return prepared(pairs.prepare, dataset, size, cache_dir, device, kinds=KINDS, **more)
    described = "captions" in experiment.needs
    return prepared(tuples.prepare, dataset, size, cache_dir, device, descriptions=described)


def build(experiment: Experiment, data: Data) -> GLA:
    """The network for as many people and words as the data has."""
    words = 2 if data.vocabulary is None else len(data.vocabulary)
    return GLA(replace(experiment.model, ids=data.ids, vocabulary=words))


def batches(
    experiment: Experiment, model: GLA, data: Data, generator: torch.Generator, device: str
) -> Iterator[TupleBatch]:
    """Tuples of an image and its description, `TUPLES` of each person."""
    settings = experiment.training
    return batches_of_tuples(
        tuples_of(data.train) if isinstance(data, TextImageData) else data.tuples,
        generator,
        persons=settings.batch_size // TUPLES,
        each=TUPLES,
        flip=settings.flip,
        crop_pad=settings.crop_pad,
        device=device,
        # Small sets have few batches of different images; an epoch has its steps all the same.
        batches=settings.steps,
    )


def losses(model: GLA, batch: TupleBatch, stage: Stage) -> dict[str, Tensor]:
    """Eq 9: those of identity, of the global and of the local association."""
    return model(batch.images, batch.labels, *batch.text)


def evaluate(model: GLA, data: Data, compute: Compute) -> Evaluated:
    """Persons are searched by images (phi), on CUHK-PEDES by descriptions (Section 4.4)."""
    if isinstance(data, TextImageData):
        scores = text_to_image_scores(model, *encode_pairs(model, data.test))
        ranks = first_match_ranks(scores, data.test.caption_pids, data.test.image_pids)
        return evaluated(data, {"test": {TEXT_TO_IMAGE: ranks}})
    notes: dict[str, object] = {"ids": data.ids}
    if data.vocabulary is not None:
        notes |= {"tagger": data.tagger, "vocabulary": len(data.vocabulary)}
    return replace(search_by_image(phi(model), data), notes=notes)


def phi(model: GLA):
    """The embedding that images are searched by, as a function of images; for evaluation."""
    model.eval()
    return lambda images: model.encode_images(images).phi


@torch.inference_mode()
def encode_pairs(model: GLA, split: TextImageSplit, batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """psi_bar of all images, float32 (N, d), and theta^g of all captions, float32 (M, d)."""
    model.eval()
    images = torch.arange(len(split.frame)).split(tested_at_a_time(split.images.device))
    psi_bar = [model.encode_images(split.images.batch(rows)).psi_bar for rows in images]
    theta_g = []
    for rows in torch.arange(len(split.captions)).split(batch_size):
        text = text_of(split, rows)
        theta_g.append(model.encode_descriptions(text.tokens, text.lengths))
    return torch.cat(psi_bar), torch.cat(theta_g)
