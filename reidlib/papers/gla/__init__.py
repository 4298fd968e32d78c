"""GLA's experiments: which training measures which row of its tables, and how it is run."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidlib.data import extras
from reidlib.data.batches import tuples
from reidlib.data.batches.pairs import TextImageData
from reidlib.data.batches.tuples import (
    KINDS,
    DescribedData,
    TupleBatch,
    Tuples,
    batches_of_tuples,
    tuples_of,
)
from reidlib.data.dataset import Dataset
from reidlib.data.formats import cuhk_pedes
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.gla import GLA, METHODS, GLAConfig, parameter_counts
from reidlib.models.parts.backbones import find_imagenet, load_imagenet
from reidlib.papers import Cell, Result
from reidlib.papers.gla.search import EVALUATION_OF, search_by_image, search_by_text
from reidlib.papers.tables import PublishedRow, PublishedTable, load_tables
from reidlib.papers.training import (
    backbone_cost,
    load_trained,
    metrics_of,
    place,
    prepared,
    weights_of,
)
from reidlib.train import Compute, fit

TITLE = "GLA"
CITATION = (
    "D. Chen, H. Li, X. Liu, Y. Shen, J. Shao, Z. Yuan, X. Wang: Improving deep visual "
    "representation for person re-identification by global and local image-language association. "
    "European Conference on Computer Vision (ECCV), 2018."
)
NOTEBOOK = "03_gla.ipynb"
TABLES = (1, 2, 3, 4, 5, 6)

# Raised whenever a change of the code changes what a training comes to.
RECIPE = 1

TUPLES = 2  # of each person in a batch (Section 3.4)
_SPLITS = {"cuhk01": 10, "cuhk03-classic-labeled": 20, "cuhk03-classic-detected": 20}


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else."""

    image_size: tuple[int, int]
    crop_pad: int
    width: float
    depths: tuple[int, ...] | None
    d: int
    E: int
    H: int
    persons: int  # per batch
    lrs: tuple[float, ...]  # per epoch
    lrs_by_text: tuple[float, ...] | None = None  # where persons are searched by text, if others
    pool: int = 2  # bins averaged in each direction before the attention to phrases
    optimizer: str = "sgd"  # momentum 0.9
    weight_decay: float = 5e-4
    pretrained: bool = False
    steps: int | None = None  # of an epoch; by default one per batch of all training images


SIZES = {
    "smoke": Size(
        image_size=(64, 32),
        crop_pad=2,
        width=0.125,
        depths=(1, 1, 1, 1),
        d=16,
        E=16,
        H=16,
        persons=4,
        lrs=(3e-3,),
        steps=2,
        optimizer="adam",
        weight_decay=0.0,
    ),
    # Calibrated on the baseline alone. Of an image, 4 x 2 bins are left, which are not averaged.
    # Adam, because in 200 steps from random weights SGD leaves the language losses where they are;
    # the baseline is the same with both. To find images by text takes more steps.
    "demo": Size(
        image_size=(64, 32),
        crop_pad=2,
        width=0.125,
        depths=(1, 1, 1, 1),
        d=64,
        E=64,
        H=64,
        persons=32,
        lrs=(3e-3,) * 4 + (3e-4,),
        lrs_by_text=(3e-3,) * 12 + (3e-4,) * 3,
        pool=1,
        steps=40,
        optimizer="adam",
        weight_decay=0.0,
    ),
    "bench": Size(
        image_size=(128, 64),
        crop_pad=5,
        width=1.0,
        depths=None,
        d=256,
        E=512,
        H=512,
        persons=32,
        lrs=(1e-3,) * 20 + (1e-4,) * 10,
        optimizer="adam",
        weight_decay=0.0,
    ),
    # Section 3.4: 1e-2, after epoch 20 a tenth of it.
    "paper": Size(
        image_size=(256, 128),
        crop_pad=10,
        width=1.0,
        depths=None,
        d=256,
        E=512,
        H=512,
        persons=32,
        lrs=(1e-2,) * 20 + (1e-3,) * 20,
        pretrained=True,
    ),
}

