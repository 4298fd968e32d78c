"""What the writers of captioned datasets (CUHK-PEDES, ICFG-PEDES, RSTPReid) share.

A plan lists every image to be; drawing one needs nothing but its line of the plan.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from reidlib.data.formats.checks import Counts
from reidlib.data.formats.mask_files import FOLDER as MASKS
from reidlib.data.formats.mask_files import mask_name
from reidlib.errors import DataError, UsageError
from reidlib.world.dice import Dice
from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import make_shot
from reidlib.world.people.identity import make_identity

# The people of MSMT17, whom both ICFG-PEDES and RSTPReid show, have numbers of their own in the
# world: CUHK-PEDES shows other people.
MSMT17_FIRST = 6_000_000
MSMT17_CAMERAS = 15

_JPEG_QUALITY = 92
_PNG_COMPRESSION = 1  # images are written once and read once: speed counts
# Masks are a few areas of one value: run lengths are the fastest way and the smallest.
_MASK_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY,
                 cv2.IMWRITE_PNG_STRATEGY_RLE)  # fmt: skip
# Upper estimates, to compare with the free disk space before starting.
_BYTES_PER_PIXEL = {".png": 2.2, ".jpg": 0.7}
_BYTES_PER_MASK_PIXEL = 0.2
_NATIVE_PIXELS = {
    "cuhk03": 27_000,
    "market": 8_200,
    "cuhk01": 9_600,
    "viper": 6_200,
    "sysu": 38_000,
    "msmt": 33_000,
}
_BYTES_PER_ENTRY = 9_000  # annotation, and the file system's share of image and mask


@dataclass(frozen=True)
class PlannedImage:
    """One image to be.

    `pid` is the identity in the annotation, `person` the one in the world. `number` counts from 0
    within the identity, `camid` from 1, and is None where the source has no camera labels; `path`
    is relative to imgs/; `captions` is how many it gets.
    """

    split: str
    pid: int
    person: int
    number: int
    family: str
    camid: int | None
    path: str
    captions: int


def split_sizes(
    release: Mapping[str, Counts], scale: float | None, ids: Sequence[int] | None
) -> dict[str, tuple[int, int]]:
    """(identities, images) of every split: the release's, in proportion.

    Raises `UsageError` unless exactly one of `scale`, in (0, 1], and `ids`, from 1 to the release's
    numbers, is given.
    """
    splits = ", ".join(release)
    if (scale is None) == (ids is None):
        raise UsageError(f"give either a scale or the number of identities of {splits}")
    if scale is not None:
        if not 0.0 < scale <= 1.0:
            raise UsageError(f"scale must be in (0, 1], found {scale}")
        ids = at_scale(scale, [counts.ids for counts in release.values()])
    most = tuple(counts.ids for counts in release.values())
    if len(ids) != len(most) or any(not 1 <= n <= m for n, m in zip(ids, most, strict=True)):
        raise UsageError(
            f"expected the number of identities of {splits}, "
            f"from 1 to {', '.join(map(str, most))}; found {tuple(ids)}"
        )
    return {
        split: (number, max(2, round(number * counts.images / counts.ids)))
        for (split, counts), number in zip(release.items(), ids, strict=True)
    }


def at_scale(scale: float, full: Sequence[int]) -> tuple[int, ...]:
    """The numbers `full` of a release in proportion, at least two each."""
    return tuple(max(2, round(scale * number)) for number in full)


def count(images: Sequence[PlannedImage]) -> dict[str, dict[str, int]]:
    """Images, identities and captions of every split of a plan."""
    counts = {}
    for split in dict.fromkeys(image.split for image in images):
        rows = [image for image in images if image.split == split]
        counts[split] = {
            "images": len(rows),
            "ids": len({image.pid for image in rows}),
            "captions": sum(image.captions for image in rows),
        }
    return counts


def bytes_needed(images: Sequence[PlannedImage], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    total = 0.0
    for image in images:
        pixels = _NATIVE_PIXELS[image.family] if size is None else size[0] * size[1]
        per_pixel = _BYTES_PER_PIXEL[Path(image.path).suffix] + _BYTES_PER_MASK_PIXEL
        total += pixels * per_pixel + _BYTES_PER_ENTRY
    return int(total)


def choose(dice: Dice, total: int, number: int) -> list[int]:
    """`number` distinct integers below `total`, in random order."""
    keys = [dice.random() for _ in range(total)]
    return sorted(range(total), key=keys.__getitem__)[:number]


def choose_new(dice: Dice, items: Sequence[int], number: int, unseen: set[int]) -> list[int]:
    """`number` of `items` in random order, but first those that are `unseen`, which then no longer
    are: so the first few people of a small dataset are seen by all of its cameras."""
    keys = [dice.random() for _ in items]
    order = sorted(range(len(items)), key=lambda i: (items[i] not in unseen, keys[i]))
    chosen = [items[i] for i in order[:number]]
    unseen.difference_update(chosen)
    return chosen


def make_folders(folder: Path, names: Iterable[str]) -> None:
    """Make folders for images and masks; `names` are relative to `folder`/imgs."""
    for name in names:
        for kind in ("imgs", MASKS):
            (folder / kind / name).mkdir(parents=True, exist_ok=True)


def draw(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[PlannedImage]
) -> Iterator[tuple[PlannedImage, Callable[..., str]]]:
    """Draw and save some of the planned images, one by one.

    The picture goes below `folder`/imgs, its part mask below `folder`/masks
    (`reidlib.data.formats.mask_files` says what that is); the folders in them are there.
    Yields each with a function that describes it: called with one of
    `reidlib.world.language.captions`, and what that takes besides person, shot
    and visibility, it returns the text. `size` is (height, width), None for sizes typical of the
    source. What is drawn depends on the arguments
    only, not on what was drawn before or by which process. Raises `OSError`.
    """
    cv2.setNumThreads(1)
    for image in part:
        identity = make_identity(seed, image.person)
        shot = make_shot(seed, image.person, image.number, image.family, image.camid)
        rendering = render(shot, size)
        _save(folder / "imgs" / image.path, rendering.image)
        _save_mask(folder / MASKS / mask_name(image.path), rendering.mask)
        seen = (identity, shot, rendering.visible)

        def describe(style: Callable[..., Any], *further: int, seen: tuple = seen) -> str:
            return style(*seen, *further).text

        yield image, describe


def _save(path: Path, image: Any) -> None:
    if path.suffix == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _encode(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)


def _save_mask(path: Path, mask: Any) -> None:
    _encode(path, mask, _MASK_OPTIONS)


def _encode(path: Path, pixels: Any, options: Sequence[int]) -> None:
    done, encoded = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise DataError(f"{path}: this build of OpenCV cannot write {path.suffix} files")
    path.write_bytes(encoded)


def write_annotation(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """A JSON array, one line per image."""
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
