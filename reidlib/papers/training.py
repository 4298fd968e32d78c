"""What the trainings of several papers share, between the data and the store."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from reidlib.data.batches import pairs
from reidlib.data.batches.pairs import TextImageSplit, text_of
from reidlib.data.dataset import Dataset, Hashed
from reidlib.experiment import Experiment
from reidlib.models.parts.backbones import backbone
from reidlib.models.parts.codes import concatenate
from reidlib.train import Compute

Data = TypeVar("Data")
Model = TypeVar("Model", bound=nn.Module)


def prepared(
    dataset: Dataset,
    image_size: tuple[int, int],
    cache_dir: Path,
    device: str,
    prepare: Callable[..., Data] = pairs.prepare,
    **settings: Any,
) -> Data:
    """What `prepare` makes of a dataset, kept for the next run of the same process."""
    key = Hashed(dataset), image_size, cache_dir, device, prepare, tuple(settings.items())
    return _prepare(*key)


@lru_cache(maxsize=2)
def _prepare(
    hashed: Hashed,
    image_size: tuple[int, int],
    cache_dir: Path,
    device: str,
    prepare: Callable[..., Any],
    settings: tuple[tuple[str, Any], ...],
) -> Any:
    return prepare(
        hashed.dataset,
        image_size=image_size,
        cache_dir=cache_dir,
        device=device,
        **dict(settings),
    )


def place(model: nn.Module, compute: Compute) -> nn.Module:
    """The model on its device, the backbone in the memory format and mode asked for."""
    model.to(compute.device)
    if compute.channels_last:
        model.backbone.to(memory_format=torch.channels_last)
    if compute.compile:
        model.backbone.compile()
    return model


@torch.inference_mode()
def encode_images(
    model: nn.Module, split: TextImageSplit, compute: Compute, batch_size: int = 256
) -> Any:
    """Codes of all images of a split, in their order; leaves the model in evaluation mode."""
    model.eval()
    codes = []
    with torch.autocast(compute.device, torch.bfloat16, enabled=compute.bf16):
        for rows in torch.arange(len(split.frame)).split(batch_size):
            codes.append(model.encode_images(split.images.batch(rows)))
    return concatenate(codes)


@torch.inference_mode()
def text_blocks(
    model: nn.Module,
    split: TextImageSplit,
    compute: Compute,
    phrases: bool,
    batch_size: int = 256,
) -> Iterator[tuple[Tensor, Any]]:
    """All captions of a split in blocks: their numbers, int64 (B,), and their codes.

    phrases: whether the model's `encode_text` takes the noun phrases besides the words.
    """
    model.eval()
    for rows in torch.arange(len(split.captions)).split(batch_size):
        text = text_of(split, rows)
        with torch.autocast(compute.device, torch.bfloat16, enabled=compute.bf16):
            codes = model.encode_text(*(text if phrases else text[:2]))
        yield rows, codes


def metrics_of(
    evaluations: Mapping[str, Mapping[str, float]],
    headline: str,
    history: Sequence[Mapping[str, Any]],
    *,
    parameters: int,
    queries: int,
    gallery: int,
    evaluation_started: float,
) -> dict[str, Any]:
    """What `metrics.json` of a run says; evaluation_started: `time.perf_counter()` of it."""
    seconds = sum(epoch["seconds"] for epoch in history)
    return {
        "evaluations": {name: dict(values) for name, values in evaluations.items()},
        "headline": headline,
        "seconds": seconds,
        "images_per_s": sum(epoch["images"] for epoch in history) / seconds,
        "evaluation_seconds": time.perf_counter() - evaluation_started,
        "final_loss": history[-1]["loss"],
        "parameters": parameters,
        "queries": queries,
        "gallery": gallery,
    }


def weights_of(model: nn.Module) -> bytes:
    """The model's state as the content of a safetensors file."""
    return save_safetensors(
        {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    )


def load_trained(
    build: Callable[[Experiment, Data], Model], experiment: Experiment, data: Data, weights: Path
) -> Model:
    """What a paper's `build` makes of an experiment, with a finished run's weights, on the CPU and
    in evaluation mode. ImageNet weights are not needed again."""
    scratch = replace(experiment, training=replace(experiment.training, pretrained=False))
    model = build(scratch, data)
    model.load_state_dict(load_file(weights))
    return model.eval()


@lru_cache(maxsize=64)
def backbone_cost(
    name: str,
    width: float,
    depths: tuple[int, ...] | None,
    last_stride: int,
    image_size: tuple[int, int],
) -> float:
    """Multiply-adds of a backbone for one training image, forward and backward.

    ResNet-50's count twice: its many thin layers take about twice as long per multiply-add.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        backbone(name, width, depths, last_stride)(torch.empty(1, 3, *image_size))
    return counter.get_total_flops() / 2 * (6 if name == "resnet50" else 3)
