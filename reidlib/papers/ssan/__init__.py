"""SSAN's experiments: which training measures which cell of its tables, and how it is run.

Besides SSAN and its variants, the authors ran five methods to compare with. Each has a module of
its own in `reidlib.models`; what these modules have in common is used here, and nowhere else:
`encode_images` and `encode_text` of the networks, `similarities` and `EVALUATIONS` of the modules.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data import extras
from reidlib.data.batches.pairs import (
    Batch,
    TextImageData,
    TextImageSplit,
    pairs,
    shuffled_batches,
)
from reidlib.data.batches.samplers import identity_batches
from reidlib.data.dataset import Dataset
from reidlib.data.formats.cuhk_pedes import DOMAINS, TRANSFER
from reidlib.experiment import Experiment, Stage, Training
from reidlib.metrics.first_match import first_match_ranks, top_k
from reidlib.models import ssan
from reidlib.models.compared import cmpm, dual_path, mia, scan, vitaa
from reidlib.models.parts.backbones import find_imagenet, load_imagenet
from reidlib.papers import Cell, Result
from reidlib.papers.tables import PublishedRow, PublishedTable, load_tables
from reidlib.papers.training import (
    backbone_cost,
    encode_images,
    load_trained,
    metrics_of,
    place,
    prepared,
    text_blocks,
    weights_of,
)
from reidlib.train import Compute, fit

TITLE = "SSAN"
CITATION = (
    "Z. Ding, C. Ding, Z. Shao, D. Tao: Semantically self-aligned network for text-to-image "
    "part-aware person re-identification. arXiv:2107.12666, 2021."
)
NOTEBOOK = "02_ssan.ipynb"
TABLES = (1, 2, 3, 4, 5)

# Raised whenever a change of the code changes what a training comes to.
RECIPE = 1

# The configuration of a method -> its module, and the network in it.
_METHODS: dict[type, tuple[ModuleType, type[nn.Module]]] = {
    ssan.SSANConfig: (ssan, ssan.SSAN),
    scan.SCANConfig: (scan, scan.SCAN),
    mia.MIAConfig: (mia, mia.MIA),
    dual_path.DualPathConfig: (dual_path, dual_path.DualPath),
    cmpm.CMPMConfig: (cmpm, cmpm.CMPM),
    vitaa.ViTAAConfig: (vitaa, vitaa.ViTAA),
}
_NAMES = {"dual-path": "Dual Path", "cmpm-cmpc": "CMPM + CMPC", "mia": "MIA", "scan": "SCAN"}


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else.

    `V`, `M`, `M_` and `N` are the names of SSAN; the other methods' layers take their sizes from
    them, as far as the authors' own sizes are of the same order.
    """

    image_size: tuple[int, int]
    networks: dict[str, str]  # printed name of a backbone -> what it is here
    width: float
    depths: dict[str, tuple[int, ...] | None]
    V: int
    M: int
    M_: int
    N: int
    last_stride: int  # of ResNet-50: small images keep six rows for the six parts with 1
    text_units: tuple[int, int, int, int]  # residual units of Dual Path's text network
    batch_size: int
    lrs: tuple[float, ...]  # per epoch
    stage1: int  # epochs without ranking losses, of the methods that begin so
    fixed_epochs: int  # of the first, in which the margin of the weak terms is fixed
    steps: Mapping[str, int] = field(default_factory=dict)  # of an epoch at most, by dataset


# Without ImageNet weights, VGG-16 is the one with batch normalization: the plain one needs many
# more epochs to learn from scratch.
_FROM_SCRATCH = {"VGG-16": "vgg16_bn", "ResNet-50": "resnet50"}
_SHALLOW = {"VGG-16": (1, 1, 1, 1, 1), "ResNet-50": (1, 1, 1, 1)}
_FULL_DEPTH = {"VGG-16": None, "ResNet-50": None}

