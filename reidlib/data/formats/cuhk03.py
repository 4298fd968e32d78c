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

import hashlib
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import SYNTHETIC, Counts
from reidlib.data.dataset import Dataset, fingerprint
from reidlib.data.formats.exported import INDEX, exported, load_mat, save_png
from reidlib.errors import DataError, UsageError

NAME = "cuhk03"
NAMES = (
    "cuhk03-classic-labeled",
    "cuhk03-classic-detected",
    "cuhk03-np-labeled",
    "cuhk03-np-detected",
)
FOLDER = "cuhk03_release"
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

TREE = """
cuhk03_release/
  cuhk-03.mat
  cuhk03_new_protocol_config_labeled.mat     (767/700 protocol only)
  cuhk03_new_protocol_config_detected.mat    (767/700 protocol only)
"""

_WHAT = "the release's file in MATLAB v7.3 (HDF5) with labeled, detected and testsets"
_NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})\.png")
_BYTES_PER_IMAGE = 80_000


def load(
    root: Path,
    name: str = NAMES[2],
    split: int = 0,
    check_files: bool = True,
    images: Path | None = None,
) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/cuhk03_release.

    The first call writes the images of the wanted kind to PNG files <pair>_<person>_<view>_<cell>,
    which takes some minutes for the real data; they are made anew when cuhk-03.mat changes.

    Args:
        root: the folder that contains cuhk03_release/.
        name: one of `NAMES`: protocol and kind of boxes.
        split: which of the 20 test sets, 0 to 19; classic protocol only.
        check_files: is here for likeness with the other loaders; exported files are complete.
        images: folder for the exported images; by default cuhk03_release/ itself.

    Raises:
        UsageError: unknown name or split.
        DataError: missing, truncated or wrong .mat file, wrong counts; names the file and says
            what was expected.
    """
    if name not in NAMES:
        raise UsageError(f"unknown dataset {name!r}: expected {', '.join(NAMES)}")
    _, protocol, kind = name.split("-")
    if not 0 <= split < TEST_SETS or (split and protocol == "np"):
        raise UsageError(f"{name}: split {split}; expected 0 to 19, and 0 for the 767/700 protocol")
    folder = checks.locate(root, FOLDER, MAT, TREE)
    mat = folder / MAT
    if not mat.is_file():
        raise DataError(f"{mat} not found.\n{checks.expected_and_found(TREE, folder)}")
    synthetic = checks.read_synthetic(folder)
    where, index = exported(
        images or folder, f"images_{kind}", [mat], partial(_export, mat, kind),
        IMAGES[kind] * _BYTES_PER_IMAGE if synthetic is None else 2 * mat.stat().st_size,
    )  # fmt: skip
    table = _table(index["files"])
    files = [where / INDEX] + ([] if synthetic is None else [folder / SYNTHETIC])
    if protocol == "np":
        config = folder / CONFIG.format(kind)
        splits = _new_protocol(config, table)
        files.append(config)
    else:
        splits = _classic(mat, table, index["testsets"], split)
    published = _published(protocol, kind)
    found = {row: counts for row, counts in count(splits).items() if row in published}
    image_sets.check_counts(f"{FOLDER}, {name}", folder, found, _of(synthetic, name), published)
    notes = image_sets.check_matches(name, folder, splits["query"], splits["gallery"])
    return Dataset(
        name=name,
        root=folder,
        images=where,
        splits=splits,
        synthetic=synthetic,
        fingerprint=hashlib.sha256(f"{fingerprint(files, [], [])} {split}".encode()).hexdigest(),
        notes=notes,
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
    for split, variable in parts.items():
        rows = np.atleast_1d(content[variable]).astype(np.int64) - 1  # counted from 1
        if not len(rows) or rows.min() < 0 or rows.max() >= len(table):
            raise DataError(f"{config}: {variable} has numbers beyond 1 to {len(table):,}")
        splits[split] = _columns(table.iloc[np.sort(rows)], split == "train")
    return splits


def count(splits: dict[str, pd.DataFrame]) -> dict[str, Counts]:
    """Images and identities: of every split and in all (a classic test image counts once)."""
    found = image_sets.count(splits)
    together = pd.concat(list(splits.values()))[["pid", "path"]].drop_duplicates()
    return {ALL: Counts(len(together), int(together["pid"].nunique())), **found}


def _published(protocol: str, kind: str) -> dict[str, Counts]:
    whole = {ALL: Counts(IMAGES[kind], PERSONS)}
    if protocol == "np":
        return whole | {split: Counts(*numbers) for split, numbers in NP[kind].items()}
    return whole


def _of(synthetic: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """SYNTHETIC.json with the counts of one of the four datasets in it."""
    if synthetic is None:
        return None
    return {**synthetic, "counts": synthetic.get("counts", {}).get(name)}


def expected_counts(synthetic: dict[str, Any] | None, name: str = NAMES[2]) -> dict[str, Counts]:
    """Published counts, or for generated data those it was written with."""
    _, protocol, kind = name.split("-")
    return image_sets.expected_counts(_of(synthetic, name), _published(protocol, kind))


def _export(mat: Path, kind: str, folder: Path) -> dict[str, Any]:
    """Write all images of a kind; returns their names, the test sets and a digest of the pixels."""
    import h5py

    with mat.open("rb") as file:
        header = file.read(128)
    if header.startswith(b"MATLAB 5"):
        raise DataError(
            f"{mat}: a MATLAB v5 file; expected {_WHAT}. Was it loaded and saved again? "
            "Unpack the release anew."
        )
    try:
        with h5py.File(mat, "r") as content:
            return _export_from(content, mat, kind, folder)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno and str(mat) not in str(error):
            raise  # of the disk we write to, not of the file we read
        raise DataError(
            f"{mat}: cannot be read as HDF5 ({error}); expected {_WHAT}. The file may be "
            f"truncated: it has {mat.stat().st_size:,} bytes"
        ) from error


def _export_from(content: Any, mat: Path, kind: str, folder: Path) -> dict[str, Any]:
    missing = [name for name in (kind, "testsets") if name not in content]
    if missing:
        raise DataError(f"{mat}: no variable {missing[0]!r}; expected {_WHAT}")
    names, digest = [], hashlib.sha256()
    # HDF5 shows MATLAB's arrays with their axes reversed.
    for pair, reference in enumerate(np.ravel(content[kind][()]), start=1):
        cells = content[reference]
        if cells.ndim != 2 or cells.dtype != np.dtype("O"):
            continue  # an empty cell array: a pair without persons
        if cells.shape[0] != CELLS:
            raise DataError(f"{mat}: {kind}, pair {pair}: {cells.shape[::-1]}, expected (M, 10)")
        for person, row in enumerate(cells[()].T, start=1):
            images = [content[cell] for cell in row]
            if all(image.ndim < 3 for image in images):
                raise DataError(
                    f"{mat}: {kind}, pair {pair}, person {person}: all ten cells are empty; "
                    "expected at least one image"
                )
            for number, image in enumerate(images, start=1):
                if image.ndim < 3:  # an empty cell
                    continue
                if image.dtype != np.uint8 or image.shape[0] != 3 or min(image.shape[1:]) < 4:
                    raise DataError(
                        f"{mat}: {kind}, pair {pair}, person {person}, cell {number}: "
                        f"{image.dtype} {image.shape[::-1]}; expected an image, uint8 (H, W, 3)"
                    )
                pixels = np.ascontiguousarray(image[()].T)
                name = f"{pair}_{person:03d}_{(number > CELLS // 2) + 1}_{number:02d}.png"
                digest.update(f"{name} {pixels.shape}".encode())
                digest.update(pixels)
                save_png(folder / name, pixels)
                names.append(name)
    if not names:
        raise DataError(f"{mat}: {kind} holds no image; expected {_WHAT}")
    sets = [
        content[reference][()].T.astype(int).tolist()
        for reference in np.ravel(content["testsets"][()])
    ]
    if len(sets) != TEST_SETS or any(len(row) != 2 for rows in sets for row in rows):
        raise DataError(f"{mat}: testsets: expected {TEST_SETS} lists of [pair, person]")
    return {"files": sorted(names), "testsets": sets, "pixels": digest.hexdigest()}


# For `doctor`, one per dataset name.
FORMATS = tuple(
    SimpleNamespace(
        NAME=name,
        FOLDER=FOLDER,
        load=partial(load, name=name),
        count=lambda splits, name=name: {
            row: counts
            for row, counts in count(splits).items()
            if row in _published(*name.split("-")[1:])
        },
        expected_counts=partial(expected_counts, name=name),
    )
    for name in NAMES
)
