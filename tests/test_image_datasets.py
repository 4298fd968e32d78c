"""Market-1501, CUHK03, CUHK01, CUHK-SYSU, VIPeR: plans, writers, loaders, captions, broken data."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.lib.recfunctions import repack_fields
from PIL import Image
from scipy.io import loadmat, savemat

from reidlib.data.batches.borrowed_captions import EXCERPT, join_captions
from reidlib.data.batches.images import image_cache
from reidlib.data.dataset import Dataset, Hashed
from reidlib.data.formats import checks, cuhk01, cuhk03, cuhk_sysu, market1501, viper
from reidlib.data.formats.exported import load_mat
from reidlib.doctor import datasets
from reidlib.errors import DataError, UsageError
from reidlib.metrics.ranking import pool_queries
from reidlib.world.write import write, writer_of
from reidlib.world.writers import cuhk01 as cuhk01_writer
from reidlib.world.writers import cuhk03 as cuhk03_writer
from reidlib.world.writers import cuhk_sysu as cuhk_sysu_writer
from reidlib.world.writers import market1501 as market1501_writer
from reidlib.world.writers import viper as viper_writer

SIZE = (48, 24)
SEED = 3
IDS = {"market1501": (5, 4), "cuhk03": (7, 4), "cuhk01": (7,), "cuhk-sysu": (5, 4), "viper": (9,)}
LOADERS: dict[str, Callable[[Path], Dataset]] = {
    "market1501": market1501.load,
    "cuhk03": cuhk03.load,
    "cuhk01": cuhk01.load,
    "cuhk-sysu": cuhk_sysu.load,
    "viper": viper.load,
}
MODULES: dict[str, ModuleType] = {
    "market1501": market1501,
    "cuhk03": cuhk03,
    "cuhk01": cuhk01,
    "cuhk-sysu": cuhk_sysu,
    "viper": viper,
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with all five. Shared: copy before changing."""
    root = tmp_path_factory.mktemp("worlds")
    for name, ids in IDS.items():
        write(name, root, seed=SEED, ids=ids, size=SIZE)
    return root


