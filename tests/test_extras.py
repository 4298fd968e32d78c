"""What trainings read beside a dataset: where it is, whether it will do, its part of the key."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reidlib.data.dataset import Dataset
from reidlib.data.extras import NEEDS, check, extra_files, extras_fingerprint
from reidlib.data.formats import cuhk_pedes, market1501, peta
from reidlib.errors import DataError, UsageError
from reidlib.world.write import write


@pytest.fixture(scope="module")
def written(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("extras")
    shutil.copytree(tiny_world / "CUHK-PEDES", root / "CUHK-PEDES")
    write("market1501", root, seed=7, ids=(4, 3), size=(32, 16))
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "data")
    return tmp_path / "data"


def pedes(root: Path) -> Dataset:
    """CUHK-PEDES as if it were the release."""
    return replace(cuhk_pedes.load(root), synthetic=None, cache=root.parent / "cache")


def market(root: Path) -> Dataset:
    return replace(market1501.load(root), synthetic=None, cache=root.parent / "cache")


def test_masks(root: Path) -> None:
    dataset = pedes(root)
    files = extra_files("masks", dataset)
    assert len(files) == len(dataset.splits["train"]) and all(path.is_file() for path in files)
    check("masks", dataset)
    before = extras_fingerprint(["masks"], dataset)
    assert before == extras_fingerprint(("masks",), pedes(root)) != ""
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    # Asked of the dataset as it is loaded now, as another run would.
    changed = replace(pedes(root), name="other")
    assert extras_fingerprint(("masks",), changed) != before
    files[3].unlink()
    with pytest.raises(DataError, match="1 of"):
        extra_files("masks", dataset)
    with pytest.raises(DataError, match="1 of"):
        check("masks", replace(dataset, name="another"))


def test_captions(root: Path) -> None:
    dataset = market(root)
    (excerpt,) = extra_files("captions", dataset)
    assert excerpt.parent == dataset.root
    check("captions", dataset)
    own = extras_fingerprint(("captions",), dataset)
    shutil.move(excerpt, root / "CUHK-PEDES" / "reid_raw.json")  # where the real ones are
    beside = replace(market(root), name="beside")
    assert extra_files("captions", beside) == [root / "CUHK-PEDES" / "reid_raw.json"]
    assert extras_fingerprint(("captions",), beside) not in ("", own)
    entries = json.loads((root / "CUHK-PEDES" / "reid_raw.json").read_text())
    (root / "CUHK-PEDES" / "reid_raw.json").write_text(json.dumps(entries[:1]))
    with pytest.raises(DataError, match=r"no caption at all|none of its"):
        check("captions", replace(market(root), name="few"))
    shutil.rmtree(root / "CUHK-PEDES")
    with pytest.raises(DataError, match=r"reid_raw\.json"):
        check("captions", replace(market(root), name="none"))


def test_keypoints(root: Path) -> None:
    dataset = market(root)
    files = extra_files("keypoints", dataset)
    assert len(files) == sum(len(dataset.splits[s]) for s in ("train", "query", "gallery"))
    check("keypoints", dataset)
    assert extras_fingerprint(("keypoints",), dataset) != ""
    files[0].write_text(files[0].read_text()[:-1])  # cut off
    with pytest.raises(DataError, match="not valid JSON"):
        check("keypoints", replace(market(root), name="cut"))
    files[1].unlink()
    with pytest.raises(DataError, match="1 of"):
        extra_files("keypoints", dataset)


def test_a_text_dataset_brings_its_captions(root: Path) -> None:
    dataset = pedes(root)
    assert extra_files("captions", dataset) == []
    check("captions", dataset)
    assert extras_fingerprint(("captions",), dataset) == ""


def test_attributes(root: Path) -> None:
    dataset = market(root)
    (path,) = extra_files("attributes", dataset)
    assert path == dataset.root / "market_attribute.mat"
    check("attributes", dataset)
    assert extras_fingerprint(("attributes",), dataset) != ""
    clone = root / "Market-1501_Attribute"
    clone.mkdir()
    path.rename(clone / path.name)
    assert extra_files("attributes", dataset) == [clone / path.name]
    assert extras_fingerprint(("attributes",), replace(dataset, split=1)) != ""
    (clone / path.name).write_bytes(b"no MATLAB")
    with pytest.raises(DataError, match=path.name):
        check("attributes", replace(dataset, split=2))
    (clone / path.name).unlink()
    with pytest.raises(DataError, match="no attribute file"):
        extra_files("attributes", dataset)
    with pytest.raises(UsageError, match="viper has no attribute file"):
        check("attributes", replace(dataset, name="viper"))


def test_attributes_of_peta(tmp_path: Path) -> None:
    write("peta", tmp_path, seed=7, ids=(30,), size=(24, 12))
    dataset = peta.load(tmp_path)
    files = extra_files("attributes", dataset)
    assert len(files) == 10 and {path.name for path in files} == {"Label.txt"}
    check("attributes", dataset)
    assert extras_fingerprint(("attributes",), dataset) == ""
    assert extras_fingerprint(("attributes",), replace(dataset, synthetic=None)) != ""


def test_generated_data_stands_for_its_extras(written: Path) -> None:
    assert extras_fingerprint(("masks",), cuhk_pedes.load(written)) == ""
    assert extras_fingerprint(("captions",), market1501.load(written)) == ""
    assert extras_fingerprint(("keypoints",), market1501.load(written)) == ""
    assert extras_fingerprint((), cuhk_pedes.load(written)) == ""


def test_generated_images_with_captions_from_beside(root: Path) -> None:
    """The seal of the images says nothing about a file of another dataset."""
    dataset = market1501.load(root)
    _ = dataset.fingerprint
    (dataset.root / "cuhk_pedes_excerpt.json").rename(root / "CUHK-PEDES" / "reid_raw.json")
    assert extras_fingerprint(("captions",), dataset) != ""


def test_unknown_need(root: Path) -> None:
    for call in (extra_files, check):
        with pytest.raises(UsageError, match=", ".join(NEEDS)):
            call("horoscopes", pedes(root))
