"""How methods that search images by sentences are trained and tested: what their papers share.

Each method is a module of its own in `reidlib.models`, which says itself what it needs; the names
that all of them have are listed there. A paper whose methods are of this kind takes `prepare`,
`build`, `batches`, `losses` and `evaluate` from here as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.batches import pairs
from reidlib.data.batches.pairs import Batch, TextImageData, TextImageSplit, text_of
from reidlib.data.dataset import Dataset
from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.metrics.first_match import chance_levels, first_match_ranks, top_k
from reidlib.models.parts.codes import concatenate, fuse
from reidlib.papers.driver import Evaluated, module_of, prepared
from reidlib.train import Compute


def evaluations_of(config: Any) -> Mapping[str, Mapping[str, float]]:
    """The weighted sums of similarities that rank the gallery; the last is the paper's test."""
    return module_of(config).evaluations(config)


def prepare(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> TextImageData:
    """Images and captions, with the masks of the training images if the method needs them."""
    size = experiment.training.image_size
    more = {"masks": True} if "masks" in experiment.needs else {}
    if experiment.training.release_tokens:
        more["release_tokens"] = True
    return prepared(pairs.prepare, dataset, size, cache_dir, device, **more)


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
    return evaluated(data, {name: rank(model, split) for name, split in data.tests.items()})


@torch.inference_mode()
def rank(model: nn.Module, split: TextImageSplit) -> dict[str, np.ndarray]:
    """Per evaluation the rank of each caption's first correct image: int32 (captions,)."""
    method, evaluations = module_of(model.cfg), evaluations_of(model.cfg)
    images = encode_images(model, split)
    ranks: dict[str, list[np.ndarray]] = {name: [] for name in evaluations}
    # Texts are encoded and compared block by block: SCAN's hold every word of a caption.
    for rows, texts in text_blocks(model, split):
        similarity = method.similarities(images, texts, model.cfg)
        pids = split.caption_pids[rows.numpy()]
        for name, weights in evaluations.items():
            scores = fuse(similarity, weights)
            ranks[name].append(first_match_ranks(scores, pids, split.image_pids))
    return {name: np.concatenate(blocks) for name, blocks in ranks.items()}


@torch.inference_mode()
def encode_images(model: nn.Module, split: TextImageSplit) -> Any:
    """Codes of all images of a split, in their order and in fp32; leaves the model in evaluation
    mode."""
    model.eval()
    rows = torch.arange(len(split.frame)).split(tested_at_a_time(split.images.device))
    return concatenate([model.encode_images(split.images.batch(part)) for part in rows])


@torch.inference_mode()
def text_blocks(
    model: nn.Module, split: TextImageSplit, batch_size: int = 256
) -> Iterator[tuple[Tensor, Any]]:
    """All captions of a split in blocks: their numbers, int64 (B,), and their codes in fp32."""
    model.eval()
    phrases = module_of(model.cfg).PHRASES
    for rows in torch.arange(len(split.captions)).split(batch_size):
        text = text_of(split, rows)
        yield rows, model.encode_text(*(text if phrases else text[:2]))


def evaluated(data: TextImageData, ranks: Mapping[str, Mapping[str, np.ndarray]]) -> Evaluated:
    """The outcome of a test on every test split.

    ranks: per test split and evaluation the rank of each caption's first correct image, int32
    (captions,).
    """
    several = len(ranks) > 1
    by_name = {
        f"{split}: {name}" if several else name: (split, values)
        for split, found in ranks.items()
        for name, values in found.items()
    }
    evaluations = {name: top_k(values) for name, (_, values) in by_name.items()}
    shown = list(evaluations)[-1]
    return Evaluated(
        evaluations=evaluations,
        ranks={name: values for name, (_, values) in by_name.items()},
        people={name: data.tests[split].caption_pids for name, (split, _) in by_name.items()},
        chance={name: _chance(data.tests[split]) for name, (split, _) in by_name.items()},
        headline=f"Top-1 {evaluations[shown]['Top-1']:.2f} ({shown})",
        queries=sum(len(split.captions) for split in data.tests.values()),
        gallery=sum(len(split.frame) for split in data.tests.values()),
        notes={"tagger": data.tagger, "vocabulary": len(data.vocabulary), "ids": data.ids},
    )


def _chance(split: TextImageSplit) -> dict[str, float]:
    """What a ranking at random reaches: Top-k in percent."""
    pids, images = np.unique(split.image_pids, return_counts=True)
    place = np.minimum(np.searchsorted(pids, split.caption_pids), len(pids) - 1)
    matches = np.where(pids[place] == split.caption_pids, images[place], 0)
    found = chance_levels(matches, len(split.image_pids))
    return {name: value for name, value in found.items() if name.startswith("Top-")}