@pytest.fixture
def copy(worlds: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A data folder with a copy of one dataset, to break."""

    def copied(name: str) -> Path:
        folder = MODULES[name].FOLDER
        shutil.copytree(
            worlds / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns("images_*", "crops-*"),
        )
        return tmp_path

    return copied


def message(root: Path, dataset: str, /, **arguments: Any) -> str:
    """The error that loading ends in."""
    with pytest.raises(DataError) as caught:
        LOADERS[dataset](root, **arguments)
    return str(caught.value)


def forget(root: Path, name: str) -> Path:
    """Make a generated dataset look like real data; returns its folder."""
    folder = root / MODULES[name].FOLDER
    (folder / "SYNTHETIC.json").unlink()
    return folder


# --- plans: the published numbers at full size


def test_full_market1501() -> None:
    plan = market1501_writer.plan(0, scale=1.0)
    counts = market1501_writer.count(plan)
    assert counts == {row: {"images": c.images, "ids": c.ids} for row, c in
                      market1501.EXPECTED.items()}  # fmt: skip
    assert [counts[row]["images"] for row in counts] == [12936, 3368, 19732, 3819, 2798, 25259]
    assert (counts["train"]["ids"], counts["gallery"]["ids"]) == (751, 750)
    assert len({picture.path for picture in plan}) == len(plan)
    keys = [(p.pid, p.camid) for p in plan if p.split == "query"]
    by_hand = {(p.pid, p.camid) for p in plan if p.split == "multi_query"}
    assert len(set(keys)) == len(keys) and set(keys) <= by_hand
    described = Counter(p.pid for p in plan if p.description)
    assert set(described.values()) == {4} and len(described) == 1501


@pytest.mark.parametrize("seed", [0, 1])
def test_full_cuhk03(seed: int) -> None:
    plan = cuhk03_writer.plan(seed, scale=1.0)
    per_pair = Counter(int(picture.path[0]) for picture in plan)
    assert per_pair == {1: 8177, 2: 4337, 3: 650, 4: 510, 5: 423}
    labeled = [picture for picture in plan if picture.box == "both"]
    assert (len(plan), len(labeled)) == (14_097, 14_096)
    assert len({picture.pid for picture in plan}) == 1_467
    assert not any(picture.path.startswith("3_068_1") for picture in labeled)
    persons, tests, sets = cuhk03_writer._protocol(seed, 1.0, None)
    for kind, published in cuhk03.NP.items():
        counts = cuhk03_writer.np_counts(persons, tests[kind], kind)
        assert {s: (counts[s]["images"], counts[s]["ids"]) for s in published} == published
    assert len(set(tests["labeled"]) - set(tests["detected"])) == 1
    assert [len(set(rows)) for rows in sets] == [100] * 20


@pytest.mark.parametrize("ids", [(2, 3), (7, 4), (100, 50), (767, 700)])
def test_every_pair_of_cuhk03_has_somebody(ids: tuple[int, int]) -> None:
    persons = cuhk03_writer.people(0, None, ids)
    assert len(persons) == sum(ids)
    numbers: dict[int, list[int]] = {}
    for person in persons:
        numbers.setdefault(person.pair, []).append(person.number)
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    full = (843, 440, 77, 58, 49)
    for pair, of_pair in numbers.items():
        assert of_pair == list(range(len(of_pair)))  # as in the release, counted from the first
        share = sum(ids) * full[pair] / sum(full)
        assert len(of_pair) >= 1 and abs(len(of_pair) - share) < 2
    assert all(person.cells("detected") for person in persons)


def test_names_of_viper() -> None:
    """Angle zero is _0, numbers rise from 0 to 873 with gaps."""
    plan = viper_writer.plan(0, scale=1.0)
    parts = [re.fullmatch(r"cam_([ab])/(\d{3})_(0|45|90|135|180)\.bmp", p.path) for p in plan]
    assert all(parts) and {part[3] for part in parts} == {"0", "45", "90", "135", "180"}
    numbers = sorted({int(part[2]) for part in parts})
    assert len(numbers) == 632 and (numbers[0], numbers[-1]) == (0, 873)
    assert [picture.pid for picture in plan] == [int(part[2]) for part in parts]
    few = sorted({picture.pid for picture in viper_writer.plan(3, ids=(9,))})
    assert few == numbers[:9] and few != list(range(9))
    pedes = {
        Path(image.path).stem
        for image in writer_of("cuhk-pedes").plan(0, scale=1.0)
        if image.family == "viper"
    }
    assert pedes == {Path(picture.path).stem for picture in plan}


@pytest.mark.parametrize("ids", [(2, 2), (5, 4), (30, 9)])
def test_every_camera_of_market1501_sees_somebody(ids: tuple[int, int]) -> None:
    for seed in range(5):
        plan = market1501_writer.plan(seed, ids=ids)
        for split in ("train", "query", "gallery"):
            persons = [p for p in plan if p.split == split and p.pid > 0]
            assert {picture.camid for picture in persons} == set(range(1, 7))


def test_full_cuhk01_and_viper() -> None:
    plan = cuhk01_writer.plan(0, scale=1.0)
    assert len(plan) == 3_884 and set(Counter(p.pid for p in plan).values()) == {4}
    assert cuhk01_writer.count(plan)["train"] == {"images": 4 * 485, "ids": 485}
    assert cuhk01_writer.count(plan)["query"]["ids"] == 486
    plan = viper_writer.plan(0, scale=1.0)
    assert len(plan) == 1_264 and len({p.pid for p in plan}) == 632
    assert viper_writer.count(plan)["gallery"] == {"images": 316, "ids": 316}


def test_full_cuhk_sysu() -> None:
    plan = cuhk_sysu_writer.plan(0, scale=1.0)
    counts = cuhk_sysu_writer.count(plan)
    assert counts["scenes, train"]["images"] == 11_206 and counts["scenes, test"]["images"] == 6_978
    assert (counts["train"]["ids"], counts["query"]["images"]) == (5_532, 2_900)
    people = [(scene, person) for scene in plan for person in scene.people]
    assert len(people) == 96_143
    crops = Counter(scene.split for scene, person in people if person.pid)
    assert crops == {"train": 15_080, "test": 2_900 + 5_441}
    once = {(scene.name, person.pid) for scene, person in people if person.pid}
    assert len(once) == sum(crops.values())


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("scale", [0.002, 0.05])
def test_plans_at_any_scale(name: str, scale: float) -> None:
    writer = writer_of(name)
    plan = writer.plan(5, scale=scale)
    assert plan == writer.plan(5, scale=scale) != writer.plan(6, scale=scale)
    assert writer.count(plan) and writer.bytes_needed(plan, None) > 0


@pytest.mark.parametrize("name", IDS)
def test_impossible_sizes(name: str, tmp_path: Path) -> None:
    for arguments in ({"scale": 0.0}, {"scale": 1.5}, {"ids": (1,) * len(IDS[name])},
                      {"ids": (9_999,) * len(IDS[name])}, {"ids": (3, 3, 3, 3)}):  # fmt: skip
        with pytest.raises(UsageError):
            write(name, tmp_path, **arguments)


# --- what is written is what is loaded


@pytest.mark.parametrize("name", IDS)
def test_round_trip(name: str, worlds: Path) -> None:
    dataset = LOADERS[name](worlds)
    assert dataset.synthetic["world_seed"] == SEED
    for split, table in dataset.splits.items():
        labeled = ["label"] if split == "train" else []
        assert list(table.columns) == ["pid", *labeled, "camid", "path", "source"]
        assert len(table) and all(path.is_file() for path in dataset.image_paths(split))
        assert table["pid"].dtype == table["camid"].dtype == np.int64
    train, query = dataset.splits["train"], dataset.splits["query"]
    assert sorted(set(train["label"])) == list(range(train["pid"].nunique()))
    assert not set(train["pid"]) & set(query["pid"])
    matches = query[["pid"]].drop_duplicates().merge(dataset.splits["gallery"], on="pid")
    assert set(matches["pid"]) == set(query["pid"])
    assert LOADERS[name](worlds).fingerprint == dataset.fingerprint


def test_market1501_splits(worlds: Path) -> None:
    dataset = market1501.load(worlds)
    gallery, query = dataset.splits["gallery"], dataset.splits["query"]
    assert {-1, 0} <= set(gallery["pid"]) and set(gallery["camid"]) <= set(range(1, 7))
    assert set(dataset.splits["train"]["source"]) == {"Market"}
    first, *lines = repr(dataset).splitlines()
    assert first == f"market1501 in {dataset.root}, synthetic"
    assert len(lines) == len(dataset.splits)
    pids = len(set(gallery["pid"]))
    assert f"  gallery: {len(gallery)} images, {pids} pids, 6 camids" in lines
    boxes = dataset.splits["multi_query"]
    pooled = pool_queries(
        torch.ones(len(boxes), 2), boxes["pid"], boxes["camid"],
        query["pid"], query["camid"],
    )  # fmt: skip
    assert pooled.shape == (len(query), 2)
    # A query is the same picture as its copy in gt_bbox.
    path = dataset.image_paths("query")[0]
    assert path.read_bytes() == (path.parents[1] / "gt_bbox" / path.name).read_bytes()
    with Image.open(path) as image:
        assert image.size == SIZE[::-1]
    assert market1501.count(dataset.splits) == checks.expected_counts(
        market1501.EXPECTED, dataset.synthetic, dataset.root
    )


def test_cuhk03_protocols(worlds: Path, tmp_path: Path) -> None:
    for name in cuhk03.NAMES:
        dataset = cuhk03.load(worlds, name)
        assert dataset.name == name and set(dataset.splits["query"]["camid"]) == {1, 2}
        same = list(dataset.splits["query"]["path"]) == list(dataset.splits["gallery"]["path"])
        assert same == ("classic" in name)
    first, second = (cuhk03.load(worlds, cuhk03.NAMES[0], split=split) for split in (0, 1))
    assert first.fingerprint == second.fingerprint and first.images == second.images
    assert Hashed(first) != Hashed(second)
    assert set(first.splits["query"]["pid"]) != set(second.splits["query"]["pid"])
    assert cuhk03.load(worlds, exports=tmp_path / "elsewhere").images.parent.name == "elsewhere"
    for name, split in (("cuhk03", 0), (cuhk03.NAMES[0], 20), (cuhk03.NAMES[2], 1)):
        with pytest.raises(UsageError, match="expected"):
            cuhk03.load(worlds, name, split=split)


def test_cuhk03_images_are_those_of_the_mat_file(worlds: Path) -> None:
    dataset = cuhk03.load(worlds, "cuhk03-classic-labeled")
    with h5py.File(worlds / cuhk03.FOLDER / cuhk03.MAT) as file:
        pair = file[file["labeled"][0, 0]]
        assert sum(file[reference].shape[1] for reference in file["labeled"][0]) == 11
        inside = file[pair[0, 2]][()]  # (3, W, H)
    with Image.open(dataset.images / "1_003_1_01.png") as image:
        assert np.array_equal(np.asarray(image), inside.transpose(2, 1, 0))
    # The image cache takes exported images as any others.
    cache = image_cache(dataset.image_paths("query"), SIZE, dataset.images / "cache")
    assert cache.shape == (len(dataset.splits["query"]), *SIZE, 3)
    shutil.rmtree(dataset.images / "cache")


def test_cuhk03_is_exported_anew_when_the_file_changes(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    before = cuhk03.load(root)
    mat = root / cuhk03.FOLDER / cuhk03.MAT
    mat.touch()
    assert cuhk03.load(root).images == before.images  # made from the same content
    with h5py.File(mat, "r+") as file:  # a black picture of the same size
        file[file[file["labeled"][0, 0]][0, 0]][...] = 0
    (root / cuhk03.FOLDER / ".images_labeled.unfinished").mkdir()  # of a process that was killed
    after = cuhk03.load(root)
    assert after.images != before.images and not before.images.exists()
    with Image.open(after.images / "1_001_1_01.png") as image:
        assert not np.asarray(image).any()
    with pytest.raises(DataError, match="1 changed"):
        _ = after.fingerprint


def test_random_halves(worlds: Path) -> None:
    for module in (cuhk01, viper):
        one, other = module.load(worlds, split=0), module.load(worlds, split=1)
        assert set(one.splits["train"]["pid"]) != set(other.splits["train"]["pid"])
        assert one.fingerprint == other.fingerprint and Hashed(one) != Hashed(other)
        assert set(one.splits["query"]["camid"]) == {1} != set(one.splits["gallery"]["camid"])
        with pytest.raises(UsageError, match="split"):
            module.load(worlds, split=10)


def test_cuhk_sysu_crops(worlds: Path) -> None:
    dataset = cuhk_sysu.load(worlds)
    assert set(dataset.splits["query"]["camid"]).isdisjoint(dataset.splits["gallery"]["camid"])
    names = {Path(path).name for path in dataset.splits["query"]["path"]}
    assert names.isdisjoint(Path(path).name for path in dataset.splits["gallery"]["path"])
    content = loadmat(worlds / cuhk_sysu.FOLDER / cuhk_sysu.TRAIN_MAT)["Train"].squeeze()
    name, _, scenes = content[0][0, 0]  # as public loaders index it
    scene, box, _ = scenes.squeeze()[0]
    crop = dataset.images / "train" / f"{name[0]}_{Path(scene[0]).stem}.png"
    with Image.open(crop) as image:
        assert image.size == tuple(box[0, 2:].astype(int))
    search = loadmat(worlds / cuhk_sysu.FOLDER / cuhk_sysu.TEST_MAT)["TestG50"].squeeze()[0]
    gallery = search["Gallery"].squeeze()
    filled = [item[1].size == 4 for item in gallery]
    assert filled == sorted(filled, reverse=True) and True in filled and False in filled
    assert search["Query"]["idname"][0, 0][0].startswith("p")


@pytest.mark.parametrize("name", ["market1501", "cuhk03", "cuhk-sysu"])
def test_same_bytes_for_any_division_of_the_work(
    name: str, worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidlib.world.write._PART", 7)
    write(name, tmp_path, seed=SEED, ids=IDS[name], size=SIZE)
    again = tmp_path / MODULES[name].FOLDER
    for path in sorted(p for p in again.rglob("*") if p.is_file()):
        assert path.read_bytes() == (worlds / path.relative_to(tmp_path)).read_bytes(), path


def test_doctor_finds_them(worlds: Path) -> None:
    found = {row["name"]: row for row in datasets(worlds)}
    for name in ("market1501", "cuhk01", "viper", "cuhk-sysu", *cuhk03.NAMES):
        assert found[name]["state"] == "ok" and found[name]["synthetic"], found[name]["detail"]
        assert all(row["found"] == row["expected"] for row in found[name]["counts"])


@pytest.mark.parametrize(
    ("name", "writer"),
    [("market1501", market1501_writer), ("cuhk01", cuhk01_writer), ("viper", viper_writer)],
)
def test_release_of_full_size_is_accepted(name: str, writer: ModuleType, tmp_path: Path) -> None:
    """All file names of a copy without SYNTHETIC.json; the files themselves are empty."""
    folder = tmp_path / MODULES[name].FOLDER
    folder.mkdir()
    writer.prepare(folder)
    for picture in writer.plan(0, scale=1.0):
        (folder / picture.path).touch()
    dataset = LOADERS[name](tmp_path, check_files=False)
    assert dataset.synthetic is None
    for split, expected in MODULES[name].EXPECTED.items():
        if split in dataset.splits:
            assert len(dataset.splits[split]) == expected.images
    assert "zero bytes" in message(tmp_path, name)


# --- captions


@pytest.mark.parametrize("name", IDS)
def test_captions_are_joined(name: str, worlds: Path) -> None:
    dataset = LOADERS[name](worlds)
    joined = join_captions(dataset)
    table = dataset.splits["train"]
    entries = json.loads((dataset.root / EXCERPT).read_text())
    by_name = {Path(entry["file_path"]).stem: entry["captions"] for entry in entries}
    for row in joined.captions.itertuples():
        assert row.caption in by_name[Path(table["path"][row.image]).stem]
    offsets, captions = joined.choices.offsets, joined.choices.captions
    described = set(joined.captions["image"])
    assert joined.described == len(described)
    of = joined.captions["image"].to_numpy()
    for i in range(len(table)):
        sources = set(of[captions[offsets[i] : offsets[i + 1]]])
        if i in described:
            assert sources == {i}
            continue
        assert {table["pid"][j] for j in sources} == {table["pid"][i]}
        here = table["pid"][i], table["camid"][i]
        near = {j for j in described if (table["pid"][j], table["camid"][j]) == here}
        assert sources == near if near else len(sources) > 0
    expected = {"market1501": 4, "cuhk03": 4}.get(name)
    if expected:  # in these two only some images of a person are described
        assert joined.described == expected * table["pid"].nunique() < len(table)
    else:
        assert joined.described == len(table)


def test_captions_come_from_cuhk_pedes_beside(tmp_path: Path) -> None:
    """With one seed and scale, the datasets show the people of CUHK-PEDES in the same pictures."""
    for name in ("cuhk-pedes", "market1501", "cuhk01", "viper"):
        write(name, tmp_path, seed=2, scale=0.003, size=SIZE)
    for name in ("market1501", "cuhk01", "viper"):
        dataset = LOADERS[name](tmp_path)
        own = join_captions(dataset)
        (dataset.root / EXCERPT).unlink()
        beside = join_captions(dataset)
        shared = own.captions.merge(beside.captions, on=["image", "caption"])
        assert len(shared) == len(beside.captions) > 0
    pedes = json.loads((tmp_path / "CUHK-PEDES" / "reid_raw.json").read_text())
    market = {Path(e["file_path"]).name for e in pedes if e["file_path"].startswith("Market/")}
    dataset = market1501.load(tmp_path)
    both = [path for path in dataset.image_paths("train") if path.name in market]
    assert both
    for path in both:
        assert (
            path.read_bytes()
            == (tmp_path / "CUHK-PEDES" / "imgs" / "Market" / path.name).read_bytes()
        )


def test_broken_captions(copy: Callable[[str], Path]) -> None:
    root = copy("market1501")
    dataset = market1501.load(root)
    excerpt = dataset.root / EXCERPT
    entries = json.loads(excerpt.read_text())

    def fails(content: Any) -> str:
        excerpt.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(DataError) as caught:
            join_captions(dataset)
        assert str(excerpt) in str(caught.value)
        return str(caught.value)

    assert "truncated" in fails(json.dumps(entries)[:-40])
    assert "found a JSON dict" in fails({})
    assert "entry 1" in fails([entries[0], {**entries[1], "captions": "one"}])
    other = [{**entry, "file_path": f"Market/{i}_1.jpg"} for i, entry in enumerate(entries)]
    assert "none of its" in fails(other)
    pid = int(dataset.splits["train"]["pid"][0])
    mine = f"/{pid:04d}_"
    assert str(pid) in fails([entry for entry in entries if mine not in entry["file_path"]])
    # Copies that call images otherwise can be joined by a list of names.
    excerpt.write_text(json.dumps(other))
    names = {new["file_path"]: old["file_path"] for new, old in zip(other, entries, strict=True)}
    assert join_captions(dataset, names=names).described
    excerpt.write_text(json.dumps([*entries, {"file_path": "Market/9.jpg", "captions": ["A"]}]))
    assert any("1 of" in note and "Market/9" in note for note in join_captions(dataset).notes)
    excerpt.unlink()
    with pytest.raises(DataError, match=r"reid_raw\.json"):
        join_captions(dataset)


# --- broken data


@pytest.mark.parametrize("name", IDS)
def test_missing_folder(name: str, tmp_path: Path) -> None:
    text = message(tmp_path, name)
    assert MODULES[name].FOLDER in text and "Expected" in text and "Found" in text


@pytest.mark.parametrize("name", IDS)
def test_root_too_deep(name: str, copy: Callable[[str], Path]) -> None:
    root = copy(name)
    assert f"pass {root}\n" in message(root / MODULES[name].FOLDER, name)


@pytest.mark.parametrize("name", IDS)
def test_real_data_must_have_the_published_counts(name: str, copy: Callable[[str], Path]) -> None:
    root = copy(name)
    forget(root, name)
    text = message(root, name)
    assert "found / expected" in text and "*" in text and "published" in text


@pytest.mark.parametrize(
    ("name", "folder", "bad"),
    [
        ("market1501", "bounding_box_train", "0002_c9s1_000451_03.jpg"),
        ("market1501", "gt_bbox", "person.jpg"),
        ("cuhk01", "campus", "0001005.png"),
        ("viper", "cam_b", "12_90.bmp"),
    ],
)
def test_file_name_that_does_not_parse(
    name: str, folder: str, bad: str, copy: Callable[[str], Path]
) -> None:
    root = copy(name)
    place = root / MODULES[name].FOLDER / folder
    (place / "Thumbs.db").touch()
    (place / f"._{bad}").touch()
    LOADERS[name](root)
    (place / bad).touch()
    text = message(root, name)
    assert str(place / bad) in text and "for instance" in text


def test_broken_market1501(copy: Callable[[str], Path]) -> None:
    root = copy("market1501")
    folder = root / market1501.FOLDER
    path = market1501.load(root).image_paths("query")[0]
    content = path.read_bytes()
    path.write_bytes(b"")
    assert "zero bytes" in message(root, "market1501") and path.name in message(root, "market1501")
    path.unlink()
    assert "found / expected" in message(root, "market1501")
    path.write_bytes(content)
    for other in (folder / "bounding_box_test").glob("0*.jpg"):
        if not other.name.startswith("0000"):  # every person now stands in its query's camera only
            other.rename(other.with_name(f"9{other.name[1:]}"))
    text = message(root, "market1501")
    assert "none of the" in text and "queries" in text
    shutil.rmtree(folder / "query")
    assert "query is not a folder" in message(root, "market1501")


def test_persons_in_both_halves(copy: Callable[[str], Path]) -> None:
    root = copy("market1501")
    paths = market1501.load(root).image_paths("train")
    pid = market1501.load(root).splits["query"]["pid"][0]
    mine = [path for path in paths if path.name[:4] == paths[0].name[:4]]
    for path in mine:
        path.rename(path.with_name(f"{pid:04d}{path.name[4:]}"))
    assert "one half" in message(root, "market1501")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_cuhk03(share: float, copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    mat = root / cuhk03.FOLDER / cuhk03.MAT
    content = mat.read_bytes()
    mat.write_bytes(content[: int(share * len(content))])
    text = message(root, "cuhk03")
    assert str(mat) in text and "truncated" in text
    assert not list(mat.parent.glob("*images_labeled-*"))
    assert not list(mat.parent.glob(".images_labeled.unfinished"))


def test_wrong_cuhk03_files(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    mat = root / cuhk03.FOLDER / cuhk03.MAT
    config = mat.with_name(cuhk03.CONFIG.format("labeled"))
    whole, protocol = mat.read_bytes(), config.read_bytes()
    savemat(mat, {"labeled": np.zeros(3)})
    assert "MATLAB v5" in message(root, "cuhk03")
    mat.write_bytes(whole)
    config.unlink()
    assert str(config) in message(root, "cuhk03")
    assert cuhk03.load(root, "cuhk03-classic-labeled").splits  # does not need it
    config.write_bytes(protocol[: len(protocol) // 2])
    assert str(config) in message(root, "cuhk03")
    config.write_bytes(whole[:4096])
    assert str(config) in message(root, "cuhk03")
    shutil.copy(mat.with_name(cuhk03.CONFIG.format("detected")), config)
    content = loadmat(config)
    content["train_idx"] = content["train_idx"] + 60_000
    savemat(config, {k: v for k, v in content.items() if not k.startswith("__")})
    assert "train_idx" in message(root, "cuhk03") or "file names" in message(root, "cuhk03")
    config.write_bytes(protocol)
    assert cuhk03.load(root).splits


def test_empty_and_odd_cells_of_cuhk03(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    mat = root / cuhk03.FOLDER / cuhk03.MAT

    def put(person: int, cells: list[int], value: np.ndarray) -> None:
        with h5py.File(mat, "r+") as file:
            pair = file[file["labeled"][0, 0]]
            new = file.create_dataset(f"odd{len(file)}", data=value)
            for cell in cells:
                pair[cell, person] = new.ref

    put(2, [9], np.zeros((3, 5), np.uint8))  # not an image: an empty cell to the loader
    assert "found / expected" in message(root, "cuhk03", name="cuhk03-classic-labeled")
    put(4, [0], np.zeros((3, 20, 40)))
    text = message(root, "cuhk03")
    assert "pair 1, person 5, cell 1" in text and "float64" in text
    put(4, list(range(10)), np.zeros(2, np.uint64))
    text = message(root, "cuhk03")
    assert "pair 1, person 5" in text and "all ten cells are empty" in text


def test_incomplete_persons(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk01")
    (root / cuhk01.FOLDER / "campus" / "0002003.png").unlink()
    assert "person 0002 has 3 images" in message(root, "cuhk01")
    root = copy("viper")
    cam_a = sorted((root / viper.FOLDER / "cam_a").glob("*.bmp"))
    shutil.copy(cam_a[1], cam_a[1].with_name(f"{cam_a[1].name[:3]}_15.bmp"))
    assert "has two images" in message(root, "viper")
    cam_a[1].with_name(f"{cam_a[1].name[:3]}_15.bmp").unlink()
    cam_a[1].unlink()
    assert f"person {cam_a[1].name[:3]}" in message(root, "viper")


def _change_train(root: Path, change: Callable[[Any], None]) -> Path:
    path = root / cuhk_sysu.FOLDER / cuhk_sysu.TRAIN_MAT
    content = loadmat(path)
    change(content["Train"])
    savemat(path, {"Train": content["Train"]})
    return path


def test_degenerate_boxes(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk-sysu")
    before = len(cuhk_sysu.load(root).splits["train"])

    def flat(train: Any) -> None:
        train[0, 0]["scene"][0, 0]["idlocate"][0, 0] = np.array([[5, 5, 0, 20]])
        train[1, 0]["scene"][0, 0]["idlocate"][0, 0] = np.array([[-9_000, 5, 10, 20]])

    _change_train(root, flat)
    dataset = cuhk_sysu.load(root)
    assert len(dataset.splits["train"]) == before - 2
    assert any(note.startswith("2 boxes") for note in dataset.notes)

    def gone(train: Any) -> None:
        for scene in train[1, 0]["scene"][0, 0].T:
            scene["idlocate"][0] = np.array([[9_000, 5, 10, 20]])

    _change_train(root, gone)
    text = message(root, "cuhk-sysu")
    assert "found / expected" in text or "degenerate" in text

    def short(train: Any) -> None:
        train[0, 0]["scene"][0, 0]["idlocate"][0, 1] = np.array([[5, 5, 20]])

    path = _change_train(root, short)
    text = message(root, "cuhk-sysu")
    assert str(path) in text and "x, y, width, height" in text


def test_broken_cuhk_sysu(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk-sysu")
    folder = root / cuhk_sysu.FOLDER
    scene = next(iter(sorted((folder / cuhk_sysu.SCENES).glob("*.jpg"))))
    content = scene.read_bytes()
    scene.write_bytes(content[:200])
    assert str(scene) in message(root, "cuhk-sysu")
    scene.unlink()
    assert scene.name in message(root, "cuhk-sysu")
    scene.write_bytes(content)
    for name in (cuhk_sysu.TEST_MAT, cuhk_sysu.TRAIN_MAT, cuhk_sysu.POOL_MAT):
        whole = (folder / name).read_bytes()
        for size in (0, 60, 150, len(whole) // 2):
            (folder / name).write_bytes(whole[:size])
            assert str(folder / name) in message(root, "cuhk-sysu")
        (folder / name).unlink()
        assert str(folder / name) in message(root, "cuhk-sysu")
        (folder / name).write_bytes(whole)
    savemat(folder / cuhk_sysu.TEST_MAT, {"TestG100": np.zeros(3)})
    assert "no variable 'TestG50'" in message(root, "cuhk-sysu")


# --- odd numbers and names; pictures that were exported


def _change_scene(root: Path, name: str) -> Path:
    """Give the first training person's first scene another name, in both files that hold it."""
    images = root / cuhk_sysu.FOLDER / cuhk_sysu.IMAGES_MAT
    content = loadmat(images)
    old = None

    def rename(train: Any) -> None:
        nonlocal old
        scene = train[0, 0]["scene"][0, 0]
        old = str(scene["imname"][0, 0][0])
        scene["imname"][0, 0] = np.array([name])

    _change_train(root, rename)
    for i in range(content["Img"].shape[1]):
        if str(content["Img"]["imname"][0, i][0]) == old:
            content["Img"]["imname"][0, i] = np.array([name])
    savemat(images, {"Img": content["Img"]})
    return images


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "a/b.jpg", "s\t1.jpg"])
def test_scenes_outside_the_dataset_are_not_read(
    name: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copy("cuhk-sysu")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "secret.jpg")
    images = _change_scene(root, name)
    text = message(root, "cuhk-sysu")
    assert str(images) in text and "is no file of Image/SSM/" in text
    assert not list((root / cuhk_sysu.FOLDER).rglob("*secret*"))


