"""The one driver of all papers: from a table's cell to a trained and evaluated model.

A paper's package offers seven names, `CONTRACT`, and nothing else is asked of it:

    ABOUT                                an `About`
    cells(profile) -> {Place: Measured}  which training and which evaluation measure which cell
    prepare(experiment, dataset, cache_dir, device) -> data     decoded, encoded, on the device
    build(experiment, data) -> Module    on the CPU, initialized from torch's generator; of `data`
                                         it reads sizes only (`ids`, `vocabulary`). Layers that only
                                         some rows have are built last, so that rows start alike.
    batches(experiment, model, data, generator, device)         one epoch of batches
    losses(model, batch, stage) -> {name: Tensor}               their sum is minimized
    evaluate(model, data, compute) -> Evaluated

The model has an attribute `backbone`, and a method `load_start(state)` if the weights that it
starts from go elsewhere, too. Everything else is done here, once for all papers.
"""

import importlib
import sys
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from reidlib.arguments import PAPERS
from reidlib.data import extras
from reidlib.data.dataset import Dataset, Hashed
from reidlib.data.register import splits_of, with_split
from reidlib.errors import DataError, UsageError
from reidlib.experiment import Experiment
from reidlib.models.parts.backbones import ResNet, find_imagenet, imagenet_state
from reidlib.train import Compute, fit

CONTRACT = ("ABOUT", "cells", "prepare", "build", "batches", "losses", "evaluate")

# Packages of the same contract whose trainings others start from.
PRETRAININGS = ("pretraining", "pose_pretraining")

# (number of the table, or the name of a figure; row; printed column)
Place = tuple[int | str, str, str]

Data = TypeVar("Data")
SizeT = TypeVar("SizeT")


@dataclass(frozen=True)
class About:
    """A paper for people; `notebook` is a file name in notebooks/."""

    title: str
    citation: str
    notebook: str


@dataclass(frozen=True)
class Measured:
    """What measures one cell: a training (of seed 0), one of its evaluations, one metric of it."""

    experiment: Experiment
    evaluation: str
    metric: str


@dataclass(frozen=True)
class Cell:
    """What measures one cell in all: an experiment per seed."""

    experiments: tuple[Experiment, ...]
    evaluation: str
    metric: str


@dataclass(frozen=True)
class Evaluated:
    """What the test of a trained model comes to. Every mapping is by the evaluation's name."""

    evaluations: Mapping[str, Mapping[str, float]]  # metric -> percent
    headline: str
    queries: int
    gallery: int
    ranks: Mapping[str, np.ndarray] = field(default_factory=dict)  # of the first match, int32 (Q,)
    people: Mapping[str, np.ndarray] = field(default_factory=dict)  # pid of each query, int64 (Q,)
    # Where ranks do not say it all: metric -> what each query adds to the mean, float (Q,) in 0..1;
    # NaN for queries without a correct image, which the mean leaves out.
    scores: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    chance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of a random ranking
    notes: Mapping[str, Any] = field(default_factory=dict)  # for the run's provenance: tagger, ...


@dataclass(frozen=True)
class Result:
    """What a training leaves; the runner adds provenance and writes it to the store."""

    weights: bytes  # safetensors
    history: list[dict[str, Any]]  # one record per epoch
    metrics: dict[str, Any]
    evaluated: Evaluated


# ---------------------------------------------------------------- what is measured


def get_paper(name: str) -> ModuleType:
    """The package of a paper, or of a pretraining; raises `UsageError` for an unknown name."""
    if name not in (*PAPERS, *PRETRAININGS):
        raise UsageError(f"unknown paper {name!r}: expected {', '.join(PAPERS)}")
    return importlib.import_module(f"reidlib.papers.{name}")


def module_of(config: Any) -> ModuleType:
    """The module of the method that a configuration is of."""
    return sys.modules[type(config).__module__]


