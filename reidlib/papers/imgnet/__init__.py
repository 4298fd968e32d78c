"""IMG-Net's experiments: which training measures which row of its tables, and how it is run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from reidlib.data.batches.pairs import (
    Batch,
    TextImageData,
    TextImageSplit,
    shuffled_batches,
)
from reidlib.data.dataset import Dataset
from reidlib.experiment import Experiment, Stage, Training
from reidlib.metrics.first_match import top_k
from reidlib.models.imgnet import (
    ImageCodes,
    IMGNet,
    IMGNetConfig,
    TextCodes,
    concatenate_texts,
    parameter_counts,
    ranks_of_all_pairs,
)
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

TITLE = "IMG-Net"
CITATION = (
    "Z. Wang, A. Zhu, Z. Zheng, J. Jin, Z. Xue, G. Hua: IMG-Net: inner-cross-modal attentional "
    "multigranular network for description-based person re-identification. "
    "Journal of Electronic Imaging, 2020."
)
NOTEBOOK = "01_imgnet.ipynb"
TABLES = (1, 2, 3, 4, 5, 6, 7)
DATASET = "cuhk-pedes"

# Raised whenever a change of the code changes what a training comes to.
RECIPE = 1

STRIPES = {"VGG-16": 6, "ResNet-50": 8}  # k, Section 4.2.4
_POOLINGS = {"Average pooling": "avg", "Max pooling": "max", "Fused pooling": "fused"}


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else."""

    image_size: tuple[int, int]
    networks: dict[str, str]  # printed name of a backbone -> what it is here
    width: float
    depths: dict[str, tuple[int, ...] | None]
    P: int
    E: int
    stage1: tuple[float, ...]  # learning rate per epoch
    stage2: tuple[float, ...]
    pretrained: bool = False
    max_steps: int | None = None


# Without ImageNet weights, VGG-16 is the one with batch normalization: the plain one needs many
# more epochs to learn from scratch. GN and BN of the tables are those of the heads, not these.
_FROM_SCRATCH = {"VGG-16": "vgg16_bn", "ResNet-50": "resnet50"}
_SHALLOW = {"VGG-16": (1, 1, 1, 1, 1), "ResNet-50": (1, 1, 1, 1)}
_FULL_DEPTH = {"VGG-16": None, "ResNet-50": None}

SIZES = {
    "smoke": Size(
        image_size=(64, 32),
        networks=_FROM_SCRATCH,
        width=0.125,
        depths=_SHALLOW,
        P=32,
        E=16,
        stage1=(1e-3,),
        stage2=(1e-3, 1e-4),
        max_steps=2,
    ),
    # 640 steps in all, where the paper has some 64,000; a tenth of the learning rate for the last
    # quarter of stage 2, as in the paper.
    "demo": Size(
        image_size=(96, 32),
        networks=_FROM_SCRATCH,
        width=0.125,
        depths=_SHALLOW,
        P=192,
        E=64,
        stage1=(1e-3,),
        stage2=(2e-3,) * 5 + (2e-4,) * 2,
        max_steps=80,
    ),
    "bench": Size(
        image_size=(192, 64),
        networks=_FROM_SCRATCH,
        width=1.0,
        depths=_FULL_DEPTH,
        P=1024,
        E=300,
        stage1=(1e-3,) * 2,
        stage2=(2e-4,) * 9 + (2e-5,) * 3,
    ),
    # Section 4.1.2 and Eq 24: 10 epochs, then 20, the last five at a tenth of the learning rate.
    "paper": Size(
        image_size=(384, 128),
        networks={"VGG-16": "vgg16", "ResNet-50": "resnet50"},
        width=1.0,
        depths=_FULL_DEPTH,
        P=1024,
        E=300,
        stage1=(1e-3,) * 10,
        stage2=(2e-4,) * 15 + (2e-5,) * 5,
        pretrained=True,
    ),
}

