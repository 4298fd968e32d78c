"""What the loaders of image-to-image datasets share: tables, counts, and checks of a protocol."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes, labels
from reidlib.data.formats import checks
from reidlib.data.formats.checks import Counts
from reidlib.errors import DataError, UsageError

Row = tuple[int, int, str, str]  # pid, camid, path, source


def frame(rows: Sequence[Row], train: bool = False) -> pd.DataFrame:
    """The table of a split: pid, label (training splits only), camid, path, source."""
    table = pd.DataFrame(
        {
            "pid": np.array([row[0] for row in rows], dtype=np.int64),
            "camid": np.array([row[1] for row in rows], dtype=np.int64),
            "path": pd.Series([row[2] for row in rows], dtype=str),
            "source": pd.Series([row[3] for row in rows], dtype=str),
        }
    )
    if train:
        table.insert(1, "label", labels(table["pid"].to_numpy()))
    return table


def parse_names(
    folder: Path, suffixes: Iterable[str], pattern: re.Pattern[str], form: str, tree: str
) -> list[re.Match[str]]:
    """Match the file names of `folder` that end in one of `suffixes`, sorted by name.

    Hidden files and other file types (Thumbs.db) are passed over.

    Raises:
        DataError: no such folder, no image in it, or a name that `pattern` does not match; `form`
            is the pattern in words, `tree` the layout of the dataset.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder.\n{checks.expected_and_found(tree, folder.parent)}"
        )
    endings = tuple(suffixes)
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name.lower().endswith(endings) and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(
            f"{folder}: no {' or '.join(endings)} file in it.\n"
            f"{checks.expected_and_found(tree, folder)}"
        )
    matches = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise DataError(
                f"{folder / checks.shown(name)}: the file name does not parse; expected {form}"
            )
        matches.append(match)
    return matches


def count(splits: Mapping[str, pd.DataFrame], nobody: Sequence[int] = ()) -> dict[str, Counts]:
    """Images and identities of every split; pids in `nobody` are no identity."""
    return {
        name: Counts(images=len(table), ids=len(set(table["pid"]) - set(nobody)))
        for name, table in splits.items()
    }


def check_counts(
    name: str,
    where: Path,
    found: Mapping[str, Counts],
    synthetic: Mapping[str, Any] | None,
    published: Mapping[str, Counts],
) -> None:
    """Raise `DataError` with a table if counts are not the expected ones."""
    hint = (
        "The published counts are expected of data that has no SYNTHETIC.json beside it. Partial "
        "downloads are common: unpack the archive again."
        if synthetic is None
        else checks.changed_after(where)
    )
    expected = checks.expected_counts(published, synthetic, where, name)
    checks.check_counts(f"{where.name}, {name}", where, found, expected, hint)


def check_halves(
    folder: Path, splits: Mapping[str, pd.DataFrame], folders: Mapping[str, str]
) -> None:
    """Raise `DataError` if a person is in the training and in the gallery split; `folders` names
    the folder of a split."""
    both = sorted(set(splits["train"]["pid"]) & set(splits["gallery"]["pid"]))
    if both:
        raise DataError(
            f"{folder}: {len(both)} persons are in {folders['train']} and in {folders['gallery']}, "
            f"the first is {both[0]:04d}; expected every person in one half"
        )


def assembled(
    name: str,
    folder: Path,
    splits: dict[str, pd.DataFrame],
    synthetic: dict[str, Any] | None,
    notes: tuple[str, ...],
    *,
    images: str = "",
    split: int = 0,
    check_files: bool = True,
) -> Dataset:
    """The dataset that a loader has read.

    Args:
        folder: that of the dataset; `images` is the one in it that paths are relative to.
        split: number of the random split.
        check_files: raise `DataError` if an image file is missing or empty.
    """
    place = folder / images
    paths = [path for table in splits.values() for path in table["path"]]
    if check_files:
        checks.check_files(folder.name, place, paths, file_sizes(place, paths))
    return Dataset(
        name=name,
        root=folder,
        images=place,
        splits=splits,
        files=tuple(f"{images}/{path}" if images else path for path in paths),
        synthetic=synthetic,
        split=split,
        notes=notes,
    )


def check_matches(
    name: str, where: Path, query: pd.DataFrame, gallery: pd.DataFrame
) -> tuple[str, ...]:
    """A note on queries that no gallery image of another camera matches.

    Raises `DataError` if that are all of them: every measure would be undefined.
    """
    cameras = gallery.groupby("pid")["camid"].agg(lambda camids: frozenset(camids))
    matched = [
        bool(cameras.get(pid, frozenset()) - {camid})
        for pid, camid in zip(query["pid"], query["camid"], strict=True)
    ]
    without = len(matched) - sum(matched)
    if without == len(query):
        raise DataError(
            f"{name}: none of the {len(query):,} queries in {where} has an image of the same "
            "person by another camera in the gallery; expected one for each. Were query and "
            "gallery taken from different copies or protocols?"
        )
    if not without:
        return ()
    return (f"{without} of {len(query)} queries have no match by another camera: not evaluated",)


def random_half(pids: Sequence[int], split: int, key: str) -> set[int]:
    """The training half (the smaller one, if the number is odd) of a dataset without a split.

    A function of its arguments alone: the same halves on every machine.
    """
    rng = random.Random(f"{key} {split}").random
    persons = sorted(set(pids))
    order = sorted((rng(), pid) for pid in persons)
    return {pid for _, pid in order[: len(persons) // 2]}


def check_split(name: str, split: int, splits: int = 10) -> None:
    """Raise `UsageError` unless `split` is 0 ... `splits` - 1."""
    if not 0 <= split < splits:
        raise UsageError(f"{name}: split {split}; expected 0 to {splits - 1}")
