"""Writing files so that nothing half-written is ever taken for finished, and locking them."""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.errors import DataError, StoreError

try:  # POSIX; elsewhere the fallback below serves
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EISDIR,
)


@contextmanager
def explain_os_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn a full disk or a read-only folder into a `StoreError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"{path}: no space left while {doing}. Finished runs are untouched; free some "
                "space and start the same command again, it goes on where it stopped."
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise StoreError(
                f"{path}: not writable while {doing} ({error.strerror}); expected a folder this "
                "user may write to."
            ) from error
        raise


@contextmanager
def disk_errors(path: Path, doing: str, needed: int | None = None) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into a `DataError` naming `path`.

    `needed` is the number of bytes that what is being done takes in all.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            need = "" if needed is None else f" It takes up to {needed / 2**20:,.0f} MiB in all."
            raise DataError(
                f"{path}: no space left on the device while {doing}.{need} What was written so "
                "far has been removed."
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise DataError(
                f"{error.filename or path}: cannot be written while {doing} ({error.strerror}); "
                "expected a folder this user may write to"
            ) from error
        raise


def check_space(path: Path, needed: int, doing: str) -> None:
    """Raise `DataError` before starting if the disk of `path` (an existing folder) is too full."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DataError(
            f"{path}: {doing} takes up to {needed / 2**20:,.0f} MiB, and only "
            f"{free / 2**20:,.0f} MiB are free there"
        )


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that readers see either the old file or the whole new one.

    Raises `StoreError` when the disk is full or the folder is not writable; the old file stays.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")  # halves of characters as \\ud800
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_os_errors(path, "writing it"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` for JSON: sorted keys, two spaces, newline at the end."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_regular(path: Path) -> bytes:
    """The content of a file. Raises `OSError`, also for what is no regular file: reading a pipe
    would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return path.read_bytes()


def check_named_digest(path: Path) -> None:
    """Raise `DataError` unless the SHA-256 of a weight file begins as its name ends.

    Such files stand outside of all keys and seals: another one of the same form would give other
    numbers under the same name.
    """
    prefix = path.stem.rpartition("-")[2]
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected weights") from error
    if not digest.startswith(prefix):
        raise DataError(
            f"{path}: SHA-256 is {digest[:8]}..., expected {prefix}...: the file is damaged, or "
            "another one under its name; copy it again"
        )


def read_arrays(path: Path, most: int = 1 << 30) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file; None if it is not there, or damaged.

    Sizes are checked before anything is allocated: an array has as many bytes as its shape says,
    and all together have at most `most`. Nothing pickled is read.
    """
    try:
        arrays = {}
        if not path.is_file():  # a pipe would be waited for
            return None
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most:
                return None
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
                    if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                        return None
                    file.seek(0)
                    arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(file)
    except Exception:  # which ones are raised depends on where the damage is
        return None
    return arrays


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """64 hex digits of named arrays: of their names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold the lock file `path`; yields False (holding nothing) if `wait` is off and it is taken.

    A lock that is `shared` keeps out only those that are not. The lock belongs to the process: the
    operating system drops it when the process ends, however it ends, so a lock file that is left
    behind blocks nobody.
    """
    with explain_os_errors(path, "locking it"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        if fcntl is None:  # pragma: no cover - Windows
            if shared:
                yield True  # there is no such lock there
                return
            yield from _locked_windows(file, wait)
            return
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _locked_windows(file: Any, wait: bool) -> Iterator[bool]:  # pragma: no cover - Windows
    import msvcrt

    while True:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            break
        except OSError:
            if not wait:
                yield False
                return
            time.sleep(0.1)
    try:
        yield True
    finally:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
