"""VIPeR written from the procedural world: two images of each of 632 persons at scale 1.0."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reidlib.data.formats.viper import CAMERAS, NAME
from reidlib.world.dice import Dice
from reidlib.world.writers import image_worlds
from reidlib.world.writers.cuhk_pedes import viper_names, viper_numbers
from reidlib.world.writers.image_worlds import Description, Picture, write_part

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 2  # bump when the plan or the file formats change

FULL = (632,)
_NATIVE_PIXELS = 128 * 48


def plan(seed: int, scale: float | None = None, ids: tuple[int] | None = None) -> list[Picture]:
    """Every image of the dataset; CUHK-PEDES describes all of them. Pure; renders nothing.

    `ids` is the number of persons, half of whom the loader tests on. Raises `UsageError`.
    """
    (persons,) = image_worlds.scaled_ids(scale, ids, FULL, "identities")
    known = image_worlds.described_people(seed, "viper", scale)
    made = []
    for person in range(persons):
        if person < len(known):
            world = known[person][0].person
            about = [
                Description(image.path, image.pid, image.split, image.captions)
                for image in known[person]
            ]
        else:
            world = image_worlds.OWN_PEOPLE["viper"] + person
            names = viper_names(Dice(NAME, "files", seed, person), person)
            about = [Description(f"{name}.png", world, "train") for name in names]
        for number, description in enumerate(about):
            path = Path(description.file_path).with_suffix(".bmp").as_posix()
            made.append(
                Picture("all", viper_numbers()[person], world, number, "viper", 1 + number, path,
                        description=description)
            )  # fmt: skip
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """Images and identities of the loader's splits."""
    persons = len({image.pid for image in images})
    train, test = persons // 2, persons - persons // 2
    return {
        "train": {"images": 2 * train, "ids": train},
        "query": {"images": test, "ids": test},
        "gallery": {"images": test, "ids": test},
    }


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    return image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folders that images are written to."""
    for camera in CAMERAS:
        (folder / camera).mkdir()


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write what CUHK-PEDES says about these images."""
    image_worlds.write_excerpt(folder, entries)
