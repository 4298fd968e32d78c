"""CUHK-SYSU (Xiao et al., CVPR 2017): a person search set, used as a re-ID set of crops.

The release has pictures of whole scenes and boxes. The crops are those of GLA (section 4.1): the
training persons of Train.mat; as queries those of TestG50.mat, as gallery the boxes in its
galleries that show the query. They are cut out once, without a margin, as
<person>_<scene>.png, the names CUHK-PEDES uses.

There are no camera labels: `camid` is 0 for training images and queries and 1 for the gallery, so
that leaving out a query's own camera leaves out nothing.
"""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.decoding import MIN_HEIGHT, MIN_WIDTH, read_rgb, read_size
from reidlib.data.formats.exported import exported, load_mat, save_png
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

NAME = "cuhk-sysu"
FOLDER = FORMATS[NAME].folder
SCENES = "Image/SSM"
IMAGES_MAT = "annotation/Images.mat"
PERSON_MAT = "annotation/Person.mat"
POOL_MAT = "annotation/pool.mat"
TRAIN_MAT = "annotation/test/train_test/Train.mat"
TEST_MAT = "annotation/test/train_test/TestG50.mat"
SOURCES = {"train": "train_query", "query": "test_query", "gallery": "test_query"}

# Of the release. How many crops there are in training and gallery no release says: GLA has 15,080
# and 5,441.
EXPECTED = {
    "train": Counts(images=None, ids=5_532),
    "query": Counts(images=2_900, ids=2_900),
    "gallery": Counts(images=None, ids=2_900),
}
PUBLISHED = {NAME: EXPECTED}
EXPECTED_SCENES = {
    "scenes, train": Counts(images=11_206, ids=None),
    "scenes, test": Counts(images=6_978, ids=None),
}
GLA_CROPS = {"train": 15_080, "gallery": 5_441}

TREE = """
CUHK-SYSU/                        (the folder `dataset` of the archive, renamed)
  Image/SSM/                      s1.jpg ...
  annotation/                     Images.mat  Person.mat  pool.mat
  annotation/test/train_test/     Train.mat  TestG50.mat
"""

_ID = re.compile(r"p(\d{1,9})", re.ASCII)
_FARTHEST = 1 << 20  # pixels
_BYTES_PER_CROP = 120_000

Box = tuple[int, int, int, int]  # x, y, width, height


