"""CUHK01 (Li et al., ACCV 2012): 971 persons, two views, two images per view.

There is no official split. Here: ten random halves, 485 persons to train and 486 to test, the
usual numbers. Queries are the images of view A, the gallery those of view B; with two images per
person there it has to be said whether one is drawn (`ranking.single_shot`) or both stay.
"""

import re
from pathlib import Path

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.image_sets import count
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

__all__ = ["EXPECTED", "FOLDER", "NAME", "PUBLISHED", "SPLITS", "count", "load"]

NAME = "cuhk01"
FOLDER = FORMATS[NAME].folder
IMAGES = "campus"
SOURCE = "CUHK01"  # the folder of these images in CUHK-PEDES
SPLITS = FORMATS[NAME].datasets[NAME]

EXPECTED = {
    "train": Counts(images=1_940, ids=485),
    "query": Counts(images=972, ids=486),
    "gallery": Counts(images=972, ids=486),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
CUHK01/
  campus/        0001001.png ... 0971004.png
"""

_NAME = re.compile(r"(\d{4})(00[1-4])\.png", re.IGNORECASE)
_FORM = "<person: 4 digits><image: 001 to 004>.png, for instance 0363004.png"


def load(root: Path, split: int = 0, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/CUHK01/campus.

    Images 001 and 002 of a person are view A (`camid` 1), 003 and 004 view B (`camid` 2).

    Args:
        root: the folder that contains CUHK01/.
        split: 0 to 9, which random half to train on.
        check_files: raise if an image file is empty.

    Raises:
        UsageError: no such split.
        DataError: missing folder, a file name that does not parse, a person without all four
            images, wrong counts; names the file and says what was expected.
    """
    image_sets.check_split(NAME, split, SPLITS)
    folder = checks.locate(root, FOLDER, IMAGES, TREE)
    synthetic = checks.read_synthetic(folder)
    matches = image_sets.parse_names(folder / IMAGES, (".png",), _NAME, _FORM, TREE)
    images: dict[int, int] = {}
    for match in matches:
        images[int(match[1])] = images.get(int(match[1]), 0) + 1
    for pid, number in images.items():
        if number != 4:
            raise DataError(
                f"{folder / IMAGES}: person {pid:04d} has {number} images, expected four: "
                f"{pid:04d}001.png to {pid:04d}004.png"
            )
    train = image_sets.random_half(list(images), split, NAME)
    rows: dict[str, list[image_sets.Row]] = {"train": [], "query": [], "gallery": []}
    for match in matches:
        pid, camid = int(match[1]), 1 if int(match[2]) <= 2 else 2
        part = "train" if pid in train else "query" if camid == 1 else "gallery"
        rows[part].append((pid, camid, match[0], SOURCE))
    splits = {part: image_sets.frame(some, part == "train") for part, some in rows.items()}
    image_sets.check_counts(NAME, folder, count(splits), synthetic, EXPECTED)
    notes = (f"random half number {split + 1} of {SPLITS}: there is no official split",)
    return image_sets.assembled(
        NAME, folder, splits, synthetic, notes, images=IMAGES, split=split, check_files=check_files
    )
