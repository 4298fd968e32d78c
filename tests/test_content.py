"""Digests of files: of the content, remembered, and never stale."""

import hashlib
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data import content
from reidlib.data.content import combined, digests
from reidlib.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for i in range(9):
        paths.append(tmp_path / "data" / str(i % 2) / f"{i}.bin")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(bytes([i]) * (100 + i))
    settle(*paths)
    return paths


def settle(*paths: Path) -> None:
    """Make files look as if they had been written an hour ago, as nearly all files were."""
    for path in paths:
        hour_ago = path.stat().st_mtime_ns - 3600 * 10**9
        os.utime(path, ns=(hour_ago, hour_ago))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from now on; young files are remembered, too."""
    whole, seen = content._digest, []

    def counting(name: str) -> Any:
        seen.append(name)
        return whole(name)

    monkeypatch.setattr(content, "_digest", counting)
    monkeypatch.setattr(content, "_SETTLED_NS", -1)
    return seen


def expected(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_digests_are_of_the_content(files: list[Path], tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        assert digests(files, cache) == expected(files)
        assert digests([*files[::-1], files[0]], cache) == expected([*files[::-1], files[0]])
    assert digests([], tmp_path / "cache") == []
    assert not list((tmp_path / "data").glob("**/digests*"))  # never beside the data


def test_a_file_is_read_once(files: list[Path], tmp_path: Path, reads: list[str]) -> None:
    digests(files, tmp_path)
    assert sorted(reads) == sorted(map(str, files))
    reads.clear()
    assert digests(files, tmp_path) == expected(files)
    assert digests(files[3:5], tmp_path) == expected(files[3:5])  # with those around them
    assert not reads
    (catalogue,) = tmp_path.glob("digests-*.json")
    assert len(json.loads(catalogue.read_text())["files"]) == len(files)


def test_same_size_and_time_but_other_bytes(
    files: list[Path], tmp_path: Path, reads: list[str]
) -> None:
    """What `cp -p` and careful attackers do: size and time of the last change are the old ones."""
    digests(files, tmp_path)
    status = files[4].stat()
    files[4].write_bytes(b"x" * status.st_size)
    os.utime(files[4], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files[4].stat().st_mtime_ns == status.st_mtime_ns
    reads.clear()
    assert digests(files, tmp_path) == expected(files)
    assert reads == [str(files[4])]
    replacement = tmp_path / "other"
    replacement.write_bytes(b"y" * status.st_size)
    os.utime(replacement, ns=(status.st_atime_ns, status.st_mtime_ns))
    replacement.replace(files[4])  # another inode
    assert digests(files, tmp_path) == expected(files)


def test_what_was_written_this_moment_is_not_trusted(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within a tick of the file system's clock leave the same time."""
    monkeypatch.setattr(content, "_SETTLED_NS", 10**12)
    digests(files, tmp_path)
    (catalogue,) = tmp_path.glob("digests-*.json")
    assert json.loads(catalogue.read_text())["files"] == {}


@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 50))
def test_damaged_catalogue_is_made_anew(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: int
) -> None:
    root = tmp_path_factory.mktemp("catalogue")
    paths = [root / "a", root / "b"]
    for path in paths:
        path.write_bytes(path.name.encode())
    settle(*paths)
    digests(paths, root / "cache")
    (catalogue,) = (root / "cache").glob("digests-*.json")
    damaged = bytearray(catalogue.read_bytes())
    damaged[position % len(damaged)] = value
    catalogue.write_bytes(bytes(damaged[: len(damaged) - cut]))
    assert digests(paths, root / "cache") == expected(paths)


def test_deep_and_foreign_catalogues(files: list[Path], tmp_path: Path) -> None:
    digests(files, tmp_path)
    (catalogue,) = tmp_path.glob("digests-*.json")
    for text in ("[" * 100_000, "9" * 5_000, "{}", '{"version": 1}', "null", ""):
        catalogue.write_text(text)
        assert digests(files, tmp_path) == expected(files)


def test_unreadable_files_are_named(files: list[Path], tmp_path: Path) -> None:
    files[2].unlink()
    os.mkfifo(files[2])  # reading it would wait for ever
    for cache in (None, tmp_path):
        with pytest.raises(DataError, match=r"2\.bin: expected a regular file"):
            digests(files, cache)
    files[2].unlink()
    with pytest.raises(DataError, match=r"2\.bin: cannot be read \(No such file"):
        digests(files, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        digests([tmp_path / "a\0b"], tmp_path)


def test_a_file_that_changes_while_it_is_read(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hashlib.file_digest

    def growing(file: Any, kind: str) -> Any:
        with open(file.name, "ab") as other:
            other.write(b"more")
        return whole(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", growing)
    with pytest.raises(DataError, match="changes while it is read"):
        digests(files[:1])


def _digests(paths: list[Path], cache: Path, together: Any, queue: Any) -> None:
    together.wait(timeout=120)
    queue.put(digests(paths, cache))


def test_processes_that_ask_at_once(files: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together, queue = context.Barrier(4), context.Queue()
    arguments = (files, tmp_path, together, queue)
    others = [context.Process(target=_digests, args=arguments) for _ in range(4)]
    for other in others:
        other.start()
    found = [queue.get(timeout=60) for _ in others]
    for other in others:
        other.join()
    assert found == [expected(files)] * 4


def test_combined_does_not_depend_on_the_order() -> None:
    pairs = [("b", "1" * 64), ("a", "2" * 64), ("\udcff", "3" * 64)]
    assert combined(pairs) == combined(pairs[::-1])
    assert len({combined(pairs), combined(pairs[:2]), combined([("b", "2" * 64), pairs[1]])}) == 3
