"""How Attention Driven re-ID is trained (Section 4.1) and tested, by every feature of Table 7."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from reidlib.data.batches import posed
from reidlib.data.batches.posed import PartBatch, PosedData, PosedSplit, shuffled_batches, take
from reidlib.data.dataset import Dataset
from reidlib.devices import send, tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.models.attention_driven import EVALUATIONS, AttentionDriven, Features
from reidlib.papers.driver import Evaluated, prepared
from reidlib.papers.image_to_image import search
from reidlib.train import Compute

KS = (1, 5, 10, 20)  # of the Top-k in Tables 3, 8 and 9
SPLITS = ("train", "query", "gallery")


def evaluation_name(protocol: str, feature: str) -> str:
    """What the gallery's ranking by one of `EVALUATIONS` is called; by the final feature, as the
    protocol."""
    return protocol if feature == EVALUATIONS[0] else f"{protocol}, {feature}"


def prepare(experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str) -> PosedData:
    """Images and poses."""
    return prepared(posed.prepare, dataset, experiment.training.image_size, cache_dir, device)


def build(experiment: Experiment, data: PosedData) -> AttentionDriven:
    """The network for as many people as the data has."""
    model = AttentionDriven(replace(experiment.model, ids=data.ids))
    for paths in (model.intra_whole, model.intra_parts):
        if paths is not None:  # as the driver has it of the backbone; a tenth faster
            paths.to(memory_format=torch.channels_last)
    return model


def batches(
    experiment: Experiment,
    model: AttentionDriven,
    data: PosedData,
    generator: torch.Generator,
    device: str,
) -> Iterator[PartBatch]:
    """Images in random order, their bodies and parts cut out."""
    settings = experiment.training
    return shuffled_batches(
        data.train,
        boxes_of(model, data.train),
        data.labels,
        generator,
        batch_size=settings.batch_size,
        flip=settings.flip,
        crop_pad=settings.crop_pad,
        # Small sets have few batches; an epoch has its steps all the same.
        batches=settings.steps,
    )


def losses(model: AttentionDriven, batch: PartBatch, stage: Stage) -> dict[str, Tensor]:
    """Eq 11."""
    return model(batch.whole, batch.parts, batch.labels)


def evaluate(model: AttentionDriven, data: PosedData, compute: Compute) -> Evaluated:
    """The gallery is ranked by the final feature, and by each of those that it is made of.

    The notes say how many images had no usable pose, and so fixed strips ("strips"), in how many of
    them nobody was found ("nobody"), and of how many ("images"), by split.
    """
    query, gallery = embeddings(model, data.query), embeddings(model, data.gallery)
    found = {name: search(query[name], gallery[name], data, ks=KS) for name in EVALUATIONS}
    final = found[EVALUATIONS[0]]

    def merged(field: str) -> dict:
        return {
            evaluation_name(protocol, name): value
            for name, one in found.items()
            for protocol, value in getattr(one, field).items()
        }

    fields = ("evaluations", "ranks", "people", "scores", "chance")
    return replace(final, **{field: merged(field) for field in fields}, notes=notes(model, data))


def notes(model: AttentionDriven, data: PosedData) -> dict[str, object]:
    """See `evaluate`."""
    cfg = model.cfg
    splits = {name: getattr(data, name) for name in SPLITS}
    return {
        "ids": data.ids,
        "images": {name: len(split.frame) for name, split in splits.items()},
        "nobody": dict(data.nobody),
        "strips": {
            name: int(split.boxes(cfg.aligned, cfg.beta).strips.sum())
            for name, split in splits.items()
        },
    }


def boxes_of(model: AttentionDriven, split: PosedSplit) -> Tensor:
    """Boxes of body and parts as the model takes them, float (N, 5, 4), on the images' device."""
    boxes = split.boxes(model.cfg.aligned, model.cfg.beta).boxes
    return send(boxes, split.images.device)


@torch.inference_mode()
def embeddings(model: AttentionDriven, split: PosedSplit) -> dict[str, Tensor]:
    """What the images of a split are compared by, for each of `EVALUATIONS`: float32 (N, ...)."""
    return model.embeddings(encode(model, split))


@torch.inference_mode()
def encode(model: AttentionDriven, split: PosedSplit) -> Features:
    """E_g float32 (N, 256) and E float32 (N, 4, 128) of all images of a split."""
    model.eval()
    boxes = boxes_of(model, split)
    rows = torch.arange(len(split.frame)).split(tested_at_a_time(split.images.device))
    blocks = [model.encode(*take(split, boxes, part)) for part in rows]
    return Features(*(torch.cat(block) for block in zip(*blocks, strict=True)))
