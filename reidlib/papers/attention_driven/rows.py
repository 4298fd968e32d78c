"""Which training measures which cell of the tables of Attention Driven re-ID.

Tables 1, 2 and 12 are computed and not trained for: see `reidlib.papers.attention_driven.computed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.attention_driven import EVALUATIONS, VARIANTS, AttentionDrivenConfig
from reidlib.papers.attention_driven.method import evaluation_name
from reidlib.papers.driver import Measured, Place, chosen, load_sizes, rates
from reidlib.papers.image_to_image import evaluation_of
from reidlib.papers.pretraining import started, starts
from reidlib.papers.tables import PublishedRow, load_tables

RECIPE = 1  # raised whenever a change of the code changes what a training comes to
TRAINED = (3, 4, 5, 6, 7, 8, 9, 10, 11)  # tables

_VARIANT_OF_ROW = {
    "baseline": "baseline",
    "aligned": "aligned",
    "intra": "intra",
    "inter": "inter",
    "intra-inter": "intra+inter",
    "not-decomposed": "without decomposition",
    "decomposed": "intra+inter",
    "concatenation": "aligned",
    "fc-fusion": "fc fusion",
    "inter-attention": "inter",
}
_TUNED = ("ours", "intra-inter-tuned")  # the best of Tables 10 and 11: see `_tuned`
# Table 7: the rows are features of two models of Table 6, with and without intra-attention.
_FEATURES = ("global", "head", "up-body", "up-leg", "lower-leg", "part-fusion", "global-part")
_FEATURE_OF_ROW = dict(zip(_FEATURES, (*EVALUATIONS[1:], EVALUATIONS[0]), strict=True))


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    image_size: tuple[int, int]
    width: float
    units: tuple[int, int, int, int]
    E_g: int
    E_p: int
    E_f: int
    batch_size: int
    lrs: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    steps: int | None = None  # of an epoch; by default one per batch of all training images
    optimizer: str = "sgd"  # momentum 0.9
    weight_decay: float = 5e-4
    crop_pad: int = 0
    warmup_steps: int = 0
    decay: str = "none"
    pretrained: str = ""
    datasets: tuple[str, ...] = ()  # that are trained on; of none: all
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by table; of none: all
    starts: tuple[Place, ...] = ()  # cells that are measured from other starts, too


SIZES = load_sizes("attention_driven", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows of Tables 3 to 11 that the profile measures."""
    measured, size = dict(_cells(profile)), SIZES[profile]
    return chosen(measured, size.rows, size.datasets) | starts(measured, size.starts, profile)


def _cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    for number, table in load_tables("attention_driven").items():
        for row in table.rows if number in TRAINED else ():
            for metric in table.metrics if row.origin == "own" else ():
                # Table 7 names the model behind the metric: "Top-1 (with)".
                name, _, model = metric.metric.removesuffix(")").partition(" (")
                changes = _changes(row, metric.dataset, model)
                experiment = _experiment(profile, metric.dataset, changes)
                feature = _FEATURE_OF_ROW[row.slug] if number == 7 else EVALUATIONS[0]
                evaluation = evaluation_name(evaluation_of(metric.dataset), feature)
                yield (
                    (number, row.slug, metric.column),
                    Measured(
                        experiment,
                        evaluation,
                        table.recorded(name),
                    ),
                )


def _changes(row: PublishedRow, dataset: str, model: str) -> dict[str, Any]:
    """Settings of the model behind an own row, as far as they are not the defaults."""
    if model:
        return dict(VARIANTS["intra+inter" if model == "with" else "inter"])
    if "lambda" in row.values:
        return {"lambda_": float(row.values["lambda"])}
    if "beta" in row.values:  # "0", "H/48", "3H/48"
        times, _, _ = row.values["beta"].partition("H")
        return {"beta": float(times or 1)}
    if row.slug in _TUNED:
        return _tuned(dataset)
    return dict(VARIANTS[_VARIANT_OF_ROW[row.slug]])


def _tuned(dataset: str) -> dict[str, Any]:
    """Section 4.4: the best lambda and beta."""
    return {"lambda_": 0.2 if dataset.startswith("cuhk03") else 0.1, "beta": 3.0}


def _experiment(profile: str, dataset: str, changes: dict[str, Any]) -> Experiment:
    size = SIZES[profile]
    config = AttentionDrivenConfig(
        ids=1,  # known when the data is: see `method.build`
        width=size.width,
        units=size.units,
        E_g=size.E_g,
        E_p=size.E_p,
        E_f=size.E_f,
        **changes,
    )
    training = Training(
        stages=(Stage("all", rates(size.lrs)),),
        batch_size=size.batch_size,
        image_size=size.image_size,
        optimizer=size.optimizer,
        weight_decay=size.weight_decay,
        crop_pad=size.crop_pad,
        pretrained=size.pretrained,
        steps=size.steps,
        warmup_steps=size.warmup_steps,
        decay=size.decay,
    )
    experiment = Experiment(
        "attention_driven",
        f"{dataset}, {name_of(config)}",
        dataset,
        config,
        training,
        seed=0,
        recipe=RECIPE,
        needs=("keypoints",),
    )
    return started(experiment, profile)


def name_of(config: AttentionDrivenConfig) -> str:
    """The variant, and lambda and beta where they are not the usual ones."""
    (name,) = (
        name
        for name, changes in VARIANTS.items()
        if all(getattr(config, switch) == {**_DEFAULTS, **changes}[switch] for switch in _DEFAULTS)
    )
    usual = AttentionDrivenConfig
    told = [name]
    if config.lambda_ != usual.lambda_:
        told.append(f"lambda = {config.lambda_:g}")
    if config.beta != usual.beta:
        told.append(f"beta = {config.beta:g}H/48")
    return ", ".join(told)


_DEFAULTS = {
    switch: getattr(AttentionDrivenConfig, switch)
    for switch in ("aligned", "intra", "decomposed", "fusion")
}
