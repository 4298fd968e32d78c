"""What every loader returns: one table per split, and a fingerprint of the files behind it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """A person re-identification dataset as found on disk.

    `splits` maps a split's name to a table with one row per **image**, in the annotation's order
    where it has one, else sorted by path. Columns:

    - `pid` (int64): identity, as in the annotation; the same in another split is the same person
      (query and gallery of image-image datasets).
    - `label` (int64): 0 ... C-1, the position of `pid` among the sorted pids of this split;
      image-image datasets have it in training splits only.
    - `path` (str): forward slashes, relative to `images`.
    - `source` (str): where the image was taken from; for CUHK-PEDES the first folder of `path`.
    - `captions` (list of str): text-image datasets only; at least one, possibly empty, string.
    - `camid` (int64): image-image datasets only.

    `images` is the folder that paths are relative to. `synthetic` holds the parameters of a
    generated dataset (its SYNTHETIC.json) and is None for real data. `fingerprint` (sha256, hex)
    changes when the annotation or the set or size of the image files does, and does not change when
    the dataset is moved or copied. `notes` are sentences about oddities that were found and
    tolerated, for reports to show.
    """

    name: str
    root: Path
    images: Path
    splits: dict[str, pd.DataFrame]
    synthetic: dict[str, Any] | None
    fingerprint: str
    notes: tuple[str, ...] = ()

    def image_paths(self, split: str) -> list[Path]:
        """Absolute path of every image of `split`, in row order."""
        return [self.images / path for path in self.splits[split]["path"]]


@dataclass(frozen=True)
class Hashed:
    """A dataset as a key of caches: equal to one with the same fingerprint in the same place."""

    dataset: Dataset

    def __hash__(self) -> int:
        return hash((self.dataset.name, self.dataset.fingerprint, self.dataset.root))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and hash(self) == hash(other)


def labels(pids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Class index (int64, 0 ... C-1) of every pid: its position among the sorted distinct pids."""
    return np.unique(np.asarray(pids, dtype=np.int64), return_inverse=True)[1].astype(np.int64)


def captions_frame(split: pd.DataFrame) -> pd.DataFrame:
    """One row per caption of a split: `image` (row number in `split`), `pid`, `label`, `caption`.

    Captions keep their order: by image, then as listed for that image.
    """
    counts = split["captions"].map(len).to_numpy(dtype=np.int64)
    image = np.repeat(np.arange(len(split), dtype=np.int64), counts)
    return pd.DataFrame(
        {
            "image": image,
            "pid": split["pid"].to_numpy()[image],
            "label": split["label"].to_numpy()[image],
            "caption": [caption for captions in split["captions"] for caption in captions],
        }
    )


def file_sizes(images: Path, paths: Sequence[str]) -> list[int]:
    """Size in bytes of every file `images / path`, -1 where there is none. Only calls `stat`."""
    folder = str(images)
    sizes = []
    for path in paths:
        try:
            sizes.append(os.stat(f"{folder}/{path}").st_size)
        except (FileNotFoundError, NotADirectoryError):
            sizes.append(-1)
    return sizes


def fingerprint(annotations: Sequence[Path], paths: Sequence[str], sizes: Sequence[int]) -> str:
    """sha256 (hex) over the annotation files' names and bytes and the sorted (path, size) list.

    `paths` are relative to the image folder, so the result is the same wherever the dataset lies;
    modification times play no part.
    """
    digest = hashlib.sha256()
    for annotation in annotations:
        content = annotation.read_bytes()
        digest.update(f"{annotation.name} {len(content)}\n".encode())
        digest.update(content)
    listing = sorted(zip(paths, sizes, strict=True))
    digest.update("\n".join(f"{path} {size}" for path, size in listing).encode())
    return digest.hexdigest()
