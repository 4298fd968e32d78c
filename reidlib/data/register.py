"""The register of datasets: one line per format, and nothing else knows them all.

Standard library only: the command line reads it before anything is installed. Modules stand here as
dotted names and are imported when they are used.

A loader module has

    load(root, ...) -> Dataset       root: the folder that holds the dataset's folder. Further
                                     arguments where they mean something: `name` (several datasets
                                     in one format), `split` (number of the random split),
                                     `exports`, `cache` and `export` (see `Format.exports`)
    count(splits) -> {row: Counts}   what can be counted
    PUBLISHED = {name: {row: Counts}}                     of the release, for each dataset that has
                                                          numbers of its own
    expected_counts(synthetic, name) -> {row: Counts}     published, or those it was written with

and a writer module of the procedural world, which `reidlib.world.write` calls, has

    VERSION                          raised when the plan or the file formats change
    plan(seed, scale, ids)           every image to be; renders nothing
    count(plan), bytes_needed(plan, size)
    prepare(folder), write_part(folder, seed, size, part), finish(folder, entries)
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from reidlib.errors import UsageError

_LOADERS, _WRITERS = "reidlib.data.formats", "reidlib.world.writers"


@dataclass(frozen=True)
class Format:
    """What a dataset looks like on disk, and who reads and writes it.

    `folder` is its folder below the data root, `loader` and `writer` are modules. `datasets` maps
    the names that it offers (a dataset, or a protocol of it) to their number of random splits, 1
    where there is an official one. `cameras` are the world's camera families that stand for its
    pictures. `exports` says that pictures are kept inside other files and have to be written out
    before they can be read.
    """

    folder: str
    loader: str
    writer: str
    datasets: Mapping[str, int]
    cameras: tuple[str, ...]
    exports: bool = False


def _form(
    folder: str, module: str, datasets: Mapping[str, int], *cameras: str, exports: bool = False
) -> Format:
    loader, writer = f"{_LOADERS}.{module}", f"{_WRITERS}.{module}"
    return Format(folder, loader, writer, datasets, cameras, exports)


_PEDES = ("cuhk-pedes", "cuhk-pedes-ssm", "cuhk-pedes-cuhk03", "cuhk-pedes-market",
          "cuhk-pedes-viper", "cuhk-pedes-cuhk01", "cuhk-pedes-ssm-to-others")  # fmt: skip
_CUHK03 = {"cuhk03-classic-labeled": 20, "cuhk03-classic-detected": 20,
           "cuhk03-np-labeled": 1, "cuhk03-np-detected": 1}  # fmt: skip

FORMATS: dict[str, Format] = {
    "cuhk-pedes": _form("CUHK-PEDES", "cuhk_pedes", dict.fromkeys(_PEDES, 1),
                        "cuhk03", "market", "cuhk01", "viper", "sysu"),
    "icfg-pedes": _form("ICFG-PEDES", "icfg_pedes", {"icfg-pedes": 1}, "msmt"),
    "rstpreid": _form("RSTPReid", "rstpreid", {"rstpreid": 1}, "msmt"),
    "market1501": _form("Market-1501-v15.09.15", "market1501", {"market1501": 1}, "market"),
    "dukemtmc-reid": _form("DukeMTMC-reID", "dukemtmc", {"dukemtmc-reid": 1}, "duke"),
    "cuhk03": _form("cuhk03_release", "cuhk03", _CUHK03, "cuhk03", exports=True),
    "cuhk01": _form("CUHK01", "cuhk01", {"cuhk01": 10}, "cuhk01"),
    "cuhk-sysu": _form("CUHK-SYSU", "cuhk_sysu", {"cuhk-sysu": 1}, "sysu", exports=True),
    "viper": _form("VIPeR", "viper", {"viper": 10}, "viper"),
    "peta": _form("PETA dataset", "peta", {"peta": 10}, "campus", "cuhk03", "cuhk01", "msmt",
                  "sysu", "duke", "viper", "market"),
    "coco-keypoints": _form("coco", "coco_keypoints", {"coco-keypoints": 1}, "cuhk01", "market",
                            "cuhk03", "viper", "sysu", "duke", "msmt", "campus"),
    # For pretraining: people who are in none of the above.
    "strangers": _form("strangers", "strangers", {"strangers": 1}, "cuhk01", "cuhk03", "market",
                       "sysu", "viper", "duke", "msmt", "campus"),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """All datasets that can be loaded, without the numbers of their splits."""
    return tuple(name for form in FORMATS.values() for name in form.datasets)


def parse(name: str) -> tuple[str, int]:
    """A dataset's name without the number of its random split, and that number.

    Raises `UsageError` for an unknown dataset, or a split that it does not have.

    Example:
        >>> parse("cuhk01-split-3"), parse("market1501")
        (('cuhk01', 3), ('market1501', 0))
    """
    match = re.fullmatch(r"(.+?)-split-(\d{1,4})", name, re.ASCII)
    base, number = (match[1], int(match[2])) if match else (name, 0)
    splits = {known: n for form in FORMATS.values() for known, n in form.datasets.items()}
    if base not in splits or (match and splits[base] == 1):
        raise UsageError(f"unknown dataset {name!r}: expected one of {', '.join(splits)}")
    if number >= splits[base]:
        raise UsageError(f"{base}: split {number}; expected 0 to {splits[base] - 1}")
    return base, number


def format_of(name: str) -> str:
    """The format behind a dataset's name, or the name of a format itself: a key of `FORMATS`.

    Example:
        >>> format_of("cuhk03-classic-labeled-split-3"), format_of("cuhk03")
        ('cuhk03', 'cuhk03')
    """
    if name in FORMATS:
        return name
    base, _ = parse(name)
    return next(key for key, form in FORMATS.items() if base in form.datasets)


def splits_of(name: str) -> int:
    """How many random splits a dataset is used with; 1 if it has an official one.

    Example:
        >>> splits_of("cuhk01"), splits_of("cuhk-pedes")
        (10, 1)
    """
    base, _ = parse(name)
    return FORMATS[format_of(base)].datasets[base]


def with_split(name: str, number: int) -> str:
    """The name of the same dataset with random split `number`; 0 is the plain name.

    Example:
        >>> with_split("cuhk01", 3), with_split("cuhk01-split-3", 0)
        ('cuhk01-split-3', 'cuhk01')
    """
    base, _ = parse(name)
    split = f"{base}-split-{number}" if number else base
    parse(split)
    return split


def loader_of(name: str) -> ModuleType:
    """The module that loads a dataset or a format."""
    return importlib.import_module(FORMATS[format_of(name)].loader)