# The rows of Tables 1, 5 and 6 that the demo trains: those that the main claims compare, on VGG-16
# (the backbone that the ablation starts with), beside both full models.
_DEMO_ROWS = {
    1: (
        "vgg-ch1-sp1-gs1-ls1-gp1-gn",
        "vgg-ch0-sp0-gs1-ls1-gp1-gn",
        "vgg-ch1-sp0-gs1-ls1-gp1-gn",
        "vgg-ch0-sp1-gs1-ls1-gp1-gn",
        "vgg-ch1-sp1-gs1-ls1-gp1-bn",
        "vgg-ch0-sp0-gs1-ls0-gp0-gn",
    ),
    2: ("resnet-ch1-sp1-gs1-ls1-gp1-gn",),
    5: ("vgg-k-2", "vgg-k-4"),
    6: ("vgg-average", "vgg-max"),
}


@lru_cache(maxsize=1)
def _tables() -> dict[int, PublishedTable]:
    return load_tables("imgnet")


def experiments(profile_name: str, seeds: int = 1) -> list[Experiment]:
    """The distinct trainings behind all rows that the profile measures, in table order."""
    found: dict[str, Experiment] = {}
    for table in TABLES:
        for row in _tables()[table].rows:
            planned = cell(profile_name, table, row.slug, "Top-1", seeds)
            for experiment in planned.experiments if planned else ():
                found.setdefault(experiment.key(""), experiment)
    return list(found.values())


@lru_cache(maxsize=4096)
def cell(profile_name: str, table: int, row: str, column: str, seeds: int = 1) -> Cell | None:
    """What measures a cell; None for cited rows and for rows that the profile leaves out."""
    if table == 4 or column not in ("Top-1", "Top-5", "Top-10"):
        return None
    printed = _tables()[table].row(row)
    if printed.origin != "own":
        return None
    config, evaluation = _measured_by(profile_name, table, printed)
    if profile_name == "demo" and config not in _demo_configs():
        return None
    name = _name(config)
    training = _training(SIZES[profile_name])
    return Cell(
        tuple(
            Experiment("imgnet", name, DATASET, config, training, seed, RECIPE)
            for seed in range(seeds)
        ),
        evaluation,
        column,
    )


@lru_cache(maxsize=1)
def _demo_configs() -> frozenset[IMGNetConfig]:
    return frozenset(
        _measured_by("demo", table, _tables()[table].row(slug))[0]
        for table, slugs in _DEMO_ROWS.items()
        for slug in slugs
    )


def _measured_by(profile_name: str, table: int, row: PublishedRow) -> tuple[IMGNetConfig, str]:
    """The model behind an own row, and which similarities rank its images."""
    printed = row.values
    changes: dict[str, Any] = {}
    evaluation = "GS+LS+GP"
    if table in (1, 2):
        used = [name for name in ("GS", "LS", "GP") if printed[name] == "1"]
        changes = {
            "channel": printed["Channel"] == "1",
            "spatial": printed["Spatial"] == "1",
            "norm": "gn" if printed["GN"] == "1" else "bn",
            **{name.lower(): name in used for name in ("GS", "LS", "GP")},
        }
        evaluation = "+".join(used)
    elif table == 3 and printed["Method"] != "S_ALL":
        evaluation = printed["Method"].removeprefix("S_")
    elif table == 5:
        changes = {"k": int(printed["k"])}
    elif table == 6:
        changes = {"pooling": _POOLINGS[printed["Method"]]}
    return _config(profile_name, printed["Backbone"], **changes), evaluation


def _config(profile_name: str, network: str, **changes: Any) -> IMGNetConfig:
    size = SIZES[profile_name]
    full = IMGNetConfig(
        ids=1,  # both are known when the data is: see `build`
        vocabulary=2,
        backbone=size.networks[network],
        width=size.width,
        depths=size.depths[network],
        k=STRIPES[network],
        P=size.P,
        E=size.E,
    )
    return replace(full, **changes)


def _training(size: Size) -> Training:
    return Training(
        stages=(
            # Stage 1 spares ImageNet features from the untrained heads (Section 3.6). Trained from
            # scratch there is nothing to spare, and random features would only stay random.
            Stage("stage 1", size.stage1, freeze_backbone=size.pretrained),
            Stage("stage 2", size.stage2),
        ),
        batch_size=32,
        image_size=size.image_size,
        pretrained=size.pretrained,
        max_steps=size.max_steps,
    )


