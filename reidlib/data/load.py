"""Every dataset by its name, which carries the protocol: "cuhk03-classic-labeled-split-3"."""

import re
from pathlib import Path

from reidlib.data.formats import (
    cuhk01,
    cuhk03,
    cuhk_pedes,
    cuhk_sysu,
    dukemtmc,
    icfg_pedes,
    market1501,
    rstpreid,
    viper,
)
from reidlib.data.dataset import Dataset
from reidlib.errors import UsageError

_WHOLE = {module.NAME: module for module in (cuhk_pedes, icfg_pedes, rstpreid, market1501, dukemtmc)}
_HALVES = {module.NAME: module for module in (cuhk01, viper)}  # split in halves, ten times

NAMES = (
    *_WHOLE,
    *cuhk_pedes.DOMAINS,
    cuhk_pedes.TRANSFER,
    cuhk_sysu.NAME,
    *_HALVES,
    *cuhk03.NAMES,
)


def load(root: Path, name: str, exports: Path | None = None) -> Dataset:
    """The dataset called `name`, from the folder `root` that the datasets' folders are in.

    Args:
        name: one of `NAMES`; for CUHK01, VIPeR and the classic protocol of CUHK03 also with
            "-split-<k>" behind it, the number of the random split (0 where none is given).
        exports: folder for images that are kept inside other files (CUHK03, CUHK-SYSU) and
            written out on the first load; by default the dataset's own folder.

    Raises:
        UsageError: no such dataset.
        DataError: the data is missing, or not what it should be.
    """
    base, number = parse(name)
    if base in _WHOLE:
        return _WHOLE[base].load(root)
    if base == cuhk_pedes.TRANSFER:
        return cuhk_pedes.transfer(cuhk_pedes.load(root))
    if base in cuhk_pedes.DOMAINS:
        return cuhk_pedes.domain(cuhk_pedes.load(root), base)
    if base == cuhk_sysu.NAME:
        return cuhk_sysu.load(root, images=exports)
    if base in _HALVES:
        return _HALVES[base].load(root, split=number)
    return cuhk03.load(root, base, split=number, images=exports)


def parse(name: str) -> tuple[str, int]:
    """A dataset's name without the number of its split, and that number."""
    match = re.fullmatch(r"(.+?)(?:-split-(\d+))?", name)
    base, number = (match[1], int(match[2] or 0)) if match else (name, 0)
    splits = base in _HALVES or base.startswith("cuhk03-classic")
    if base not in NAMES or (match and match[2] and not splits):
        raise UsageError(f"unknown dataset {name!r}: expected one of {', '.join(NAMES)}")
    return base, number


def format_of(name: str) -> str:
    """The on-disk format behind a dataset's name, which is a writer's name, too: "cuhk03"."""
    if name == cuhk03.NAME:  # the format itself, not one of the datasets in it
        return name
    base, _ = parse(name)
    if base in cuhk03.NAMES:
        return cuhk03.NAME
    return cuhk_pedes.NAME if base.startswith(cuhk_pedes.NAME) else base
