"""Images that a dataset keeps inside other files, written out once as PNG files.

CUHK03 keeps its images inside a .mat file, CUHK-SYSU its persons inside pictures of whole scenes.
Everything after the loader reads image files, so these are made on the first load, in a folder
named after the content of what they were made from.
"""

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from reidlib.data import content
from reidlib.data.formats import mat_structure
from reidlib.data.formats.checks import read_json
from reidlib.errors import DataError
from reidlib.experiment import hash_json
from reidlib.files import check_space, disk_errors, locked

INDEX = "index.json"
MAX_MAT = 1 << 28  # bytes that a MATLAB v5 file unpacks to; the largest read here has some 2**25
_COMPRESSED = 15  # the kind of a variable that is packed with zlib
_V5 = 0x0100
_CHUNK = 1 << 20
_VERSION = 2  # raised when exported images change


def exported(
    place: Path,
    name: str,
    folder: Path,
    sources: Sequence[str],
    write: Callable[[Path], dict[str, Any]],
    needed: int,
    cache: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """The folder with the exported images of `sources`, and its index; made if it is not there.

    The folder `place`/`name`-<state> appears when it is complete. One made from other content, or
    in which a file is missing or changed, is removed and made anew. Several processes make it once.

    Args:
        place: where to keep it.
        name: what is exported; folders of other names are left alone.
        folder: the dataset's.
        sources: the files that images are taken from, relative to `folder`.
        write: fills the folder it is given and returns what index.json is to hold; "files" are
            the names of the images.
        needed: bytes this takes, estimated from above.
        cache: remembers digests, see `reidlib.data.content.digests`.

    Raises:
        DataError: what `write` raises, or `place` cannot be written to (a read-only data folder:
            loaders take another place as an argument), or the disk is full.
    """
    found = content.digests([folder / source for source in sources], cache)
    state = hash_json([_VERSION, content.combined(zip(sources, found, strict=True))], digits=12)
    target = place / f"{name}-{state}"
    index = _whole(target, cache)
    if index is None:
        doing = f"writing the images of {sources[0]} to files"
        with disk_errors(target, doing, needed):
            place.mkdir(parents=True, exist_ok=True)
            with locked(place / f".{name}.lock"):
                index = _whole(target, cache)  # made by another process while we waited?
                if index is None:
                    check_space(place, needed, doing)
                    index = _make(place, name, target, write)
    return target, index


def _whole(target: Path, cache: Path | None) -> dict[str, Any] | None:
    """The index of what was exported to a folder; None unless all of it is as it was written."""
    try:
        index = read_json(target / INDEX, "what was exported there")
        if index["seal"] != _seal(index):
            return None
        paths = [target / name for name in index["files"]]
        return index if content.digests(paths, cache) == index["digests"] else None
    except (DataError, LookupError, TypeError, ValueError):
        return None


def _seal(index: dict[str, Any]) -> str:
    return hash_json({key: value for key, value in index.items() if key != "seal"}, digits=64)


def _make(
    place: Path, name: str, target: Path, write: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    unfinished = place / f".{name}.unfinished"
    for leftover in (unfinished, *sorted(place.glob(f"{name}-*"))):
        if leftover in (unfinished, target) or (leftover / INDEX).is_file():
            shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()
    try:
        index = write(unfinished)
        index["digests"] = content.digests([unfinished / name for name in index["files"]])
        index["seal"] = _seal(index)
        (unfinished / INDEX).write_text(json.dumps(index), encoding="utf-8")
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return index


def save_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 (h, w, 3) RGB without loss, lightly compressed."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise DataError(f"{path}: this build of OpenCV cannot write PNG files")
    path.write_bytes(encoded)


def load_mat(path: Path, what: str, variables: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB v5 file, nested structures as objects with attributes.

    Raises `DataError` if the file is missing, damaged, of MATLAB v7.3, or lacks a variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path} not found; expected {what}")
    try:
        _check_unpacked_size(path, what)
        _check_structure(path, what)
        found = loadmat(path, struct_as_record=False, squeeze_me=True)
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{path}: a MATLAB v7.3 file; expected {what}, in MATLAB v5") from error
    except Exception as error:  # which ones scipy raises depends on where the damage is
        raise DataError(
            f"{path}: cannot be read as a MATLAB v5 file: damaged or truncated ({error or 'empty'})"
            f"; expected {what}"
        ) from error
    missing = [name for name in variables if name not in found]
    if missing:
        there = ", ".join(sorted(key for key in found if not key.startswith("__"))) or "nothing"
        raise DataError(f"{path}: no variable {missing[0]!r} in it; expected {what}; found {there}")
    return found


def _check_unpacked_size(path: Path, what: str) -> None:
    """Raise `DataError` if the variables of a MATLAB v5 file unpack to more than `MAX_MAT` bytes,
    without keeping what is unpacked."""
    total = 0
    with path.open("rb") as file:
        header = file.read(128)
        order = "big" if header[126:128] == b"MI" else "little"
        if int.from_bytes(header[124:126], order) != _V5:
            return  # of another version, which packs nothing or is not read at all
        while len(tag := file.read(8)) == 8:
            kind, size = (int.from_bytes(tag[i : i + 4], order) for i in (0, 4))
            if kind != _COMPRESSED:
                total += size
                file.seek(size, 1)
            else:
                total += _inflated(file, size, MAX_MAT - total)
            if total > MAX_MAT:
                raise DataError(f"{path}: unpacks to more than {MAX_MAT:,} bytes; expected {what}")


def _check_structure(path: Path, what: str) -> None:
    """Raise `DataError` if a variable of a MATLAB v5 file is not what it says: scipy would follow
    it, out of its memory."""
    data = path.read_bytes()
    order = ">" if data[126:128] == b"MI" else "<"
    if len(data) < 128 or struct.unpack_from(order + "H", data, 124)[0] != _V5:
        return
    place = 128
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        variable = data[place : place + 8 + size]
        if kind == _COMPRESSED:
            variable = zlib.decompress(variable[8:])
        if why := mat_structure.problem(variable, order):
            raise DataError(f"{path}: not readable as a MATLAB v5 file ({why}); expected {what}")
        place += 8 + size


def _inflated(file: BinaryIO, size: int, most: int) -> int:
    """Bytes that the next `size` bytes of `file` unpack to; stops counting beyond `most`."""
    unpacker, total = zlib.decompressobj(), 0
    while size > 0 and total <= most:
        packed = file.read(min(size, _CHUNK))
        if not packed:
            break
        size -= len(packed)
        while packed and total <= most:
            total += len(unpacker.decompress(packed, _CHUNK))
            packed = unpacker.unconsumed_tail
    return total
