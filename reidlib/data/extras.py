"""What some trainings read beside their dataset, by the name under which experiments ask for it."""

from functools import lru_cache
from pathlib import Path

from reidlib.data.batches.borrowed_captions import find_annotation, join_captions
from reidlib.data.batches.masks import mask_paths
from reidlib.data.dataset import Dataset, Hashed, fingerprint
from reidlib.errors import UsageError

NEEDS = ("masks", "captions")


def check(need: str, dataset: Dataset) -> None:
    """Raise `DataError` if a dataset lacks something that a training needs."""
    _check(need, Hashed(dataset))


@lru_cache(maxsize=32)
def _check(need: str, hashed: Hashed) -> None:
    if need == "captions":
        join_captions(hashed.dataset)
    else:
        extra_files(need, hashed.dataset)


def extra_files(need: str, dataset: Dataset) -> list[Path]:
    """The files that hold it; raises `DataError` if they are missing."""
    if need == "masks":
        return mask_paths(dataset, "train")
    if need == "captions":
        return [find_annotation(dataset)]
    raise UsageError(f"unknown need {need!r}: expected one of {', '.join(NEEDS)}")


def extras_fingerprint(needs: tuple[str, ...], dataset: Dataset) -> str:
    """Of all the files that hold what is needed; "" where nothing is."""
    return _fingerprint(needs, Hashed(dataset)) if needs else ""


@lru_cache(maxsize=32)
def _fingerprint(needs: tuple[str, ...], hashed: Hashed) -> str:
    listings = []
    for need in needs:
        paths = extra_files(need, hashed.dataset)
        if len(paths) == 1:
            listings.append(fingerprint(paths, [], []))
        else:
            names = [path.name for path in paths]
            listings.append(fingerprint([], names, [path.stat().st_size for path in paths]))
    return "+".join(listings)
