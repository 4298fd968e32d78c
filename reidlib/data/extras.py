"""What some trainings read beside their dataset, by the name under which experiments ask for it.

A need is a line of `NEEDS`: which files hold it, and whether what is in them will do. Both raise
`DataError` where it is not there, before anything is decoded or trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from reidlib.data import content
from reidlib.data.batches.attributed import load_attributes
from reidlib.data.batches.borrowed_captions import find_annotation, join_captions
from reidlib.data.dataset import Dataset, Hashed
from reidlib.data.formats import attributes, keypoints, peta, release_tokens
from reidlib.data.formats.mask_files import mask_paths
from reidlib.errors import UsageError


@dataclass(frozen=True)
class Need:
    """How a need is met: `files` finds the files that hold it, `check` reads what is in them."""

    files: Callable[[Dataset], list[Path]]
    check: Callable[[Dataset], object]


def _masks(dataset: Dataset) -> list[Path]:
    return mask_paths(dataset, "train")


def _captions(dataset: Dataset) -> list[Path]:
    return [] if _has_captions(dataset) else [find_annotation(dataset)]


def _check_captions(dataset: Dataset) -> None:
    if not _has_captions(dataset):
        join_captions(dataset)


def _has_captions(dataset: Dataset) -> bool:
    """Whether the dataset itself describes its images, and borrows no captions."""
    return "captions" in dataset.splits["train"]


_POSED = ("train", "query", "gallery")  # splits whose images are taken apart by key points


def _keypoints(dataset: Dataset) -> list[Path]:
    return keypoints.files(dataset, _POSED)


def _check_keypoints(dataset: Dataset) -> None:
    for split in _POSED:
        keypoints.remembered(dataset, split)


def _attributes(dataset: Dataset) -> list[Path]:
    if dataset.name == peta.NAME:
        return peta.attribute_files(dataset)
    return [attributes.find(dataset)]


def _tokens(dataset: Dataset) -> list[Path]:
    return []  # they stand in the annotation, which is among the dataset's own files


NEEDS: dict[str, Need] = {
    "masks": Need(_masks, _masks),
    "captions": Need(_captions, _check_captions),
    "keypoints": Need(_keypoints, _check_keypoints),
    "attributes": Need(_attributes, load_attributes),
    "tokens": Need(_tokens, release_tokens.load),
}


def extra_files(need: str, dataset: Dataset) -> list[Path]:
    """The files that hold what is needed; none where the dataset's own files do.

    Raises `DataError` if they are missing, `UsageError` for an unknown need.
    """
    return _need(need).files(dataset)


def check(need: str, dataset: Dataset) -> None:
    """Raise `DataError` if a dataset lacks something that a training needs, or it will not do."""
    _check(need, Hashed(dataset))


@lru_cache(maxsize=64)
def _check(need: str, hashed: Hashed) -> None:
    _need(need).check(hashed.dataset)


def extras_fingerprint(needs: Sequence[str], dataset: Dataset) -> str:
    """A digest of the content of all files that hold what is needed.

    "" where nothing is needed, or the dataset's own fingerprint stands for it: that of generated
    data does for all files of the dataset.
    """
    return _fingerprint(tuple(needs), Hashed(dataset)) if needs else ""


@lru_cache(maxsize=64)
def _fingerprint(needs: tuple[str, ...], hashed: Hashed) -> str:
    dataset = hashed.dataset
    files = {path for need in needs for path in extra_files(need, dataset)}
    if dataset.synthetic is not None:
        files = {path for path in files if not path.is_relative_to(dataset.root)}
    if not files:
        return ""
    paths = sorted(files)
    names = [path.relative_to(dataset.root.parent).as_posix() for path in paths]
    found = content.digests(paths, dataset.cache)
    return content.combined(zip(names, found, strict=True))


def _need(name: str) -> Need:
    if name not in NEEDS:
        raise UsageError(f"unknown need {name!r}: expected one of {', '.join(NEEDS)}")
    return NEEDS[name]
