"""Strangers: people of another world, who are in no dataset, and what is to be seen of them.

They are what the backbones of the small profiles are pretrained on, in place of ImageNet. So the
labels are kinds of things, as ImageNet's classes are, of what this very picture shows: no person's
number is one, no word describes anything, and the colors, which captions mostly speak of, are
labels of their own that are not meant to be used.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from reidlib.data.formats.strangers import ANNOTATION, IMAGES, NAME, SPLITS
from reidlib.files import write_atomic
from reidlib.world.dice import Dice, key_seed
from reidlib.world.drawing.camera import FAMILIES
from reidlib.world.drawing.render import Rendering
from reidlib.world.drawing.shot import Shot
from reidlib.world.people.identity import (
    CARRIED_KINDS,
    COLORS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    Identity,
    make_identity,
)
from reidlib.world.writers import image_worlds
from reidlib.world.writers.image_worlds import Picture, draw, save

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 1  # bump when the plan, the labels or the file formats change

FULL = (60_000, 5_000)  # people of train and val; a size of our own
_FIRST = 8_000_000  # above everybody else's number, too
_EACH = 2  # pictures of a person
_NATIVE_PIXELS = 24_000
_SEEN = 0.15  # of what its best side would show: below, a thing has no label

_YES_NO = ("no", "yes")
KINDS: dict[str, tuple[str, ...]] = {
    "upper": UPPER_KINDS,
    "sleeves": ("none", "short", "long"),
    "front": ("closed", "open"),
    "pattern": PATTERNS,
    "lower": LOWER_KINDS,
    "legs": ("short", "long"),
    "shoes": ("sneakers", "leather shoes", "boots", "sandals"),
    "hair": ("bald", "short", "long", "ponytail", "bun"),
    "headwear": ("none", "cap", "beanie", "hat"),
    "scarf": _YES_NO,
    "sex": ("male", "female"),
    "view": ("front", "back", "side"),  # the same in a mirrored picture
    "obstacle": ("none", "pole", "bicycle", "car", "person"),
    **dict.fromkeys(CARRIED_KINDS, _YES_NO),
}
COLORED = ("upper", "lower", "shoes")
VALUES = {f"kind of {thing}": values for thing, values in KINDS.items()} | {
    f"color of {thing}": COLORS for thing in COLORED
}


def world_of(seed: int) -> int:
    """The seed of the strangers' world, which is another one than `seed`'s."""
    return key_seed(NAME, seed) >> 1


def plan(
    seed: int, scale: float | None = None, ids: tuple[int, int] | None = None
) -> list[Picture]:
    """Every picture: two of each person, by cameras of any family. Pure; renders nothing.

    `ids` are the numbers of people in train and val. Raises `UsageError`.
    """
    people = image_worlds.scaled_ids(scale, ids, FULL, "people of train and val")
    made = []
    for split, first, number in zip(SPLITS, (0, people[0]), people, strict=True):
        for pid in range(first, first + number):
            dice = Dice(NAME, "families", seed, pid)
            for shot in range(_EACH):
                name = f"{IMAGES}/{pid:06d}_{shot}.jpg"
                family = dice.pick(FAMILIES)
                made.append(Picture(split, pid, _FIRST + pid, shot, family, None, name))
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """Images and people of every split of a plan."""
    counts = {}
    for split in SPLITS:
        pids = [image.pid for image in images if image.split == split]
        counts[split] = {"images": len(pids), "ids": len(set(pids))}
    return counts


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    return image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folder that images are written to."""
    (folder / IMAGES).mkdir()


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Picture]
) -> list[dict[str, Any]]:
    """Draw and save pictures; return for each its entry in the annotation. Raises `OSError`.

    `size` is (height, width), None for sizes typical of the cameras. What is written depends on
    the arguments only.
    """
    cv2.setNumThreads(1)
    entries = []
    for picture in part:
        shot, rendering = draw(world_of(seed), picture, size)
        save(folder / picture.path, rendering.image)
        identity = make_identity(shot.world_seed, shot.pid)
        entries.append({
            "file": picture.path,
            "person": picture.pid,
            "split": picture.split,
            "labels": what_is_seen(identity, shot, rendering),
        })  # fmt: skip
    return entries


def what_is_seen(identity: Identity, shot: Shot, rendering: Rendering) -> dict[str, str | None]:
    """The value of every label of `VALUES`; None where the thing is there but hardly seen."""
    visible = rendering.visible
    hair = identity.hair_style if identity.hair_style != "plain" else identity.hair_length
    hidden = {"none": "none", "plain": "plain"}  # what is not there needs not be seen

    def seen(part: str, value: str) -> str | None:
        return value if visible[part] >= _SEEN else None

    found = {
        "upper": seen("upper", identity.upper.kind),
        "sleeves": seen("upper", identity.upper.length),
        "front": None if shot.view == "back" else "closed",
        "pattern": seen("upper", identity.upper.pattern),
        "lower": seen("lower", identity.lower.kind),
        "legs": seen("lower", identity.lower.length),
        "shoes": seen("footwear", identity.footwear),
        "hair": hair if hair == "bald" else seen("hair", hair),
        "headwear": hidden.get(identity.headwear) or seen("headwear", identity.headwear),
        "scarf": "no" if identity.scarf_color is None else seen("scarf", "yes"),
        "sex": identity.sex,
        "view": shot.view if shot.view in ("front", "back") else "side",
        "obstacle": shot.occluder,
        **dict.fromkeys(CARRIED_KINDS, "no"),
    }
    if identity.inner_color is not None:
        found["front"] = seen("inner", "open")
    if identity.upper.pattern == "logo":
        found["pattern"] = seen("upper_pattern", "logo")
    for thing in shot.carried:
        found[thing.kind] = seen(f"carried:{thing.kind}", "yes")
    colors = {
        "upper": seen("upper", identity.upper.color),
        "lower": seen("lower", identity.lower.color),
        "shoes": seen("footwear", identity.footwear_color),
    }
    return {f"kind of {thing}": value for thing, value in found.items()} | {
        f"color of {thing}": value for thing, value in colors.items()
    }


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the annotation, one image per line."""
    head = json.dumps({"values": VALUES}, indent=1)[:-2]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    write_atomic(folder / ANNOTATION, f'{head},\n "images": [\n{lines}\n ]\n}}\n')
