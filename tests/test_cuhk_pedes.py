"""CUHK-PEDES: the plan, the writer, the loader, and what the loader says about broken data."""

import errno
import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from reidlib.data.batches.images import image_cache
from reidlib.data.dataset import Dataset, captions_frame, labels
from reidlib.data.formats.cuhk_pedes import ANNOTATION, EXPECTED, FOLDER, FOLDERS, SPLITS, load
from reidlib.data.language.words import tokenize
from reidlib.errors import DataError, UsageError
from reidlib.world.write import write, writer_of
from reidlib.world.writers import cuhk_pedes as writer

SIZE = (32, 16)
IDS = (4, 1, 2)


@pytest.fixture
def world(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world that a test may break."""
    shutil.copytree(tiny_world, tmp_path / "data")
    return tmp_path / "data"


def edit(root: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Rewrite the annotation below `root` after `change` was applied to its entries."""
    path = root / FOLDER / ANNOTATION
    entries = json.loads(path.read_text())
    changed = change(entries)
    path.write_text(json.dumps(entries if changed is None else changed))


def message(root: Path, **arguments: bool) -> str:
    """The error that loading `root` ends in."""
    with pytest.raises(DataError) as caught:
        load(root, **arguments)
    return str(caught.value)


# --- the plan


@pytest.fixture(scope="module")
def full_plan() -> list[writer.PlannedImage]:
    return writer.plan(0, scale=1.0)


def test_full_plan_has_the_published_counts(full_plan: list[writer.PlannedImage]) -> None:
    assert writer.count(full_plan) == {
        "train": {"images": 34_054, "ids": 11_003, "captions": 68_126},
        "val": {"images": 3_078, "ids": 1_000, "captions": 6_158},
        "test": {"images": 3_074, "ids": 1_000, "captions": 6_156},
    }
    assert [image.pid for image in full_plan] == sorted(image.pid for image in full_plan)
    assert {image.pid for image in full_plan} == set(range(1, 13_004))
    assert len({image.path for image in full_plan}) == 40_206


def test_full_plan_has_the_known_oddities(full_plan: list[writer.PlannedImage]) -> None:
    captions = [image.captions for image in full_plan if image.captions != 2]
    assert len(captions) == 9 and max(captions) == 10 and min(captions) > 2
    images = Counter(image.pid for image in full_plan)
    single = sorted(pid for pid, number in images.items() if number == 1)
    assert single[:3] == [1369, 4116, 6116] and len(single) == 4 and single[3] > 11_003
    assert {Path(image.path).suffix for image in full_plan} == {".png", ".jpg"}
    assert {image.path.partition("/")[0] for image in full_plan} == set(FOLDERS)
    cuhk01 = [image.path for image in full_plan if image.family == "cuhk01"]
    assert all(len(Path(path).stem) == 7 for path in cuhk01)


def test_full_plan_has_the_sources_people(full_plan: list[writer.PlannedImage]) -> None:
    family_of = {image.pid: image.family for image in full_plan}
    assert Counter(family_of.values()) == {
        "cuhk03": 1_467, "market": 1_501, "cuhk01": 971, "viper": 632, "sysu": 8_432,
    }  # fmt: skip


@settings(max_examples=8)
@given(st.floats(min_value=1e-5, max_value=1.0), st.integers(0, 3))
@example(1.0, 0)
def test_nobody_is_missing_from_the_image_dataset(scale: float, seed: int) -> None:
    """Whom CUHK-PEDES shows as of a source is in that source's dataset, in the same pictures."""
    scale = scale if scale == 1.0 else scale**4
    plan = writer.plan(seed, scale=scale)
    sources = {"cuhk01": "cuhk01", "viper": "viper", "cuhk03": "cuhk03", "market": "market1501"}
    for family, name in sources.items():
        there = {
            picture.description.file_path: (picture.person, picture.number, picture.camid)
            for picture in writer_of(name).plan(seed, scale=scale)
            if picture.description
        }
        for image in plan:
            if image.family == family:
                assert there[image.path] == (image.person, image.number, image.camid)


@settings(max_examples=15)
@given(st.floats(min_value=1e-6, max_value=1.0), st.integers(0, 5))
def test_plan_at_any_scale(scale: float, seed: int) -> None:
    scale = scale**4  # most examples small, so that this takes seconds
    check_plan(writer.plan(seed, scale=scale), writer.sizes(scale, None))


@given(st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 40)), st.integers(0, 5))
def test_plan_for_any_number_of_identities(ids: tuple[int, int, int], seed: int) -> None:
    plan = writer.plan(seed, ids=ids)
    check_plan(plan, writer.sizes(None, ids))
    assert tuple(writer.count(plan)[split]["ids"] for split in SPLITS) == ids


