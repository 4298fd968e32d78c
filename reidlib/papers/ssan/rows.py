"""Which training measures which cell of SSAN's tables, and of its Figure 7."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from reidlib.data.formats.cuhk_pedes import DOMAINS, TRANSFER
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models import ssan
from reidlib.models.compared import cmpm, dual_path, mia, scan, vitaa
from reidlib.papers.driver import Measured, Place, load_sizes, module_of, rates
from reidlib.papers.pretraining import started, starts
from reidlib.papers.tables import PublishedRow, load_tables
from reidlib.papers.text_to_image import evaluations_of

RECIPE = 2  # raised whenever a change of the code changes what a training comes to
FIGURE_7 = "figure-7"
# The ends and the middle of the range that Eq 20 gives the adaptive margin: alpha_1 / 2 to alpha_1.
# The figure's own numbers are not printed.
FIXED_MARGINS = (0.1, 0.15, 0.2)

# Own rows -> the variant. Of Table III, only SSAN's row with VGG-16 is not in Tables I and II, too.
_VARIANTS = {
    "baseline": "baseline",
    "pfl": "pfl",
    "pfl-prl": "pfl+prl",
    "pfl-conv": "pfl+conv",
    "cr": "cr",
    "ssan": "ssan",
}
_NAMES = {
    "dual-path": "Dual Path",
    "cmpm-cmpc": "CMPM + CMPC",
    "mia": "MIA",
    "scan": "SCAN",
    "vitaa-star": "ViTAA*",
}
_TWO_STAGES = ("mia", "dual-path")  # begin without ranking losses


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    image_size: tuple[int, int]
    networks: dict[str, str]  # printed name of a backbone -> what it is here
    width: float
    depths: dict[str, tuple[int, ...]]  # of none: the full-size ones
    V: int
    M: int
    M_: int
    N: int
    last_stride: int  # of ResNet-50: small images keep six rows for the six parts with 1
    text_units: tuple[int, int, int, int]  # residual units of Dual Path's text network
    batch_size: int
    lrs: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    stage1: int  # epochs without ranking losses, of the methods that begin so
    fixed_epochs: int  # of the first, in which the margin of the weak terms is fixed
    steps: dict[str, int] = field(default_factory=dict)  # of an epoch, by dataset
    pretrained: str = ""
    release_tokens: bool = False
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by dataset; of none: all
    margins_on: tuple[str, ...] = ("cuhk-pedes", "icfg-pedes")  # datasets of Figure 7
    own: dict[str, dict[str, Any]] = field(default_factory=dict)  # a method's authors' settings
    starts: tuple[Place, ...] = ()  # cells that are measured from other starts, too


SIZES = load_sizes("ssan", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """Every cell of the own rows that the profile measures, and Figure 7: its rows are datasets,
    its columns margins, "adaptive" being SSAN."""
    tables = dict(_table_cells(profile))
    return tables | dict(_figure_7(profile)) | starts(tables, SIZES[profile].starts, profile)


def _table_cells(profile: str) -> Iterator[tuple[Place, Measured]]:
    size = SIZES[profile]
    for number, table in load_tables("ssan").items():
        for row in table.rows:
            for metric in table.metrics if row.origin == "own" else ():
                method, network = _method(row), row.values.get("Backbone", "ResNet-50")
                dataset = TRANSFER if metric.dataset in DOMAINS else metric.dataset
                if size.methods and (
                    method not in size.methods.get(dataset, ()) or network != "ResNet-50"
                ):
                    continue
                experiment = _experiment(profile, method, dataset, network)
                evaluation = list(evaluations_of(experiment.model))[-1]  # that of the test stage
                if metric.metric == "Rank-1 (part)":
                    evaluation = "Sl"
                if dataset == TRANSFER:  # one training on the source is tested on all targets
                    evaluation = f"{metric.dataset}: {evaluation}"
                name = metric.metric.split(" ")[0].replace("Rank-", "Top-")
                yield (number, row.slug, metric.column), Measured(experiment, evaluation, name)


def _figure_7(profile: str) -> Iterator[tuple[Place, Measured]]:
    size = SIZES[profile]
    for dataset in size.margins_on:
        for margin in (None, *FIXED_MARGINS):
            experiment = _experiment(profile, "ssan", dataset, alpha2=margin)
            evaluation = list(evaluations_of(experiment.model))[-1]
            column = "adaptive" if margin is None else f"{margin:g}"
            yield (FIGURE_7, dataset, column), Measured(experiment, evaluation, "Top-1")


def _method(row: PublishedRow) -> str:
    """A key of `_VARIANTS` or of `_NAMES`."""
    slug = row.slug.removeprefix("so-")
    for ending in ("-resnet", "-vgg"):
        slug = slug.removesuffix(ending)
    return slug


def _experiment(
    profile: str, method: str, dataset: str, network: str = "ResNet-50", **changes: Any
) -> Experiment:
    size = SIZES[profile]
    config = replace(_config(size, method, network), **changes)
    name = f"{_NAMES.get(method) or f'SSAN ({_VARIANTS[method]})'}, {config.backbone}"
    if changes.get("alpha2") is not None:
        name += f", alpha_2 = {changes['alpha2']:g}"
    training = _training(size, method, dataset)
    needs = module_of(config).NEEDS
    experiment = Experiment("ssan", name, dataset, config, training, 0, RECIPE, needs)
    return started(experiment, profile)


def _config(size: Size, method: str, network: str) -> Any:
    shape = {
        "ids": 1,  # both are known when the data is: see `text_to_image.build`
        "vocabulary": 2,
        "width": size.width,
        "depths": size.depths.get(network),
    }
    if method == "vitaa-star":
        return vitaa.ViTAAConfig(**shape, V=size.V, H=size.N, P=size.M // 4)
    shape |= {"backbone": size.networks[network], "last_stride": size.last_stride}
    if method == "scan":
        return scan.SCANConfig(**shape, V=size.V, M=size.M)
    if method == "mia":
        # E and the channels of a stripe have to V and M the ratio of the full-size networks.
        E = -(-300 * size.V // 512)
        return mia.MIAConfig(**shape, E=E, P=size.M, part=size.M // 4)
    if method == "dual-path":
        V = -(-300 * size.V // 512)
        return dual_path.DualPathConfig(**shape, V=V, text_units=size.text_units)
    if method == "cmpm-cmpc":
        own = size.own.get(method, {}).get("model", {})
        return cmpm.CMPMConfig(**shape, V=size.V, H=size.N, P=size.N, **own)
    sizes = {"V": size.V, "M": size.M, "M_": size.M_, "N": size.N}
    variant = ssan.VARIANTS[_VARIANTS[method]]
    return ssan.SSANConfig(**shape, **sizes, fixed_epochs=size.fixed_epochs, **variant)


def _training(size: Size, method: str, dataset: str) -> Training:
    lrs = rates(size.lrs)
    stages: tuple[Stage, ...] = (Stage("all", lrs),)
    if method in _TWO_STAGES and size.stage1:
        # Nothing is frozen without ImageNet weights: random features would only stay random.
        stages = (Stage("stage 1", lrs[: size.stage1]), Stage("stage 2", lrs[size.stage1 :]))
    settings = Training(
        stages=stages,
        batch_size=size.batch_size,
        image_size=size.image_size,
        backbone_lr_factor=0.1 if size.pretrained else 1.0,
        pretrained=size.pretrained,
        steps=size.steps.get(dataset),
        release_tokens=size.release_tokens,
    )
    own = {name: v for name, v in size.own.get(method, {}).items() if name != "model"}
    if "stages" in own:
        own["stages"] = tuple(Stage(name, rates(lr), frozen) for name, lr, frozen in own["stages"])
    return replace(settings, **own)
