"""Image files decoded: JPEG, PNG and BMP, and nothing else.

Pillow knows some fifty formats and goes by what a file begins with, not by its name; for some of
them (EPS) it starts other programs. Datasets of persons come in three.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from reidlib.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP")
MIN_HEIGHT, MIN_WIDTH = 8, 4  # pixels; what is smaller is a damaged file, not a person
# A file of some hundred kilobytes can claim gigabytes. Photographs have fewer pixels than this.
MAX_PIXELS = 1 << 26

_END = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}  # how files begin and end


@contextmanager
def opened(
    path: Path, formats: Sequence[str] = FORMATS, what: str = "an image", form: str = ""
) -> Iterator[Image.Image]:
    """An image file, not yet decoded; what goes wrong until the end is a `DataError` naming it.

    Args:
        path: the file.
        formats: the ones of Pillow that may be met.
        what: what it is to be read as, for the message.
        form: what was expected, for the message.
    """
    form = form or "a complete JPEG, PNG or BMP file"
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for ever
            raise DataError(f"{path}: no regular file; expected {form}")
        with Image.open(path, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {height:,}x{width:,} pixels (height x width); expected {form} of at "
                    f"most {MAX_PIXELS:,} pixels"
                )
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {form}") from error
    except Exception as error:  # which ones Pillow raises depends on where the damage is
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        raise DataError(
            f"{path}: cannot be read as {what} ({size:,} bytes: {error}); expected {form}"
        ) from error


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB, whatever it holds: gray, palette, RGBA, CMYK, 16 bit.

    Raises `DataError` if the file is missing, empty, damaged, cut off, of another format, smaller
    than 8x4 pixels, or larger than `MAX_PIXELS`.
    """
    with opened(path) as image:
        image.load()
        rgb = _to_rgb(image)
    width, height = rgb.size
    if height < MIN_HEIGHT or width < MIN_WIDTH:
        raise DataError(
            f"{path}: {height}x{width} pixels (height x width); expected a picture of a person, "
            f"at least {MIN_HEIGHT}x{MIN_WIDTH}"
        )
    return rgb


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file by its header; raises `DataError` as `read_rgb` does."""
    with opened(path) as image:
        width, height = image.size
    return height, width


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _eight_bits(gray: np.ndarray) -> np.ndarray:
    """Gray values of a file with 16 bits per pixel as uint8.

    Cameras with 8 or 12 bits save such files without scaling, so the values say which range is
    meant: the smallest that holds them all. Pillow's own conversion would clip at 255.
    """
    most = int(gray.max())
    bits = next(bits for bits in (8, 12, 16) if most < 1 << bits)
    return np.round(np.arange(1 << bits) * (255.0 / ((1 << bits) - 1))).astype(np.uint8)[gray]


def ends_early(path: Path) -> bool:
    """Whether an image file is cut off, if only by its end marker, as after an interrupted copy.

    Decodes only files that do not end with the marker: some programs leave something behind it.
    Raises `OSError`.
    """
    with path.open("rb") as file:
        begin = file.read(6)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read()
    whole = any(begin.startswith(kind) and end.endswith(mark) for kind, mark in _END.items())
    if whole or (begin.startswith(b"BM") and int.from_bytes(begin[2:6], "little") == size):
        return False
    try:
        read_rgb(path)
    except DataError:
        return True
    return False