SIZES = {
    "smoke": Size(
        image_size=(64, 32),
        networks=_FROM_SCRATCH,
        width=0.03125,
        depths=_SHALLOW,
        V=16,
        M=16,
        M_=8,
        N=8,
        last_stride=1,
        text_units=(1, 1, 1, 1),
        batch_size=8,
        lrs=(1e-3, 1e-4),
        stage1=1,
        fixed_epochs=1,
        steps=dict.fromkeys(("cuhk-pedes", "icfg-pedes", TRANSFER), 1),
    ),
    "demo": Size(
        image_size=(96, 32),
        networks=_FROM_SCRATCH,
        width=0.0625,
        depths=_SHALLOW,
        V=64,
        M=128,
        M_=64,
        N=64,
        last_stride=1,
        text_units=(1, 1, 1, 1),
        batch_size=32,
        lrs=(2e-3,) + (4e-3,) * 4 + (2e-3,) * 2 + (4e-4,),
        stage1=1,
        fixed_epochs=1,
        steps={"cuhk-pedes": 72, "icfg-pedes": 32, TRANSFER: 32},
    ),
    "bench": Size(
        image_size=(192, 64),
        networks=_FROM_SCRATCH,
        width=1.0,
        depths=_FULL_DEPTH,
        V=512,
        M=1024,
        M_=512,
        N=512,
        last_stride=2,
        text_units=(3, 4, 6, 1),
        batch_size=64,
        lrs=(5e-4,) * 9 + (5e-5,) * 3,
        stage1=2,
        fixed_epochs=1,
    ),
    "paper": Size(
        image_size=(384, 128),
        networks={"VGG-16": "vgg16", "ResNet-50": "resnet50"},
        width=1.0,
        depths=_FULL_DEPTH,
        V=512,
        M=1024,
        M_=512,
        N=512,
        last_stride=2,
        text_units=(3, 4, 6, 1),
        batch_size=64,
        lrs=(1e-3,) * 20 + (1e-4,) * 20 + (1e-5,) * 20,  # Section V-A, and the authors' code
        stage1=0,  # each method has its own settings there, below
        fixed_epochs=5,
    ),
}

# The paper runs the compared methods with their authors' code; these are the authors' settings, as
# far as the one training loop has them: not Nesterov's momentum and the random crops of Dual Path,
# nor ViTAA's own rates for biases. In the other profiles all methods have the same budget and
# learning rates.
_PAPER_SETTINGS: dict[str, dict[str, Any]] = {
    "mia": {
        "stages": (
            Stage("stage 1", (1e-3,) * 10, freeze_backbone=True),
            Stage("stage 2", (2e-4,) * 10 + (2e-5,) * 10),
        ),
        "batch_size": 96,
        "weight_decay": 1e-5,
        "backbone_lr_factor": 1.0,
    },
    "dual-path": {
        "stages": (
            Stage("stage 1", (0.1,) * 180, freeze_backbone=True),
            Stage("stage 2", (0.1,) * 40 + (0.01,) * 21),
        ),
        "batch_size": 32,
        "image_size": (224, 224),
        "optimizer": "sgd",
        "weight_decay": 1e-4,
        "backbone_lr_factor": 0.02,
    },
    "cmpm-cmpc": {
        "stages": (Stage("all", (2e-4,) * 50),),
        "batch_size": 16,
        "backbone_lr_factor": 1.0,
    },
    "vitaa-star": {  # five epochs of warm-up
        "stages": (
            Stage(
                "all",
                tuple(1e-4 * (0.1 + 0.18 * epoch) for epoch in range(5))
                + (1e-4,) * 35
                + (1e-5,) * 30
                + (1e-6,) * 10
                + (1e-7,) * 10,
            ),
        ),
        "weight_decay": 4e-5,
        "backbone_lr_factor": 1.0,
    },
}
_PER_PERSON = 4  # pairs of each person in a batch of ViTAA*

# Own rows -> the method. Of Table III, only SSAN's row with VGG-16 is not in Tables I and II, too.
_VARIANTS = {
    "baseline": "baseline",
    "pfl": "pfl",
    "pfl-prl": "pfl+prl",
    "pfl-conv": "pfl+conv",
    "cr": "cr",
    "ssan": "ssan",
}
_FIXED_MARGINS = (0.1, 0.15, 0.2)
_MARGINS_ON = {
    "smoke": ("cuhk-pedes", "icfg-pedes"),
    "demo": (),
    "bench": ("cuhk-pedes", "icfg-pedes"),
    "paper": ("cuhk-pedes", "icfg-pedes"),
}
# What the demo trains: dataset -> methods, those that the main claims compare.
_DEMO = {
    "cuhk-pedes": ("baseline", "pfl", "ssan", "scan"),
    "icfg-pedes": ("baseline", "ssan", "scan", "vitaa-star"),
    TRANSFER: ("ssan", "scan", "mia"),
}


