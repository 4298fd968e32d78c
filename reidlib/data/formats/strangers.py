"""Strangers: pictures of people who are in no dataset, each with the kinds of things to be seen.

A format of our own, as there is no real counterpart: it stands in for ImageNet, whose classes are
kinds of things. Nobody has a name, nothing is described in words, and colors are kept apart, for
the one comparison that asks what they would change.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes, labels
from reidlib.data.formats import checks, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.image_sets import count
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

__all__ = ["ANNOTATION", "FOLDER", "NAME", "PUBLISHED", "SPLITS", "count", "load", "named_labels"]

NAME = "strangers"
FOLDER = FORMATS[NAME].folder
IMAGES = "images"
ANNOTATION = "labels.json"
SPLITS = ("train", "val")

PUBLISHED: dict[str, dict[str, Counts]] = {}  # there is no release

TREE = f"""
{FOLDER}/
  {IMAGES}/        000000_0.jpg ...
  {ANNOTATION}
"""
_FORM = '{"values": {label: [values]}, "images": [{"file", "person", "split", "labels"}]}'
_LABELS = ("kind of ", "color of ")


def load(root: Path) -> Dataset:
    """Read `root`/strangers, which `reidlib.world.writers.strangers` writes.

    Splits "train" and "val" (other people) have the columns pid, label, path and source, and one
    categorical column for each thing that is labelled, "kind of <thing>" or "color of <thing>",
    whose categories are the values in the annotation's order; what cannot be seen has none (code
    -1).

    Raises:
        DataError: missing folder or annotation, an annotation of another form, missing or empty
            images, wrong counts; names the file and says what was expected.
    """
    folder = checks.locate(root, FOLDER, ANNOTATION, TREE)
    synthetic = checks.read_synthetic(folder)
    annotation = folder / ANNOTATION
    values, rows = _read(annotation)
    splits = {}
    for split in SPLITS:
        chosen = [row for row in rows if row["split"] == split]
        pids = np.array([row["person"] for row in chosen], dtype=np.int64)
        frame = pd.DataFrame({
            "pid": pids,
            "label": labels(pids),
            "path": pd.Series([row["file"] for row in chosen], dtype=str),
            "source": FOLDER,
        })  # fmt: skip
        for name, categories in values.items():
            column = [row["labels"][name] for row in chosen]
            frame[name] = pd.Categorical(column, categories=categories)
        splits[split] = frame
    paths = [row["file"] for row in rows]
    checks.check_files(FOLDER, folder, paths, file_sizes(folder, paths))
    image_sets.check_counts(NAME, folder, count(splits), synthetic, count(splits))
    return Dataset(
        name=NAME,
        root=folder,
        images=folder,
        splits=splits,
        files=(ANNOTATION, *paths),
        synthetic=synthetic,
    )


def named_labels(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The labelled columns of a split of an image-classification dataset, and their values."""
    return {
        name: tuple(column.cat.categories)
        for name, column in frame.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }


def _read(path: Path) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Values of every label, and the images."""
    content = checks.read_json(path, _FORM)
    try:
        values, rows = content["values"], content["images"]
        for name, entries in values.items():
            right = isinstance(entries, list) and all(isinstance(e, str) for e in entries)
            if not right or len(set(entries)) != len(entries) or not name.startswith(_LABELS):
                raise DataError(
                    f"{path}: values of {checks.shown(name)}: expected a label "
                    f"({' or '.join(_LABELS)}...) and different names"
                )
        files: set[str] = set()
        for row in rows:
            if problem := _problem(row, values, files):
                raise DataError(f"{path}: {checks.shown(row['file'])}: {problem}")
            files.add(row["file"])
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected {_FORM}; {checks.shown(repr(error))}") from error
    return values, rows


def _problem(row: dict[str, Any], values: dict[str, list[str]], files: set[str]) -> str:
    """What is wrong with an image's entry, "" if nothing is."""
    if not isinstance(row["file"], str):
        return "expected the name of a file"
    if problem := checks.path_problem(row["file"]):
        return problem
    if row["file"] in files:
        return "listed twice"
    person = row["person"]
    wrong = [n for n in values if row["labels"][n] not in (*values[n], None)]
    if wrong or row["split"] not in SPLITS or type(person) is not int:
        return (
            f"expected a split of {SPLITS}, a number for the person and labels among `values`; "
            f"found {checks.shown(row)}"
        )
    return "" if 0 <= person <= checks.MAX_ID else f"expected a person up to {checks.MAX_ID}"
