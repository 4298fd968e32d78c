"""ICFG-PEDES (Ding et al., arXiv 2107.12666): pedestrians of MSMT17, a long caption each.

The annotation has the fields of CUHK-PEDES (`split`, `captions`, `file_path` relative to imgs/,
`processed_tokens`, `id`), and is met as `ICFG-PEDES.json` and as `ICFG_PEDES.json`. Ids start at 0.
There is a training and a test split, none for validation. The folders imgs/train and imgs/test
are those of MSMT17 and say nothing about the split: only the annotation does.
"""

from pathlib import Path

from reidlib.data.dataset import Dataset
from reidlib.data.formats import captioned_sets
from reidlib.data.formats.captioned_sets import count
from reidlib.data.formats.checks import Counts
from reidlib.data.register import FORMATS

__all__ = ["EXPECTED", "FORMAT", "NAME", "PUBLISHED", "count", "load"]

NAME = "icfg-pedes"
FOLDER = FORMATS[NAME].folder
ANNOTATIONS = ("ICFG-PEDES.json", "ICFG_PEDES.json")
SPLITS = ("train", "test")

# Of the published release.
EXPECTED = {
    "train": Counts(images=34_674, ids=3_102, captions=34_674),
    "test": Counts(images=19_848, ids=1_000, captions=19_848),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
ICFG-PEDES/
  ICFG-PEDES.json   (or ICFG_PEDES.json)
  imgs/
    train/  test/
"""

FORMAT = captioned_sets.Format(
    name=NAME,
    folder=FOLDER,
    annotations=ANNOTATIONS,
    tree=TREE,
    expected=EXPECTED,
    captions=1,
    source="MSMT17",
    advice="The split is in the annotation alone, not in the folders imgs/train and imgs/test.",
)


def load(root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/ICFG-PEDES.

    There is no split `val`. For arguments and errors see
    `reidlib.data.formats.captioned_sets.load`.
    """
    return captioned_sets.load(FORMAT, root, check_files)
