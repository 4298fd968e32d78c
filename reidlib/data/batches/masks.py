"""Part masks of person images, read, kept and augmented as the images are.

`reidlib.data.formats.mask_files` says what a mask is and where it lies.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reidlib.data.batches.images import DevicePixels, decoded_cache
from reidlib.data.formats.decoding import opened
from reidlib.data.formats.mask_files import FORM, LABELS, mask_name, mask_paths
from reidlib.errors import DataError

__all__ = ["LABELS", "DeviceMasks", "mask_cache", "mask_name", "mask_paths", "read_mask"]


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read one mask and bring it to `size` = (height, width): uint8 (h, w), labels.

    Of each pixel the label at its center is taken, in the coordinates in which images are resized.
    Palette files are read by index, as human parsers write them. Raises `DataError` naming the file
    if it is missing, cannot be read, is not 8 bit with one channel, or has a label above 5.
    """
    with opened(path, ("PNG",), "a part mask", f"one of the {FORM}") as image:
        image.load()
        mask = image.copy()
    if mask.mode not in ("L", "P"):
        raise DataError(
            f"{path}: a file of mode {mask.mode!r} ({', '.join(mask.getbands())}); expected one of "
            f"the {FORM}"
        )
    largest = mask.getextrema()[1]
    if largest >= len(LABELS):
        raise DataError(f"{path}: has label {largest}; expected one of the {FORM}")
    height, width = size
    if mask.size != (width, height):
        mask = mask.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(mask)


def mask_cache(
    paths: Sequence[Path], size: tuple[int, int], cache_dir: Path, jobs: int = 1
) -> np.memmap:
    """All masks at `size` = (height, width): uint8 (N, h, w), in the order of `paths`.

    Made once and kept as a file, as `reidlib.data.batches.images.image_cache` does it; `jobs`
    threads. Raises `DataError` as `read_mask` does, or if the disk is full.
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
        it with the same arguments (see `reidlib.data.batches.images.draw`). Padding is background.
        """
        return self._pixels.take(index, flips, tops, lefts, crop_pad)[..., 0]
