"""Which training measures which cell of GLA's tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from reidlib.data.formats import cuhk_pedes
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.gla import METHODS, GLAConfig
from reidlib.papers.driver import Measured, Place, chosen, load_sizes, rates
from reidlib.papers.gla.method import TEXT_TO_IMAGE, TUPLES
from reidlib.papers.image_to_image import evaluation_of
from reidlib.papers.pretraining import started, starts
from reidlib.papers.tables import PublishedRow, load_tables

RECIPE = 2  # raised whenever a change of the code changes what a training comes to


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    image_size: tuple[int, int]
    crop_pad: int
    width: float
    d: int
    E: int
    H: int
    persons: int  # per batch
    lrs: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    depths: tuple[int, ...] | None = None
    lrs_by_text: tuple[tuple[int, float], ...] = ()  # to search by text, where it takes others
    pool: int = 2  # bins averaged in each direction before the attention to phrases
    optimizer: str = "sgd"  # momentum 0.9
    weight_decay: float = 5e-4
    pretrained: str = ""
    steps: int | None = None  # of an epoch; by default one per batch of all training images
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by table; of none: all
    datasets: tuple[str, ...] = ()  # of none: all
    starts: tuple[Place, ...] = ()  # cells that are measured from other starts, too


SIZES = load_sizes("gla", Size)

_METHOD_OF_ROW = {
    "basel": "basel.",
    "basel-rank1": "basel. + rank1",
    "basel-rank2": "basel. + rank2",
    "basel-gda": "basel. + GDA",
    "basel-lra": "basel. + LRA",
    "proposed": "proposed",
    "ours": "proposed",
}


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows of Tables 2-6; Table 1 only states settings."""
    measured, size = dict(_cells(profile)), SIZES[profile]
    return chosen(measured, size.rows, size.datasets) | starts(measured, size.starts, profile)


def _cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    size = SIZES[profile]
    for number, table in load_tables("gla").items():
        for row in table.rows if table.metrics else ():
            if row.origin != "own":
                continue
            config = _config(size, row)
            for metric in table.metrics:
                # Table 6 names the evaluation behind the metric: "mAP (multi-query)".
                name, _, evaluation = metric.metric.removesuffix(")").partition(" (")
                by_text = metric.dataset == cuhk_pedes.NAME
                usual = TEXT_TO_IMAGE if by_text else evaluation_of(metric.dataset)
                experiment = Experiment(
                    "gla",
                    f"{metric.dataset}, {_name(config)}",
                    metric.dataset,
                    config,
                    _training(size, by_text),
                    seed=0,
                    recipe=RECIPE,
                    needs=("captions",) if _reads(config) and not by_text else (),
                )
                yield (
                    (number, row.slug, metric.column),
                    Measured(
                        started(experiment, profile),
                        evaluation or usual,
                        table.recorded(name),
                    ),
                )


def _reads(config: GLAConfig) -> bool:
    """Whether the method learns from descriptions."""
    return config.descriptions or config.L_rec


def _config(size: Size, row: PublishedRow) -> GLAConfig:
    if "lambda_T" in row.values:
        changes = {**METHODS["basel. + GDA"], "lambda_T": float(row.values["lambda_T"])}
    else:
        changes = dict(METHODS[_METHOD_OF_ROW[row.slug]])
    return GLAConfig(
        ids=1,  # both are known when the data is: see `method.build`
        vocabulary=2,
        width=size.width,
        depths=size.depths,
        d=size.d,
        E=size.E,
        H=size.H,
        pool=size.pool,
        **changes,
    )


def _training(size: Size, by_text: bool) -> Training:
    return Training(
        stages=(Stage("all", rates((by_text and size.lrs_by_text) or size.lrs)),),
        batch_size=size.persons * TUPLES,
        image_size=size.image_size,
        optimizer=size.optimizer,
        weight_decay=size.weight_decay,
        crop_pad=size.crop_pad,
        pretrained=size.pretrained,
        steps=size.steps,
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
