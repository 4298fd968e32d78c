"""Which training measures which cell of IMG-Net's tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.imgnet import IMGNetConfig
from reidlib.papers.driver import Measured, Place, chosen, load_sizes, rates
from reidlib.papers.pretraining import started, starts
from reidlib.papers.tables import PublishedRow, load_tables

DATASET = "cuhk-pedes"
RECIPE = 3  # raised whenever a change of the code changes what a training comes to
STRIPES = {"VGG-16": 6, "ResNet-50": 8}  # k, Section 4.2.4
_POOLINGS = {"Average pooling": "avg", "Max pooling": "max", "Fused pooling": "fused"}
_METRICS = ("Top-1", "Top-5", "Top-10")


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    image_size: tuple[int, int]
    networks: dict[str, str]  # printed name of a backbone -> what it is here
    width: float
    depths: dict[str, tuple[int, ...]]  # of none: the full-size ones
    P: int
    E: int
    stage1: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    stage2: tuple[tuple[int, float], ...]
    pretrained: str = ""
    backbone_lr_factor: float = 1.0
    steps: int | None = None
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by table; of none: all
    starts: tuple[Place, ...] = ()  # cells that are measured from other starts, too


SIZES = load_sizes("imgnet", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows that the profile measures: Tables 1-3 and 5-7."""
    measured, size = dict(_all_cells(profile)), SIZES[profile]
    return chosen(measured, size.rows) | starts(measured, size.starts, profile)


def _all_cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    training = _training(SIZES[profile])
    for number, table in load_tables("imgnet").items():
        for row in table.rows if number != 4 else ():
            if row.origin != "own":
                continue
            config, evaluation = _measured_by(profile, number, row)
            experiment = Experiment("imgnet", _name(config), DATASET, config, training, 0, RECIPE)
            experiment = started(experiment, profile)
            for metric in _METRICS:
                yield (number, row.slug, metric), Measured(experiment, evaluation, metric)


def _measured_by(profile: str, table: int, row: PublishedRow) -> tuple[IMGNetConfig, str]:
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
    return _config(SIZES[profile], printed["Backbone"], **changes), evaluation


def _config(size: Size, network: str, **changes: Any) -> IMGNetConfig:
    full = IMGNetConfig(
        ids=1,  # both are known when the data is: see `text_to_image.build`
        vocabulary=2,
        backbone=size.networks[network],
        width=size.width,
        depths=size.depths.get(network),
        k=STRIPES[network],
        P=size.P,
        E=size.E,
    )
    return replace(full, **changes)


def _training(size: Size) -> Training:
    return Training(
        stages=(
            # Stage 1 spares pretrained features from the untrained heads (Section 3.6). Trained
            # from scratch there is nothing to spare, and random features would only stay random.
            Stage("stage 1", rates(size.stage1), freeze_backbone=size.pretrained != ""),
            Stage("stage 2", rates(size.stage2)),
        ),
        batch_size=32,
        image_size=size.image_size,
        backbone_lr_factor=size.backbone_lr_factor,
        pretrained=size.pretrained,
        steps=size.steps,
    )


def _name(config: IMGNetConfig) -> str:
    attention = "+".join(n for n in ("channel", "spatial") if getattr(config, n)) or "no attention"
    losses = "+".join(n.upper() for n in ("gs", "ls", "gp") if getattr(config, n))
    return (
        f"{config.backbone}, {attention}, {losses}, {config.norm.upper()}, k={config.k}, "
        f"{config.pooling} pooling"
    )
