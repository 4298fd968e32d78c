"""The attribute files of Market-1501 and DukeMTMC-reID, from what the world draws.

Labels are those of a person: what somebody sees who looks at all pictures of that person. So hats
and things carried count only if they can be seen in one of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.data.formats.attributes import INDEX, SCHEMAS, Schema
from reidlib.world.drawing.render import Rendering
from reidlib.world.people.identity import Identity, make_identity
from reidlib.world.writers import image_worlds
from reidlib.world.writers.image_worlds import Picture, save_mat

SEEN = 0.15  # share of a thing's best side that must be visible to be noticed

# Colors that a label file has no word for; what is left out has no label there.
_MARKET_COLORS = {"navy": "blue"}
_DUKE_COLORS = {
    "navy": "blue",
    "pink": "red",
    "orange": "red",
    "beige": "brown",
    "yellow": "brown",
}
_LIGHT_SHOES = ("white", "beige", "yellow", "pink", "gray", "orange")
_SHOULDER_BAGS = ("shoulder bag", "messenger bag", "plastic bag")


def seen(rendering: Rendering) -> frozenset[str]:
    """What one picture shows of the things that come and go: "hat" and kinds of things carried."""
    visible = {name for name, share in rendering.visible.items() if share >= SEEN}
    things = {name.removeprefix("carried:") for name in visible if name.startswith("carried:")}
    return frozenset(things | ({"hat"} if "headwear" in visible else set()))


@dataclass(frozen=True)
class Look:
    """What one picture shows of the person `pid` of the dataset."""

    pid: int
    split: str
    identity: Identity
    things: frozenset[str]


def look(seed: int, picture: Picture, rendering: Rendering) -> Look:
    """What an annotator notes of a picture."""
    identity = make_identity(seed, picture.person)
    return Look(picture.pid, picture.split, identity, seen(rendering))


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Picture]
) -> list[dict[str, Any]]:
    """As `image_worlds.write_part`, with key points; for each picture its entry and what it shows
    of its person."""
    looks: list[Look | None] = []

    def watch(picture: Picture, rendering: Rendering | None) -> None:
        looks.append(None if rendering is None else look(seed, picture, rendering))

    entries = image_worlds.write_part(folder, seed, size, part, keypoints=True, watch=watch)
    return [{"entry": entry, "look": seen} for entry, seen in zip(entries, looks, strict=True)]


def halves(
    looks: Iterable[Look | None],
) -> dict[str, dict[int, tuple[Identity, frozenset[str]]]]:
    """The persons of "train" and "test", each with what all pictures together show.

    Pictures of nobody (None, or a pid that is not above 0) do not count.
    """
    people: dict[int, tuple[Identity, frozenset[str]]] = {}
    train = set()
    for one in looks:
        if one is None or one.pid <= 0:
            continue
        _, things = people.get(one.pid, (None, frozenset()))
        people[one.pid] = one.identity, things | one.things
        if one.split == "train":
            train.add(one.pid)
    return {
        "train": {pid: person for pid, person in people.items() if pid in train},
        "test": {pid: person for pid, person in people.items() if pid not in train},
    }


def market(identity: Identity, things: frozenset[str]) -> dict[str, int]:
    """The 27 fields of a person of Market-1501, from what all pictures show (see `seen`)."""
    skirt = identity.lower.kind in ("skirt", "dress")
    bands = (13, 31, 61)  # young, teenager (most of the real labels), adult, old
    return {
        "gender": 1 + (identity.sex == "female"),
        "hair": 1 + (identity.hair_length == "long"),
        "up": 2 - (identity.upper.length == "long"),
        "down": 2 - (identity.lower.length == "long"),
        "clothes": 2 - skirt,
        "age": 1 + sum(identity.age >= first for first in bands),
        **_worn_and_carried(things),
        **_colors(SCHEMAS["market1501"], "up", [identity.upper.color], _MARKET_COLORS),
        **_colors(SCHEMAS["market1501"], "down", [identity.lower.color], _MARKET_COLORS),
    }


def duke(identity: Identity, things: frozenset[str], test: bool) -> dict[str, int]:
    """The 23 fields of a person of DukeMTMC-reID.

    In the test half, as in the release, checked and striped lower clothes have both their colors.
    """
    lower = [identity.lower.color]
    if test and identity.lower.second is not None:
        lower.append(identity.lower.second)
    return {
        "gender": 1 + (identity.sex == "female"),
        "top": 1 + (identity.upper.kind in ("coat", "dress")),
        "shoes": 1 + (identity.footwear_color in _LIGHT_SHOES),
        "boots": 1 + (identity.footwear == "boots"),
        **_worn_and_carried(things),
        **_colors(SCHEMAS["dukemtmc-reid"], "up", [identity.upper.color], _DUKE_COLORS),
        **_colors(SCHEMAS["dukemtmc-reid"], "down", lower, _DUKE_COLORS),
    }


def _worn_and_carried(things: frozenset[str]) -> dict[str, int]:
    return {
        "hat": 1 + ("hat" in things),
        "backpack": 1 + ("backpack" in things),
        "handbag": 1 + ("handbag" in things),
        "bag": 1 + any(bag in things for bag in _SHOULDER_BAGS),
    }


def _colors(
    schema: Schema, prefix: str, colors: Sequence[str], names: Mapping[str, str]
) -> dict[str, int]:
    fields = [f for f in schema.fields if f.startswith(prefix) and f != prefix]
    worn = {prefix + names.get(color, color) for color in colors}
    return {field: 1 + (field in worn) for field in fields}


def write(
    folder: Path, dataset: str, halves: Mapping[str, Mapping[int, Mapping[str, int]]]
) -> None:
    """Write the attribute file of a dataset into `folder`.

    halves: "train" and "test" -> pid -> the value of every field. As in the releases, persons are
    in the order of their numbers and the fields of the halves in different orders.
    """
    schema = SCHEMAS[dataset]
    structures: dict[str, Any] = {}
    for half, backwards in (("test", True), ("train", False)):
        people = halves[half]
        pids = sorted(people)
        names = sorted(schema.fields, reverse=backwards)
        index = np.empty((1, len(pids)), dtype=object)
        index[0, :] = [f"{pid:04d}" for pid in pids]
        structures[half] = {
            name: np.array([[people[pid][name] for pid in pids]], np.uint8) for name in names
        } | {INDEX: index}
    save_mat(folder / schema.file, {schema.variable: structures})