_METHOD_OF_ROW = {
    "basel": "basel.",
    "basel-rank1": "basel. + rank1",
    "basel-rank2": "basel. + rank2",
    "basel-gda": "basel. + GDA",
    "basel-lra": "basel. + LRA",
    "proposed": "proposed",
    "ours": "proposed",
}


@lru_cache(maxsize=1)
def _tables() -> dict[int, PublishedTable]:
    return load_tables("gla")


def experiments(profile_name: str, seeds: int = 1) -> list[Experiment]:
    """The distinct trainings behind all rows that the profile measures, in table order."""
    found: dict[str, Experiment] = {}
    for table in TABLES:
        for row in _tables()[table].rows:
            for metric in _tables()[table].metrics:
                planned = cell(profile_name, table, row.slug, metric.column, seeds)
                for experiment in planned.experiments if planned else ():
                    found.setdefault(experiment.key(""), experiment)
    return list(found.values())


@lru_cache(maxsize=4096)
def cell(profile_name: str, table: int, row: str, column: str, seeds: int = 1) -> Cell | None:
    """What measures a cell; None for cited rows and for Table 1, which only states settings."""
    published = _tables()[table]
    printed = published.row(row)
    if not published.metrics or printed.origin != "own":
        return None
    metric = published.metric(column)
    # Table 6 names the evaluation behind the metric: "mAP (multi-query)".
    name, _, evaluation = metric.metric.removesuffix(")").partition(" (")
    config = _config(profile_name, printed)
    training = _training(SIZES[profile_name], metric.dataset)
    return Cell(
        tuple(
            Experiment(
                "gla",
                f"{metric.dataset}, {_name(config)}",
                _dataset(metric.dataset, seed),
                config,
                training,
                seed,
                RECIPE,
            )
            for seed in range(seeds)
        ),
        evaluation or EVALUATION_OF[metric.dataset],
        f"mAP ({published.ap_kind})" if name == "mAP" else name,
    )


def _dataset(name: str, seed: int) -> str:
    """Seed k trains on the random split k, where there is no official one."""
    split = seed % _SPLITS.get(name, 1)
    return f"{name}-split-{split}" if split else name


def _config(profile_name: str, row: PublishedRow) -> GLAConfig:
    size = SIZES[profile_name]
    if "lambda_T" in row.values:
        changes = {**METHODS["basel. + GDA"], "lambda_T": float(row.values["lambda_T"])}
    else:
        changes = dict(METHODS[_METHOD_OF_ROW[row.slug]])
    return GLAConfig(
        ids=1,  # both are known when the data is: see `build`
        vocabulary=2,
        width=size.width,
        depths=size.depths,
        d=size.d,
        E=size.E,
        H=size.H,
        pool=size.pool,
        **changes,
    )


def _training(size: Size, dataset: str) -> Training:
    lrs = size.lrs
    if dataset == cuhk_pedes.NAME and size.lrs_by_text is not None:
        lrs = size.lrs_by_text
    return Training(
        stages=(Stage("all", lrs),),
        batch_size=size.persons * TUPLES,
        image_size=size.image_size,
        optimizer=size.optimizer,
        weight_decay=size.weight_decay,
        crop_pad=size.crop_pad,
        pretrained=size.pretrained,
        max_steps=size.steps,
    )


def _name(config: GLAConfig) -> str:
    values = asdict(config)
    (method,) = (
        name
        for name, switches in METHODS.items()
        if all(values[switch] == on for switch, on in switches.items())
    )
    usual = config.lambda_T == GLAConfig.lambda_T
    return method if usual else f"{method}, lambda_T = {config.lambda_T:g}"


def cost(experiment: Experiment) -> float:
    """Multiply-adds per training image, forward and backward, roughly those of the text included.

    A tuple has some 24 words, and phrases of some 15 words in all.
    """
    config = experiment.model
    depths = tuple(config.depths) if config.depths else None
    size = experiment.training.image_size
    visual = backbone_cost(config.backbone, config.width, depths, config.last_stride, size)
    lstm = 4 * config.H * (config.E + config.H)
    return visual + 3 * lstm * (24 * config.descriptions + 2 * 15 * config.L_rec)


def _needs_captions(config: GLAConfig) -> bool:
    return config.descriptions or config.L_rec