def _name(config: IMGNetConfig) -> str:
    attention = "+".join(n for n in ("channel", "spatial") if getattr(config, n)) or "no attention"
    losses = "+".join(n.upper() for n in ("gs", "ls", "gp") if getattr(config, n))
    return (
        f"{config.backbone}, {attention}, {losses}, {config.norm.upper()}, k={config.k}, "
        f"{config.pooling} pooling"
    )


def cost(experiment: Experiment) -> float:
    """Multiply-adds of the backbone for one training image, forward and backward."""
    config = experiment.model
    depths = tuple(config.depths) if config.depths else None
    size = experiment.training.image_size
    return backbone_cost(config.backbone, config.width, depths, config.last_stride, size)


def build(experiment: Experiment, data: TextImageData) -> IMGNet:
    """The experiment's model for a dataset, on the CPU, initialized from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    config = replace(experiment.model, ids=data.ids, vocabulary=len(data.vocabulary))
    model = IMGNet(config)
    if experiment.training.pretrained:
        load_imagenet(model.backbone, config.backbone)
    return model


def check(experiment: Experiment, dataset: Dataset) -> None:
    """Raise `DataError` if something that the training needs is not there."""
    if experiment.training.pretrained:
        find_imagenet(experiment.model.backbone)


def fingerprint(experiment: Experiment, dataset: Dataset) -> str:
    """Of the data that the training rests on, for the run's key."""
    return dataset.fingerprint


def prepare_data(
    experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str
) -> TextImageData:
    """The experiment's data, kept for the next run of the same process."""
    return prepared(dataset, experiment.training.image_size, cache_dir, device)


def train_and_evaluate(
    experiment: Experiment,
    dataset: Dataset,
    *,
    cache_dir: Path,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Both stages of Section 3.6, then the ranks of the test captions under all similarities."""
    data = prepare_data(experiment, dataset, cache_dir, compute.device)
    settings = experiment.training
    model = place(build(experiment, data), compute)

    def batches(generator: torch.Generator):
        return shuffled_batches(
            data.train,
            generator,
            batch_size=settings.batch_size,
            flip=settings.flip,
            crop_pad=settings.crop_pad,
            device=compute.device,
        )

    def losses(batch: Batch, stage: Stage) -> dict[str, torch.Tensor]:
        return model(
            batch.images,
            *batch.text,
            batch.labels,
            batch.image_ids,
            ranking=stage.name == "stage 2",
        )

    history = fit(
        model,
        batches,
        losses,
        settings,
        seed=experiment.seed,
        compute=compute,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    images, texts = encode(model, data.test, compute)
    ranks = ranks_of_all_pairs(images, texts, data.test.caption_pids, data.test.image_pids)
    evaluations = {name: top_k(r) for name, r in ranks.items()}
    used = "+".join(n for n in ("GS", "LS", "GP") if getattr(experiment.model, n.lower()))
    return Result(
        weights=weights_of(model),
        ranks=ranks,
        history=history,
        metrics=metrics_of(
            evaluations,
            f"Top-1 {evaluations[used]['Top-1']:.2f} ({used})",
            history,
            parameters=parameter_counts(model)["total"],
            queries=len(data.test.captions),
            gallery=len(data.test.frame),
            evaluation_started=started,
        ),
        notes={"tagger": data.tagger, "vocabulary": len(data.vocabulary), "ids": data.ids},
    )


def encode(model: IMGNet, split: TextImageSplit, compute: Compute) -> tuple[ImageCodes, TextCodes]:
    """Codes of all images and all captions of a split, in their order."""
    images = encode_images(model, split, compute)
    texts = [codes for _, codes in text_blocks(model, split, compute, phrases=True)]
    return images, concatenate_texts(texts)


def load_model(experiment: Experiment, data: TextImageData, weights: Path) -> IMGNet:
    """A finished run's model, in evaluation mode, on the CPU."""
    return load_trained(build, experiment, data, weights)
