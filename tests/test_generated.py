"""Generated datasets: a seal over every byte, and a fingerprint known before anything is drawn."""

import json
import shutil
from pathlib import Path

import pytest

from reidlib.data import generated
from reidlib.data.dataset import Hashed
from reidlib.data.formats.checks import SYNTHETIC
from reidlib.data.generated import SUMS
from reidlib.data.load import load
from reidlib.data.register import FORMATS
from reidlib.errors import DataError
from reidlib.world.write import world_fingerprint, write

IDS = {"cuhk-pedes": (4, 1, 2), "cuhk01": (4,), "cuhk03": (4, 3), "cuhk-sysu": (3, 3)}
SIZE = (32, 16)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    for name, ids in IDS.items():
        write(name, root, seed=4, ids=ids, size=SIZE)
    return root


@pytest.fixture
def pedes(worlds: Path, tmp_path: Path) -> Path:
    """A data folder with a copy of CUHK-PEDES, to change."""
    shutil.copytree(worlds / "CUHK-PEDES", tmp_path / "CUHK-PEDES")
    return tmp_path


def refusal(root: Path, name: str = "cuhk-pedes") -> str:
    with pytest.raises(DataError) as caught:
        load(root, name)
    folder = root / FORMATS[name].folder
    assert str(folder) in str(caught.value) and f"delete {folder}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", IDS)
def test_fingerprint_is_known_before_anything_is_drawn(name: str, worlds: Path) -> None:
    known = world_fingerprint(name, seed=4, ids=IDS[name], size=SIZE)
    cache = worlds / "cache"
    for dataset in FORMATS[name].datasets:
        if dataset.startswith("cuhk-pedes-"):
            continue  # so few people are not of all domains
        found = load(worlds, dataset, exports=cache / "exports", cache=cache)
        assert found.fingerprint == known and found.cache == cache


def test_fingerprint_follows_what_it_was_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {
        world_fingerprint("cuhk01"),
        world_fingerprint("viper"),
        world_fingerprint("cuhk01", seed=1),
        world_fingerprint("cuhk01", scale=0.5),
        world_fingerprint("cuhk01", ids=(9,)),
        world_fingerprint("cuhk01", ids=(9,), size=(64, 32)),
    }
    assert world_fingerprint("cuhk01", scale=1.0) == world_fingerprint("cuhk01") in prints
    monkeypatch.setattr("reidlib.world.writers.cuhk01.VERSION", 99)
    prints.add(world_fingerprint("cuhk01"))
    monkeypatch.setattr("reidlib.world.write.WORLD_VERSION", 99)
    prints.add(world_fingerprint("cuhk01"))
    assert len(prints) == 8


def test_sums_list_every_file(worlds: Path) -> None:
    for name in IDS:
        folder = worlds / FORMATS[name].folder
        lines = (folder / SUMS).read_text().splitlines()
        listed = [line.split("  ", 1)[1] for line in lines]
        there = {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in (SYNTHETIC, SUMS)
        }
        assert listed == sorted(there)


def test_a_changed_byte_is_refused(pedes: Path) -> None:
    intact = load(pedes, "cuhk-pedes")
    assert Hashed(intact) == Hashed(load(pedes, "cuhk-pedes"))
    for path in (
        intact.image_paths("train")[0],
        sorted((intact.root / "masks").rglob("*.png"))[0],
        intact.root / "reid_raw.json",
    ):
        whole = path.read_bytes()
        position = whole.index(b"wear") if path.suffix == ".json" else len(whole) // 2
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        text = refusal(pedes)
        assert "1 of" in text and path.relative_to(intact.root).as_posix() in text
        path.write_bytes(whole)
    path.touch()
    assert load(pedes, "cuhk-pedes").fingerprint == intact.fingerprint
    sorted((intact.root / "masks").rglob("*.png"))[0].unlink()
    assert "1 missing, 0 changed" in refusal(pedes)


def test_a_change_is_seen_with_a_cache_too(pedes: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = load(pedes, "cuhk-pedes", cache=cache).image_paths("test")[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="1 changed"):
        load(pedes, "cuhk-pedes", cache=cache)


def test_a_changed_parameter_is_refused(pedes: Path) -> None:
    marker = pedes / "CUHK-PEDES" / SYNTHETIC
    described = json.loads(marker.read_text())
    for key, value in (("world_seed", 5), ("scale", 0.1), ("seal", "0" * 64), ("more", 1)):
        marker.write_text(json.dumps({**described, key: value}))
        assert "was changed" in refusal(pedes)
    del described["seal"]
    marker.write_text(json.dumps(described))  # as versions before the seal wrote it
    assert "another version" in refusal(pedes)


def test_a_changed_list_is_refused(pedes: Path) -> None:
    sums = pedes / "CUHK-PEDES" / SUMS
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(lines[1:]))
    assert "was changed" in refusal(pedes)
    sums.unlink()
    assert "SHA256SUMS is missing: it was deleted, or an earlier version" in refusal(pedes)


def test_what_a_desktop_leaves_does_no_harm(pedes: Path) -> None:
    (pedes / "CUHK-PEDES" / "imgs" / ".DS_Store").write_bytes(b"x")
    assert load(pedes, "cuhk-pedes").splits


def test_made_from_needs_all_parameters() -> None:
    with pytest.raises(KeyError):
        generated.made_from({"dataset": "cuhk01"})
