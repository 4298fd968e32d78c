"""ICFG-PEDES written from the procedural world: `plan` says what is there, `write_part` draws it.

At scale 1.0 the number of images, identities and captions of both splits is that of the published
release. File names follow MSMT17's scheme; an identity is in the folder train or test of MSMT17 by
chance, whatever its split.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from reidlib.data.formats.icfg_pedes import ANNOTATIONS, EXPECTED, NAME
from reidlib.data.language.words import tokenize
from reidlib.world.dice import Dice
from reidlib.world.language.captions import icfg_caption
from reidlib.world.writers import captioned_worlds
from reidlib.world.writers.captioned_worlds import (
    MSMT17_CAMERAS,
    MSMT17_FIRST,
    PlannedImage,
    bytes_needed,
    choose_new,
    count,
)

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 3  # bump when the plan or the file formats change

_FEWEST = 2  # images of an identity: one to find the other by
_MSMT17_TRAIN = 1_041 / 4_101  # identities in MSMT17's folder train
_PERIODS = ("morning", "noon", "afternoon")


def sizes(scale: float | None, ids: Sequence[int] | None) -> dict[str, tuple[int, int]]:
    """(identities, images) of both splits; see `captioned_worlds.split_sizes`."""
    return captioned_worlds.split_sizes(EXPECTED, scale, ids)


def plan(
    seed: int, scale: float | None = None, ids: Sequence[int] | None = None
) -> list[PlannedImage]:
    """Every image of the dataset, in the annotation's order. A pure function; renders nothing.

    Pids start at 0 and run on through train and test. An identity has two images or more, from two
    cameras or more. See `sizes` for the arguments and errors.
    """
    images: list[PlannedImage] = []
    persons = {"train": 0, "test": 0}  # in MSMT17's folders
    pid = 0
    for split, (id_count, image_count) in sizes(scale, ids).items():
        dice = Dice(NAME, "plan", seed, split, id_count)
        unseen = set(range(MSMT17_CAMERAS))
        for number_of_images in _images_per_id(dice, id_count, image_count):
            own = Dice(NAME, "files", seed, pid)
            folder = "train" if own.chance(_MSMT17_TRAIN) else "test"
            views = _views(own, f"{folder}/{persons[folder]:04d}", number_of_images, unseen)
            persons[folder] += 1
            images += [
                PlannedImage(
                    split=split,
                    pid=pid,
                    person=MSMT17_FIRST + pid,
                    number=number,
                    family="msmt",
                    camid=camid,
                    path=path,
                    captions=1,
                )
                for number, (camid, path) in enumerate(views)
            ]
            pid += 1
    return images


def _images_per_id(dice: Dice, ids: int, images: int) -> list[int]:
    """Images of every identity, together `images`, with a long tail as in MSMT17."""
    counts = [_FEWEST] * ids
    weights = list(accumulate(-math.log(1.0 - dice.random()) for _ in range(ids)))
    for _ in range(images - sum(counts)):
        counts[bisect(weights, weights[-1] * dice.random(), hi=ids - 1)] += 1
    return counts


def _views(dice: Dice, folder: str, number: int, unseen: set[int]) -> list[tuple[int, str]]:
    """Camera and file name of every image of a person, camera by camera; first of the cameras that
    are `unseen` in the split."""
    cameras = choose_new(dice, range(MSMT17_CAMERAS), min(number, dice.integer(2, 7)), unseen)
    cameras += [dice.pick(cameras) for _ in range(number - len(cameras))]
    day, period = f"{dice.integer(1, 13):02d}{dice.integer(1, 29):02d}", dice.pick(_PERIODS)
    frame = dice.integer(0, 60)
    person = Path(folder).name
    return [
        (
            1 + camera,
            f"{folder}/{person}_{i:03d}_{1 + camera:02d}_{day}{period}_{frame + 3 * i:04d}_0.jpg",
        )
        for i, camera in enumerate(sorted(cameras))
    ]


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[PlannedImage]
) -> list[dict[str, Any]]:
    """Draw, describe and save some of the planned images; return their annotation entries.

    See `reidlib.world.writers.captioned_worlds.draw` for arguments and errors.
    """
    captioned_worlds.make_folders(folder, {str(Path(image.path).parent) for image in part})
    entries = []
    for image, describe in captioned_worlds.draw(folder, seed, size, part):
        caption = describe(icfg_caption)
        entries.append(
            {
                "split": image.split,
                "captions": [caption],
                "file_path": image.path,
                "processed_tokens": [tokenize(caption)],
                "id": image.pid,
            }
        )
    return entries


def prepare(folder: Path) -> None:
    """Make the folders that images and masks are written to."""
    captioned_worlds.make_folders(folder, ("train", "test"))


def finish(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the annotation."""
    captioned_worlds.write_annotation(folder / ANNOTATIONS[0], entries)