@pytest.mark.parametrize(
    "box",
    [[np.nan, 5, 10, 20], [5, np.inf, 10, 20], [5, 5, 1e12, 20], [-(2.0**40), 5, 10, 20]],
)
def test_boxes_of_no_numbers(box: list[float], copy: Callable[[str], Path]) -> None:
    root = copy("cuhk-sysu")

    def change(train: Any) -> None:
        train[0, 0]["scene"][0, 0]["idlocate"][0, 0] = np.array([box])

    path = _change_train(root, change)
    text = message(root, "cuhk-sysu")
    assert str(path) in text and "numbers of pixels" in text


def test_fields_that_are_missing(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk-sysu")
    test = root / cuhk_sysu.FOLDER / cuhk_sysu.TEST_MAT
    content = loadmat(test)["TestG50"]
    savemat(test, {"TestG50": repack_fields(content[["Query"]])})
    assert f"{test}: field Gallery is missing" in message(root, "cuhk-sysu")
    savemat(test, {"TestG50": repack_fields(content[["Gallery"]])})
    assert f"{test}: field Query is missing" in message(root, "cuhk-sysu")
    savemat(test, {"TestG50": np.zeros(4)})
    assert f"{test}: field" in message(root, "cuhk-sysu")


@pytest.mark.parametrize("person", ["p" + "9" * 5_000, "p٣", "p-1", "x", "p1/../../y"])
def test_names_of_persons(person: str, copy: Callable[[str], Path]) -> None:
    root = copy("cuhk-sysu")

    def change(train: Any) -> None:
        train[0, 0]["idname"][0, 0] = np.array([person])

    path = _change_train(root, change)
    text = message(root, "cuhk-sysu")
    assert str(path) in text and "a name like p11600" in text and len(text) < 1_000


def test_matlab_files_that_unpack_to_gigabytes(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy("cuhk-sysu")
    train = root / cuhk_sysu.FOLDER / cuhk_sysu.TRAIN_MAT
    savemat(train, {"Train": np.zeros(3 << 20)}, do_compression=True)
    assert train.stat().st_size < 200_000
    monkeypatch.setattr("reidlib.data.formats.exported.MAX_MAT", 1 << 24)
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("was unpacked"))
    with pytest.raises(DataError, match="unpacks to more than 16,777,216 bytes"):
        load_mat(train, "the training persons", ["Train"])


def test_arrays_that_claim_gigabytes(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    mat = root / cuhk03.FOLDER / cuhk03.MAT
    with h5py.File(mat, "r+") as file:
        pair = file[file["labeled"][0, 0]]
        huge = file.create_dataset("huge", shape=(3, 40_000, 40_000), dtype=np.uint8, chunks=True)
        pair[0, 0] = huge.ref
    text = message(root, "cuhk03")
    assert "pair 1, person 1, cell 1" in text and "expected an image" in text
    with h5py.File(mat, "r+") as file:
        del file["labeled"]
        file.create_dataset("labeled", shape=(1, 10**9), dtype=h5py.ref_dtype, chunks=True)
    assert "an array of 1,000,000,000 cells" in message(root, "cuhk03")


def test_protocol_with_an_image_in_two_parts(copy: Callable[[str], Path]) -> None:
    root = copy("cuhk03")
    config = root / cuhk03.FOLDER / cuhk03.CONFIG.format("labeled")
    content = {k: v for k, v in loadmat(config).items() if not k.startswith("__")}
    for change in (
        {"query_idx": content["train_idx"][: len(content["query_idx"])]},
        {"train_idx": np.array([[1.5], [2.0]])},
        {"gallery_idx": np.array([["a"]])},
        {"gallery_idx": np.full((3, 1), np.nan)},
    ):
        savemat(config, {**content, **change})
        text = message(root, "cuhk03")
        assert str(config) in text and next(iter(change)) in text


EXPORTS = {"cuhk03": "images_labeled-*", "cuhk-sysu": "crops-*"}


@pytest.mark.parametrize("name", EXPORTS)
def test_damaged_exports_are_made_anew(name: str, copy: Callable[[str], Path]) -> None:
    root = copy(name)
    good = LOADERS[name](root)
    (place,) = good.root.glob(EXPORTS[name])
    index, first = place / "index.json", good.image_paths("train")[0]
    whole, picture = index.read_bytes(), first.read_bytes()
    content = json.loads(whole)
    shorter = {key: content[key][1:] for key in ("files", "digests")}
    for damaged in (
        whole[:100], b"", b"[]", b"[" * 100_000, json.dumps({**content, **shorter}).encode(),
    ):  # fmt: skip
        index.write_bytes(damaged)
        again = LOADERS[name](root)
        assert again.splits["train"].equals(good.splits["train"])
        assert index.read_bytes() == whole
    first.write_bytes(picture[:-1] + bytes([picture[-1] ^ 1]))
    assert LOADERS[name](root).image_paths("train")[0].read_bytes() == picture
    first.unlink()
    assert LOADERS[name](root).image_paths("train")[0].read_bytes() == picture


def test_crops_follow_their_scenes(copy: Callable[[str], Path], tmp_path: Path) -> None:
    """Black scenes of the same size in bytes and of the same time are other scenes."""
    root = copy("cuhk-sysu")
    exports = tmp_path / "exports"
    before = cuhk_sysu.load(root, exports=exports, cache=tmp_path / "cache")
    crop = before.image_paths("train")[0]
    scene = root / cuhk_sysu.FOLDER / cuhk_sysu.SCENES / f"{crop.stem.partition('_')[2]}.jpg"
    status, whole = scene.stat(), scene.read_bytes()
    with Image.open(scene) as image:
        black = Image.new("RGB", image.size)
    black.save(scene, "JPEG")
    content = scene.read_bytes()
    assert len(content) < len(whole)
    scene.write_bytes(content + bytes(len(whole) - len(content)))
    os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = cuhk_sysu.load(root, exports=exports, cache=tmp_path / "cache")
    assert after.images != before.images and not before.images.exists()
    with Image.open(after.images / crop.relative_to(before.images)) as image:
        assert np.asarray(image).max() < 5


@pytest.mark.parametrize("name", EXPORTS)
def test_without_export_the_same_is_counted(name: str, copy: Callable[[str], Path]) -> None:
    root = copy(name)
    counted = LOADERS[name](root, export=False)
    assert not [path for path in counted.root.iterdir() if path.name.startswith(("images", "crop"))]
    written = LOADERS[name](root)
    for split, table in written.splits.items():
        assert table.equals(counted.splits[split])
    assert written.notes == counted.notes and written.fingerprint == counted.fingerprint