@lru_cache(maxsize=64)
def _cells(paper: str, profile: str) -> dict[Place, Measured]:
    return dict(get_paper(paper).cells(profile))


@lru_cache(maxsize=8192)
def cell(
    paper: str, profile: str, table: int | str, row: str, column: str, seeds: int = 1
) -> Cell | None:
    """What measures a cell; None for cited rows and for rows that the profile leaves out."""
    found = _cells(paper, profile).get((table, row, column))
    if found is None:
        return None
    trainings = tuple(with_seed(found.experiment, seed) for seed in range(seeds))
    return Cell(trainings, found.evaluation, found.metric)


def places(paper: str, profile: str) -> tuple[Place, ...]:
    """All cells that the profile measures."""
    return tuple(_cells(paper, profile))


def experiments(
    paper: str, profile: str, seeds: int = 1, *, tables_only: bool = False
) -> list[Experiment]:
    """The distinct trainings behind all cells that the profile measures, in table order.

    What they start from is not among them: see `Experiment.before`. With `tables_only`, neither is
    what only a figure or the comparison of starts shows.
    """
    distinct: dict[str, Experiment] = {}
    for (table, *_), measured in _cells(paper, profile).items():
        if isinstance(table, int) or not tables_only:
            distinct.setdefault(_identity(measured.experiment), measured.experiment)
    return [
        with_seed(experiment, seed) for experiment in distinct.values() for seed in range(seeds)
    ]


def _identity(experiment: Experiment) -> str:
    start = "" if experiment.start is None else _identity(experiment.start)
    return experiment.key("", start, tuple(map(_identity, experiment.joins)))


def with_seed(experiment: Experiment, seed: int) -> Experiment:
    """The same training with another seed, which takes the random split of that number where a
    dataset has several. What it starts from keeps its seed, unless it is a phase of the same paper.
    """

    def before(earlier: Experiment) -> Experiment:
        return with_seed(earlier, seed) if earlier.paper == experiment.paper else earlier

    return replace(
        experiment,
        seed=seed,
        dataset=with_split(experiment.dataset, seed % splits_of(experiment.dataset)),
        start=None if experiment.start is None else before(experiment.start),
        joins=tuple(map(before, experiment.joins)),
    )


def chosen(
    measured: Mapping[Place, Measured],
    rows: Mapping[str, Iterable[str]],
    datasets: Collection[str] = (),
) -> dict[Place, Measured]:
    """All cells that come with the trainings of some rows: by number of the table, as text; on some
    datasets only. Of neither, all."""
    if datasets:
        measured = {p: cell for p, cell in measured.items() if cell.experiment.dataset in datasets}
    if not rows:
        return dict(measured)
    wanted = {
        _identity(cell.experiment)
        for (table, row, _), cell in measured.items()
        if row in rows.get(str(table), ())
    }
    return {place: cell for place, cell in measured.items() if _identity(cell.experiment) in wanted}


def load_sizes(
    paper: str, kind: type[SizeT], folder: Path | None = None, file: str = "sizes.toml"
) -> dict[str, SizeT]:
    """Profile -> what it changes: a TOML file of a paper as dataclasses of its own.

    A learning rate per epoch is written as a list of [epochs, rate]; see `rates`. A profile may
    name another as its `like` and give what differs.

    Raises `DataError`, naming file and profile, for an unknown or missing field.
    """
    path = (folder or Path(__file__).parent / paper) / file
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    sizes: dict[str, SizeT] = {}
    for profile, given in table.items():
        entries = dict(given)
        while "like" in entries:
            entries = {**table[entries.pop("like")], **entries}
        known = {f.name: f for f in fields(kind)}
        if unknown := sorted(set(entries) - set(known)):
            raise DataError(f"{path}: {profile}: unknown {', '.join(unknown)}")
        try:
            sizes[profile] = kind(**{name: frozen(value) for name, value in entries.items()})
        except TypeError as error:
            raise DataError(f"{path}: {profile}: {error}") from error
    return sizes


def frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, list):
        return tuple(frozen(entry) for entry in value)
    if isinstance(value, dict):
        return {name: frozen(entry) for name, entry in value.items()}
    return value


def rates(written: Iterable[tuple[int, float]]) -> tuple[float, ...]:
    """A learning rate per epoch.

    Example:
        >>> rates([(2, 1e-3), (1, 1e-4)])
        (0.001, 0.001, 0.0001)
    """
    return tuple(rate for epochs, rate in written for _ in range(epochs))


# ---------------------------------------------------------------- what it needs


def check_weights(experiment: Experiment) -> None:
    """Raise `DataError` if weights that the training starts from have to be placed by hand."""
    if experiment.training.pretrained == "imagenet":
        find_imagenet(backbone_of(experiment))


def backbone_of(experiment: Experiment) -> str:
    """The name of the backbone; methods that leave no choice have a ResNet-50."""
    return getattr(experiment.model, "backbone", "resnet50")


def check(experiment: Experiment, dataset: Dataset) -> None:
    """Raise `DataError` if something that the training needs is not there."""
    check_weights(experiment)
    for need in experiment.reads:
        extras.check(need, dataset)


def fingerprint(experiment: Experiment, dataset: Dataset) -> str:
    """Of all the data that decides what the training comes to, for the run's key."""
    beside = extras.extras_fingerprint(experiment.reads, dataset)
    return f"{dataset.fingerprint}+{beside}" if beside else dataset.fingerprint


_PREPARED: dict[tuple, Any] = {}
_DATASETS = 2


def prepared(
    prepare: Callable[..., Data],
    dataset: Dataset,
    image_size: tuple[int, int],
    cache_dir: Path,
    device: str,
    **settings: Any,
) -> Data:
    """What `prepare` makes of a dataset, kept for the next runs of the same process: of two
    datasets, as a pretraining's and a paper's take turns. The older one goes before another comes,
    which may need its place on a GPU."""
    key = prepare, Hashed(dataset), image_size, cache_dir, device, tuple(settings.items())
    if key in _PREPARED:
        _PREPARED[key] = _PREPARED.pop(key)  # the latest
        return _PREPARED[key]
    while len(_PREPARED) >= _DATASETS:
        del _PREPARED[next(iter(_PREPARED))]
    place = {"image_size": image_size, "cache_dir": cache_dir, "device": device}
    _PREPARED[key] = prepare(dataset, **place, **settings)
    return _PREPARED[key]


# ---------------------------------------------------------------- training


