"""How the pose resolve net is trained on key points (FGSAM, Section III-A), and tested: by PCK."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from reidlib.data.batches import pose_people
from reidlib.data.batches.pose_people import PLAIN, Augmentation, PoseBatch, PoseData
from reidlib.data.dataset import Dataset
from reidlib.data.formats.keypoints import JOINTS
from reidlib.devices import tested_at_a_time
from reidlib.experiment import Experiment, Stage
from reidlib.metrics.pck import pck
from reidlib.models.pose_resolve import Maps, PoseResolveNet, joints_of, pose_losses
from reidlib.papers.driver import Evaluated, prepared
from reidlib.train import Compute

VAL = "held out"  # the one evaluation: people of other pictures
ALPHA = 0.1  # of a person's height: as far as a found joint may lie from the true one


def prepare(experiment: Experiment, dataset: Dataset, cache_dir: Path, device: str) -> PoseData:
    """People cut out of the pictures of both splits; raises `DataError` as `pose_people`."""
    size = experiment.training.image_size
    return prepared(pose_people.prepare, dataset, size, cache_dir, device)


def build(experiment: Experiment, data: PoseData) -> PoseResolveNet:
    """The net without channel parse blocks, which are added for re-identification."""
    return PoseResolveNet(experiment.model).to(memory_format=torch.channels_last)


def batches(
    experiment: Experiment,
    model: PoseResolveNet,
    data: PoseData,
    generator: torch.Generator,
    device: str,
) -> Iterator[PoseBatch]:
    """People in random order, turned, scaled and shifted as in OpenPose's training."""
    settings = experiment.training
    return pose_people.batches(
        data.train,
        generator,
        batch_size=settings.batch_size,
        augmentation=Augmentation(flip=settings.flip),
        device=device,
        steps=settings.steps,
    )


def losses(model: PoseResolveNet, batch: PoseBatch, stage: Stage) -> dict[str, Tensor]:
    """Eq 3 and 4 of all stages."""
    return pose_losses(model(batch.images), Maps(batch.H, batch.C), batch.W)


@torch.inference_mode()
def evaluate(model: PoseResolveNet, data: PoseData, compute: Compute) -> Evaluated:
    """PCK of the person in the middle of each held-out cut, in percent: of all joints, and of each
    by its name. A joint is correct within `ALPHA` of the person's height."""
    model.eval()
    nothing = torch.Generator()  # PLAIN leaves nothing to chance
    found, true, heights = [], [], []
    for rows in torch.arange(len(data.val)).split(tested_at_a_time(compute.device)):
        batch = pose_people.batch(data.val, rows, PLAIN, nothing, compute.device)
        found.append(joints_of(model(batch.images)[-1].H).cpu())
        true.append(batch.joints[:, 0].cpu())
        heights.append(batch.heights.cpu())
    scored = pck(*(torch.cat(part).numpy() for part in (found, true, heights)), alpha=ALPHA)
    named = {"PCK": scored.pop("PCK")}
    named |= {name: value for name, value in zip(JOINTS, scored.values(), strict=True)
              if value == value}  # fmt: skip
    return Evaluated(
        evaluations={VAL: named},
        headline=f"{named['PCK']:.1f} % of the key points within {ALPHA:g} of the height",
        queries=len(data.val),
        gallery=0,
    )
