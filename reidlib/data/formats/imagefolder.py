"""A folder of class folders, as ImageNet (ILSVRC2012) is commonly kept.

Backbones learn its classes; nothing in it need be a person. Whoever has the real ILSVRC2012 can
pretrain on it the very network that a paper uses; any other set of labelled pictures will do.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats import checks
from reidlib.errors import DataError

NAME = "imagefolder"
SPLITS = ("train", "val")
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp")
HELD_OUT = 25  # of a class, every so many-th image is tested on, where there is no val folder

TREE = """
<folder>/
  train/
    n01440764/     n01440764_18.JPEG ...
    n01443537/     ...
  val/             (optional) the same class folders
or
<folder>/
  n01440764/       ...
  n01443537/       ...
"""


def load(folder: Path, cache: Path | None = None) -> Dataset:
    """Read train/ and val/ of `folder`, or, where there is no train/, the class folders in it.

    Where there is no val/ with class folders (the original release's is flat), every 25th image of
    each class is held out. Splits "train" and "val" have the columns pid and label (number of the
    class, in the order of the classes' names), path, source (the class's name), and "class", which
    is categorical. `cache` remembers the files' digests, see `Dataset`.

    Raises:
        DataError: no such folder, fewer than two classes, a class without images, an empty file,
            classes in val/ that train/ does not have.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.\n{checks.expected_and_found(TREE, folder)}")
    top = folder / "train" if (folder / "train").is_dir() else folder
    classes = _folders(top)
    if len(classes) < 2:
        raise DataError(
            f"{top}: {len(classes)} class folders, expected at least two.\n"
            f"{checks.expected_and_found(TREE, folder)}"
        )
    train = {name: _images(folder, top / name) for name in classes}
    tests = folder / "val"
    if top != folder and tests.is_dir() and _folders(tests):
        if unknown := sorted(set(_folders(tests)) - set(classes)):
            raise DataError(f"{tests}: classes that train/ does not have: {', '.join(unknown[:5])}")
        val = {name: _images(folder, tests / name) for name in _folders(tests)}
    else:
        val = {name: paths[HELD_OUT - 1 :: HELD_OUT] for name, paths in train.items()}
        train = {
            name: [p for i, p in enumerate(paths) if i % HELD_OUT != HELD_OUT - 1]
            for name, paths in train.items()
        }
    frames = {"train": _frame(train, classes), "val": _frame(val, classes)}
    paths = [path for frame in frames.values() for path in frame["path"]]
    checks.check_files(folder.name, folder, paths, file_sizes(folder, paths))
    return Dataset(
        name=NAME,
        root=folder,
        images=folder,
        splits=frames,
        files=tuple(paths),
        synthetic=None,
        cache=cache,
    )


def _folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def _images(root: Path, folder: Path) -> list[str]:
    """The images directly in a class folder, relative to `root`, sorted."""
    prefix = folder.relative_to(root).as_posix()
    paths = [
        f"{prefix}/{entry.name}"
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
    ]
    if not paths:
        raise DataError(f"{folder}: no image in this class folder ({', '.join(SUFFIXES)})")
    return sorted(paths)


def _frame(images: dict[str, list[str]], classes: list[str]) -> pd.DataFrame:
    names = [name for name, paths in images.items() for _ in paths]
    number = {name: i for i, name in enumerate(classes)}
    pids = np.array([number[name] for name in names], dtype=np.int64)
    paths = [path for paths in images.values() for path in paths]
    return pd.DataFrame({
        "pid": pids,
        "label": pids,
        "path": pd.Series(paths, dtype=str),
        "source": pd.Series(names, dtype=str),
        "class": pd.Categorical(names, categories=classes),
    })  # fmt: skip
