"""PETA written from the procedural world: ten folders, each with cameras of its own kind.

At scale 1.0 the ten folders have the release's numbers of images. How many persons they show is
not published for all of them; where it is not, the number is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from reidlib.data.formats.peta import ARCHIVE, COLORED, COLORS, LABELS, NAME, SUBSETS
from reidlib.errors import UsageError
from reidlib.world.dice import Dice
from reidlib.world.drawing.camera import LOOKS
from reidlib.world.people.identity import Identity, make_identity
from reidlib.world.writers import image_worlds
from reidlib.world.writers.attributes import seen
from reidlib.world.writers.image_worlds import Picture, deal

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 1  # bump when the plan or the file formats change


@dataclass(frozen=True)
class _Place:
    """A folder: persons, most images of one, camera family, file type, names as whole files."""

    persons: int
    most: int
    family: str
    suffix: str
    by_file: bool = False


_PLACES = {
    "3DPeS": _Place(192, 26, "campus", ".bmp"),
    "CAVIAR4REID": _Place(72, 20, "cuhk03", ".jpg"),
    "CUHK": _Place(4_563, 1, "cuhk01", ".png", by_file=True),
    "GRID": _Place(1_025, 2, "msmt", ".jpeg"),
    "i-LID": _Place(119, 8, "sysu", ".jpg"),
    "MIT": _Place(888, 1, "duke", ".jpg"),
    "PRID": _Place(934, 2, "viper", ".png"),
    "SARC3D": _Place(50, 4, "campus", ".bmp"),
    "TownCentre": _Place(231, 60, "market", ".jpg"),
    "VIPeR": _Place(632, 2, "viper", ".bmp"),
}
FULL = (sum(place.persons for place in _PLACES.values()),)
_LEAST = 3 * len(SUBSETS)  # persons: so few that training and test have some of most folders
_PEOPLE = 8_000_000  # first person of the world; nobody of them is in another dataset
_NATIVE_PIXELS = 160 * 64


def plan(seed: int, scale: float | None = None, ids: tuple[int] | None = None) -> list[Picture]:
    """Every image, in the order of folders and persons. A pure function; renders nothing.

    `ids` is the number of persons in all; every folder has one at least. Raises `UsageError` for
    impossible sizes.
    """
    (persons,) = image_worlds.scaled_ids(scale, ids, FULL, "identities")
    if ids is not None and persons < _LEAST:
        raise UsageError(f"{NAME}: expected at least {_LEAST} identities, found {persons}")
    pictures = []
    first = 0
    for subset, place in _PLACES.items():
        share = max(1, round(place.persons * persons / FULL[0]))
        # In a small world folders whose people have several images weigh more: without them there
        # is nothing to search.
        if ids is not None:
            share = max(share, 3 if place.most > 1 else 1)
        total = max(share, round(share * SUBSETS[subset] / place.persons))
        dice = Dice(NAME, "plan", seed, subset, persons)
        base = [min(2, place.most) if share * 2 <= total else 1] * share
        for person, images in enumerate(deal(dice, base, total, place.most)):
            pictures += _person(seed, subset, place, first + person, person, images)
        first += place.persons
    return pictures


def _person(
    seed: int, subset: str, place: _Place, world: int, person: int, images: int
) -> list[Picture]:
    dice = Dice(NAME, "files", seed, subset, person)
    made = []
    for number in range(images):
        camid = 1 + (dice.integer(0, 8) + number) % LOOKS[place.family].cameras
        # Where every image is its own person, the label file names the image file.
        name = f"{person + 1:04d}{place.suffix}"
        if not place.by_file:
            name = f"{person + 1:04d}_{camid}_{dice.integer(1, 10_000):05d}_{number}{place.suffix}"
        path = f"{subset}/{ARCHIVE}/{name}"
        made.append(Picture("all", person + 1, _PEOPLE + world, number, place.family, camid, path))
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int | None]]:
    """Images of every folder, as the loader counts them."""
    return {
        subset: {"images": sum(p.path.startswith(f"{subset}/") for p in images), "ids": None}
        for subset in SUBSETS
    }


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    pixels = _NATIVE_PIXELS if size is None else size[0] * size[1]
    return len(images) * (3 * pixels + 5_000)


def prepare(folder: Path) -> None:
    """Make the folders that images are written to."""
    for subset in SUBSETS:
        (folder / subset / ARCHIVE).mkdir(parents=True)


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Picture]
) -> list[dict[str, Any]]:
    """Draw and save pictures; return for each whose it is and what it shows.

    What is written depends on the arguments only. Raises `OSError`.
    """
    cv2.setNumThreads(1)
    entries = []
    for picture in part:
        _, rendering = image_worlds.draw(seed, picture, size)
        image_worlds.save(folder / picture.path, rendering.image)
        entries.append(
            {
                "path": picture.path,
                "identity": make_identity(seed, picture.person),
                "seen": seen(rendering),
            }
        )
    return entries


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the ten label files."""
    lines: dict[str, dict[str, tuple[Identity, frozenset[str]]]] = {name: {} for name in SUBSETS}
    for entry in entries:
        subset, _, name = entry["path"].split("/")
        person = name.partition("_")[0]
        _, things = lines[subset].get(person, (None, frozenset()))
        lines[subset][person] = entry["identity"], things | entry["seen"]
    for number, (subset, people) in enumerate(lines.items()):
        # Both spellings occur in the wild.
        sneakers = "footwearSneakers" if number % 2 else "footwearSneaker"
        written = [
            " ".join((person, *tokens(identity, things, sneakers)))
            for person, (identity, things) in sorted(people.items())
        ]
        path = folder / subset / ARCHIVE / LABELS
        path.write_text("\n".join(written) + "\n", encoding="utf-8")


