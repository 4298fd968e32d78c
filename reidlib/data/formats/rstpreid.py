"""RSTPReid (Zhu et al., ACM MM 2021): pedestrians of MSMT17, five images each, two captions per
image.

The annotation is `data_captions.json`: an array with one object per image (`id`, `img_path`,
`captions`, `split`; no tokens), train before val before test, ids from 0. Unlike in CUHK-PEDES and
ICFG-PEDES, the path is called `img_path`; it is the bare name of a file in imgs/.
"""

from pathlib import Path

from reidlib.data.dataset import Dataset
from reidlib.data.formats import captioned_sets
from reidlib.data.formats.captioned_sets import count
from reidlib.data.formats.checks import Counts
from reidlib.data.register import FORMATS

__all__ = ["EXPECTED", "FORMAT", "NAME", "PUBLISHED", "count", "load"]

NAME = "rstpreid"
FOLDER = FORMATS[NAME].folder
ANNOTATION = "data_captions.json"
SPLITS = ("train", "val", "test")
IMAGES_PER_ID = 5
LEAST_WORDS = 23  # of a caption

# Of the published release.
EXPECTED = {
    "train": Counts(images=18_505, ids=3_701, captions=37_010),
    "val": Counts(images=1_000, ids=200, captions=2_000),
    "test": Counts(images=1_000, ids=200, captions=2_000),
}

PUBLISHED = {NAME: EXPECTED}

TREE = """
RSTPReid/
  data_captions.json
  imgs/
    0000_c14_0031.jpg  ...
"""

FORMAT = captioned_sets.Format(
    name=NAME,
    folder=FOLDER,
    annotations=(ANNOTATION,),
    tree=TREE,
    expected=EXPECTED,
    path_field="img_path",
    source="MSMT17",
    advice="An early data_captions.json had 3,901, 100 and 100 identities: get the present one.",
)


def load(root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/RSTPReid.

    For arguments and errors see `reidlib.data.formats.captioned_sets.load`.
    """
    return captioned_sets.load(FORMAT, root, check_files)
