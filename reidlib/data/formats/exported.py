"""Images that a dataset keeps inside other files, written out once as PNG files.

CUHK03 keeps its images inside a .mat file, CUHK-SYSU its persons inside pictures of whole scenes.
Everything after the loader reads image files, so these are made on the first load, in a folder
named after the state of what they were made from.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reidlib.data.formats.checks import check_space, disk_errors, read_json
from reidlib.errors import DataError
from reidlib.files import locked

INDEX = "index.json"
_VERSION = 1  # raised when exported images change


def exported(
    place: Path,
    name: str,
    sources: Sequence[Path],
    write: Callable[[Path], dict[str, Any]],
    needed: int,
) -> tuple[Path, dict[str, Any]]:
    """The folder with the exported images of `sources`, and its index; made if it is not there.

    The folder `place`/`name`-<state> appears when it is complete; an outdated one, made from files
    of another size or modification time, is removed. Several processes make it once.

    Args:
        place: where to keep it.
        name: what is exported; folders of other names are left alone.
        sources: the files that images are taken from.
        write: fills the folder it is given and returns what index.json is to hold.
        needed: bytes this takes, estimated from above.

    Raises:
        DataError: what `write` raises, or `place` cannot be written to (a read-only data folder:
            loaders take another place as an argument), or the disk is full.
    """
    state = hashlib.sha256(str(_VERSION).encode())
    for source in sources:
        status = source.stat()
        state.update(f"{source.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    target = place / f"{name}-{state.hexdigest()[:12]}"
    if not (target / INDEX).is_file():
        doing = f"writing the images of {sources[0].name} to files"
        with disk_errors(target, doing, needed):
            place.mkdir(parents=True, exist_ok=True)
            with locked(place / f".{name}.lock"):
                if not (target / INDEX).is_file():  # made by another process while we waited
                    check_space(place, needed, doing)
                    _make(place, name, target, write)
    index = read_json(target / INDEX, "what was exported there")
    return target, index


def _make(place: Path, name: str, target: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    unfinished = place / f".{name}.unfinished"
    for leftover in (unfinished, *sorted(place.glob(f"{name}-*"))):
        if (leftover / INDEX).is_file() or leftover == unfinished:
            shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()
    try:
        index = write(unfinished)
        (unfinished / INDEX).write_text(json.dumps(index), encoding="utf-8")
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


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
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise DataError(f"{path} not found; expected {what}")
    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True)
    except NotImplementedError as error:
        raise DataError(f"{path}: a MATLAB v7.3 file; expected {what}, in MATLAB v5") from error
    except (MatReadError, ValueError, TypeError, OSError, EOFError, KeyError, IndexError) as error:
        raise DataError(
            f"{path}: cannot be read as a MATLAB v5 file ({error}; truncated?); expected {what}"
        ) from error
    except Exception as error:  # zlib.error and others, for damage inside compressed data
        if type(error).__module__ not in ("zlib", "struct"):
            raise
        raise DataError(f"{path}: damaged ({error}); expected {what}") from error
    missing = [name for name in variables if name not in content]
    if missing:
        found = ", ".join(sorted(key for key in content if not key.startswith("__"))) or "nothing"
        raise DataError(f"{path}: no variable {missing[0]!r} in it; expected {what}; found {found}")
    return content