_PETA_COLORS = {"gray": "Grey", "navy": "Blue", "beige": "Brown", "blond": "Yellow"}
_AGES = ((16, "Less15"), (31, "Less30"), (46, "Less45"), (61, "Less60"))
_CARRYING = {
    "backpack": "Backpack",
    "messenger bag": "MessengerBag",
    "shoulder bag": "MessengerBag",
    "plastic bag": "PlasticBags",
    "suitcase": "Suitcase",
    "umbrella": "Umbrella",
    "folder": "Folder",
    "handbag": "Other",
    "phone": "Other",
}
_UPPER = {
    "t-shirt": ("Casual", "Tshirt"),
    "shirt": ("Casual", "Other"),
    "polo shirt": ("Casual", "VNeck"),
    "tank top": ("Casual", "Tshirt"),
    "sweater": ("Casual", "Sweater"),
    "hoodie": ("Casual", "Sweater"),
    "jacket": ("Casual", "Jacket"),
    "coat": ("Casual", "Other"),
    "suit jacket": ("Formal", "Suit"),
    "dress": ("Casual", "Other"),
}
_PATTERNS = {
    "thin stripes": "ThinStripes",
    "thick stripes": "ThickStripes",
    "plaid": "Plaid",
    "logo": "Logo",
}
_SLEEVES = {
    "none": "upperBodyNoSleeve",
    "short": "upperBodyShortSleeve",
    "long": "upperBodyLongSleeve",
}
_FOOTWEAR = {"leather shoes": "LeatherShoes", "boots": "Boots", "sandals": "Sandals"}


def tokens(
    identity: Identity, things: frozenset[str], sneakers: str = "footwearSneakers"
) -> list[str]:
    """The attributes of a person of whom all pictures together show `things`."""
    found = [
        "personalMale" if identity.sex == "male" else "personalFemale",
        "personal" + next((band for below, band in _AGES if identity.age < below), "Larger60"),
        f"hair{identity.hair_length.capitalize()}",
        *_accessories(identity, things),
        *(sorted({f"carrying{_CARRYING[t]}" for t in things if t != "hat"}) or ["carryingNothing"]),
        *(f"upperBody{name}" for name in _UPPER[identity.upper.kind]),
        _SLEEVES[identity.upper.length],
        *_lower(identity),
    ]
    if identity.upper.pattern in _PATTERNS:
        found.append(f"upperBody{_PATTERNS[identity.upper.pattern]}")
    if identity.footwear == "sneakers":
        found.append(sneakers)
    else:
        found.append(f"footwear{_FOOTWEAR[identity.footwear]}")
    if identity.stockings:
        found.append("footwearStocking")
    worn = (
        identity.footwear_color,
        identity.hair_color,
        identity.lower.color,
        identity.upper.color,
    )
    for group, color in zip(COLORED, worn, strict=True):
        if group != "hair" or identity.hair_length != "bald":
            found.append(group + _color(color))
    return found


def _accessories(identity: Identity, things: frozenset[str]) -> list[str]:
    found = []
    if "hat" in things:
        found.append("accessoryHat")
    if identity.headphones:
        found.append("accessoryHeadphone")
    if identity.scarf_color is not None:
        found.append("accessoryMuffler")
    if identity.glasses == "sunglasses":
        found.append("accessorySunglasses")
    return found or ["accessoryNothing"]


def _lower(identity: Identity) -> list[str]:
    lower = identity.lower
    kind = {
        "jeans": "Jeans",
        "trousers": "Trousers",
        "leggings": "Trousers",
        "shorts": "Shorts",
        "capri pants": "Capri",
        "skirt": "LongSkirt" if lower.length == "long" else "ShortSkirt",
        "dress": "LongSkirt" if lower.length == "long" else "ShortSkirt",
    }[lower.kind]
    formal = identity.upper.kind == "suit jacket"
    found = ["lowerBodyFormal" if formal else "lowerBodyCasual", f"lowerBody{kind}"]
    if formal and kind == "Trousers":
        found.append("lowerBodySuits")
    if lower.pattern == "plaid":
        found.append("lowerBodyPlaid")
    elif lower.pattern == "thin stripes":
        found.append("lowerBodyThinStripes")
    return found


def _color(color: str) -> str:
    name = _PETA_COLORS.get(color, color.capitalize())
    assert name in COLORS
    return name