@lru_cache(maxsize=1)
def _tables() -> dict[int, PublishedTable]:
    return load_tables("ssan")


def experiments(profile_name: str, seeds: int = 1) -> list[Experiment]:
    """The distinct trainings behind all rows that the profile measures, in table order."""
    planned = [
        cell(profile_name, number, row.slug, metric.column, seeds)
        for number, table in _tables().items()
        for row in table.rows
        for metric in table.metrics
    ]
    planned += [c for cells in margins(profile_name, seeds).values() for c in cells.values()]
    found: dict[str, Experiment] = {}
    for there in planned:
        for experiment in there.experiments if there else ():
            found.setdefault(experiment.key(""), experiment)
    return list(found.values())


def margins(profile_name: str, seeds: int = 1) -> dict[str, dict[str, Cell]]:
    """Figure 7: dataset -> margin of the weak terms -> what measures it; "adaptive" is SSAN.

    The figure's own numbers are not printed. The fixed margins are the ends and the middle of the
    range that Eq 20 gives the adaptive one, alpha_1 / 2 to alpha_1.
    """
    found: dict[str, dict[str, Cell]] = {}
    for dataset in _MARGINS_ON[profile_name]:
        found[dataset] = {}
        for margin in (None, *_FIXED_MARGINS):
            config = _config(profile_name, "ssan", alpha2=margin)
            settings = _training(profile_name, "ssan", dataset)
            found[dataset]["adaptive" if margin is None else f"{margin:g}"] = Cell(
                tuple(
                    Experiment("ssan", _name("ssan", config), dataset, config, settings, s, RECIPE)
                    for s in range(seeds)
                ),
                list(evaluations_of(config))[-1],
                "Top-1",
            )
    return found


@lru_cache(maxsize=4096)
def cell(profile_name: str, table: int, row: str, column: str, seeds: int = 1) -> Cell | None:
    """What measures a cell; None for cited rows and for rows that the profile leaves out."""
    published = _tables()[table]
    printed = published.row(row)
    if printed.origin != "own" or column not in {m.column for m in published.metrics}:
        return None
    metric = published.metric(column)
    method, network = _method(printed), printed.values.get("Backbone", "ResNet-50")
    dataset = TRANSFER if metric.dataset in DOMAINS else metric.dataset
    if profile_name == "demo" and (method not in _DEMO[dataset] or network != "ResNet-50"):
        return None
    config = _config(profile_name, method, network)
    weights = evaluations_of(config)
    evaluation = list(weights)[-1]  # that of the test stage
    if metric.metric == "Rank-1 (part)":
        evaluation = "Sl"
    if dataset == TRANSFER:  # one training on the source is tested on all targets
        evaluation = f"{metric.dataset}: {evaluation}"
    settings = _training(profile_name, method, dataset)
    return Cell(
        tuple(
            Experiment("ssan", _name(method, config), dataset, config, settings, seed, RECIPE)
            for seed in range(seeds)
        ),
        evaluation,
        metric.metric.split(" ")[0].replace("Rank-", "Top-"),
    )


def _method(row: PublishedRow) -> str:
    """A key of `_VARIANTS`, or "scan", "mia", "dual-path", "cmpm-cmpc", "vitaa-star"."""
    slug = row.slug.removeprefix("so-")
    for ending in ("-resnet", "-vgg"):
        slug = slug.removesuffix(ending)
    return slug


def evaluations_of(config: Any) -> Mapping[str, Mapping[str, float]]:
    """Which weighted sums of similarities rank the gallery; the last is that of the test stage."""
    return (
        ssan.evaluations(config)
        if isinstance(config, ssan.SSANConfig)
        else (_METHODS[type(config)][0].EVALUATIONS)
    )


