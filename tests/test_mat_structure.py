"""MATLAB files that do not hold what they say are refused before scipy follows them."""

import os
import random
import struct
import sys
import zlib
from pathlib import Path

import fuzz
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from reidlib.data.formats import mat_structure
from reidlib.data.formats.exported import load_mat
from reidlib.errors import DataError

CONTENT = {
    "numbers": np.arange(12.0).reshape(3, 4),
    "small": np.uint8([[7]]),
    "names": np.array(["a", "longer"], dtype=object),
    "text": "some text, ä",
    "nothing": np.zeros((0, 0)),
    "complex": np.array([1 + 2j]),
    "flag": np.array([True, False]),
    "record": {"a": 1.0, "b": {"c": "text", "d": np.arange(5, dtype=np.int32)}},
}


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "it.mat"
    savemat(path, CONTENT, do_compression=request.param)
    return path


def variables(data: bytes) -> list[bytes]:
    found, place = [], 128
    while place < len(data):
        kind, size = struct.unpack_from("<II", data, place)
        inside = data[place : place + 8 + size]
        found.append(zlib.decompress(inside[8:]) if kind == 15 else inside)
        place += 8 + size
    return found


def test_what_scipy_writes_is_right(file: Path) -> None:
    assert [mat_structure.problem(v) for v in variables(file.read_bytes())] == [""] * len(CONTENT)
    found = load_mat(file, "it", list(CONTENT))
    assert found["text"] == CONTENT["text"] and found["record"].b.c == "text"
    assert found["numbers"].tolist() == CONTENT["numbers"].tolist()


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            (9, 96),
            (99, 96),
            "of kind 99",
        ),  # beyond scipy's table of kinds: it read another's memory
        ((9, 96), (9, 1 << 20), "1,048,576 bytes, and 96 are left"),
        ((5, 8, 3, 4), (5, 8, 1 << 30, 4), "an array of"),
        ((5, 8, 3, 4), (5, 8, -3, 4), "an array of"),
        ((6, 8, 6, 0), (6, 8, 6 | 0x800, 0), "1 parts, expected numbers"),  # complex, without it
        ((6, 8, 6, 0), (6, 8, 17, 0), "of class 17"),
        ((6, 8, 6, 0), (6, 8, 1, 0), "1 parts, expected 12 arrays"),
    ],
)
def test_what_is_wrong(tmp_path: Path, before: tuple, after: tuple, why: str) -> None:
    path = tmp_path / "it.mat"
    savemat(path, {"a": CONTENT["numbers"]})
    data = path.read_bytes()
    before, after = (struct.pack(f"<{len(words)}i", *words) for words in (before, after))
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    assert why in mat_structure.problem(variables(path.read_bytes())[0])
    with pytest.raises(DataError, match=r"it\.mat: not readable as a MATLAB v5 file .*expected it"):
        load_mat(path, "it", ["a"])


def test_no_damage_kills_the_process(tmp_path: Path) -> None:
    """Without the check some of these end it by signal 11."""
    path = tmp_path / "it.mat"
    savemat(path, {"record": CONTENT["record"]}, do_compression=True)
    data = path.read_bytes()
    read = 0
    for n in range(100):
        path.write_bytes(fuzz.other_mat(data, random.Random(n)))
        sys.stdout.flush()
        if (pid := os.fork()) == 0:
            try:
                load_mat(path, "it", [])
                os._exit(1)
            except BaseException as error:
                os._exit(0 if isinstance(error, DataError) else 2)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, 1), (n, status)
        read += status
    assert 10 < read < 90


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    """As old machines wrote them."""
    number = struct.pack(">II", 9, 8) + struct.pack(">d", 2.5)
    inside = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 1)
    inside += struct.pack(">II", 1, 1) + b"a" + bytes(7) + number
    variable = struct.pack(">II", 14, len(inside)) + inside
    path = tmp_path / "it.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x100) + b"MI" + variable)
    assert loadmat(path)["a"] == 2.5
    assert load_mat(path, "it", ["a"])["a"] == 2.5
