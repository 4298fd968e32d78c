"""Images: decoded once into a uint8 cache, then cropped, flipped and normalized on the device.

Person images are small: all of CUHK-PEDES at 384x128 is 5.9 GB. Decoding and resizing every image
once, and augmenting batches on the device that trains, takes the work of data loader processes down
to one gather per batch. The result equals torchvision's per-image pipeline (Resize, flip, Pad,
crop, ToTensor, Normalize), because those also resize first.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reidlib.data import content
from reidlib.data.formats.decoding import read_rgb
from reidlib.devices import room_for_data, send
from reidlib.errors import DataError
from reidlib.files import check_space, disk_errors, locked, read_regular, write_atomic

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_DECODING_VERSION = 2  # raised when decoded images change
_WINDOW = 32  # images in flight per decoding thread

Read = Callable[[Path, tuple[int, int]], np.ndarray]  # a file and (height, width) -> pixels


def read_resized(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read and resize one image to `size` = (height, width): uint8 (h, w, 3), RGB.

    Bilinear with antialiasing, by Pillow: bit for bit what torchvision's `Resize` gives for a
    Pillow image. Raises `DataError` as `read_rgb` does.
    """
    height, width = size
    rgb = read_rgb(path)
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def image_cache(
    paths: Sequence[Path],
    size: tuple[int, int],
    cache_dir: Path,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> np.memmap:
    """All images, decoded and resized: uint8 (N, h, w, 3), RGB, in the order of `paths`.

    The array is a file in `cache_dir`, mapped copy-on-write: it takes no memory that the system
    cannot take back, processes share it, and writing to it does not change the file. It is made on
    the first call. An image with another content makes it anew, and so does damage to it; the
    outdated file is removed. Processes that ask for the same cache at once make it once.

    Args:
        paths: image files.
        size: (height, width) to resize to.
        cache_dir: is made if needed; also remembers the digests of the images.
        jobs: decoding threads.
        progress: called with the number of images decoded and their total.

    Raises:
        DataError: an image is missing or cannot be read (names it), or changes while it is read,
            or the disk is full.
    """
    return decoded_cache("images", paths, (*size, 3), read_resized, cache_dir, jobs, progress)


def decoded_cache(
    kind: str,
    paths: Sequence[Path],
    shape: tuple[int, ...],
    read: Read,
    cache_dir: Path,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> np.memmap:
    """`image_cache` of any files that are read into uint8 arrays: (N, *shape).

    `kind` ("images") names the cache files; `read` is called with a path and the size, the first
    two numbers of `shape`. Raises `DataError` as `image_cache` does, and what `read` raises.
    """
    if not paths:
        raise DataError(f"no {kind}: a cache of {kind} needs at least one path")
    cache_dir = Path(cache_dir)
    which, state = _cache_key(paths, shape[:2], cache_dir)
    target = cache_dir / f"{kind}-{which}-{state}.npy"
    shape = (len(paths), *shape)
    if is_whole(target, cache_dir):
        return _open(target, shape)
    needed = math.prod(shape)
    doing = f"caching {len(paths):,} decoded {kind}"
    with disk_errors(target, doing, needed):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with locked(cache_dir / f"{kind}-{which}.lock"):
            if not is_whole(target, cache_dir):  # else made by another process while we waited
                for outdated in sorted(cache_dir.glob(f"{kind}-{which}-*")):
                    outdated.unlink(missing_ok=True)
                check_space(cache_dir, needed, doing)
                _decode(paths, shape, read, target, jobs, progress)
                if _cache_key(paths, shape[1:3], cache_dir) != (which, state):
                    target.unlink()
                    raise DataError(
                        f"{kind} below {os.path.commonpath(paths)} changed while they were read; "
                        "wait until they are written, then start again"
                    )
                seal(target, cache_dir)
    return _open(target, shape)


def _cache_key(paths: Sequence[Path], size: tuple[int, ...], cache_dir: Path) -> tuple[str, str]:
    """Which files at which size, and what is in them; two short hex strings."""
    which = hashlib.sha256(repr((_DECODING_VERSION, *size)).encode())
    for path in paths:
        which.update(os.fsencode(os.path.abspath(path)) + b"\0")
    state = hashlib.sha256("".join(content.digests(paths, cache_dir)).encode())
    return which.hexdigest()[:16], state.hexdigest()[:16]


def _seal_of(path: Path) -> Path:
    """The file with the digest of a cache file's content."""
    return path.with_name(f"{path.name}.sha256")


def seal(path: Path, cache_dir: Path) -> None:
    """Write down what a cache file holds, for `is_whole`."""
    write_atomic(_seal_of(path), content.digests([path], cache_dir)[0])


def is_whole(path: Path, cache_dir: Path) -> bool:
    """Whether a cache file is there and as it was written."""
    if not path.is_file():
        return False
    try:
        return content.digests([path], cache_dir) == [read_regular(_seal_of(path)).decode()]
    except (DataError, OSError, ValueError):
        return False


def _open(path: Path, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode="c")
    if array.shape != shape or array.dtype != np.uint8:
        raise DataError(f"{path}: holds {array.dtype} {array.shape}, expected uint8 {shape}")
    return array


def _decode(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    read: Read,
    target: Path,
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write all images as one .npy file, which appears under its name when it is complete."""
    unfinished = target.with_suffix(".unfinished")
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        # Written, not mapped: a full disk is an error here, and a crash in mapped memory.
        with unfinished.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for done, image in enumerate(_decoded(paths, shape[1:3], read, jobs), start=1):
                file.write(image.tobytes())
                if progress is not None and (done % _WINDOW == 0 or done == len(paths)):
                    progress(done, len(paths))
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _decoded(
    paths: Sequence[Path], size: tuple[int, int], read: Read, jobs: int
) -> Iterator[np.ndarray]:
    """Images in order. Threads suffice: Pillow decodes and resizes without Python's lock."""
    if jobs <= 1:
        for path in paths:
            yield read(path, size)
        return
    window = jobs * _WINDOW  # bounds how far decoding runs ahead of writing
    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(paths), window):
            part = paths[start : start + window]
            yield from pool.map(read, part, [size] * len(part))


class DevicePixels:
    """Pixels of a split, uint8 (N, h, w, c), of which batches are taken, flipped and cropped.

    They rest on the device if there is room (`room_for_data`). Else, and on a CPU, the
    given array is used as it is, and each batch goes to the device through pinned memory.
    """

    def __init__(self, pixels: np.ndarray, device: str | torch.device) -> None:
        self.device = torch.device(device)
        if not pixels.flags.writeable:
            pixels = pixels.copy()  # torch has no read-only tensors
        stored = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            fits = stored.nbytes <= room_for_data(self.device)
            stored = stored.to(self.device) if fits else stored
        elif self.device.type != "cpu":
            stored = stored.to(self.device)
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def on_device(self) -> bool:
        """False if batches are copied from host memory because the split does not fit."""
        return self._stored.device.type == self.device.type

    def take(
        self,
        index: Tensor,
        flips: Tensor | None = None,
        tops: Tensor | None = None,
        lefts: Tensor | None = None,
        crop_pad: int = 0,
    ) -> Tensor:
        """uint8 (B, h, w, c) on the device: rows `index`, flipped, then padded by `crop_pad` zeros
        and cropped. The random choices are those of `draw`; None leaves that step out."""
        if self.device.type == "cpu" and not (flips is tops is lefts is None):
            return _one_by_one(self._stored, index, flips, tops, lefts, crop_pad)
        pixels = self._gather(index)
        return _all_at_once(pixels, flips, tops, lefts, crop_pad)

    def _gather(self, index: Tensor) -> Tensor:
        index = send(index, self._stored.device)
        if self.on_device:
            return self._stored.index_select(0, index)
        shape = (len(index), *self._stored.shape[1:])
        staging = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        torch.index_select(self._stored, 0, index, out=staging)
        return staging.to(self.device, non_blocking=True)


class DeviceImages:
    """Images of a split, ready to be drawn in batches: uint8 (N, h, w, 3) at rest, on the device if
    they fit (see `DevicePixels`)."""

    def __init__(
        self,
        images: np.ndarray,
        device: str | torch.device,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        """`images`: uint8 (N, h, w, 3); `mean` and `std`: per color, of values in 0 ... 1."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise DataError(
                f"expected uint8 images (N, h, w, 3), found {images.dtype} {images.shape}"
            )
        self._pixels = DevicePixels(images, device)
        self.device = self._pixels.device
        # x / 255 normalized is x * scale + shift. Both are spread out over a row of pixels, so that
        # the arithmetic does not stop at every third value, and they stay in the fastest cache.
        mean64, std64 = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
        self._scale, self._shift = (
            values.to(self.device, torch.float32).repeat(images.shape[2])
            for values in (1.0 / (255.0 * std64), -mean64 / std64)
        )

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def on_device(self) -> bool:
        """False if batches are copied from host memory because the split does not fit."""
        return self._pixels.on_device

    def batch(
        self,
        index: Tensor,
        *,
        flip: bool = False,
        crop_pad: int = 0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Normalized images: float32 (B, 3, h, w) on the device, channels-last in memory.

        Args:
            index: int64 (B,), row numbers; may repeat.
            flip: mirror every image with probability 1/2, each on its own.
            crop_pad: p > 0 pads every image by p black pixels on all sides and takes a random
                window of the original size, each image its own: torchvision's `Pad(p)` and
                `RandomCrop`. Flipping comes first.
            generator: what random choices are drawn from; a CPU generator gives the same ones for
                every device. Without flip and crop nothing is drawn.
        """
        flips, tops, lefts = draw(len(index), flip, crop_pad, generator)
        return self.apply(index, flips, tops, lefts, crop_pad)

    def apply(
        self,
        index: Tensor,
        flips: Tensor | None = None,
        tops: Tensor | None = None,
        lefts: Tensor | None = None,
        crop_pad: int = 0,
    ) -> Tensor:
        """As `batch`, with the random choices given: see `draw`. None leaves that step out."""
        images = self._pixels.take(index, flips, tops, lefts, crop_pad)
        # Out of uint8 for the first time, so that what was moved so far was a quarter of the size.
        rows = images.float().flatten(2).mul_(self._scale).add_(self._shift)  # (B, h, 3 w)
        return rows.view(images.shape).permute(0, 3, 1, 2)


def _all_at_once(
    images: Tensor, flips: Tensor | None, tops: Tensor | None, lefts: Tensor | None, pad: int
) -> Tensor:
    """Images of a batch, flipped and cropped by a few operations on all of them: for GPUs."""
    rows = torch.arange(len(images), device=images.device)
    if flips is not None:
        images = torch.cat([images, images.flip(2)])
        rows = rows + len(rows) * send(flips, images.device)
    if tops is None or lefts is None:
        return images if flips is None else images.index_select(0, rows)
    height, width = images.shape[1:3]
    padded = torch.nn.functional.pad(images, (0, 0, pad, pad, pad, pad))
    # All windows as one view (n, 2p+1, 2p+1, h, w, c) of the padded images: nothing is copied
    # before the one window per image is picked.
    views = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
    return views[rows, send(tops, images.device), send(lefts, images.device)]


def _one_by_one(
    images: Tensor,
    index: Tensor,
    flips: Tensor | None,
    tops: Tensor | None,
    lefts: Tensor | None,
    pad: int,
) -> Tensor:
    """The same of rows `index` on a CPU, where copying what is kept of each image, and once, takes
    a tenth of the time (`benchmarks/data.py`). NumPy cuts with less ado than torch, which mirrors
    faster."""
    if len(index) and int(index.min()) < 0:
        raise IndexError("index out of range: rows are counted from the front")
    pixels = images.numpy()
    made = np.zeros((len(index), *pixels.shape[1:]), pixels.dtype)
    height, width = pixels.shape[1:3]
    none = torch.zeros_like(index)
    moved = (none + pad if moves is None else moves for moves in (tops, lefts))
    choices = (index, none if flips is None else flips, *moved)
    for target, row, flip, top, left in zip(made, *(c.tolist() for c in choices), strict=True):
        image = images[row].flip(1).numpy() if flip else pixels[row]
        (y_to, y_from), (x_to, x_from) = _moved(pad - top, height), _moved(pad - left, width)
        target[y_to, x_to] = image[y_from, x_from]
    return torch.from_numpy(made)


def _moved(by: int, size: int) -> tuple[slice, slice]:
    """Where what stays of `size` pixels goes to and comes from if all are moved by so many."""
    stays = max(0, size - abs(by))
    to, source = max(by, 0), max(-by, 0)
    return slice(to, to + stays), slice(source, source + stays)


def draw(
    number: int, flip: bool, crop_pad: int, generator: torch.Generator | None = None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Random choices for `number` images: flips (bool), tops and lefts (int64, 0 ... 2 crop_pad).

    What is switched off is None and takes nothing from the generator.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    flips = tops = lefts = None
    if flip:
        flips = torch.rand(number, generator=generator, device=device) < 0.5
    if crop_pad > 0:
        shape = (2, number)
        tops, lefts = torch.randint(
            2 * crop_pad + 1, shape, generator=generator, device=device
        ).unbind()
    return flips, tops, lefts
