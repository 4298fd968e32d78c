"""CUHK03 (Li et al., CVPR 2014): 1,467 persons, each seen by one pair of cameras.

All images are in cuhk-03.mat, a MATLAB v7.3 (HDF5) file, with hand-drawn boxes ("labeled") and with
a detector's ("detected"); they are written out once as PNG files. Two protocols are in use:

- classic: 20 test sets of 100 persons, the other 1,367 train. Query and gallery are both all
  images of the test persons; rank with `ranking.single_shot(..., exclude="camera")` and average
  over the splits.
- np (new protocol, Zhong et al., CVPR 2017): 767 training and 700 test persons, ranked as on
  Market-1501. The persons differ between labeled and detected.

The protocol is in the dataset's name. An identity is a pair and a person; `pid` numbers them from
1 to 1,467, pair by pair. `camid` is the view, 1 or 2: the five pairs of cameras are merged.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.exported import exported, load_mat, save_png
from reidlib.data.register import FORMATS
from reidlib.errors import DataError, UsageError

NAME = "cuhk03"
NAMES = tuple(FORMATS[NAME].datasets)
FOLDER = FORMATS[NAME].folder
MAT = "cuhk-03.mat"
CONFIG = "cuhk03_new_protocol_config_{}.mat"
SOURCE = "CUHK03"  # the folder of these images in CUHK-PEDES
CELLS = 10  # per person; the first half is view 1
TEST_SETS = 20

ALL = "all"
IMAGES = {"labeled": 14_096, "detected": 14_097}
PERSONS = 1_467
NP = {
    "labeled": {"train": (7_368, 767), "query": (1_400, 700), "gallery": (5_328, 700)},
    "detected": {"train": (7_365, 767), "query": (1_400, 700), "gallery": (5_332, 700)},
}

PUBLISHED = {
    name: {ALL: Counts(IMAGES[kind], PERSONS)}
    | ({row: Counts(*numbers) for row, numbers in NP[kind].items()} if protocol == "np" else {})
    for name in NAMES
    for _, protocol, kind in [name.split("-")]
}

TREE = """
cuhk03_release/
  cuhk-03.mat
  cuhk03_new_protocol_config_labeled.mat     (767/700 protocol only)
  cuhk03_new_protocol_config_detected.mat    (767/700 protocol only)
"""

_WHAT = "the release's file in MATLAB v7.3 (HDF5) with labeled, detected and testsets"
_NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})\.png")
_LARGEST = 3 << 22  # values of an image; boxes around persons have far fewer
_BYTES_PER_IMAGE = 80_000
_MOST = 10_000  # cells of an array


def load(
    root: Path,
    name: str = NAMES[2],
    split: int = 0,
    *,
    exports: Path | None = None,
    cache: Path | None = None,
    export: bool = True,
) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/cuhk03_release.

    The first call writes the images of the wanted kind to PNG files <pair>_<person>_<view>_<cell>,
    which takes some minutes for the real data; they are made anew when cuhk-03.mat changes, or one
    of them does.

    Args:
        root: the folder that contains cuhk03_release/.
        name: one of `NAMES`: protocol and kind of boxes.
        split: which of the 20 test sets, 0 to 19; classic protocol only.
        exports: folder for the exported images; by default cuhk03_release/ itself.
        cache: remembers digests, see `reidlib.data.content.digests`.
        export: off, nothing is written: the images are only named, and are in no file.

    Raises:
        UsageError: unknown name or split.
        DataError: missing, truncated or wrong .mat file, wrong counts; names the file and says
            what was expected.
    """
    if name not in NAMES:
        raise UsageError(f"unknown dataset {name!r}: expected {', '.join(NAMES)}")
    _, protocol, kind = name.split("-")
    image_sets.check_split(name, split, FORMATS[NAME].datasets[name])
    folder = checks.locate(root, FOLDER, MAT, TREE)
    mat = folder / MAT
    if not mat.is_file():
        raise DataError(f"{mat} not found.\n{checks.expected_and_found(TREE, folder)}")
    synthetic = checks.read_synthetic(folder)
    if export:
        needed = IMAGES[kind] * _BYTES_PER_IMAGE if synthetic is None else 2 * mat.stat().st_size
        where, index = exported(
            exports or folder, f"images_{kind}", folder, [MAT], partial(_export, mat, kind),
            needed, cache,
        )  # fmt: skip
    else:
        where, index = folder, _export(mat, kind)
    table = _table(index["files"])
    files = [MAT]
    if protocol == "np":
        files.append(CONFIG.format(kind))
        splits = _new_protocol(folder / files[1], table)
    else:
        splits = _classic(mat, table, index["testsets"], split)
    published = PUBLISHED[name]
    found = {row: counts for row, counts in count(splits).items() if row in published}
    image_sets.check_counts(name, folder, found, synthetic, published)
    return Dataset(
        name=name,
        root=folder,
        images=where,
        splits=splits,
        files=tuple(files),
        synthetic=synthetic,
        split=split,
        notes=image_sets.check_matches(name, folder, splits["query"], splits["gallery"]),
    )


