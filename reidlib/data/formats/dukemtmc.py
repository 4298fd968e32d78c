"""DukeMTMC-reID (Zheng et al., ICCV 2017): eight cameras on a campus in winter.

The data behind it was withdrawn by those who recorded it, in 2019: people had been filmed in a way
that their university's ethics board had not approved. It is not to be used in new work. This loader
is for generated data, and for those who have to repeat older work with a copy that they hold; a
real copy is loaded only if its folder says so (`ALLOWED`).

There is no annotation file: person, camera and frame are in the file names. 408 persons that one
camera only saw are distractors of the gallery, with ordinary numbers.
"""

import re
from pathlib import Path

import pandas as pd

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.image_sets import count
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

__all__ = ["ALLOWED", "EXPECTED", "FOLDER", "FOLDERS", "NAME", "PUBLISHED", "count", "load"]

NAME = "dukemtmc-reid"
FOLDER = FORMATS[NAME].folder
SOURCE = "Duke"
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
ALLOWED = "WITHDRAWN-DATA-ALLOWED.txt"

EXPECTED = {
    "train": Counts(images=16_522, ids=702),
    "query": Counts(images=2_228, ids=702),
    "gallery": Counts(images=17_661, ids=1_110),  # 408 of them distractors
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
DukeMTMC-reID/
  bounding_box_train/  bounding_box_test/  query/
"""

_NAME = re.compile(r"(\d{4})_c([1-8])_f(\d{7})\.jpg", re.IGNORECASE)
_FORM = (
    "<person: 4 digits>_c<camera: 1-8>_f<frame: 7 digits>.jpg, for instance 0005_c2_f0046985.jpg"
)


def load(root: Path, check_files: bool = True, withdrawn: bool = False) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/DukeMTMC-reID.

    Splits: train, query and gallery (bounding_box_test, distractors included). `camid` is 1 to 8.

    Args:
        root: the folder that contains DukeMTMC-reID/.
        check_files: raise if an image file is empty.
        withdrawn: read real data although it was withdrawn; a file WITHDRAWN-DATA-ALLOWED.txt in
            the folder says the same.

    Raises:
        DataError: real data without permission, missing folder, a file name that does not parse,
            wrong counts, persons in both halves, queries without any match; names the file and
            says what was expected.
    """
    folder = checks.locate(root, FOLDER, FOLDERS["gallery"], TREE)
    synthetic = checks.read_synthetic(folder)
    if synthetic is None and not withdrawn and not (folder / ALLOWED).is_file():
        raise DataError(
            f"{folder}: real data of DukeMTMC-reID is not used unless you say so. It was withdrawn "
            "in 2019: its people had been filmed in a way that their university's ethics board had "
            "not approved, and it is not to be used in new work. To repeat older work with a copy "
            f"that you hold, put a file {ALLOWED} into that folder (its content does not matter)."
        )
    splits = {
        split: image_sets.frame(_rows(folder, name), train=split == "train")
        for split, name in FOLDERS.items()
    }
    image_sets.check_counts(NAME, folder, count(splits), synthetic, EXPECTED)
    notes = _check(folder, splits)
    if synthetic is None:
        notes += ("DukeMTMC-reID was withdrawn in 2019: not to be used in new work",)
    return image_sets.assembled(NAME, folder, splits, synthetic, notes, check_files=check_files)


def _rows(folder: Path, name: str) -> list[image_sets.Row]:
    matches = image_sets.parse_names(folder / name, (".jpg",), _NAME, _FORM, TREE)
    return [(int(m[1]), int(m[2]), f"{name}/{m[0]}", SOURCE) for m in matches]


def _check(folder: Path, splits: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    image_sets.check_halves(folder, splits, FOLDERS)
    return image_sets.check_matches(FOLDER, folder, splits["query"], splits["gallery"])