def check_plan(plan: list[writer.PlannedImage], sizes: dict[str, tuple[int, int]]) -> None:
    counts = writer.count(plan)
    assert {split: (c["ids"], c["images"]) for split, c in counts.items()} == sizes
    pids = [image.pid for image in plan]
    assert pids == sorted(pids) and set(pids) == set(range(1, pids[-1] + 1))
    assert [image.split for image in plan] == sorted(
        (image.split for image in plan), key=SPLITS.index
    )
    assert len({image.path for image in plan}) == len(plan)
    assert all(image.captions >= 2 for image in plan)
    for split, (ids, _) in sizes.items():
        rows = [image for image in plan if image.split == split]
        if ids >= 6:
            assert {image.family for image in rows} == {
                "cuhk03",
                "market",
                "cuhk01",
                "viper",
                "sysu",
            }
        market = [image for image in rows if image.family == "market"]
        if len({image.pid for image in market}) >= 2:
            assert {image.camid for image in market} == set(range(1, 7))
    by_pid: dict[int, list[writer.PlannedImage]] = {}
    for image in plan:
        by_pid.setdefault(image.pid, []).append(image)
    for images in by_pid.values():
        assert [image.number for image in images] == list(range(len(images)))
        assert len({(image.family, image.split) for image in images}) == 1
        cameras = {image.camid for image in images}
        if images[0].family == "sysu":
            assert cameras == {None}
        else:
            assert len(cameras) >= 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": 0.0},
        {"scale": 1.5},
        {"scale": float("nan")},
        {"ids": (0, 1, 1)},
        {"ids": (20_000, 1, 1)},
        {"ids": (3, 3)},
        {"scale": 0.1, "ids": (3, 3, 3)},
    ],
)
def test_impossible_sizes(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write("cuhk-pedes", tmp_path, **arguments)


# --- the writer


def test_round_trip(tiny_world: Path) -> None:
    dataset = load(tiny_world)
    plan = writer.plan(7, ids=(12, 3, 6))
    assert dataset.name == "cuhk-pedes" and dataset.synthetic["world_seed"] == 7
    for split in SPLITS:
        planned = [image for image in plan if image.split == split]
        frame = dataset.splits[split]
        assert list(frame["path"]) == [image.path for image in planned]
        assert list(frame["pid"]) == [image.pid for image in planned]
        assert [len(row) for row in frame["captions"]] == [image.captions for image in planned]
        assert list(frame["source"]) == [image.path.split("/")[0] for image in planned]
        assert set(frame["label"]) == set(range(frame["pid"].nunique()))
    modes = set()
    for image in plan:
        with Image.open(dataset.images / image.path) as file:
            assert file.size == (32, 64)
            modes.add((file.format, file.mode))
    assert modes == {("PNG", "RGB"), ("JPEG", "RGB")}


def test_annotation_has_the_release_s_fields(tiny_world: Path) -> None:
    entries = json.loads((tiny_world / FOLDER / ANNOTATION).read_text())
    for entry in entries:
        assert list(entry) == ["split", "captions", "file_path", "processed_tokens", "id"]
        assert entry["processed_tokens"] == [tokenize(text) for text in entry["captions"]]
        assert len(set(entry["captions"])) > 1
    assert sorted(path.name for path in (tiny_world / FOLDER / "imgs").iterdir()) == sorted(FOLDERS)


def test_native_sizes_vary(tmp_path: Path) -> None:
    dataset = load(write("cuhk-pedes", tmp_path, ids=(3, 1, 1)).parent)
    sizes = set()
    for path in dataset.image_paths("train"):
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) > 1 and all(height > width for width, height in sizes)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_for_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidlib.world.write._PART", 1)  # enough parts for two processes
    seen: list[tuple[int, int]] = []
    one = write("cuhk-pedes", tmp_path / "one", ids=IDS, size=SIZE)
    two = write(
        "cuhk-pedes",
        tmp_path / "two",
        ids=IDS,
        size=SIZE,
        jobs=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert content(one) == content(two)
    assert load(one.parent).fingerprint == load(two.parent).fingerprint
    assert seen[-1][0] == seen[-1][1] and len(seen) > 2
    other = write("cuhk-pedes", tmp_path / "other", seed=1, ids=IDS, size=SIZE)
    assert load(other.parent).fingerprint != load(one.parent).fingerprint


def test_written_once(tmp_path: Path) -> None:
    folder = write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    before = (folder / ANNOTATION).stat().st_mtime_ns

    def never(done: int, total: int) -> None:
        raise AssertionError("written again")

    assert write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE, progress=never) == folder
    assert (folder / ANNOTATION).stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"world_seed 0, asked for 1"):
        write("cuhk-pedes", tmp_path, seed=1, ids=IDS, size=SIZE)
    assert (folder / ANNOTATION).stat().st_mtime_ns == before