def _table(files: list[str]) -> pd.DataFrame:
    """pid, camid, path and source of all images, sorted by name; and pair and person."""
    parts = np.array([[int(part) for part in _NAME.fullmatch(name).groups()] for name in files])
    _, pids = np.unique(parts[:, :2], axis=0, return_inverse=True)
    table = image_sets.frame(
        [(int(pid) + 1, int(view), name, SOURCE)
         for pid, view, name in zip(pids.reshape(-1), parts[:, 2], files, strict=True)]
    )  # fmt: skip
    return table.assign(pair=parts[:, 0], person=parts[:, 1])


def _columns(table: pd.DataFrame, train: bool = False) -> pd.DataFrame:
    rows = zip(table["pid"], table["camid"], table["path"], table["source"], strict=True)
    return image_sets.frame(list(rows), train)


def _classic(
    mat: Path, table: pd.DataFrame, test_sets: list[list[list[int]]], split: int
) -> dict[str, pd.DataFrame]:
    wanted = pd.MultiIndex.from_tuples([tuple(row) for row in test_sets[split]])
    keys = pd.MultiIndex.from_frame(table[["pair", "person"]])
    unknown = wanted[~wanted.isin(keys)]
    if len(unknown):
        pair, person = unknown[0]
        raise DataError(
            f"{mat}: test set {split + 1} names person {person} of pair {pair}, who has no image"
        )
    test = keys.isin(wanted)
    queries = _columns(table[test])
    return {"train": _columns(table[~test], True), "query": queries, "gallery": queries.copy()}


def _new_protocol(config: Path, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if not config.is_file():
        raise DataError(
            f"{config} not found: the 767/700 protocol is in two files of the repository "
            f"zhunzhong07/person-re-ranking, folder evaluation/data/CUHK03.\n"
            f"{checks.expected_and_found(TREE, config.parent)}"
        )
    parts = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}
    content = load_mat(config, "the 767/700 protocol", ["filelist", *parts.values()])
    names = [str(name) for name in np.atleast_1d(content["filelist"])]
    if names != list(table["path"]):
        differing = sorted(set(names) ^ set(table["path"]))
        raise DataError(
            f"{config}: its {len(names):,} file names are not those of the {len(table):,} images "
            f"in {MAT}; the first that is in one only is {differing[0] if differing else names[0]}"
        )
    splits = {}
    taken: set[int] = set()
    for split, variable in parts.items():
        numbers = np.atleast_1d(content[variable])
        whole = numbers.dtype.kind in "iuf" and numbers.ndim == 1 and len(numbers)
        if not whole or not (np.isfinite(numbers) & (numbers % 1 == 0)).all():
            raise DataError(f"{config}: {variable}: expected a list of whole numbers")
        rows = numbers.astype(np.int64) - 1  # counted from 1
        if rows.min() < 0 or rows.max() >= len(table):
            raise DataError(f"{config}: {variable} has numbers beyond 1 to {len(table):,}")
        if len(taken | set(rows)) < len(taken) + len(rows):
            raise DataError(f"{config}: {variable} has images twice, or those of another part")
        taken |= set(rows)
        splits[split] = _columns(table.iloc[np.sort(rows)], split == "train")
    return splits


