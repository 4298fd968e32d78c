"""What every loader returns: one table per split, and a fingerprint of the files behind it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data import content, generated
from reidlib.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
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

    `images` is the folder that paths are relative to. `files` are all the files that tables and
    pictures come from, relative to `root`, with forward slashes. `synthetic` holds the parameters
    of a generated dataset (its SYNTHETIC.json) and is None for real data. `split` is the number of
    the random split, 0 where there is an official one. `notes` are sentences about oddities that
    were found and tolerated, for reports to show. `cache` is the folder that remembers digests of
    files; without it, files are read whole for every fingerprint.
    """

    name: str
    root: Path
    images: Path
    splits: dict[str, pd.DataFrame]
    files: tuple[str, ...]
    synthetic: dict[str, Any] | None
    split: int = 0
    notes: tuple[str, ...] = ()
    cache: Path | None = None

    def __repr__(self) -> str:
        """A line per split: what one wants to see first, and not thousands of file names."""
        made = "" if self.synthetic is None else ", synthetic"
        lines = [f"{self.name} in {self.root}{made}"]
        for name, table in self.splits.items():
            found = [f"  {name}: {len(table):,} images"]
            for column in ("pid", "camid"):
                if column in table:
                    found.append(f"{table[column].nunique():,} {column}s")
            if "captions" in table:
                found.append(f"{table['captions'].map(len).sum():,} captions")
            lines.append(", ".join(found))
        return "\n".join(lines)

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits that change when the data does, and not when it is moved or copied.

        Of real data: a digest of the content of all `files`. Of generated data: one of what it was
        made from, the same as `reidlib.world.write.world_fingerprint` gives before it is drawn.
        Equal for the random splits and the protocols of one format; names tell those apart.

        Raises `DataError` if files cannot be read, or generated ones are not what was written.
        """
        if self.synthetic is not None:
            generated.verify(self.root, self.synthetic, self.cache)
            return generated.made_from(self.synthetic)
        found = content.digests([self.root / name for name in self.files], self.cache)
        return content.combined(zip(self.files, found, strict=True))

    def image_paths(self, split: str) -> list[Path]:
        """Absolute path of every image of `split`, in row order."""
        return [self.images / path for path in self.splits[split]["path"]]


@dataclass(frozen=True)
class Hashed:
    """A dataset as a key of caches: equal to one with the same fingerprint in the same place."""

    dataset: Dataset

    @property
    def _key(self) -> tuple[Any, ...]:
        data = self.dataset
        return data.name, data.split, data.fingerprint, data.root

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self._key == other._key


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
    """Size in bytes of every file `images / path`, -1 where there is none. Only calls `stat`.

    Raises `DataError` where the file system does not let us see.
    """
    folder = str(images)
    sizes = []
    for path in paths:
        try:
            sizes.append(os.stat(f"{folder}/{path}").st_size)
        except (FileNotFoundError, NotADirectoryError):
            sizes.append(-1)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}/{path}: cannot be looked at ({getattr(error, 'strerror', error)}); "
                "expected a file that this user may read"
            ) from error
    return sizes