def _config(profile_name: str, method: str, network: str = "ResNet-50", **changes: Any) -> Any:
    size = SIZES[profile_name]
    shape = {
        "ids": 1,  # both are known when the data is: see `build`
        "vocabulary": 2,
        "width": size.width,
        "depths": size.depths[network],
    }
    if method == "vitaa-star":
        config = vitaa.ViTAAConfig(**shape, V=size.V, H=size.N, P=size.M // 4)
        return replace(config, **changes)
    shape |= {"backbone": size.networks[network], "last_stride": size.last_stride}
    if method == "scan":
        config = scan.SCANConfig(**shape, V=size.V, M=size.M)
    elif method == "mia":
        # E and the channels of a stripe have to V and M the ratio of the full-size networks.
        config = mia.MIAConfig(**shape, E=-(-300 * size.V // 512), P=size.M, part=size.M // 4)
    elif method == "dual-path":
        config = dual_path.DualPathConfig(
            **shape, V=-(-300 * size.V // 512), text_units=size.text_units
        )
    elif method == "cmpm-cmpc":
        config = cmpm.CMPMConfig(**shape, V=size.V, H=size.N, P=size.N)
    else:
        config = ssan.SSANConfig(
            **shape,
            V=size.V,
            M=size.M,
            M_=size.M_,
            N=size.N,
            fixed_epochs=size.fixed_epochs,
            **ssan.VARIANTS[_VARIANTS[method]],
        )
    return replace(config, **changes)


def _training(profile_name: str, method: str, dataset: str) -> Training:
    size = SIZES[profile_name]
    pretrained = profile_name == "paper"
    stages: tuple[Stage, ...] = (Stage("all", size.lrs),)
    if method in ("mia", "dual-path") and size.stage1:
        # Nothing is frozen without ImageNet weights: random features would only stay random.
        first, second = size.lrs[: size.stage1], size.lrs[size.stage1 :]
        stages = (Stage("stage 1", first), Stage("stage 2", second))
    settings = Training(
        stages=stages,
        batch_size=size.batch_size,
        image_size=size.image_size,
        backbone_lr_factor=0.1 if pretrained else 1.0,
        pretrained=pretrained,
        max_steps=size.steps.get(dataset),
    )
    own = _PAPER_SETTINGS.get(method, {}) if pretrained else {}
    return replace(settings, **own)


def _name(method: str, config: Any) -> str:
    name = {**_NAMES, "vitaa-star": "ViTAA*"}.get(method, f"SSAN ({_VARIANTS.get(method)})")
    margin = getattr(config, "alpha2", None)
    fixed = "" if margin is None else f", alpha_2 = {margin:g}"
    return f"{name}, {getattr(config, 'backbone', 'resnet50')}{fixed}"


def cost(experiment: Experiment) -> float:
    """Multiply-adds of backbone and text network for one training image, forward and backward."""
    config = experiment.model
    depths = tuple(config.depths) if config.depths else None
    images = backbone_cost(
        getattr(config, "backbone", "resnet50"),
        config.width,
        depths,
        getattr(config, "last_stride", 2),
        experiment.training.image_size,
    )
    _, network = _METHODS[type(config)]
    with torch.device("meta"):
        model = network(replace(config, ids=1, vocabulary=2))
    recurrent = getattr(model, "lstm", None) or getattr(model, "gru", None)
    if recurrent is None:
        return images
    words = 38 if experiment.dataset == "icfg-pedes" else 24
    copies = getattr(model, "copies", 2 if isinstance(config, scan.SCANConfig) else 1)
    streams = copies * (2 if getattr(config, "cr", False) else 1)
    return images + 3 * streams * words * sum(p.numel() for p in recurrent.parameters())


def check(experiment: Experiment, dataset: Dataset) -> None:
    """Raise `DataError` if something that the training needs is not there."""
    if experiment.training.pretrained:
        find_imagenet(getattr(experiment.model, "backbone", "resnet50"))
    for need in _needs(experiment):
        extras.check(need, dataset)


def _needs(experiment: Experiment) -> tuple[str, ...]:
    return ("masks",) if isinstance(experiment.model, vitaa.ViTAAConfig) else ()


def fingerprint(experiment: Experiment, dataset: Dataset) -> str:
    """Of the data that the training rests on, for the run's key: of ViTAA*, the masks, too."""
    beside = extras.extras_fingerprint(_needs(experiment), dataset)
    return f"{dataset.fingerprint}+{beside}" if beside else dataset.fingerprint


def build(experiment: Experiment, data: TextImageData) -> nn.Module:
    """The experiment's model for a dataset, on the CPU, initialized from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    _, network = _METHODS[type(experiment.model)]
    model = network(replace(experiment.model, ids=data.ids, vocabulary=len(data.vocabulary)))
    if experiment.training.pretrained:
        if isinstance(model, vitaa.ViTAA):
            model.load_imagenet()
        else:
            load_imagenet(model.backbone, experiment.model.backbone)
    return model


def prepare_data(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> TextImageData:
    """The experiment's data, kept for the next run of the same process."""
    size = experiment.training.image_size
    if isinstance(experiment.model, vitaa.ViTAAConfig):
        return prepared(dataset, size, cache_dir, device, masks=True)
    return prepared(dataset, size, cache_dir, device)


def train_and_evaluate(
    experiment: Experiment,
    dataset: Dataset,
    *,
    cache_dir: Path,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """One training of a method, then the ranks of the test captions under its similarities."""
    data = prepare_data(experiment, dataset, cache_dir, compute.device)
    model = place(build(experiment, data), compute)
    history = fit(
        model,
        lambda generator: batches(experiment, model, data, generator, compute.device),
        lambda batch, stage: losses(model, batch, stage),
        experiment.training,
        seed=experiment.seed,
        compute=compute,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    ranks: dict[str, np.ndarray] = {}
    for name, split in data.tests.items():
        found = rank(model, split, compute)
        several = len(data.tests) > 1
        ranks |= {f"{name}: {e}" if several else e: values for e, values in found.items()}
    evaluations = {name: top_k(values) for name, values in ranks.items()}
    last = list(evaluations)[-1]
    return Result(
        weights=weights_of(model),
        ranks=ranks,
        history=history,
        metrics=metrics_of(
            evaluations,
            f"Top-1 {evaluations[last]['Top-1']:.2f} ({last})",
            history,
            parameters=sum(p.numel() for p in model.parameters()),
            queries=sum(len(split.captions) for split in data.tests.values()),
            gallery=sum(len(split.frame) for split in data.tests.values()),
            evaluation_started=started,
        ),
        notes={"tagger": data.tagger, "vocabulary": len(data.vocabulary), "ids": data.ids},
    )


def batches(
    experiment: Experiment,
    model: nn.Module,
    data: TextImageData,
    generator: torch.Generator,
    device: str,
) -> Iterator[Batch]:
    """One epoch of batches, as the method wants them."""
    settings = experiment.training
    image = {"flip": settings.flip, "crop_pad": settings.crop_pad, "device": device}
    size = settings.batch_size
    if isinstance(model, vitaa.ViTAA):
        for captions in identity_batches(
            data.train.labels, generator, persons=size // _PER_PERSON, images=_PER_PERSON
        ):
            yield pairs(data.train, captions, generator, **image)
        return
    weak = None
    if isinstance(model, ssan.SSAN):
        model.begin_epoch()
        if model.cfg.cr:
            weak = ssan.WeakCaptions.build(data.train.image_of, data.train.labels).draw
    yield from shuffled_batches(data.train, generator, batch_size=size, weak=weak, **image)


def losses(model: nn.Module, batch: Batch, stage: Stage) -> dict[str, Tensor]:
    """The method's named losses of a batch."""
    text, labels = batch.text, batch.labels
    if isinstance(model, mia.MIA):
        return model(batch.images, *text, labels, ranking=stage.name != "stage 1")
    more: dict[str, Any] = {}
    if isinstance(model, dual_path.DualPath):
        more = {"ranking": stage.name != "stage 1"}
    elif isinstance(model, vitaa.ViTAA):
        more = {"masks": batch.masks}
    elif batch.weak is not None:
        more = {"weak_tokens": batch.weak.tokens, "weak_lengths": batch.weak.lengths}
    return model(batch.images, text.tokens, text.lengths, labels, **more)


@torch.inference_mode()
def rank(model: nn.Module, split: TextImageSplit, compute: Compute) -> dict[str, np.ndarray]:
    """Per evaluation the rank of each caption's first correct image: int32 (captions,)."""
    module, _ = _METHODS[type(model.cfg)]
    images = encode_images(model, split, compute)
    ranks: dict[str, list[np.ndarray]] = {name: [] for name in evaluations_of(model.cfg)}
    # Texts are encoded and compared block by block: SCAN's hold every word of a caption.
    for rows, texts in text_blocks(model, split, compute, isinstance(model, mia.MIA)):
        similarity = module.similarities(images, texts)
        pids = split.caption_pids[rows.numpy()]
        for name, weights in evaluations_of(model.cfg).items():
            scores = ssan.fuse(similarity, weights)
            ranks[name].append(first_match_ranks(scores, pids, split.image_pids))
    return {name: np.concatenate(blocks) for name, blocks in ranks.items()}


def load_model(experiment: Experiment, data: TextImageData, weights: Path) -> nn.Module:
    """A finished run's model, in evaluation mode, on the CPU."""
    return load_trained(build, experiment, data, weights)
