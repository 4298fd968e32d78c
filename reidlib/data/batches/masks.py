"""Part masks: which pixels of a person image are head, clothes, shoes, things carried.

A mask is an 8-bit PNG with one channel that holds the labels themselves, 0 to 5 (`LABELS`). It lies
below masks/ of the dataset's folder, named as its image is below imgs/, always with the suffix
.png. Datasets of the procedural world are written with theirs; no real release has any, there they
are the output of a human parser, as in ViTAA (Wang et al., ECCV 2020).
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.batches.images import UNREADABLE, DevicePixels, decoded_cache
from reidlib.errors import DataError

FOLDER = "masks"
LABELS = ("background", "head", "upper body", "lower body", "shoes", "carried things")
_MEANING = ", ".join(f"{label} {name}" for label, name in enumerate(LABELS))
_FORM = f"8-bit PNG files with a single channel and labels 0 to {len(LABELS) - 1}: {_MEANING}"


def mask_name(path: str) -> str:
    """Name below masks/ of the mask of the image `path` (relative to imgs/)."""
    return str(PurePosixPath(path).with_suffix(".png"))


def mask_paths(dataset: Dataset, split: str) -> list[Path]:
    """Absolute path of every image's mask, in row order. Costs one `stat` per file.

    Raises `DataError` if any is missing, or if two images of the split, which then differ in their
    suffix only, would have the same mask.
    """
    folder = dataset.root / FOLDER
    images = list(dataset.splits[split]["path"])
    names = [mask_name(path) for path in images]
    owners: dict[str, str] = {}
    for name, path in zip(names, images, strict=True):
        if owners.setdefault(name, path) != path:
            raise DataError(
                f"{folder / name}: would be the mask of both {owners[name]} and {path}; expected "
                "images whose names differ in more than their suffix"
            )
    sizes = file_sizes(folder, names)
    missing = [i for i, size in enumerate(sizes) if size < 0]
    if missing:
        there = "" if folder.is_dir() else " (there is no such folder)"
        first = f"{names[missing[0]]}, for {dataset.images.name}/{images[missing[0]]}"
        raise DataError(
            f"{dataset.name}: {len(missing):,} of {len(names):,} part masks of {split} are missing "
            f"below {folder}{there}; the first: {first}\n"
            "Expected for every image, with .png in place of its suffix:\n"
            f"  {dataset.root.name}/{FOLDER}/<same path as below {dataset.images.name}/>.png\n"
            f"{_FORM}.\n"
            "Releases of real data have no masks: run a human parser over the images and map its "
            "classes to these labels. Generated data brings them; a copy from before it did has to "
            "be deleted and written anew."
        )
    return [folder / name for name in names]


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read one mask and bring it to `size` = (height, width): uint8 (h, w), labels.

    Of each pixel the label at its center is taken, in the coordinates in which images are resized.
    Palette files are read by index, as human parsers write them. Raises `DataError` naming the file
    if it is missing, cannot be read, is not 8 bit with one channel, or has a label above 5.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mask = image.copy()
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read as a part mask ({error}); expected one of the {_FORM}"
        ) from error
    if mask.mode not in ("L", "P"):
        raise DataError(
            f"{path}: a file of mode {mask.mode!r} ({', '.join(mask.getbands())}); expected one of "
            f"the {_FORM}"
        )
    largest = mask.getextrema()[1]
    if largest >= len(LABELS):
        raise DataError(f"{path}: has label {largest}; expected one of the {_FORM}")
    height, width = size
    if mask.size != (width, height):
        mask = mask.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(mask)


def mask_cache(
    paths: Sequence[Path], size: tuple[int, int], cache_dir: Path, jobs: int = 1
) -> np.memmap:
    """All masks at `size` = (height, width): uint8 (N, h, w), in the order of `paths`.

    Made once and kept as a file, as `reidlib.data.batches.images.image_cache` does it; `jobs` threads.
    Raises `DataError` as `read_mask` does, or if the disk is full.
    """
    return decoded_cache("masks", paths, tuple(size), read_mask, cache_dir, jobs)


class DeviceMasks:
    """Masks of a split, uint8 (N, h, w), on the device if they fit there, as images."""

    def __init__(self, masks: np.ndarray, device: str | torch.device) -> None:
        """`masks`: uint8 (N, h, w), as `mask_cache` gives them."""
        if masks.dtype != np.uint8 or masks.ndim != 3:
            raise DataError(f"expected uint8 masks (N, h, w), found {masks.dtype} {masks.shape}")
        self._pixels = DevicePixels(masks[..., None], device)

    def __len__(self) -> int:
        return len(self._pixels)

    def apply(
        self,
        index: Tensor,
        flips: Tensor | None = None,
        tops: Tensor | None = None,
        lefts: Tensor | None = None,
        crop_pad: int = 0,
    ) -> Tensor:
        """uint8 (B, h, w) on the device, flipped and cropped exactly as `DeviceImages.apply` does
        it with the same arguments (see `reidlib.data.batches.images.draw`); padding is background."""
        return self._pixels.take(index, flips, tops, lefts, crop_pad)[..., 0]
