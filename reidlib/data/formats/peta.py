"""PETA (Deng et al., ACM MM 2014): 19,000 pictures from ten older datasets, with attributes.

The archive unpacks to "PETA dataset", with a space. In the archive/ of each of its ten folders lie
the images and Label.txt: a line per person with an identifier and the names of the attributes that
are present. The identifier is what stands before the first underscore of the person's file names
(the whole name, where there is none). It repeats across the ten folders, which therefore belong to
the identity. There is no camera in the names.

The release has no split for re-identification, and the one in use for attributes has the same
people in training and test. The one here is ours, by rule: see
`split_people`.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.attributes import NO_YES, UNLABELED, Attribute, AttributeTable
from reidlib.data.formats.checks import Counts
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

NAME = "peta"
FOLDER = FORMATS[NAME].folder
ARCHIVE, LABELS = "archive", "Label.txt"
SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png")
# Images of the ten folders.
SUBSETS: Mapping[str, int] = MappingProxyType(
    {
        "3DPeS": 1_012,
        "CAVIAR4REID": 1_220,
        "CUHK": 4_563,
        "GRID": 1_275,
        "i-LID": 477,
        "MIT": 888,
        "PRID": 1_134,
        "SARC3D": 200,
        "TownCentre": 6_967,
        "VIPeR": 1_264,
    }
)
PUBLISHED = {NAME: {subset: Counts(images, None) for subset, images in SUBSETS.items()}}
SPLITS = FORMATS[NAME].datasets[NAME]

TREE = f"""
PETA dataset/
  3DPeS/archive/    CAVIAR4REID/archive/  CUHK/archive/  GRID/archive/  i-LID/archive/
  MIT/archive/      PRID/archive/         SARC3D/archive/  TownCentre/archive/  VIPeR/archive/
    each with {LABELS} and images ({", ".join(SUFFIXES)})
