"""VIPeR (Gray et al., 2007): 632 persons, one image by each of two cameras.

There is no official split. Here: ten random halves of 316 persons. Queries are the images of
cam_a, the gallery those of cam_b: a single shot per person.
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

NAME = "viper"
FOLDER = FORMATS[NAME].folder
CAMERAS = ("cam_a", "cam_b")  # as these images' folders in CUHK-PEDES
SPLITS = FORMATS[NAME].datasets[NAME]

EXPECTED = {
    "train": Counts(images=632, ids=316),
    "query": Counts(images=316, ids=316),
    "gallery": Counts(images=316, ids=316),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
VIPeR/
  cam_a/  cam_b/        000_45.bmp ...
"""

_NAME = re.compile(r"(\d{3})_(\d{1,3})\.bmp", re.IGNORECASE)
_FORM = "<person: 3 digits>_<angle: degrees>.bmp, for instance 001_90.bmp"


def load(root: Path, split: int = 0, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/VIPeR.

    The two images of a person have the number before the underscore in common; the angle differs.
    `camid` is 1 for cam_a, 2 for cam_b.

    Args:
        root: the folder that contains VIPeR/.
        split: 0 to 9, which random half to train on.
        check_files: raise if an image file is empty.

    Raises:
        UsageError: no such split.
        DataError: missing folder, a file name that does not parse, a person without an image in
            each folder, wrong counts; names the file and says what was expected.
    """
    image_sets.check_split(NAME, split, SPLITS)
    folder = checks.locate(root, FOLDER, CAMERAS[1], TREE)
    synthetic = checks.read_synthetic(folder)
    paths_of: dict[int, dict[int, str]] = {}
    for camid, name in enumerate(CAMERAS, start=1):
        for match in image_sets.parse_names(folder / name, (".bmp",), _NAME, _FORM, TREE):
            mine = paths_of.setdefault(int(match[1]), {})
            if camid in mine:
                raise DataError(
                    f"{folder}: person {match[1]} has two images in {name}: {mine[camid]} and "
                    f"{name}/{match[0]}; expected one"
                )
            mine[camid] = f"{name}/{match[0]}"
    for pid, mine in sorted(paths_of.items()):
        if len(mine) != 2:
            raise DataError(
                f"{folder}: person {pid:03d} has an image in one folder only: "
                f"{next(iter(mine.values()))}; expected one in each of {' and '.join(CAMERAS)}"
            )
    train = image_sets.random_half(list(paths_of), split, NAME)
    rows: dict[str, list[image_sets.Row]] = {"train": [], "query": [], "gallery": []}
    for pid, mine in sorted(paths_of.items()):
        for camid, path in sorted(mine.items()):
            part = "train" if pid in train else "query" if camid == 1 else "gallery"
            rows[part].append((pid, camid, path, CAMERAS[camid - 1]))
    splits = {part: image_sets.frame(some, part == "train") for part, some in rows.items()}
    image_sets.check_counts(NAME, folder, count(splits), synthetic, EXPECTED)
    notes = (f"random half number {split + 1} of {SPLITS}: there is no official split",)
    return image_sets.assembled(
        NAME, folder, splits, synthetic, notes, split=split, check_files=check_files
    )