def count(splits: dict[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images and identities: of every split and in all (a classic test image counts once)."""
    found = image_sets.count(splits)
    together = pd.concat(list(splits.values()))[["pid", "path"]].drop_duplicates()
    return {ALL: Counts(len(together), int(together["pid"].nunique())), **found}


def _export(mat: Path, kind: str, folder: Path | None = None) -> dict[str, Any]:
    """Write all images of a kind to `folder`, if there is one; their names, and the test sets."""
    import h5py

    with mat.open("rb") as file:
        header = file.read(128)
    if header.startswith(b"MATLAB 5"):
        raise DataError(
            f"{mat}: a MATLAB v5 file; expected {_WHAT}. Was it loaded and saved again? "
            "Unpack the release anew."
        )
    names = []
    try:
        with h5py.File(mat, "r") as content:
            for name, image in _images(content, mat, kind):
                names.append(name)
                if folder is not None:
                    save_png(folder / name, np.ascontiguousarray(image[()].T))
            sets = _test_sets(content, mat)
    except DataError:
        raise
    except Exception as error:  # which ones h5py raises depends on where the damage is
        if isinstance(error, OSError) and error.errno and str(mat) not in str(error):
            raise  # of the disk we write to, not of the file we read
        raise DataError(
            f"{mat}: cannot be read as HDF5 ({type(error).__name__}: {error}); expected {_WHAT}. "
            f"The file may be truncated: it has {mat.stat().st_size:,} bytes"
        ) from error
    if not names:
        raise DataError(f"{mat}: {kind} holds no image; expected {_WHAT}")
    return {"files": sorted(names), "testsets": sets}


def _images(content: Any, mat: Path, kind: str) -> Iterator[tuple[str, Any]]:
    """The file name of every image, and its HDF5 array uint8 (3, W, H), not yet read."""
    missing = [name for name in (kind, "testsets") if name not in content]
    if missing:
        raise DataError(f"{mat}: no variable {missing[0]!r}; expected {_WHAT}")
    # HDF5 shows MATLAB's arrays with their axes reversed.
    for pair, reference in enumerate(_references(content[kind], mat), start=1):
        cells = content[reference]
        if cells.ndim != 2 or cells.dtype != np.dtype("O"):
            continue  # an empty cell array: a pair without persons
        if cells.shape[0] != CELLS:
            raise DataError(f"{mat}: {kind}, pair {pair}: {cells.shape[::-1]}, expected (M, 10)")
        persons = np.reshape(_references(cells, mat), cells.shape).T
        if pair > 5 or len(persons) > 999:
            raise DataError(f"{mat}: {kind}, pair {pair}: {len(persons)} persons; expected {_WHAT}")
        for person, row in enumerate(persons, start=1):
            images = [content[cell] for cell in row]
            if all(image.ndim < 3 for image in images):
                raise DataError(
                    f"{mat}: {kind}, pair {pair}, person {person}: all ten cells are empty; "
                    "expected at least one image"
                )
            for number, image in enumerate(images, start=1):
                if image.ndim < 3:  # an empty cell
                    continue
                fits = image.ndim == 3 and image.dtype == np.uint8 and image.shape[0] == 3
                if not fits or min(image.shape[1:]) < 4 or image.size > _LARGEST:
                    raise DataError(
                        f"{mat}: {kind}, pair {pair}, person {person}, cell {number}: "
                        f"{image.dtype} {image.shape[::-1]}; expected an image, uint8 (H, W, 3)"
                    )
                view = (number > CELLS // 2) + 1
                yield f"{pair}_{person:03d}_{view}_{number:02d}.png", image


def _test_sets(content: Any, mat: Path) -> list[list[list[int]]]:
    sets = []
    for reference in _references(content["testsets"], mat):
        rows = content[reference]
        if rows.size > _MOST:
            raise DataError(f"{mat}: testsets: {rows.size:,} numbers in one of them")
        sets.append(rows[()].T.astype(int).tolist())
    if len(sets) != TEST_SETS or any(not s or any(len(row) != 2 for row in s) for s in sets):
        raise DataError(f"{mat}: testsets: expected {TEST_SETS} lists of [pair, person]")
    return sets


def _references(array: Any, mat: Path) -> np.ndarray:
    """All references of an HDF5 array, in one dimension."""
    if array.size > _MOST:
        raise DataError(f"{mat}: an array of {array.size:,} cells; expected {_WHAT}")
    return np.ravel(array[()])