"""

# Shares of the split: 9,500, 1,900 and 7,600 images of 19,000, 423 of the last the queries.
TRAIN_SHARE, VAL_SHARE = 0.5, 0.1
QUERIES = 423

COLORS = tuple(
    [
        "Black",
        "Blue",
        "Brown",
        "Green",
        "Grey",
        "Orange",
        "Pink",
        "Purple",
        "Red",
        "White",
        "Yellow",
    ]
)
COLORED = ("footwear", "hair", "lowerBody", "upperBody")  # the four with several classes
_GROUPS = {
    "accessory": "Headphone HairBand Hat Kerchief Muffler Nothing Sunglasses",
    "personal": "Less15 Less30 Less45 Less60 Larger60 Female Male",
    "carrying": "BabyBuggy Backpack Other ShoppingTro Umbrella Folder LuggageCase MessengerBag "
    "Nothing PlasticBags Suitcase",
    "hair": "Bald Long Short",
    "footwear": "Boots LeatherShoes Sandals Shoes Sneakers Stocking",
    "lowerBody": "Capri Casual Formal HotPants Jeans LongSkirt Plaid ThinStripes Shorts ShortSkirt "
    "Suits Trousers",
    "upperBody": "Casual Formal Jacket Logo LongSleeve NoSleeve Plaid ShortSleeve ThinStripes Suit "
    "Sweater ThickStripes Tshirt Other VNeck",
}
BINARY = tuple(group + name for group, names in _GROUPS.items() for name in names.split())
TOKENS = (*BINARY, *(group + color for group in COLORED for color in COLORS))
# Spelled in two ways; and labeled, but dropped by the authors for too few samples.
_SPELLED = {"footwearSneaker": "footwearSneakers"}
_DROPPED = ("accessoryFaceMask", "accessoryShawl", "lowerBodyLogo", "lowerBodyThickStripes")


def _yes(*tokens: str) -> tuple[frozenset[str], ...]:
    return frozenset(), frozenset(tokens)


# Attributes as FGSAM compares them: "we re-organize the labels ... to match the other two
# datasets". Classes and the tokens behind each; what the first class of no/yes needs is nothing.
_TROUSERS = ("lowerBodyTrousers", "lowerBodyJeans", "lowerBodyCapri", "lowerBodyShorts",
             "lowerBodyHotPants")  # fmt: skip
_SKIRTS = ("lowerBodyLongSkirt", "lowerBodyShortSkirt")
_REORGANIZED: dict[str, tuple[tuple[str, ...], tuple[frozenset[str], ...]]] = {
    "gender": (
        ("male", "female"),
        (frozenset({"personalMale"}), frozenset({"personalFemale"})),
    ),
    "hair": (
        ("short", "long"),
        (frozenset({"hairShort", "hairBald"}), frozenset({"hairLong"})),
    ),
    "L.slv": (
        ("long", "short"),
        (
            frozenset({"upperBodyLongSleeve"}),
            frozenset({"upperBodyShortSleeve", "upperBodyNoSleeve"}),
        ),
    ),
    "L.low": (
        ("long", "short"),
        (
            frozenset({"lowerBodyTrousers", "lowerBodyJeans", "lowerBodyLongSkirt"}),
            frozenset(
                {"lowerBodyCapri", "lowerBodyShorts", "lowerBodyHotPants", "lowerBodyShortSkirt"}
            ),
        ),
    ),
    "T.low": (("dress", "pants"), (frozenset(_SKIRTS), frozenset(_TROUSERS))),
    "hat": (NO_YES, _yes("accessoryHat")),
    "B.pack": (NO_YES, _yes("carryingBackpack")),
    "bag": (NO_YES, _yes("carryingMessengerBag", "carryingPlasticBags")),
    "age": (
        ("young", "teenager", "adult", "old"),
        (
            frozenset({"personalLess15"}),
            frozenset({"personalLess30"}),
            frozenset({"personalLess45", "personalLess60"}),
            frozenset({"personalLarger60"}),
        ),
    ),
    **{
        name: (
            tuple(color.lower() for color in COLORS),
            tuple(frozenset({group + color}) for color in COLORS),
        )
        for name, group in (("C.up", "upperBody"), ("C.low", "lowerBody"), ("C.shoes", "footwear"))
    },
    "boots": (NO_YES, _yes("footwearBoots")),
}
ATTRIBUTES = tuple(Attribute(name, classes) for name, (classes, _) in _REORGANIZED.items())


@dataclass(frozen=True)
class Person:
    """One line of a Label.txt and the images that belong to it, in the order of their names."""

    subset: str
    name: str
    tokens: frozenset[str]
    images: tuple[str, ...]  # relative to the dataset's folder

    @property
    def key(self) -> str:
        return f"{self.subset}/{self.name}"


def load(root: Path, split: int = 0, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/PETA dataset.

    Splits: train, val, query and gallery; see `split_people`. `pid` counts all persons from 1 in
    the order of subset and identifier. There are no cameras: `camid` is 2 for the gallery and 1
    for all else, so that nothing is excluded from a ranking. `source` is the subset.

    Args:
        root: the folder that contains "PETA dataset"/.
        split: 0 to 9, which of the random splits.
        check_files: raise if an image file is empty.

    Raises:
        DataError: missing folder, subset or Label.txt, a line that does not parse, an unknown
            attribute, images without a line, wrong counts; names the file and what was expected.
        UsageError: no such split.
    """
    image_sets.check_split(NAME, split, SPLITS)
    folder, people = _read(root)
    synthetic = checks.read_synthetic(folder)
    parts = split_people(people, split)
    pids = {person.key: pid for pid, person in enumerate(people, start=1)}

    def rows(chosen: Iterable[tuple[Person, str]], camid: int) -> list[image_sets.Row]:
        found = [(pids[person.key], camid, path, person.subset) for person, path in chosen]
        return sorted(found, key=lambda row: row[2])

    splits = {
        name: image_sets.frame(
            rows(parts[name], 2 if name == "gallery" else 1), train=name == "train"
        )
        for name in parts
    }
    image_sets.check_counts(NAME, folder, count(splits), synthetic, PUBLISHED[NAME])
    notes = _notes(people)
    notes += image_sets.check_matches(FOLDER, folder, splits["query"], splits["gallery"])
    paths = [path for person in people for path in person.images]
    bytes_of = file_sizes(folder, paths)
    if check_files:
        checks.check_files(FOLDER, folder, paths, bytes_of)
    return Dataset(
        name=NAME,
        root=folder,
        images=folder,
        splits=splits,
        files=(*(f"{subset}/{ARCHIVE}/{LABELS}" for subset in SUBSETS), *paths),
        synthetic=synthetic,
        split=split,
        notes=notes,
    )


