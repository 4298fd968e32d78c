"""What the profile `paper` needs of a GPU's memory: a step of every network, and the data at rest.

A step's peak is measured with the real batch size and picture size. What the data takes is counted:
pixels of all images of the real dataset at the training's size, which rest on the GPU where they
fit in 0.6 of what is free, and else stay in the host's memory.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reidlib.experiment import Experiment
from reidlib.gpu_check.steps import published, set_up
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
    bench = set_up(experiment, "paper", folder, compute, _DRY_BATCH if dry else None)
    gpu = compute.device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    bench.fit(2)
    return {
        **about,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if gpu else None,
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2) if gpu else None,
    }
