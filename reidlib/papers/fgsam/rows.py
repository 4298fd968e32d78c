"""Which training measures which cell of FGSAM's tables, and of its Figure 5.

Training has three phases, each of which starts from the weights of the one before: the baseline,
the model joined with the pose resolve net, the final model. A row of Table IV ends with a phase.
Phases that rows have in common are one training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from reidlib.data.formats import peta
from reidlib.data.formats.attributes import SCHEMAS, sizes
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.fgsam import FGSAMConfig
from reidlib.papers.driver import Measured, Place, chosen, load_sizes, rates
from reidlib.papers.fgsam.method import EACH
from reidlib.papers.image_to_image import SINGLE_QUERY
from reidlib.papers.pose_pretraining import pose_pretraining_of
from reidlib.papers.pretraining import started
from reidlib.papers.tables import load_tables

RECIPE = 1  # raised whenever a change of the code changes what a training comes to
FIGURE_5 = "figure-5"
# What Figure 5 varies, one at a time, around 0.5, 0.01 and 2; its own values are not printed.
SWEEPS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "alpha": (0.1, 0.3, 0.5, 0.7, 0.9),
        "beta": (0.0, 0.01, 0.02, 0.05, 0.1),
        "gamma": (0.0, 1.0, 2.0, 3.0, 4.0),
    }
)
SWEPT_ON = "market1501"

# Rows -> the phase that they end with, and what their networks lack; see `FGSAMConfig`.
_BASE = {"pose": False, "lram": False, "ftl": False}
_JOINED = {"lram": False, "ftl": False}
_ROWS: dict[str, dict[str, Any]] = {
    "base": _BASE,
    "base-pose": _JOINED,
    "base-pose-lram": {"ftl": False},
    "base-pose-lram-ftl": {},
    "ours-without-cpb": {"cpb": False},
    "ours": {},
}


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    image_size: tuple[int, int]
    width: float
    last_stride: int  # of ResNet-50: small images keep some rows for the parts with 1
    pose_width: float
    D: int
    d_part: int
    d_plenary: int
    persons: int  # per batch, with four images each
    phase_1: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    phase_2: tuple[tuple[int, float], ...]
    phase_3: tuple[tuple[int, float], ...]
    depths: tuple[int, ...] | None = None
    crop_pad: int = 0
    pretrained: str = ""  # where the backbone starts
    steps: int | None = None  # of an epoch; by default one per batch of all training images
    warmup_steps: int = 0
    decay: str = "none"
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by table; of none: all
    datasets: tuple[str, ...] = ()  # that are trained on; of none: all
    figure_5: bool = True


SIZES = load_sizes("fgsam", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows that the profile measures, and Figure 5: its rows are parameters
    of the loss, its columns values and metrics ("0.5, mAP"). Table I only states settings."""
    measured, rows = dict(_table_cells(profile)), SIZES[profile].rows
    return (chosen(measured, rows) if rows else measured) | dict(_figure_5(profile))


def _table_cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    datasets = SIZES[profile].datasets
    for number, table in load_tables("fgsam").items():
        for row in table.rows:
            for metric in table.metrics if row.origin == "own" else ():
                if datasets and metric.dataset not in datasets:
                    continue
                name = table.recorded(metric.metric)
                experiment = trained(profile, metric.dataset, **_ROWS[row.slug])
                yield (number, row.slug, metric.column), Measured(experiment, SINGLE_QUERY, name)


def _figure_5(profile: str) -> Iterator[tuple[Place, Measured]]:
    for parameter, values in SWEEPS.items() if SIZES[profile].figure_5 else ():
        for value in values:
            experiment = trained(profile, SWEPT_ON, **{parameter: value})
            for metric, name in (("mAP", "mAP (trapezoid)"), ("Rank-1", "Top-1")):
                place = FIGURE_5, parameter, f"{value:g}, {metric}"
                yield place, Measured(experiment, SINGLE_QUERY, name)


def trained(
    profile: str, dataset: str, *, attributes: bool | None = None, **changes: Any
) -> Experiment:
    """A model on a dataset, with the phases that lead to it as what it starts from.

    Args:
        attributes: whether it learns them; by default the final model does, "Base + Pose" and the
            baseline do not.
        changes: fields of `FGSAMConfig`.
    """
    size = SIZES[profile]
    if attributes is None:
        attributes = changes.get("lram", True)
    config = FGSAMConfig(
        ids=1,  # known when the data is: see `method.build`
        attributes=_attributes_of(dataset) if attributes else (),
        width=size.width,
        depths=size.depths,
        last_stride=size.last_stride,
        pose_width=size.pose_width,
        D=size.D,
        d_part=size.d_part,
        d_plenary=size.d_plenary,
        **changes,
    )
    start, joins = None, ()
    if config.lram:
        phase, before = size.phase_3, {"cpb": config.cpb, "attributes": True}
        start = trained(profile, dataset, **_JOINED, **before)
    elif config.pose:
        phase = size.phase_2
        start = trained(profile, dataset, **_BASE)
        joins = (pose_pretraining_of(size.pose_width, size.image_size, profile),)
    else:
        phase = size.phase_1
    experiment = Experiment(
        "fgsam",
        _name(config),
        dataset,
        config,
        _training(size, phase, size.pretrained if start is None else ""),
        seed=0,
        recipe=RECIPE,
        needs=("attributes",) if attributes else (),
        start=start,
        joins=joins,
    )
    return started(experiment, profile)


def _attributes_of(dataset: str) -> tuple[tuple[str, int], ...]:
    """Name and number of classes of each (Table I)."""
    return sizes(peta.ATTRIBUTES if dataset == peta.NAME else SCHEMAS[dataset].attributes)


def _training(size: Size, phase: tuple[tuple[int, float], ...], pretrained: str) -> Training:
    return Training(
        stages=(Stage("all", rates(phase)),),
        batch_size=size.persons * EACH,
        image_size=size.image_size,
        crop_pad=size.crop_pad,
        pretrained=pretrained,
        steps=size.steps,
        warmup_steps=size.warmup_steps,
        decay=size.decay,
    )


def _name(config: FGSAMConfig) -> str:
    """A phase as Table IV calls it."""
    parts = ["Base"]
    if config.pose:
        parts.append("Pose")
    if config.attributes and not config.lram:
        parts.append("attributes")
    if config.lram:
        parts.append("LRAM")
    if config.ftl:
        parts.append("FTL")
    name = " + ".join(parts)
    if config.pose and not config.cpb:
        name += ", without CPB"
    usual = FGSAMConfig(ids=1)
    for parameter in SWEEPS:
        if (value := getattr(config, parameter)) != getattr(usual, parameter):
            name += f", {parameter} = {value:g}"
    return name
