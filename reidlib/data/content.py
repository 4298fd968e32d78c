"""What files hold: digests of their content, remembered so that each file is read once.

What is remembered counts as long as the file's size, its inode and the times of its last change are
the same. It lies in a catalogue per folder, in a cache folder that the caller gives: a JSON file
with a digest of itself, so that a damaged one is found out and made anew.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from reidlib.errors import DataError
from reidlib.files import locked, read_regular, write_atomic

_VERSION = 1
_THREADS = 8  # reading, not computing: also on two cores
# Younger files may change again without a new time, whose clock ticks every few milliseconds.
_SETTLED_NS = 100_000_000

State = tuple[int, int, int, int]  # size, time of change, time of change of the status, inode


def digests(paths: Sequence[Path | str], cache: Path | None = None) -> list[str]:
    """SHA-256 (64 hex digits) of the content of every file, in order.

    Files that are remembered in `cache` cost a `stat` each; the others are read, several at a time.
    Without `cache` all are read.

    Raises `DataError` for a file that is missing, no regular file, cannot be read, or changes while
    it is read (names it).
    """
    names = [os.path.abspath(path) for path in paths]
    if cache is None or not names:
        return _all(names, {})
    catalogue = _catalogue(Path(cache), names)
    known = _read(catalogue)
    if not all(_is_known(known, name) for name in names):
        with locked(catalogue.with_suffix(".lock")):
            known = _read(catalogue)  # what another process found while we waited
            found = _all(names, known)
            _write(catalogue, known)
            return found
    return [known[name][1] for name in names]


def combined(named: Iterable[tuple[str, str]]) -> str:
    """One digest of (name, digest) pairs, whatever their order."""
    lines = sorted(f"{digest}  {name}\n" for name, digest in named)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


Known = dict[str, tuple[State, str]]


def _all(names: Sequence[str], known: Known) -> list[str]:
    """The digests of all files; `known` gains those that were not in it and may be remembered."""
    unknown = [name for name in dict.fromkeys(names) if not _is_known(known, name)]
    began = time.time_ns()
    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(unknown, pool.map(_digest, unknown), strict=True))
    for name, (state, digest) in found.items():
        known.pop(name, None)
        if abs(began - max(state[1:3])) > _SETTLED_NS:
            known[name] = state, digest
    return [found[name][1] if name in found else known[name][1] for name in names]


def _is_known(known: Known, name: str) -> bool:
    try:
        return name in known and known[name][0] == _state(os.stat(name))
    except (OSError, ValueError):
        return False  # reading it says what is wrong


def _state(status: os.stat_result) -> State:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _digest(name: str) -> tuple[State, str]:
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{name}: expected a regular file")
        with open(name, "rb") as file:
            before = _state(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _state(os.fstat(file.fileno()))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: cannot be read ({getattr(error, 'strerror', error)}); expected a file of "
            "the dataset"
        ) from error
    if before != after:
        raise DataError(f"{name}: changes while it is read; wait until it is written, start again")
    return after, digest


def _catalogue(cache: Path, names: Sequence[str]) -> Path:
    """Where the files' digests are remembered: with the files of a folder around them, if those
    are there, else in a catalogue of their own."""
    common = Path(os.path.commonpath({os.path.dirname(name) for name in names}))
    places = [_place(cache, folder) for folder in (common, *common.parents)]
    return next((place for place in places if place.is_file()), places[0])


def _place(cache: Path, folder: Path) -> Path:
    return cache / f"digests-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.json"


def _read(catalogue: Path) -> Known:
    """What the catalogue holds, the caller's own; parsed once as long as its file is the same."""
    try:
        return dict(_parsed(catalogue, _state(os.stat(catalogue))))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # not there, or damaged: everything is read again


@lru_cache(maxsize=8)
def _parsed(catalogue: Path, state: State) -> Known:
    content = json.loads(read_regular(catalogue))
    if content["version"] != _VERSION or content["sum"] != _sum(content["files"]):
        return {}
    return {name: (tuple(row[:4]), row[4]) for name, row in content["files"].items()}


def _write(catalogue: Path, known: Known) -> None:
    files = {name: [*state, digest] for name, (state, digest) in sorted(known.items())}
    content = {"version": _VERSION, "sum": _sum(files), "files": files}
    write_atomic(catalogue, json.dumps(content, separators=(",", ":")))


def _sum(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, separators=(",", ":")).encode()).hexdigest()
