"""The pose pretraining that FGSAM's joint phases take their pose resolve net from."""

from dataclasses import dataclass

from reidlib.data.formats import coco_keypoints
from reidlib.errors import UsageError
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.pose_resolve import PoseConfig
from reidlib.papers.driver import Measured, Place, load_sizes, rates

RECIPE = 1  # raised whenever a change of the code changes what a training comes to


@dataclass(frozen=True)
class Size:
    """What a profile changes: sizes and budgets, nothing else; see sizes.toml."""

    batch_size: int
    lrs: tuple[tuple[int, float], ...]  # [epochs, learning rate], ...
    steps: int | None = None  # of an epoch; None: one pass
    pretrained: str = ""  # "imagenet": VGG-19's weights for the front
    warmup_steps: int = 0
    decay: str = "none"


SIZES = load_sizes("pose_pretraining", Size)


def cells(profile: str) -> dict[Place, Measured]:
    """None: no table says what key points come to."""
    return {}


def pose_pretraining_of(width: float, image_size: tuple[int, int], profile: str) -> Experiment:
    """The training on key points of a pose resolve net that is `width` wide, on people cut out at
    the size (height, width) that it will see for re-identification.

    Raises `UsageError` for a profile that has none.
    """
    if profile not in SIZES:
        raise UsageError(f"profile {profile} has no pretraining on {coco_keypoints.NAME}")
    size = SIZES[profile]
    training = Training(
        stages=(Stage("all", rates(size.lrs)),),
        batch_size=size.batch_size,
        image_size=image_size,
        pretrained=size.pretrained,
        steps=size.steps,
        warmup_steps=size.warmup_steps,
        decay=size.decay,
    )
    name = f"pose resolve net on {coco_keypoints.NAME}"
    model = PoseConfig(width)
    return Experiment("pose_pretraining", name, coco_keypoints.NAME, model, training, 0, RECIPE)