def load(
    root: Path,
    check_files: bool = True,
    *,
    exports: Path | None = None,
    cache: Path | None = None,
    export: bool = True,
) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/CUHK-SYSU.

    The first call cuts out the crops, which takes minutes for the real data; they are made anew
    when the annotation or a scene changes, or one of them does. `pid` is the number in the person's
    name (p11600).

    Args:
        root: the folder that contains CUHK-SYSU/.
        check_files: raise if a scene that is needed is missing or empty.
        exports: folder for the crops; by default CUHK-SYSU/ itself.
        cache: remembers digests, see `reidlib.data.content.digests`.
        export: off, nothing is written: the crops are only named, and are in no file.

    Raises:
        DataError: missing folder or file, malformed annotation, wrong counts, a person whose boxes
            are all degenerate; names the file and says what was expected.
    """
    folder = checks.locate(root, FOLDER, IMAGES_MAT, TREE)
    if not (folder / IMAGES_MAT).is_file():
        raise DataError(
            f"{folder / IMAGES_MAT} not found.\n{checks.expected_and_found(TREE, folder)}"
        )
    synthetic = checks.read_synthetic(folder)
    crops, dropped, scenes = _read(folder)
    used = sorted({f"{SCENES}/{crop[2]}" for rows in crops.values() for crop in rows})
    if check_files:
        checks.check_files(FOLDER, folder, used, file_sizes(folder, used))
    files = [IMAGES_MAT, POOL_MAT, TRAIN_MAT, TEST_MAT, *used]
    if export:
        where, index = exported(
            exports or folder, "crops", folder, files, partial(_cut, folder, crops),
            sum(map(len, crops.values())) * _BYTES_PER_CROP, cache,
        )  # fmt: skip
    else:
        where, index = folder, _cut(folder, crops)
    dropped += index["dropped"]
    cut = set(index["files"])
    splits = {}
    for split, rows in crops.items():
        table = [
            (pid, int(split == "gallery"), path, SOURCES[split])
            for pid, path, _, _ in rows
            if path in cut
        ]
        splits[split] = image_sets.frame(table, split == "train")
    image_sets.check_counts(
        NAME, folder, count(splits) | scenes, synthetic, EXPECTED | EXPECTED_SCENES
    )
    _check_persons(folder, crops, splits)
    notes = image_sets.check_matches(FOLDER, folder, splits["query"], splits["gallery"])
    notes += _notes(splits, dropped, synthetic)
    return Dataset(
        name=NAME,
        root=folder,
        images=where,
        splits=splits,
        files=tuple(files),
        synthetic=synthetic,
        notes=notes,
    )


Crop = tuple[int, str, str, Box]  # pid, path of the crop, scene's file name, box


def _read(folder: Path) -> tuple[dict[str, list[Crop]], int, dict[str, Counts]]:
    """All crops to be cut, how many boxes are degenerate, and the numbers of scenes."""
    scenes = load_mat(folder / IMAGES_MAT, "the scenes (Images.mat)", ["Img"])["Img"]
    pool = load_mat(folder / POOL_MAT, "the names of the test scenes (pool.mat)", ["pool"])["pool"]
    named = {_text(folder / IMAGES_MAT, scene, "imname") for scene in np.atleast_1d(scenes)}
    for scene in sorted(named):
        problem = checks.path_problem(scene)
        if problem or "/" in scene:
            raise DataError(
                f"{folder / IMAGES_MAT}: scene {checks.shown(scene)!r} is no file of {SCENES}/: "
                f"{problem or 'expected the name of a file'}"
            )
    tested = {str(name) for name in np.atleast_1d(pool)}
    crops: dict[str, list[Crop]] = {split: [] for split in SOURCES}
    dropped = 0

    def add(split: str, path: Path, person: str, item: Any) -> bool:
        scene = _text(path, item, "imname")
        if scene not in named:
            raise DataError(
                f"{path}: scene {checks.shown(scene)} of {checks.shown(person)} is not in "
                f"{IMAGES_MAT}"
            )
        match = _ID.fullmatch(person)
        if match is None:
            raise DataError(f"{path}: person {checks.shown(person)!r}; expected a name like p11600")
        x, y, width, height = _box(path, item, person)
        if width <= 0 or height <= 0:
            return False
        name = f"{split}/{person}_{Path(scene).stem}.png"
        crops[split].append((int(match[1]), name, scene, (x, y, width, height)))
        return True

    train = folder / TRAIN_MAT
    people = load_mat(train, "the training persons (Train.mat)", ["Train"])["Train"]
    for item in np.atleast_1d(people):
        person = _text(train, item, "idname")
        for scene in np.atleast_1d(_field(train, item, "scene")):
            dropped += not add("train", train, person, scene)
    test = folder / TEST_MAT
    searches = load_mat(test, "the test persons (TestG50.mat)", ["TestG50"])["TestG50"]
    for item in np.atleast_1d(searches):
        query = _field(test, item, "Query")
        person = _text(test, query, "idname")
        dropped += not add("query", test, person, query)
        for scene in np.atleast_1d(_field(test, item, "Gallery")):
            # An empty box: the query is not in this scene.
            empty = np.size(getattr(scene, "idlocate", ())) == 0
            if not empty and _text(test, scene, "imname") != _text(test, query, "imname"):
                dropped += not add("gallery", test, person, scene)
    for split, rows in crops.items():
        crops[split] = sorted(dict((row[1], row) for row in rows).values(), key=lambda row: row[1])
    counts = {
        "scenes, train": Counts(images=len(named - tested), ids=None),
        "scenes, test": Counts(images=len(named & tested), ids=None),
    }
    return crops, dropped, counts


def _box(path: Path, item: Any, person: str) -> Box:
    numbers = np.atleast_1d(getattr(item, "idlocate", np.zeros(0)))
    if numbers.shape != (4,) or numbers.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: box {checks.shown(numbers.tolist())} of {person}; expected x, y, width, "
            "height"
        )
    if not (np.isfinite(numbers) & (np.abs(numbers.astype(np.float64)) < _FARTHEST)).all():
        raise DataError(
            f"{path}: box {numbers.tolist()} of {person}; expected numbers of pixels, less than "
            f"{_FARTHEST:,}"
        )
    x, y, width, height = (int(number) for number in numbers)
    return x, y, width, height


def _field(path: Path, item: Any, field: str) -> Any:
    if not hasattr(item, field):
        raise DataError(f"{path}: field {field} is missing, found {checks.shown(item)}")
    return getattr(item, field)


def _text(path: Path, item: Any, field: str) -> str:
    value = _field(path, item, field)
    if not isinstance(value, str) or not value:
        raise DataError(f"{path}: field {field} is no text, found {checks.shown(value)}")
    return value


def _cut(folder: Path, crops: dict[str, list[Crop]], target: Path | None = None) -> dict[str, Any]:
    """Cut all crops out of their scenes, into `target` if there is one; boxes reach into the
    picture as far as it goes."""
    by_scene: dict[str, list[Crop]] = {}
    for split, rows in crops.items():
        if target is not None:
            (target / split).mkdir()
        for row in rows:
            by_scene.setdefault(row[2], []).append(row)
    files, dropped = [], 0
    for scene, rows in sorted(by_scene.items()):
        path_of_scene = folder / SCENES / scene
        if target is None:
            shape = read_size(path_of_scene)
        else:
            picture = np.asarray(read_rgb(path_of_scene))
            shape = picture.shape[:2]
        for _, path, _, (x, y, width, height) in rows:
            top, left = max(0, y), max(0, x)
            bottom, right = min(shape[0], y + height), min(shape[1], x + width)
            if bottom - top < MIN_HEIGHT or right - left < MIN_WIDTH:
                dropped += 1
                continue
            if target is not None:
                save_png(target / path, picture[top:bottom, left:right])
            files.append(path)
    return {"files": sorted(files), "dropped": dropped}


def _check_persons(
    folder: Path, crops: dict[str, list[Crop]], splits: dict[str, pd.DataFrame]
) -> None:
    for split, rows in crops.items():
        lost = sorted({row[0] for row in rows} - set(splits[split]["pid"]))
        if lost:
            raise DataError(
                f"{folder}: {split}: all boxes of person p{lost[0]} are degenerate or outside "
                f"their scenes, as those of {len(lost) - 1} others; expected a box of at least "
                f"{MIN_HEIGHT}x{MIN_WIDTH} pixels for each person"
            )
    both = sorted(set(splits["train"]["pid"]) & set(splits["query"]["pid"]))
    if both:
        raise DataError(f"{folder}: person p{both[0]} is in {TRAIN_MAT} and in {TEST_MAT}")


def _notes(
    splits: dict[str, pd.DataFrame], dropped: int, synthetic: dict[str, Any] | None
) -> Iterable[str]:
    notes = []
    if dropped:
        notes.append(f"{dropped} boxes without area, or with next to none, are left out")
    if synthetic is None:
        notes += [
            f"{len(splits[split]):,} crops in {split}; GLA has {number:,}"
            for split, number in GLA_CROPS.items()
            if len(splits[split]) != number
        ]
    return tuple(notes)


def count(splits: dict[str, pd.DataFrame]) -> dict[str, Counts]:
    """Queries, and identities of every split; the numbers of other crops are nowhere published."""
    found = image_sets.count(splits)
    return {
        split: found[split] if wanted.images is not None else Counts(None, found[split].ids)
        for split, wanted in EXPECTED.items()
    }
