"""An image-to-image dataset made ready for training on body parts: images and poses."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reidlib.data.batches import parts
from reidlib.data.batches.images import DeviceImages, draw, image_cache
from reidlib.data.batches.parts import Boxes
from reidlib.data.batches.poses import Poses, canonical_poses, complete
from reidlib.data.batches.tuples import ImageSplit
from reidlib.data.dataset import Dataset
from reidlib.data.formats import keypoints
from reidlib.devices import send


@dataclass(frozen=True)
class PosedSplit(ImageSplit):
    """Images of a split, who is in them, and in which pose; sizes int64 (N, 2), height and width
    of the image files, in whose pixels the joints are."""

    poses: Poses
    sizes: np.ndarray

    def boxes(self, aligned: bool, beta: float) -> Boxes:
        """Boxes of body and parts: by the poses, with an overlap of `beta` 48ths of the body's
        height, or the whole image and fixed strips."""
        if not aligned:
            return parts.strips_of(len(self.frame))
        return parts.boxes_of(self.poses, self.sizes, beta / 48)


@dataclass(frozen=True)
class PosedData:
    """Training images of an image-to-image dataset, and the images it is tested on.

    `canonical` are the poses that missing joints are filled in from, float (K, 18, 2); `nobody` is
    the number of images in which no joint was found, by split.
    """

    dataset: Dataset
    train: PosedSplit
    labels: Tensor  # int64 (N,): identity of each training image, 0-based
    query: PosedSplit
    gallery: PosedSplit
    ids: int  # identities in the training split
    canonical: np.ndarray
    nobody: dict[str, int]


@dataclass(frozen=True)
class PartBatch:
    """B images: the whole body, float (B, 3, H, W), and four parts, float (B, 4, 3, H / 4, W),
    normalized, with the identities, int64 (B,)."""

    whole: Tensor
    parts: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def prepare(
    dataset: Dataset, *, image_size: tuple[int, int], cache_dir: Path, device: str
) -> PosedData:
    """Read key points, decode images and move them to `device`; what takes long is in `cache_dir`.

    Canonical poses are those of the training images. Raises `DataError` for images that cannot be
    read and key points that are missing or wrong (names the file).
    """
    names = ("train", "query", "gallery")
    found = {name: keypoints.remembered(dataset, name) for name in names}  # fails before decoding
    canonical = canonical_poses(found["train"].joints)
    splits = {}
    for name, points in found.items():
        cache = image_cache(
            dataset.image_paths(name), image_size, cache_dir, jobs=os.cpu_count() or 1
        )
        splits[name] = PosedSplit(
            frame=dataset.splits[name],
            images=DeviceImages(cache, device),
            poses=complete(points.joints, canonical),
            sizes=points.sizes,
        )
    train = dataset.splits["train"]
    return PosedData(
        dataset=dataset,
        labels=torch.tensor(train["label"].to_numpy()),
        ids=train["label"].nunique(),
        canonical=canonical,
        nobody={name: points.nobody for name, points in found.items()},
        **splits,
    )


def take(
    split: PosedSplit,
    boxes: Tensor,
    index: Tensor,
    *,
    flip: bool = False,
    crop_pad: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Whole body and parts of the images `index`, int64 (B,): see `PartBatch`.

    boxes: float (N, 5, 4) of the split, on its device. Flipping and cropping are those of
    `DeviceImages.batch`. Boxes are mirrored with their image; they are not moved with its crop,
    which so moves the person in the box, as it moves the person in the image.
    """
    flips, tops, lefts = draw(len(index), flip, crop_pad, generator)
    images = split.images.apply(index, flips, tops, lefts, crop_pad)
    mine = boxes[send(index, boxes.device)]
    return parts.cut(images, mine if flips is None else parts.flipped(mine, flips))


def shuffled_batches(
    split: PosedSplit,
    boxes: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    batch_size: int,
    flip: bool,
    crop_pad: int,
    batches: int | None = None,
) -> Iterator[PartBatch]:
    """One epoch of random batches, all images once; an incomplete last batch is left out, unless it
    is the only one. With `batches`, that many: beyond an epoch's the images are shuffled anew."""
    device, size = split.images.device, min(batch_size, len(labels))
    per_pass = len(labels) // size
    for number in range(batches or per_pass):
        if number % per_pass == 0:
            order = torch.randperm(len(labels), generator=generator)
        rows = order[(number % per_pass) * size :][:size]
        whole, cut = take(split, boxes, rows, flip=flip, crop_pad=crop_pad, generator=generator)
        yield PartBatch(whole, cut, send(labels[rows], device))