def train_and_evaluate(
    experiment: Experiment,
    dataset: Dataset,
    *,
    cache_dir: Path,
    compute: Compute,
    before: Sequence[Path] = (),
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """One training of a paper's method and its evaluation.

    Args:
        before: weights of the finished runs of `experiment.before`.
        checkpoint, key, on_epoch: see `reidlib.train.fit`.

    Raises `DataError` if something that the training needs is not there.
    """
    if experiment.training.release_tokens:  # also where nothing would read them
        extras.check("tokens", dataset)
    paper = get_paper(experiment.paper)
    data = paper.prepare(experiment, dataset, cache_dir, compute.device)
    model = place(initialized(experiment, data, before), compute)
    history = fit(
        model,
        lambda generator: paper.batches(experiment, model, data, generator, compute.device),
        lambda batch, stage: paper.losses(model, batch, stage),
        experiment.training,
        seed=experiment.seed,
        compute=compute,
        checkpoint=checkpoint,
        key=key,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    evaluated = paper.evaluate(model, data, compute)
    seconds = sum(epoch["seconds"] for epoch in history)
    metrics = {
        "evaluations": {name: dict(values) for name, values in evaluated.evaluations.items()},
        "headline": evaluated.headline,
        "seconds": seconds,
        "images_per_s": sum(epoch["images"] for epoch in history) / seconds,
        "evaluation_seconds": time.perf_counter() - started,
        "final_loss": history[-1]["loss"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "queries": evaluated.queries,
        "gallery": evaluated.gallery,
    }
    if evaluated.chance:
        metrics["chance"] = {name: dict(values) for name, values in evaluated.chance.items()}
    return Result(weights_of(model), history, metrics, evaluated)


def initialized(experiment: Experiment, data: Any, before: Sequence[Path] = ()) -> nn.Module:
    """The experiment's model as its training begins, on the CPU.

    Raises `DataError` if the weights that it starts from are missing or do not fit.
    """
    torch.manual_seed(experiment.seed)
    model = get_paper(experiment.paper).build(experiment, data)
    if len(before) != len(experiment.before):
        raise DataError(f"{experiment.name}: starts from a run that is not finished")
    if experiment.start is None and experiment.training.pretrained == "imagenet":
        name = backbone_of(experiment)
        state = {f"backbone.{k}": v for k, v in imagenet_state(name, verify=True).items()}
        load_start(model, state, str(find_imagenet(name)))
    for path in before:
        load_start(model, load_file(path), str(path))
    return model


def load_start(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Take over the weights that a training starts from: the model's own way, or its backbone's.

    Raises `DataError`, naming `source`, if they do not fit.
    """
    try:
        if hasattr(model, "load_start"):
            model.load_start(state)
            return
        prefix = "backbone."
        body = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        model.backbone.load_state_dict(body)
    except (RuntimeError, KeyError) as error:
        raise DataError(
            f"{source} does not fit this network; ImageNet weights exist only for full-size "
            f"backbones (width 1, default depths): {error}"
        ) from error


def place(model: nn.Module, compute: Compute) -> nn.Module:
    """The model on its device, the backbone in the memory format and mode asked for."""
    model.to(compute.device)
    if compute.channels_last:
        model.backbone.to(memory_format=torch.channels_last)
    if compute.compile:
        model.backbone.compile()
    return model


def weights_of(model: nn.Module) -> bytes:
    """The model's state as the content of a safetensors file."""
    return save_safetensors(
        {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    )


def load_trained(experiment: Experiment, data: Any, weights: Path) -> nn.Module:
    """The model of a finished run, on the CPU, in evaluation mode."""
    torch.manual_seed(experiment.seed)
    model = get_paper(experiment.paper).build(experiment, data)
    model.load_state_dict(load_file(weights))
    return model.eval()


# ---------------------------------------------------------------- what it costs


@lru_cache(maxsize=4096)
def cost(experiment: Experiment) -> float:
    """Multiply-adds of one training image, forward and backward: those of the backbone, of the
    networks `beside` it that see the image, too, if there are any, and where there is a
    `text_cost`, those of reading a caption of 24 words.

    A ResNet's count twice: its many thin layers take about twice as long per multiply-add.
    """
    sizes = SimpleNamespace(ids=1, vocabulary=("", ""), classes=(1,))
    with torch.device("meta"):
        model = get_paper(experiment.paper).build(experiment, sizes)
    slow = 2 if isinstance(model.backbone, ResNet) else 1
    shape = tuple(
        getattr(experiment.model, name, None)
        for name in ("backbone", "width", "depths", "units", "last_stride", "pose", "pose_width")
    )
    key = type(experiment.model), shape, experiment.training.image_size
    if key not in _FLOPS:
        size = experiment.training.image_size
        beside = sum(_flops(network, size) for network in getattr(model, "beside", ()))
        _FLOPS[key] = slow * _flops(model.backbone, size) + beside
    words = model.text_cost(24) if hasattr(model, "text_cost") else 0
    return 3 * (_FLOPS[key] / 2 + words)


_FLOPS: dict[tuple[Any, ...], float] = {}  # of an image, by shape: rows share few of them


def _flops(network: nn.Module, image_size: tuple[int, int]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *image_size))
    return counter.get_total_flops()
