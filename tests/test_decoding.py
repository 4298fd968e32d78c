"""Decoding image files: three formats, any mode, no surprise."""

import os
import shutil
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reidlib.data.formats.decoding import MAX_PIXELS, ends_early, read_rgb, read_size
from reidlib.errors import DataError


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """A smooth random RGB picture, so that JPEG and resizing change it little."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1"])
def test_any_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    original = picture(30, 15)
    path = tmp_path / "image.png"
    original.convert(mode).save(path)
    rgb = read_rgb(path)
    assert rgb.mode == "RGB" and rgb.size == (15, 30)
    if mode == "RGBA":
        assert np.abs(np.asarray(rgb, int) - np.asarray(original, int)).max() <= 1
    if mode in ("L", "LA"):
        gray = np.asarray(original.convert("L"))
        assert (np.asarray(rgb) == gray[:, :, None]).all()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    original = picture(64, 32)
    original.convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    difference = np.asarray(read_rgb(tmp_path / "c.jpg"), int) - np.asarray(original, int)
    assert np.abs(difference).mean() < 6


def test_palette_with_transparency(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    picture(30, 15).quantize(16).save(path, transparency=b"\x00\x80\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rgb(path).mode == "RGB"


def test_sixteen_bit_gray_is_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 65_535, 30 * 15).reshape(30, 15).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "gray16.png")
    found = np.asarray(read_rgb(tmp_path / "gray16.png"), int)
    assert np.abs(found - (values / 257)[:, :, None]).max() <= 1


def unreadable(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_rgb(path)
    assert str(path) in str(caught.value) and "expected" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_damaged_files_are_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{suffix}"
    picture(64, 32).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{len(whole) // 2:,} bytes" in unreadable(path)
    path.write_bytes(b"")
    assert "0 bytes" in unreadable(path)
    path.write_bytes(b"<html>not found</html>")
    unreadable(path)
    path.unlink()
    assert "no such file" in unreadable(path)
    path.mkdir()
    unreadable(path)


@pytest.mark.parametrize(("height", "width", "fine"), [(1, 1, False), (7, 9, False), (8, 4, True)])
def test_tiny_pictures(height: int, width: int, fine: bool, tmp_path: Path) -> None:
    path = tmp_path / "tiny.png"
    picture(height, width).save(path)
    if fine:
        assert read_rgb(path).size == (width, height)
    else:
        assert f"{height}x{width}" in unreadable(path)


@given(
    suffix=st.sampled_from(["png", "jpg", "bmp", "gif", "tif", "webp"]),
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 200),
)
def test_damage_anywhere_reads_or_is_a_data_error(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    damage: list[tuple[int, int]],
    cut: int,
) -> None:
    buffer = BytesIO()
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    picture(20, 10).save(buffer, kinds.get(suffix, suffix.upper()))
    content = bytearray(buffer.getvalue())
    for position, value in damage:
        content[position % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / f"image.{suffix}"
    path.write_bytes(bytes(content[: max(0, len(content) - cut)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        try:
            assert read_rgb(path).mode == "RGB"
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (12, 4), (16, 8)])
def test_gray_of_few_bits_in_many_is_scaled(bits: int, shift: int, tmp_path: Path) -> None:
    """8 or 12 bits in a file of 16: scaled by 257, all of it would be nearly black."""
    values = np.linspace(0, (1 << bits) - 1, 30 * 15).reshape(30, 15).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "gray.png")
    found = np.asarray(read_rgb(tmp_path / "gray.png"), int)
    assert found.max() == 255 and found.min() == 0
    assert np.abs(found - (values / 2**shift)[:, :, None]).max() < 1.5


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 40\nshowpage\n"


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS file is Ghostscript's work in Pillow, whatever the file is called."""
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {called}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    assert shutil.which("gs") == str(tmp_path / "gs")
    path = tmp_path / "person.png"
    path.write_bytes(POSTSCRIPT)
    assert "JPEG, PNG or BMP" in unreadable(path)
    assert not called.exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA"])
def test_three_formats_are_images(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    picture(30, 15).save(path, kind)
    assert "JPEG, PNG or BMP" in unreadable(path)


def test_float_tiff_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.ones((30, 15), np.float32)).save(path, "TIFF")
    assert "JPEG, PNG or BMP" in unreadable(path)


def png_claiming(height: int, width: int) -> bytes:
    """A small file that unpacks to height x width RGB pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + 3 * width)
    packed = b"".join(packer.compress(row) for _ in range(64)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed)


@pytest.mark.parametrize("read", [read_rgb, read_size])
@pytest.mark.parametrize("size", [(9_000, 9_000), (12_000, 12_000), (30_000, 40_000)])
def test_bombs_are_refused_before_anything_is_allocated(
    read: Callable[[Path], object], size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    assert path.stat().st_size < 100_000 and size[0] * size[1] > MAX_PIXELS
    tracemalloc.start()
    with warnings.catch_warnings(), pytest.raises(DataError, match="pixels") as caught:
        warnings.simplefilter("ignore")  # Pillow's own remark on the size
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "image.png")
    assert "no regular file" in unreadable(tmp_path / "image.png")


def test_size_by_the_header(tmp_path: Path) -> None:
    picture(30, 15).save(tmp_path / "a.jpg")
    assert read_size(tmp_path / "a.jpg") == (30, 15)
    with pytest.raises(DataError, match="no such file"):
        read_size(tmp_path / "b.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_files_that_end_early(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{suffix}"
    picture(64, 32).save(path)
    whole = path.read_bytes()
    assert not ends_early(path)
    path.write_bytes(whole + b"\0" * 20)  # what some programs leave behind the end
    assert not ends_early(path)
    for missing in (2, 20, len(whole) // 2):
        path.write_bytes(whole[:-missing])
        assert ends_early(path) == (not readable(path))
        assert ends_early(path) or (suffix == "png" and missing < 30)  # all pixels are there
    path.write_bytes(b"")
    assert ends_early(path)


def readable(path: Path) -> bool:
    try:
        read_rgb(path)
    except DataError:
        return False
    return True