def check(experiment: Experiment, dataset: Dataset) -> None:
    """Raise `DataError` if something that the training needs is not there."""
    if experiment.training.pretrained:
        find_imagenet(experiment.model.backbone)
    for need in _needs(experiment):
        extras.check(need, dataset)


def _needs(experiment: Experiment) -> tuple[str, ...]:
    return ("captions",) if _needs_captions(experiment.model) else ()


def fingerprint(experiment: Experiment, dataset: Dataset) -> str:
    """Of the data that the training rests on, for the run's key: with language, the captions of
    an image dataset as well, which stand in another file."""
    beside = extras.extras_fingerprint(_needs(experiment), dataset)
    return f"{dataset.fingerprint}+{beside}" if beside else dataset.fingerprint


def build(experiment: Experiment, data: DescribedData | TextImageData) -> GLA:
    """The experiment's model for a dataset, on the CPU, initialized from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    words = 2 if data.vocabulary is None else len(data.vocabulary)
    model = GLA(replace(experiment.model, ids=data.ids, vocabulary=words))
    if experiment.training.pretrained:
        load_imagenet(model.backbone, experiment.model.backbone)
    return model


def prepare_data(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> DescribedData | TextImageData:
    """The experiment's data, kept for the next run of the same process."""
    size = experiment.training.image_size
    if dataset.name == cuhk_pedes.NAME:
        return prepared(dataset, size, cache_dir, device, kinds=KINDS)
    language = _needs_captions(experiment.model)
    return prepared(dataset, size, cache_dir, device, tuples.prepare, descriptions=language)


def train_and_evaluate(
    experiment: Experiment,
    dataset: Dataset,
    *,
    cache_dir: Path,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Section 3.4, then persons are searched: by images, on CUHK-PEDES by descriptions."""
    data = prepare_data(experiment, dataset, cache_dir, compute.device)
    settings = experiment.training
    tuples = tuples_of(data.train) if isinstance(data, TextImageData) else data.tuples
    model = place(build(experiment, data), compute)

    def losses(batch: TupleBatch, stage: Stage) -> dict[str, Tensor]:
        return model(batch.images, batch.labels, *batch.text)

    history = fit(
        model,
        lambda generator: _batches(tuples, generator, settings, compute.device),
        losses,
        settings,
        seed=experiment.seed,
        compute=compute,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    if isinstance(data, TextImageData):
        evaluations, ranks, scores = search_by_text(model, data.test)
        queries, gallery = len(data.test.captions), len(data.test.frame)
    else:
        evaluations, ranks, scores = search_by_image(model, data)
        queries, gallery = len(data.query.frame), len(data.gallery.frame)
    name, values = next(iter(evaluations.items()))
    mean_ap = f", mAP {values['mAP (trapezoid)']:.2f}" if "mAP (trapezoid)" in values else ""
    notes = {"ids": data.ids}
    if data.vocabulary is not None:
        notes |= {"tagger": data.tagger, "vocabulary": len(data.vocabulary)}
    return Result(
        weights=weights_of(model),
        ranks=ranks,
        scores=scores,
        history=history,
        metrics=metrics_of(
            evaluations,
            f"Top-1 {values['Top-1']:.2f}{mean_ap} ({name})",
            history,
            parameters=parameter_counts(model)["total"],
            queries=queries,
            gallery=gallery,
            evaluation_started=started,
        ),
        notes=notes,
    )


def _batches(
    tuples: Tuples, generator: torch.Generator, settings: Training, device: str
) -> Iterator[TupleBatch]:
    return batches_of_tuples(
        tuples,
        generator,
        persons=settings.batch_size // TUPLES,
        each=TUPLES,
        flip=settings.flip,
        crop_pad=settings.crop_pad,
        device=device,
        # Small sets have few batches of different images; an epoch of a profile that limits its
        # steps has that many all the same.
        batches=settings.max_steps,
    )


def load_model(experiment: Experiment, data: DescribedData | TextImageData, weights: Path) -> GLA:
    """A finished run's model, in evaluation mode, on the CPU."""
    return load_trained(build, experiment, data, weights)
