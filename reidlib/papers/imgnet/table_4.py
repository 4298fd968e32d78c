"""Which training measures which cell of Table 4: four methods that search images by images, each
with BN and with GN. Beside the table, one of them in batches of several sizes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from reidlib.data.formats import dukemtmc
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.compared.pan import PANConfig
from reidlib.models.compared.pcb import PCBConfig
from reidlib.models.compared.snr import SNRConfig
from reidlib.models.compared.svdnet import SVDNetConfig
from reidlib.models.parts.norms import NORMS
from reidlib.papers.driver import Measured, Place, load_sizes, rates
from reidlib.papers.image_to_image import evaluation_of
from reidlib.papers.pretraining import started
from reidlib.papers.tables import load_tables

RECIPE = 1  # raised whenever a change of the code changes what a training comes to
# Places beside the table: its rows are "pcb-bn" and "pcb-gn", its columns the sizes of batches.
BATCH_SIZES = "batch-sizes"
COMPARED = "pcb"  # the method whose batches are varied

CONFIGS: Mapping[str, type] = MappingProxyType(
    {"pan": PANConfig, "svdnet": SVDNetConfig, "pcb": PCBConfig, "snr": SNRConfig}
)
NAMES = MappingProxyType({"pan": "PAN", "svdnet": "SVDNet", "pcb": "PCB+RPP", "snr": "SNR"})
# Stages in which the methods keep their backbone as it is, see the modules of PAN and PCB.
_FROZEN = ("alignment", "part classifier")


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see table_4.toml. `model` and
    `training` say what all four methods take; `own` what one of them takes instead."""

    model: dict[str, Any]
    training: dict[str, Any]
    # By method: [stage, [[epochs, learning rate], ...]], ...
    stages: dict[str, tuple[tuple[str, tuple[tuple[int, float], ...]], ...]]
    own: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # by method
    rows: tuple[str, ...] = tuple(CONFIGS)  # methods that are measured
    batch_sizes: tuple[int, ...] = ()


SIZES = load_sizes("imgnet", Size, file="table_4.toml")


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the rows that the profile measures, BN and GN; and the batches' sizes."""
    return dict(_table_cells(profile)) | dict(_batch_sizes(profile))


def _table_cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    table = load_tables("imgnet")[4]
    metrics = {"Rank-1": "Top-1", "mAP": table.recorded("mAP")}
    for method in SIZES[profile].rows:
        for metric in table.metrics:
            norm, _, name = metric.column.partition("-")  # "GN-Rank-1"
            experiment = _experiment(profile, method, norm.lower())
            measured = Measured(experiment, evaluation_of(experiment.dataset), metrics[name])
            yield (4, method, metric.column), measured


def _batch_sizes(profile: str) -> Iterator[tuple[Place, Measured]]:
    for norm in NORMS:
        usual = _experiment(profile, COMPARED, norm)
        for size in SIZES[profile].batch_sizes:
            experiment = with_batches(usual, size)
            measured = Measured(experiment, evaluation_of(experiment.dataset), "Top-1")
            yield (BATCH_SIZES, f"{COMPARED}-{norm}", str(size)), measured


def with_batches(experiment: Experiment, size: int) -> Experiment:
    """The same training in batches of another size: as many images are seen, and the learning
    rate grows in proportion, as in Wu & He (ECCV 2018), section 4.1."""
    training, share = experiment.training, size / experiment.training.batch_size
    if share == 1:
        return experiment
    changed = replace(
        training,
        stages=tuple(
            replace(stage, lrs=tuple(lr * share for lr in stage.lrs)) for stage in training.stages
        ),
        batch_size=size,
        steps=None if training.steps is None else round(training.steps / share),
        warmup_steps=round(training.warmup_steps / share),
    )
    return replace(experiment, name=f"{experiment.name}, batches of {size}", training=changed)


def _experiment(profile: str, method: str, norm: str) -> Experiment:
    size = SIZES[profile]
    own = size.own.get(method, {})
    training = Training(
        stages=tuple(Stage(n, rates(lrs), n in _FROZEN) for n, lrs in size.stages[method]),
        **size.training | own.get("training", {}),
    )
    settings = size.model | own.get("model", {})
    if method == "svdnet":
        # The authors' BN keeps the statistics of its pretraining; without one there are none.
        settings["frozen_statistics"] = training.pretrained != ""
    # Their number is known when the data is: see `image_to_image.build`.
    config = CONFIGS[method](ids=1, norm=norm, **settings)
    name = f"{NAMES[method]}, {norm.upper()}"
    experiment = Experiment("imgnet", name, dukemtmc.NAME, config, training, 0, RECIPE)
    return started(experiment, profile)
