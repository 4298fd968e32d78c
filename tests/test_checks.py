"""Checks that all loaders share: paths, JSON, captions, limits."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.dataset import captions_frame
from reidlib.data.formats import cuhk_pedes
from reidlib.data.formats.checks import (
    MAX_CAPTION,
    Counts,
    counts_table,
    expected_counts,
    path_problem,
    read_captions,
    read_json,
    shown,
)
from reidlib.errors import DataError


@pytest.mark.parametrize("name", ["a.jpg", "imgs/CUHK01/0001001.png", "é/ü.png", "a..b/c d.png"])
def test_paths_below_the_folder(name: str) -> None:
    assert path_problem(name) == ""


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../a.png", "a/../../b.png", "a\\b.png", "C:/a.png", "a//b.png", "./a.png",
     "a/.", "a\0b.png", "a\nb.png", "\ud800.png", "x" * 256, "ä" * 128, "a/" * 600 + "b"],
)  # fmt: skip
def test_paths_that_are_refused(name: str) -> None:
    assert path_problem(name).startswith("expected")


@given(st.text(alphabet=st.sampled_from("ab./\\:\0 "), max_size=12))
def test_a_path_that_passes_stays_inside(name: str) -> None:
    if not path_problem(name):
        assert os.path.normpath(f"/root/data/{name}") == f"/root/data/{name}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[" * 100_000, "nested too deeply"), ('{"id": ' + "9" * 5_000 + "}", "5000 digits|limit"),
     ("[1,", "truncated")],
    ids=["deep", "digits", "cut"],
)  # fmt: skip
def test_json_that_python_cannot_take(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=expected) as caught:
        read_json(path, "an array")
    assert str(path) in str(caught.value) and "expected an array" in str(caught.value)


def test_json_that_is_no_file_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text(json.dumps(["x" * 100]))
    monkeypatch.setattr("reidlib.data.formats.checks.MAX_JSON", 50)
    for name in ("pipe", "large"):
        with pytest.raises(DataError, match="a file of at most 50 bytes"):
            read_json(tmp_path / name, "an array")
    with pytest.raises(DataError, match="No such file"):
        read_json(tmp_path / "nowhere", "an array")


def test_captions() -> None:
    assert read_captions(None) == ([], "") == read_captions([])
    assert read_captions(["A man.", "\ud83d walks \ude00"]) == (
        ["A man.", "\ufffd walks \ufffd"], "",
    )  # fmt: skip
    assert "at most" in read_captions(["x" * (MAX_CAPTION + 1)])[1]
    for wrong in ("A man.", [None], {"a": 1}, 7):
        assert "list of strings" in read_captions(wrong)[1]


def test_anything_can_be_shown() -> None:
    assert shown({"a": 1}) == "{'a': 1}" and shown("\ud800") == "\\ud800"
    assert len(shown("x" * 10**6)) == 160
    for value in ("\udcff", ["\ud800"], None, b"\xff"):
        shown(value).encode()


def test_expected_counts() -> None:
    published = {"train": Counts(10, 5), "test": Counts(None, 3)}
    folder = Path("somewhere")
    assert expected_counts(published, None, folder) == published
    written = {"train": {"images": 2, "ids": 1}, "test": {"images": None, "ids": 1}}
    expected = {"train": Counts(2, 1), "test": Counts(None, 1)}
    assert expected_counts(published, {"counts": written}, folder, "a") == expected
    assert expected_counts(published, {"counts": {"a": written}}, folder, "a") == expected
    for broken in ({}, {"counts": []}, {"counts": {"train": written["train"]}}, {"counts": None},
                   {"counts": {"train": 7, "test": 7}}, {"counts": "train"}):  # fmt: skip
        with pytest.raises(DataError, match=r"SYNTHETIC\.json"):
            expected_counts(published, broken, folder)


def test_numbers_that_nobody_published_are_not_wrong() -> None:
    table = counts_table({"train": Counts(7, 5)}, {"train": Counts(None, 5)})
    assert "7 / -" in table and "*" not in table
    assert "*" in counts_table({"train": Counts(7, 5)}, {"train": Counts(8, None)})
    assert "*" in counts_table({}, {"train": Counts(8, None)})


# --- what a malformed annotation comes to


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"id": 2**63}, "id must be"), ({"id": 10**400}, "id must be"), ({"id": float("nan")}, "id"),
     ({"id": -(2**40)}, "id must be"), ({"file_path": "a\0.png"}, "printable"),
     ({"file_path": "\ud800.png"}, "printable"), ({"file_path": "x" * 5_000}, "at most"),
     ({"captions": ["x" * 10**6]}, "at most"), ({"split": ["train"]}, "split must be"),
     ({"split": {"a": 1}}, "split must be")],
    ids=str,
)  # fmt: skip
def test_odd_entries_of_an_annotation(
    change: dict[str, Any], expected: str, tiny_world: Path, tmp_path: Path
) -> None:
    folder = tmp_path / cuhk_pedes.FOLDER
    folder.mkdir()
    entries = json.loads((tiny_world / folder.name / cuhk_pedes.ANNOTATION).read_text())
    entries[7].update(change)
    (folder / cuhk_pedes.ANNOTATION).write_text(json.dumps(entries))
    with pytest.raises(DataError, match=expected) as caught:
        cuhk_pedes.load(tmp_path, check_files=False)
    assert "entry 7" in str(caught.value) and len(str(caught.value)) < 1_000
    str(caught.value).encode()  # any terminal prints it


def test_halves_of_characters_in_captions_are_no_words(tiny_world: Path, tmp_path: Path) -> None:
    folder = tmp_path / cuhk_pedes.FOLDER
    folder.mkdir()
    for name in (cuhk_pedes.ANNOTATION, "SYNTHETIC.json"):
        (folder / name).write_bytes((tiny_world / folder.name / name).read_bytes())
    entries = json.loads((folder / cuhk_pedes.ANNOTATION).read_text())
    entries[0]["captions"][0] = "A \ud83d man"
    (folder / cuhk_pedes.ANNOTATION).write_text(json.dumps(entries))
    dataset = cuhk_pedes.load(tmp_path, check_files=False)
    first = captions_frame(dataset.splits["train"])["caption"][0]
    assert first == "A \ufffd man" and first.encode()
