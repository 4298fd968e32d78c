"""Market-1501 (Zheng et al., ICCV 2015): six cameras in front of a supermarket, detector's boxes.

There is no annotation file: person, camera and kind of box are in the file names. Person -1 is
junk (a bad box: left out of rankings), person 0 a distractor (a false alarm: a wrong answer).
"""

import re
from pathlib import Path

import pandas as pd

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

NAME = "market1501"
FOLDER = FORMATS[NAME].folder
SOURCE = "Market"  # the folder of these images in CUHK-PEDES
FOLDERS = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
    "multi_query": "gt_bbox",
}
JUNK, DISTRACTOR = -1, 0
JUNK_ROW, DISTRACTOR_ROW = "gallery, junk (-1)", "gallery, distractors (0000)"

# Of the release; the project page says 2,793 distractors, its files are 2,798.
EXPECTED = {
    "train": Counts(images=12_936, ids=751),
    "query": Counts(images=3_368, ids=750),
    "gallery": Counts(images=19_732, ids=750),
    JUNK_ROW: Counts(images=3_819, ids=None),
    DISTRACTOR_ROW: Counts(images=2_798, ids=None),
    "multi_query": Counts(images=25_259, ids=None),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
Market-1501-v15.09.15/
  bounding_box_train/  bounding_box_test/  query/  gt_bbox/
"""

_NAME = re.compile(r"(-1|\d{4})_c([1-6])s(\d)_(\d{6})_(\d{2})\.jpg", re.IGNORECASE)
_FORM = (
    "<person: 4 digits or -1>_c<camera: 1-6>s<sequence: 1 digit>_<frame: 6 digits>_<box: 2 "
    "digits>.jpg, for instance 0002_c1s1_000451_03.jpg"
)


def load(root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/Market-1501-v15.09.15.

    Splits: train, query, gallery (bounding_box_test, junk and distractors included) and
    multi_query (gt_bbox: hand-drawn boxes of all persons; `ranking.pool_queries` picks those of a
    query's person and camera). `camid` is 1 to 6. gt_query/ is not read: which images are good and
    which are junk follows from the names.

    Args:
        root: the folder that contains Market-1501-v15.09.15/.
        check_files: raise if an image file is empty.

    Raises:
        DataError: missing folder, a file name that does not parse, wrong counts, persons in both
            halves, queries without any match; names the file and says what was expected.
    """
    folder = checks.locate(root, FOLDER, FOLDERS["multi_query"], TREE)
    synthetic = checks.read_synthetic(folder)
    splits = {
        split: image_sets.frame(_rows(folder, name), train=split == "train")
        for split, name in FOLDERS.items()
    }
    image_sets.check_counts(NAME, folder, count(splits), synthetic, EXPECTED)
    notes = _check(folder, splits)
    return image_sets.assembled(NAME, folder, splits, synthetic, notes, check_files=check_files)


def _rows(folder: Path, name: str) -> list[image_sets.Row]:
    matches = image_sets.parse_names(folder / name, (".jpg",), _NAME, _FORM, TREE)
    return [(int(m[1]), int(m[2]), f"{name}/{m[0]}", SOURCE) for m in matches]


def _check(folder: Path, splits: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    for split in ("train", "query"):
        wrong = splits[split][splits[split]["pid"] <= 0]
        if len(wrong):
            raise DataError(
                f"{folder / wrong['path'].iloc[0]}: junk (-1) and distractors (0000) belong in "
                f"{FOLDERS['gallery']}; expected a person's number in {FOLDERS[split]}"
            )
    image_sets.check_halves(folder, splits, FOLDERS)
    notes = image_sets.check_matches(FOLDER, folder, splits["query"], splits["gallery"])
    keys = ["pid", "camid"]
    queries = splits["query"][keys].drop_duplicates()
    alone = len(queries) - len(queries.merge(splits["multi_query"][keys].drop_duplicates()))
    if alone:
        notes += (f"{alone} queries have no hand-drawn box in gt_bbox: no multi-query search",)
    return notes


def count(splits: dict[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images and identities of every split, junk and distractors besides."""
    found = image_sets.count(splits, nobody=(JUNK, DISTRACTOR))
    pids = splits["gallery"]["pid"]
    found["multi_query"] = Counts(images=found["multi_query"].images, ids=None)
    found[JUNK_ROW] = Counts(images=int((pids == JUNK).sum()), ids=None)
    found[DISTRACTOR_ROW] = Counts(images=int((pids == DISTRACTOR).sum()), ids=None)
    return {row: found[row] for row in EXPECTED}