def split_people(people: Sequence[Person], number: int) -> dict[str, list[tuple[Person, str]]]:
    """Random split `number` of all persons: "train", "val", "query" and "gallery", each a
    list of images with their persons.

    The rule: persons with more images come first, those with equally many by the SHA-256 of
    "peta split <number> <subset>/<identifier>". Each goes where, in proportion to its size, most
    room is left: training has half of all images, "val" a tenth (the validation images of the
    attribute benchmarks, not used here), the test the rest. The first 423 test persons with several
    images, by the same SHA-256, have one of them as query, the first by that of its path; all other
    test images are the gallery. So 19,000 images come to the numbers that are in use, 9,500, 423
    and 7,177, without a person on both sides.
    """
    total = sum(len(person.images) for person in people)
    size = {"train": round(TRAIN_SHARE * total), "val": round(VAL_SHARE * total)}
    size["test"] = total - sum(size.values())
    room = dict(size)
    members: dict[str, list[Person]] = {name: [] for name in size}
    for person in sorted(people, key=lambda p: (-len(p.images), _order(number, p.key))):
        part = max(size, key=lambda name: room[name] / max(1, size[name]))
        members[part].append(person)
        room[part] -= len(person.images)
    parts: dict[str, list[tuple[Person, str]]] = {
        name: [(person, path) for person in members[name] for path in person.images]
        for name in ("train", "val")
    }
    parts |= {"query": [], "gallery": []}
    for person in sorted(members["test"], key=lambda p: _order(number, p.key)):
        images = list(person.images)
        if len(images) > 1 and len(parts["query"]) < QUERIES:
            query = min(images, key=lambda path: _order(number, path))
            images.remove(query)
            parts["query"].append((person, query))
        parts["gallery"] += [(person, path) for path in images]
    return parts


def _order(number: int, key: str) -> bytes:
    # Names on disk may hold bytes that are no text.
    text = f"peta split {number} {key}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).digest()


# ------------------------------------------------------------------ labels


def load_attributes(dataset: Dataset) -> AttributeTable:
    """The attributes of all persons, re-organized to those of Market-1501 and DukeMTMC-reID.

    A person with tokens of several classes, or of none where one is expected, is not labeled.
    Raises `DataError` as `load`.
    """
    _, people = _read(dataset.root.parent)
    labels = np.full((len(people), len(ATTRIBUTES)), UNLABELED, dtype=np.int64)
    for column, (_, groups) in enumerate(_REORGANIZED.values()):
        no_yes = not groups[0]
        for row, person in enumerate(people):
            found = [k for k, group in enumerate(groups) if group & person.tokens]
            if len(found) == 1:
                labels[row, column] = found[0]
            elif no_yes:
                labels[row, column] = 0
    return AttributeTable(ATTRIBUTES, np.arange(1, len(people) + 1), labels)


def attribute_files(dataset: Dataset) -> list[Path]:
    """The files that the attributes are in."""
    return [dataset.root / subset / ARCHIVE / LABELS for subset in SUBSETS]


