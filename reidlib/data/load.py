"""Every dataset by its name, which carries the protocol: "cuhk03-classic-labeled-split-3"."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from reidlib.data.dataset import Dataset
from reidlib.data.register import FORMATS, format_of, loader_of, parse, splits_of, with_split

__all__ = ["format_of", "load", "parse", "splits_of", "with_split"]


def load(root: Path, name: str, exports: Path | None = None, cache: Path | None = None) -> Dataset:
    """The dataset called `name`, from the folder `root` that the datasets' folders are in.

    Args:
        name: one of `reidlib.data.register.names()`; for datasets with random splits also with
            "-split-<k>" behind it, the number of the split (0 where none is given).
        exports: folder for images that are kept inside other files (CUHK03, CUHK-SYSU) and
            written out on the first load; by default the dataset's own folder.
        cache: folder that remembers the digests of files, so that each is read whole only once.

    Raises:
        UsageError: no such dataset.
        DataError: the data is missing, or not what it should be; a generated dataset is not what
            was written.
    """
    root = Path(root)
    base, split = parse(name)
    form = FORMATS[format_of(base)]
    arguments: dict[str, Any] = {}
    if len(form.datasets) > 1:
        arguments["name"] = base
    if form.datasets[base] > 1:
        arguments["split"] = split
    if form.exports:
        arguments |= {"exports": exports, "cache": cache}
    dataset = replace(loader_of(base).load(root, **arguments), cache=cache)
    if dataset.synthetic is not None:
        _ = dataset.fingerprint  # raises if it is not what was written
    return dataset
