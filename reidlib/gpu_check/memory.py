"""What the profile `paper` needs of a GPU's memory: a step of every network, and the data at rest.

A step's peak is measured with the real batch size and picture size, and so is that of encoding as
many pictures as a test does at a time. What the data takes is counted:
pixels of all images of the real dataset at the training's size, which rest on the GPU where they
fit in 0.6 of what is free, and else stay in the host's memory.
"""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment
from reidlib.gpu_check.steps import Bench, published, seen, set_up
from reidlib.papers import driver
from reidlib.train import Compute

GIB = 2**30
_DRY_BATCH, _DRY_SIZE = 8, (64, 32)


def networks(paper: str, profile: str = "paper") -> list[Experiment]:
    """One training of each network, picture size and batch size: the one that computes most."""
    largest: dict[tuple, tuple[float, Experiment]] = {}
    for cell in driver.get_paper(paper).cells(profile).values():
        experiment = cell.experiment
        model, training = experiment.model, experiment.training
        kind = (
            type(model).__name__, getattr(model, "backbone", ""), training.image_size,
            training.batch_size,
        )  # fmt: skip
        # Switches that are on make a network larger; `cost` counts backbones only.
        size = (
            driver.cost(replace(experiment, start=None, joins=())),
            sum(1 for value in vars(model).values() if value is True),
        )
        if kind not in largest or size > largest[kind][0]:
            largest[kind] = size, experiment
    return [experiment for _, experiment in largest.values()]


def data_gib(experiment: Experiment) -> float | None:
    """Pixels of all images of the real dataset; None where no release says how many there are."""
    counts = [row.images for row in published(experiment.dataset).values()]
    if not counts or None in counts:
        return None
    height, width = experiment.training.image_size
    return sum(counts) * height * width * 3 / GIB


def measure(experiment: Experiment, folder: Path, compute: Compute, dry: bool) -> dict[str, Any]:
    """A step of a training of the profile `paper`. On the CPU there is no peak to read; `dry` takes
    few small pictures, and a thin network."""
    size = experiment.training.image_size
    about = {
        "experiment": experiment.name,
        "dataset": experiment.dataset,
        "image_size": list(size),
        "batch_size": experiment.training.batch_size,
        "data_gib": None if (data := data_gib(experiment)) is None else round(data, 2),
    }
    if dry:
        training = replace(experiment.training, image_size=_DRY_SIZE)
        model = experiment.model
        if hasattr(model, "width"):
            model = replace(model, width=0.125)
        experiment = replace(experiment, training=training, model=model)
    gpu = compute.device == "cuda"
    if gpu:  # of the network before, neither its weights nor its blocks
        gc.collect()
        torch.cuda.empty_cache()
    bench = set_up(experiment, "paper", folder, compute, _DRY_BATCH if dry else None)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    bench.fit(2)
    peak = torch.cuda.max_memory_allocated() if gpu else None
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    encode(bench, tested_at_a_time(compute.device) if gpu else _DRY_BATCH)
    tested = torch.cuda.max_memory_allocated() if gpu else None
    reserved = torch.cuda.max_memory_reserved() if gpu else None
    return {
        **about,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "peak_gib": _gib(peak),
        "test_gib": _gib(tested),
        "reserved_gib": _gib(reserved),
    }


def encode(bench: Bench, number: int) -> None:
    """Show the network so many pictures, as a test does: in fp32, and without gradients."""
    images, look = seen(bench.model, bench.batch())
    rows = torch.arange(number, device=images[0].device) % len(images[0])
    bench.model.eval()
    with torch.inference_mode():
        look(*(x[rows] for x in images))


def _gib(number: int | None) -> float | None:
    return None if number is None else round(number / GIB, 2)
