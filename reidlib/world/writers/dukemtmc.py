"""DukeMTMC-reID written from the procedural world, with the release's numbers at scale 1.0.

Everybody of training and test is seen by at least two cameras, the distractors by one. Key points
are written beside (`reidlib.world.writers.keypoints`), and the attributes of all persons.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reidlib.data.formats.dukemtmc import EXPECTED, FOLDERS, NAME
from reidlib.world.dice import Dice
from reidlib.world.writers import attributes, image_worlds
from reidlib.world.writers.attributes import write_part
from reidlib.world.writers.captioned_worlds import choose
from reidlib.world.writers.image_worlds import Picture, deal

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 2  # bump when the plan or the file formats change

FULL = (702, 702)  # identities of train and test
_DISTRACTORS = 408  # beside the identities of test
_OF_DISTRACTORS = 2_448  # of the gallery's images; the release does not say how many
_CAMERAS = 8
_NATIVE_PIXELS = 225 * 92
_EVERY = 120  # frames between two pictures of a camera


def plan(
    seed: int, scale: float | None = None, ids: tuple[int, int] | None = None
) -> list[Picture]:
    """Every image of the dataset. A pure function; renders nothing.

    `ids` are the identities of train and test. Persons have numbers with gaps, and those of train,
    test and distractors are mixed, as in the release. Raises `UsageError` for impossible sizes.
    """
    train, test = image_worlds.scaled_ids(scale, ids, FULL, "identities of train and test")
    alone = max(1, round(test * _DISTRACTORS / FULL[1]))
    dice = Dice(NAME, "plan", seed, train, test)
    order = choose(dice, train + test + alone, train + test + alone)
    halves = {"train": order[:train], "gallery": order[train : train + test]}
    images = {
        "train": round(train * EXPECTED["train"].images / FULL[0]),
        "gallery": round(test * (EXPECTED["gallery"].images - _OF_DISTRACTORS) / FULL[1]),
    }
    pictures: list[Picture] = []
    for split, half in halves.items():
        views = round(len(half) * EXPECTED["query"].images / FULL[1])
        per_person = deal(dice, [2] * len(half), views, _CAMERAS)
        extra = deal(dice, [1] * sum(per_person), images[split])
        slot = 0
        for person, cameras in zip(half, per_person, strict=True):
            pictures += _person(seed, person, split, extra[slot : slot + cameras])
            slot += cameras
    for person, number in zip(
        order[train + test :], deal(dice, [1] * alone, _of_distractors(test)), strict=True
    ):
        pictures += _person(seed, person, "distractor", [number])
    return sorted(pictures, key=lambda p: (list(FOLDERS).index(p.split), p.path))


def _of_distractors(test: int) -> int:
    return round(test * _OF_DISTRACTORS / FULL[1])


def _person(seed: int, person: int, split: str, images: Sequence[int]) -> list[Picture]:
    """The pictures of a person (counted from 0): `images[i]` by the i-th of its cameras, and for a
    test person a query by each."""
    dice = Dice(NAME, "files", seed, person)
    pid = 1 + 3 * person + dice.integer(0, 3)
    world = image_worlds.OWN_PEOPLE["duke"] + person
    frame = dice.integer(40_000, 200_000)
    made: list[Picture] = []

    def picture(where: str, camid: int) -> None:
        at = frame + _EVERY * len(made)
        path = f"{FOLDERS[where]}/{pid:04d}_c{camid}_f{at:07d}.jpg"
        made.append(Picture(where, pid, world, len(made), "duke", camid, path))

    for camera, number in zip(choose(dice, _CAMERAS, len(images)), images, strict=True):
        for _ in range(number):
            picture("train" if split == "train" else "gallery", camera + 1)
        if split == "gallery":
            picture("query", camera + 1)
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """Images and identities as the loader counts them."""
    counts = {}
    for split in FOLDERS:
        mine = [image for image in images if image.split == split]
        counts[split] = {"images": len(mine), "ids": len({image.pid for image in mine})}
    return counts


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    return image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folders that images are written to."""
    for name in FOLDERS.values():
        (folder / name).mkdir()


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the attributes of the persons; nobody describes these images."""
    people = attributes.halves(entry["look"] for entry in entries)
    labels = {
        half: {pid: attributes.duke(*person, half == "test") for pid, person in mine.items()}
        for half, mine in people.items()
    }
    attributes.write(folder, NAME, labels)