def test_never_overwrites_what_may_be_real(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "precious").touch()
    with pytest.raises(DataError, match="real data"):
        write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    assert [path.name for path in tmp_path.rglob("*")] == [FOLDER, "precious"]


def _write_here(out: Path, together: Any) -> None:
    together.wait(timeout=120)
    write("cuhk-pedes", out, ids=IDS, size=SIZE)


def test_processes_that_write_the_same_cooperate(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    other = context.Process(target=_write_here, args=(tmp_path / "data", together))
    other.start()
    _write_here(tmp_path / "data", together)
    other.join()
    assert other.exitcode == 0
    assert content(tmp_path / "data" / FOLDER) == content(
        write("cuhk-pedes", tmp_path / "alone", ids=IDS, size=SIZE)
    )


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_failure_leaves_nothing_behind(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidlib.world.write._PART", 3)
    whole, calls = writer.write_part, []

    def fails(folder: Path, *arguments: Any) -> list[dict[str, Any]]:
        calls.append(folder)
        if len(calls) == 3:
            raise OSError(error, "as if")
        return whole(folder, *arguments)

    monkeypatch.setattr(writer, "write_part", fails)
    with pytest.raises(DataError, match=r"as if|no space") as caught:
        write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    assert calls[0].exists() is False
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    if error == errno.ENOSPC:
        assert "no space left" in str(caught.value) and "MiB" in str(caught.value)


def test_too_little_space_is_known_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10_000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DataError, match=r"takes up to \d+ MiB") as caught:
        write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    assert str(tmp_path) in str(caught.value)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_estimated_space_is_enough(tiny_world: Path) -> None:
    used = sum(path.stat().st_size for path in (tiny_world / FOLDER).rglob("*") if path.is_file())
    assert used < writer.bytes_needed(writer.plan(7, ids=(12, 3, 6)), (64, 32)) < 10 * used


def test_leftover_of_a_killed_writer_is_replaced(tmp_path: Path) -> None:
    leftover = tmp_path / f".{FOLDER}.unfinished"
    leftover.mkdir()
    (leftover / "SYNTHETIC.json").write_text("{}")
    (leftover / "imgs").mkdir()
    (leftover / "imgs" / "half.png").touch()
    folder = write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    assert not leftover.exists() and not (folder / "imgs" / "half.png").exists()
    shutil.rmtree(folder)
    leftover.mkdir()
    (leftover / "foreign").touch()  # not ours: no marker
    with pytest.raises(DataError, match="unfinished"):
        write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
    assert (leftover / "foreign").exists()


def test_unknown_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cuhk-pedes"):
        write("cuhk-pede", tmp_path)


# --- the loader


def test_real_release_is_accepted(full_plan: list[writer.PlannedImage], tmp_path: Path) -> None:
    """The annotation alone, without tokens and without SYNTHETIC.json, as a real copy may be."""
    entries = [
        {
            "split": image.split,
            "captions": ["A man walks."] * image.captions,
            "file_path": image.path,
            "id": image.pid,
        }
        for image in full_plan
    ]
    (tmp_path / FOLDER).mkdir()
    annotation = tmp_path / FOLDER / ANNOTATION
    annotation.write_text(json.dumps(entries))
    dataset = load(tmp_path, check_files=False)
    assert dataset.synthetic is None
    assert [len(dataset.splits[split]) for split in SPLITS] == [34_054, 3_078, 3_074]
    assert dataset.splits["train"]["label"].max() == 11_002
    assert len(captions_frame(dataset.splits["test"])) == 6_156
    assert any("9 images have more than two captions" in note for note in dataset.notes)

    (tmp_path / FOLDER / "imgs").mkdir()
    text = message(tmp_path)
    assert "40,206 of 40,206" in text and "Partial downloads" in text

    annotation.write_text(json.dumps(entries[:-1]))
    text = message(tmp_path, check_files=False)
    assert "3,073 / 3,074 *" in text and "34,054 / 34,054" in text and str(annotation) in text


def test_frames(tiny_world: Path) -> None:
    frame = load(tiny_world).splits["train"]
    assert list(frame.columns) == ["pid", "label", "path", "source", "captions"]
    assert frame["pid"].dtype == np.int64 and frame["label"].dtype == np.int64
    captions = captions_frame(frame)
    assert list(captions.columns) == ["image", "pid", "label", "caption"]
    assert len(captions) == sum(len(row) for row in frame["captions"])
    for row in captions.itertuples():
        assert frame["pid"][row.image] == row.pid and frame["label"][row.image] == row.label
        assert row.caption in frame["captions"][row.image]
    assert captions["caption"].tolist() == [text for row in frame["captions"] for text in row]


@given(st.lists(st.integers(-5, 10**9), min_size=1, max_size=30))
def test_labels_are_positions_among_sorted_pids(pids: list[int]) -> None:
    order = sorted(set(pids))
    assert labels(pids).tolist() == [order.index(pid) for pid in pids]


def test_ids_with_gaps_get_contiguous_labels(world: Path) -> None:
    def spread(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            entry["id"] = 1000 - 3 * entry["id"]

    edit(world, spread)
    frame = load(world).splits["train"]
    assert set(frame["label"]) == set(range(12))
    assert frame["label"][0] == 11  # the first identity now has the largest id


def test_fingerprint_follows_content_not_place(tiny_world: Path, world: Path) -> None:
    before = load(tiny_world).fingerprint
    dataset = load(world)
    assert dataset.fingerprint == before and dataset.root != load(tiny_world).root
    first = dataset.image_paths("train")[0]
    first.touch()
    assert load(world).fingerprint == before
    assert load(world, check_files=False).fingerprint == before


def test_fingerprint_of_real_data_follows_every_byte(world: Path) -> None:
    def real() -> Dataset:
        return replace(load(world), synthetic=None)  # as if it had been published

    before = real().fingerprint
    first = real().image_paths("train")[0]
    first.touch()
    assert real().fingerprint == before == replace(load(world), synthetic=None).fingerprint
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    changed = real().fingerprint
    assert changed != before
    first.write_bytes(content)
    assert real().fingerprint == before

    def rename(entries: list[dict[str, Any]]) -> None:
        entries[0]["captions"][0] += " indeed"

    edit(world, rename)
    assert real().fingerprint not in (before, changed)


def test_missing_folder(tmp_path: Path) -> None:
    text = message(tmp_path / "nowhere")
    assert "nowhere" in text and "Expected" in text and "reid_raw.json" in text
    (tmp_path / "Market-1501").mkdir()
    text = message(tmp_path)
    assert "no folder CUHK-PEDES" in text and "Market-1501/" in text


@pytest.mark.parametrize("inside", [".", "imgs", "imgs/CUHK01"])
def test_root_too_deep(world: Path, inside: str) -> None:
    assert f"pass {world}\n" in message(world / FOLDER / inside)


@pytest.mark.parametrize("depth", [1, 2])
def test_root_too_high(world: Path, tmp_path: Path, depth: int) -> None:
    place = tmp_path.joinpath("above", *"ab"[:depth])
    place.parent.mkdir(parents=True)
    world.rename(place)
    assert f"pass {place}\n" in message(tmp_path / "above")


def test_unpacked_twice(world: Path) -> None:
    (world / FOLDER).rename(world / "inner")
    (world / FOLDER).mkdir()
    (world / "inner").rename(world / FOLDER / FOLDER)
    assert f"pass {world / FOLDER}\n" in message(world)


def test_renamed_folder(world: Path) -> None:
    (world / FOLDER).rename(world / "cuhk_pedes")
    text = message(world)
    assert f"rename that folder to {FOLDER}" in text and f"pass {world}\n" in text
    assert "rename" in message(world / "cuhk_pedes")


def test_no_annotation(world: Path) -> None:
    (world / FOLDER / ANNOTATION).unlink()
    text = message(world)
    assert str(world / FOLDER / ANNOTATION) in text and "Expected" in text and "imgs/" in text


def test_caption_all_instead_of_reid_raw(world: Path) -> None:
    annotation = world / FOLDER / ANNOTATION
    annotation.rename(annotation.with_name("caption_all.json"))
    assert "has no official split" in message(world)
    annotation.with_name("caption_all.json").rename(annotation)

    def drop(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            del entry["split"]

    edit(world, drop)
    text = message(world)
    assert str(annotation) in text and "caption_all.json" in text


def test_truncated_json(world: Path) -> None:
    annotation = world / FOLDER / ANNOTATION
    whole = annotation.read_text()
    annotation.write_text(whole[: len(whole) // 2])
    text = message(world)
    assert str(annotation) in text and "line" in text and "truncated" in text
    annotation.write_text(whole.replace('"split"', "split", 1))
    assert "line 2" in message(world)
    annotation.write_bytes(b"\xff\xfe" + whole.encode())
    assert str(annotation) in message(world)


@given(cut=st.integers(0, 10**6))
def test_json_cut_anywhere_is_one_clear_error(
    tiny_world: Path, tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    root = tmp_path_factory.mktemp("cut")
    (root / FOLDER).mkdir()
    whole = (tiny_world / FOLDER / ANNOTATION).read_bytes().strip()
    annotation = root / FOLDER / ANNOTATION
    annotation.write_bytes(whole[: cut % len(whole)])
    assert str(annotation) in message(root, check_files=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("{}", "JSON dict"), ("[]", "empty array"), ("[3]", "entry 0"), ("null", "NoneType")],
)
def test_json_of_another_form(world: Path, content: str, expected: str) -> None:
    (world / FOLDER / ANNOTATION).write_text(content)
    assert expected in message(world)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("split", "training", "train, val, test"),
        ("id", "7", "integer"),
        ("id", True, "integer"),
        ("file_path", "/etc/passwd", "relative"),
        ("file_path", "../../a.png", "relative"),
        ("file_path", "CUHK01\\a.png", "forward slashes"),
        ("file_path", None, "string"),
        ("captions", "one text", "list of strings"),
        ("captions", [None], "list of strings"),
    ],
)
def test_wrong_field(world: Path, field: str, value: Any, expected: str) -> None:
    edit(world, lambda entries: entries[5].update({field: value}))
    text = message(world)
    assert "entry 5" in text and expected in text and ANNOTATION in text


def test_missing_field(world: Path) -> None:
    edit(world, lambda entries: entries[4].pop("id") and None)
    text = message(world)
    assert "entry 4" in text and "field id is missing" in text


def test_duplicate_path(world: Path) -> None:
    edit(world, lambda entries: entries[3].update(file_path=entries[1]["file_path"]))
    text = message(world)
    assert "entries 1 and 3" in text and "same image" in text


def test_identity_in_two_splits(world: Path) -> None:
    edit(world, lambda entries: entries[-1].update(id=1))
    assert "id 1 is in train" in message(world)


def test_changed_synthetic_counts(world: Path) -> None:
    edit(world, lambda entries: entries[:-1])
    text = message(world)
    assert "found / expected" in text and "*" in text and "anew" in text
    marker = world / FOLDER / "SYNTHETIC.json"
    marker.write_text("{}")
    assert str(marker) in message(world)


def test_missing_and_empty_image_files(world: Path) -> None:
    paths = load(world).image_paths("train")
    for path in paths[:7]:
        path.unlink()
    text = message(world)
    assert "7 of" in text and "Partial downloads" not in text
    assert f"changed after it was written: delete {world / FOLDER};" in text
    listed = [line for line in text.splitlines() if line.startswith("  ")]
    assert (
        len(listed) == 5
        and listed[0].strip() == paths[0].relative_to(world / FOLDER / "imgs").as_posix()
    )
    assert len(load(world, check_files=False).splits["train"]) == len(paths)
    shutil.rmtree(world / FOLDER / "imgs")
    text = message(world)
    assert str(world / FOLDER / "imgs") in text and "Expected" in text


def test_pictures_without_color_are_taken(world: Path, tmp_path: Path) -> None:
    """The release has none; copies that were saved again may."""
    paths = load(world).image_paths("train")
    with Image.open(paths[0]) as image:
        gray = image.convert("L")
    gray.save(paths[0])
    with Image.open(paths[0]) as image:
        assert image.mode == "L"
    pixels = image_cache(load(world).image_paths("train"), (64, 32), tmp_path / "cache")[0]
    assert (pixels == pixels[..., :1]).all() and np.ptp(pixels) > 0


def test_image_file_of_zero_bytes(world: Path) -> None:
    path = load(world).image_paths("test")[2]
    path.write_bytes(b"")
    text = message(world)
    assert "zero bytes" in text and path.name in text


def test_captions_missing_or_empty_are_kept_and_noted(world: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[0]["captions"] = []
        entries[1]["captions"][0] = "  "

    missing = len(load(world).splits["train"]["captions"][0])
    edit(world, change)
    marker = world / FOLDER / "SYNTHETIC.json"
    described = json.loads(marker.read_text())
    described["counts"]["train"]["captions"] -= missing
    marker.write_text(json.dumps(described))
    dataset = load(world)
    assert dataset.splits["train"]["captions"][0] == [""]
    assert any("1 image has no caption" in note for note in dataset.notes)
    assert any("1 caption is empty" in note for note in dataset.notes)
    assert captions_frame(dataset.splits["train"])["caption"][0] == ""


def test_published_counts_are_those_of_the_data_sheet() -> None:
    assert sum(counts.images for counts in EXPECTED.values()) == 40_206
    assert sum(counts.ids for counts in EXPECTED.values()) == 13_003
    assert sum(counts.captions or 0 for counts in EXPECTED.values()) == 80_440
