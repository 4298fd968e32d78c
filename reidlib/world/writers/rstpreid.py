"""RSTPReid written from the procedural world: `plan` says what is there, `write_part` draws it.

At scale 1.0 the number of images, identities and captions of every split is that of the published
release. As there, an identity has five images from five of the fifteen cameras of MSMT17, whose
people are those of ICFG-PEDES, too: the ids of the two do not line up.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reidlib.data.formats.rstpreid import ANNOTATION, EXPECTED, IMAGES_PER_ID, NAME
from reidlib.world.dice import Dice
from reidlib.world.language.captions import rstp_caption
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

_IDS = sum(counts.ids for counts in EXPECTED.values())
_STEP = 1_013  # without a divisor in common with _IDS: every person of MSMT17 has one id here


def sizes(scale: float | None, ids: Sequence[int] | None) -> dict[str, tuple[int, int]]:
    """(identities, images) of every split; see `captioned_worlds.split_sizes`."""
    return captioned_worlds.split_sizes(EXPECTED, scale, ids)


def plan(
    seed: int, scale: float | None = None, ids: Sequence[int] | None = None
) -> list[PlannedImage]:
    """Every image of the dataset, in the annotation's order. A pure function; renders nothing.

    Pids start at 0 and run on through train, val and test. See `sizes` for the arguments and
    errors.
    """
    images: list[PlannedImage] = []
    pid = 0
    for split, (id_count, _) in sizes(scale, ids).items():
        unseen = set(range(MSMT17_CAMERAS))
        for _ in range(id_count):
            dice = Dice(NAME, "files", seed, pid)
            cameras = choose_new(dice, range(MSMT17_CAMERAS), IMAGES_PER_ID, unseen)
            frame = dice.integer(0, 60)
            images += [
                PlannedImage(
                    split=split,
                    pid=pid,
                    person=MSMT17_FIRST + (1 + pid * _STEP) % _IDS,
                    number=number,
                    family="msmt",
                    camid=1 + camera,
                    path=f"{pid:04d}_c{1 + camera}_{frame + 7 * number:04d}.jpg",
                    captions=2,
                )
                for number, camera in enumerate(sorted(cameras))
            ]
            pid += 1
    return images


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[PlannedImage]
) -> list[dict[str, Any]]:
    """Draw, describe and save some of the planned images; return their annotation entries.

    See `reidlib.world.writers.captioned_worlds.draw` for arguments and errors.
    """
    return [
        {
            "id": image.pid,
            "img_path": image.path,
            "captions": [describe(rstp_caption, k) for k in range(image.captions)],
            "split": image.split,
        }
        for image, describe in captioned_worlds.draw(folder, seed, size, part)
    ]


def prepare(folder: Path) -> None:
    """Make the folders that images and masks are written to."""
    captioned_worlds.make_folders(folder, (".",))


def finish(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the annotation."""
    captioned_worlds.write_annotation(folder / ANNOTATION, entries)
