"""CUHK01 written from the procedural world: four images of each of 971 persons at scale 1.0."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reidlib.data.formats.cuhk01 import IMAGES, NAME, SOURCE
from reidlib.world.writers import image_worlds
from reidlib.world.writers.image_worlds import Description, Picture, write_part

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 2  # bump when the plan or the file formats change

FULL = (971,)
_NATIVE_PIXELS = 160 * 60


def plan(seed: int, scale: float | None = None, ids: tuple[int] | None = None) -> list[Picture]:
    """Every image of the dataset; CUHK-PEDES describes all of them. Pure; renders nothing.

    `ids` is the number of persons, half of whom the loader tests on. Raises `UsageError`.
    """
    (persons,) = image_worlds.scaled_ids(scale, ids, FULL, "identities")
    known = image_worlds.described_people(seed, "cuhk01", scale)
    made = []
    for person in range(persons):
        world = image_worlds.OWN_PEOPLE["cuhk01"] + person
        mine = {}
        if person < len(known):
            world = known[person][0].person
            mine = {image.path: image for image in known[person]}
        for number in range(4):
            name = f"{person + 1:04d}{number + 1:03d}.png"
            source = f"{SOURCE}/{name}"
            about = Description(source, world, "train")
            if source in mine:
                image = mine[source]
                about = Description(image.path, image.pid, image.split, image.captions)
            made.append(
                Picture("all", person + 1, world, number, "cuhk01", 1 + number // 2,
                        f"{IMAGES}/{name}", description=about)
            )  # fmt: skip
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """Images and identities of the loader's splits."""
    persons = len({image.pid for image in images})
    train, test = persons // 2, persons - persons // 2
    return {
        "train": {"images": 4 * train, "ids": train},
        "query": {"images": 2 * test, "ids": test},
        "gallery": {"images": 2 * test, "ids": test},
    }


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    return image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folder that images are written to."""
    (folder / IMAGES).mkdir()


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write what CUHK-PEDES says about these images."""
    image_worlds.write_excerpt(folder, entries)