def columns(people: Sequence[Person]) -> pd.DataFrame:
    """The labels as benchmarks of attributes use them: a row per person (index: its key), the 61
    binary attributes and the 44 colors as 105 columns of 0 and 1."""
    rows = [[int(token in person.tokens) for token in TOKENS] for person in people]
    index = pd.Index([person.key for person in people], name="person")
    return pd.DataFrame(rows, index=index, columns=list(TOKENS), dtype=np.uint8)


def read_people(root: Path) -> list[Person]:
    """All persons, sorted by subset and identifier. Raises `DataError` as `load`."""
    return _read(root)[1]


def _read(root: Path) -> tuple[Path, list[Person]]:
    folder = checks.locate(root, FOLDER, [f"{name}/{ARCHIVE}" for name in SUBSETS], TREE)
    missing = [name for name in SUBSETS if not (folder / name / ARCHIVE).is_dir()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of the ten subsets are missing: {', '.join(missing)}; "
            f"expected a folder {ARCHIVE} in each.\n{checks.expected_and_found(TREE, folder)}"
        )
    return folder, [person for name in SUBSETS for person in _subset(folder, name)]


def _subset(folder: Path, subset: str) -> list[Person]:
    archive = folder / subset / ARCHIVE
    labels = _labels(archive / LABELS)
    images: dict[str, list[str]] = {name: [] for name in labels}
    for entry in sorted(entry.name for entry in archive.iterdir()):
        if entry.startswith(".") or not entry.lower().endswith(SUFFIXES):
            continue
        name = entry.partition("_")[0]
        if name not in images:
            raise DataError(
                f"{archive / entry}: {LABELS} has no line for {name!r}; expected one for what "
                "stands before the first underscore of every image's name"
            )
        images[name].append(f"{subset}/{ARCHIVE}/{entry}")
    if not any(images.values()):
        raise DataError(f"{archive}: no image in it; expected {', '.join(SUFFIXES)} files")
    return [
        Person(subset, name, labels[name], tuple(found)) for name, found in sorted(images.items())
    ]


def _labels(path: Path) -> dict[str, frozenset[str]]:
    """Identifier -> tokens. Raises `DataError` naming the line."""
    try:
        if os.path.exists(path) and not path.is_file():  # opening a pipe would wait for ever
            raise DataError(f"{path}: no regular file; expected a line per person")
        text = path.read_text(encoding="utf-8", errors="strict")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a line per person: its "
            "identifier and the names of its attributes"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not text: byte {error.start}; expected attribute names"
        ) from error
    found: dict[str, frozenset[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, *written = line.split()
        tokens = [_SPELLED.get(token, token) for token in written]
        unknown = [token for token in tokens if token not in _KNOWN]
        if unknown:
            raise DataError(
                f"{path}, line {number}: unknown attribute {checks.shown(unknown[0])!r} of person "
                f"{checks.shown(name)}; "
                "expected names such as accessoryHat or upperBodyBlack"
            )
        if not tokens:
            raise DataError(
                f"{path}, line {number}: person {name} has no attributes; expected their names "
                "behind the identifier (is the line cut off?)"
            )
        if name in found:
            raise DataError(
                f"{path}, line {number}: person {name} has a line already; expected one"
            )
        found[name] = frozenset(tokens) - set(_DROPPED)
    return found


_KNOWN = frozenset(TOKENS) | set(_DROPPED)


# ------------------------------------------------------------------ counts


def count(splits: Mapping[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images of every subset, in all splits."""
    sources = pd.concat([table["source"] for table in splits.values()])
    return {subset: Counts(int((sources == subset).sum()), None) for subset in SUBSETS}


def _notes(people: Sequence[Person]) -> tuple[str, ...]:
    notes = ["the split for re-identification is not part of the release"]
    if without := sum(not person.images for person in people):
        notes.append(f"{without} lines of {LABELS} files have no image")
    return tuple(notes)
