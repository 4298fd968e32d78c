"""DukeMTMC-reID: the plan's numbers, world -> writer -> loader, permission, broken data."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from reidlib.data.formats import dukemtmc
from reidlib.data.load import load
from reidlib.errors import DataError, UsageError
from reidlib.world.write import write
from reidlib.world.writers import dukemtmc as writer

SIZE = (48, 24)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("duke")
    write("dukemtmc-reid", root, seed=3, ids=(4, 3), size=SIZE)
    return root


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """A data folder with a copy, to break."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    return tmp_path


def message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        dukemtmc.load(root)
    return str(caught.value)


def test_plan_at_full_size() -> None:
    plan = writer.plan(0, scale=1.0)
    assert writer.count(plan) == {
        "train": {"images": 16_522, "ids": 702},
        "query": {"images": 2_228, "ids": 702},
        "gallery": {"images": 17_661, "ids": 1_110},
    }
    assert len({picture.path for picture in plan}) == len(plan) == 36_411
    cameras = {}
    for picture in plan:
        cameras.setdefault((picture.pid, picture.split), set()).add(picture.camid)
    queried = {pid for pid, split in cameras if split == "query"}
    assert all(len(cameras[pid, "train"]) >= 2 for pid, split in cameras if split == "train")
    alone = {pid for pid, split in cameras if split == "gallery"} - queried
    assert len(alone) == 408 and all(len(cameras[pid, "gallery"]) == 1 for pid in alone)
    assert all(cameras[pid, "query"] == cameras[pid, "gallery"] for pid in queried)
    per_camera = Counter((p.pid, p.camid) for p in plan if p.split == "query")
    assert set(per_camera.values()) == {1}
    people = {picture.pid: picture.person for picture in plan}
    assert len(set(people.values())) == len(people) == 702 + 1_110 and max(people) <= 7_140


@pytest.mark.parametrize("scale", [0.002, 0.05])
def test_plans_at_any_scale(scale: float) -> None:
    plan = writer.plan(5, scale=scale)
    assert plan == writer.plan(5, scale=scale) != writer.plan(6, scale=scale)
    assert writer.bytes_needed(plan, None) > 0
    for ids in ((1, 1), (703, 5), (3,)):
        with pytest.raises(UsageError):
            writer.plan(0, ids=ids)


def test_round_trip(world: Path) -> None:
    dataset = load(world, "dukemtmc-reid")
    assert dataset.synthetic["world_seed"] == 3 and dataset.notes == ()
    plan = writer.plan(3, ids=(4, 3))
    for split, table in dataset.splits.items():
        mine = [picture for picture in plan if picture.split == split]
        assert [(p.pid, p.camid, p.path) for p in mine] == list(
            zip(table["pid"], table["camid"], table["path"], strict=True)
        )
        assert all(path.is_file() for path in dataset.image_paths(split))
    assert sorted(set(dataset.splits["train"]["label"])) == [0, 1, 2, 3]
    assert set(dataset.splits["gallery"]["pid"]) > set(dataset.splits["query"]["pid"])


def test_real_data_needs_permission(copy: Path) -> None:
    folder = copy / dukemtmc.FOLDER
    (folder / "SYNTHETIC.json").unlink()
    said = message(copy)
    assert "withdrawn in 2019" in said and dukemtmc.ALLOWED in said and str(folder) in said
    with pytest.raises(DataError, match="wrong counts"):  # allowed, and not the real numbers
        dukemtmc.load(copy, withdrawn=True)
    (folder / dukemtmc.ALLOWED).touch()
    assert "16,522" in message(copy)


def test_real_data_carries_a_note(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dukemtmc.count(dukemtmc.load(copy).splits)
    (copy / dukemtmc.FOLDER / "SYNTHETIC.json").unlink()
    monkeypatch.setattr(dukemtmc, "EXPECTED", found)
    dataset = dukemtmc.load(copy, withdrawn=True)
    assert dataset.synthetic is None and "withdrawn" in dataset.notes[0]


def test_wrong_names_and_counts(copy: Path) -> None:
    folder = copy / dukemtmc.FOLDER
    first = sorted((folder / "query").iterdir())[0]
    wrong = first.with_name("0002_c9_f0046985.jpg")
    first.rename(wrong)
    assert str(wrong) in message(copy) and "camera: 1-8" in message(copy)
    wrong.unlink()
    assert "wrong counts" in message(copy)


def test_missing_folders(copy: Path) -> None:
    shutil.rmtree(copy / dukemtmc.FOLDER / "query")
    assert "query is not a folder" in message(copy)
    assert "DukeMTMC-reID not found" in message(copy / "nowhere")


def test_person_in_both_halves(copy: Path) -> None:
    folder = copy / dukemtmc.FOLDER
    train, test = (sorted((folder / name).iterdir())[0] for name in
                   ("bounding_box_train", "bounding_box_test"))  # fmt: skip
    test.rename(test.with_name(train.name[:4] + test.name[4:]))
    said = message(copy)
    assert "wrong counts" in said or "in both" in said or "persons are in" in said


def test_empty_file(copy: Path) -> None:
    first = sorted((copy / dukemtmc.FOLDER / "query").iterdir())[0]
    first.write_bytes(b"")
    assert "zero bytes" in message(copy) and first.name in message(copy)
