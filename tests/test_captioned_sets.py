"""ICFG-PEDES and RSTPReid, written and read, and the domains of CUHK-PEDES."""

import json
import math
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reidlib import doctor
from reidlib.data.batches.pairs import TextImageData, prepare, text_of
from reidlib.data.dataset import Dataset, Hashed, captions_frame
from reidlib.data.formats import cuhk_pedes, icfg_pedes, rstpreid
from reidlib.data.language.words import UNK, tokenize
from reidlib.errors import DataError, UsageError
from reidlib.models.ssan import SSAN, SSANConfig, WeakCaptions
from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import make_shot
from reidlib.world.language.captions import rstp_caption
from reidlib.world.people.identity import make_identity
from reidlib.world.write import write, writer_of
from reidlib.world.writers import icfg_pedes as icfg_writer
from reidlib.world.writers import rstpreid as rstp_writer

FORMS = {"icfg-pedes": icfg_pedes, "rstpreid": rstpreid}
IDS = {"icfg-pedes": (5, 2), "rstpreid": (5, 2, 3)}
PATH_FIELD = {"icfg-pedes": "file_path", "rstpreid": "img_path"}
ANNOTATION = {"icfg-pedes": "ICFG-PEDES.json", "rstpreid": "data_captions.json"}
both = pytest.mark.parametrize("name", list(FORMS))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with both datasets, tiny. Shared: copy it before changing it."""
    root = tmp_path_factory.mktemp("msmt17")
    for name in FORMS:
        write(name, root, seed=3, ids=IDS[name], size=(64, 32))
    return root


@pytest.fixture
def world(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def full_plans() -> dict[str, list[Any]]:
    return {name: writer_of(name).plan(0, scale=1.0) for name in FORMS}


def annotation_of(root: Path, name: str) -> Path:
    return root / FORMS[name].FOLDER / ANNOTATION[name]


def edit(root: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Rewrite an annotation after `change`, as if its present counts had been written."""
    path = annotation_of(root, name)
    entries = json.loads(path.read_text())
    changed = change(entries)
    entries = entries if changed is None else changed
    path.write_text(json.dumps(entries))
    marker = path.parent / "SYNTHETIC.json"
    described = json.loads(marker.read_text())
    for split, counts in described["counts"].items():
        rows = [entry for entry in entries if entry.get("split") == split]
        counts["images"] = len(rows)
        counts["ids"] = len({entry.get("id") for entry in rows})
        counts["captions"] = sum(len(entry.get("captions") or []) for entry in rows)
    marker.write_text(json.dumps(described))


def message(load: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(*arguments, **named)
    return str(caught.value)


# --- the plans


def test_full_plans_have_the_published_counts(full_plans: dict[str, list[Any]]) -> None:
    assert icfg_writer.count(full_plans["icfg-pedes"]) == {
        "train": {"images": 34_674, "ids": 3_102, "captions": 34_674},
        "test": {"images": 19_848, "ids": 1_000, "captions": 19_848},
    }
    assert rstp_writer.count(full_plans["rstpreid"]) == {
        "train": {"images": 18_505, "ids": 3_701, "captions": 37_010},
        "val": {"images": 1_000, "ids": 200, "captions": 2_000},
        "test": {"images": 1_000, "ids": 200, "captions": 2_000},
    }
    for plan, ids in zip(full_plans.values(), (4_102, 4_101), strict=True):
        assert sorted({image.pid for image in plan}) == list(range(ids))  # from 0, without a gap
        assert len({image.person for image in plan}) == ids
        assert len({image.path for image in plan}) == len(plan)
        assert {image.family for image in plan} == {"msmt"}
    train = {image.pid for image in full_plans["icfg-pedes"] if image.split == "train"}
    assert train == set(range(3_102))


def test_names_of_full_plans(full_plans: dict[str, list[Any]]) -> None:
    """The splits of ICFG-PEDES lie across MSMT17's folders; RSTPReid's folder is flat."""
    seen = set()
    for image in full_plans["icfg-pedes"]:
        parts = re.fullmatch(
            r"(train|test)/(\d{4})/\2_\d{3}_(\d\d)_\d{4}(?:morning|noon|afternoon)_\d{4}_0\.jpg",
            image.path,
        )
        assert parts and int(parts[3]) == image.camid
        seen.add((image.split, parts[1]))
    assert len(seen) == 4
    for place, image in enumerate(full_plans["rstpreid"]):
        parts = re.fullmatch(r"(\d{4})_c(\d{1,2})_\d{4}\.jpg", image.path)
        assert parts and (int(parts[1]), int(parts[2])) == (image.pid, image.camid)
        assert image.split == ("train" if place < 18_505 else "val" if place < 19_505 else "test")


def test_cameras_of_full_plans(full_plans: dict[str, list[Any]]) -> None:
    for name, plan in full_plans.items():
        cameras: dict[int, list[int]] = {}
        for image in plan:
            cameras.setdefault(image.pid, []).append(image.camid)
        assert {camid for each in cameras.values() for camid in each} == set(range(1, 16))
        if name == "rstpreid":
            assert all(len(each) == len(set(each)) == 5 for each in cameras.values())
        else:
            assert min(len(set(each)) for each in cameras.values()) >= 2
            assert max(len(each) for each in cameras.values()) > 60  # a long tail


def test_both_show_the_people_of_one_set_under_other_ids(full_plans: dict[str, list[Any]]) -> None:
    first, second = (
        {image.pid: image.person for image in full_plans[name]}
        for name in ("icfg-pedes", "rstpreid")
    )
    assert set(second.values()) < set(first.values())
    assert sum(first[pid] == second[pid] for pid in second) < 5
    cuhk = {image.person for image in writer_of("cuhk-pedes").plan(0, scale=0.01)}
    assert not cuhk & set(first.values())


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 3))
def test_icfg_plan_for_any_number_of_identities(ids: tuple[int, int], seed: int) -> None:
    plan = icfg_writer.plan(seed, ids=ids)
    counts = icfg_writer.count(plan)
    assert tuple(counts[split]["ids"] for split in ("train", "test")) == ids
    sizes = icfg_writer.sizes(None, ids)
    assert {split: c["images"] for split, c in counts.items()} == {
        s: n for s, (_, n) in sizes.items()
    }
    assert min(Counter(image.pid for image in plan).values()) >= 2
    for split, number in zip(("train", "test"), ids, strict=True):
        if number >= 8:  # two cameras each at least
            mine = {image.camid for image in plan if image.split == split}
            assert mine == set(range(1, 16))
    assert [image.pid for image in plan] == sorted(image.pid for image in plan)
    assert len({image.path for image in plan}) == len(plan)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("icfg-pedes", {"ids": (3, 3, 3)}),
        ("icfg-pedes", {"ids": (3_103, 1)}),
        ("rstpreid", {"ids": (3, 3)}),
        ("rstpreid", {"ids": (3, 0, 3)}),
        ("rstpreid", {"scale": 1.01}),
    ],
)
def test_impossible_sizes(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write(name, tmp_path, **arguments)


# --- the writers


@both
def test_round_trip(written: Path, name: str) -> None:
    dataset, plan = FORMS[name].load(written), writer_of(name).plan(3, ids=IDS[name])
    assert dataset.name == name and dataset.synthetic["world_seed"] == 3
    assert tuple(dataset.splits) == FORMS[name].SPLITS
    assert ("val" in dataset.splits) == (name == "rstpreid")
    for split, frame in dataset.splits.items():
        planned = [image for image in plan if image.split == split]
        assert list(frame["path"]) == [image.path for image in planned]
        assert list(frame["pid"]) == [image.pid for image in planned]
        assert [len(row) for row in frame["captions"]] == [image.captions for image in planned]
        assert set(frame["source"]) == {"MSMT17"}
        assert set(frame["label"]) == set(range(frame["pid"].nunique()))
        for path in dataset.image_paths(split)[:3]:
            with Image.open(path) as image:
                assert (image.size, image.format, image.mode) == ((32, 64), "JPEG", "RGB")
    assert dataset.splits["train"]["pid"].min() == 0
    assert (dataset.splits["train"]["label"] == dataset.splits["train"]["pid"]).all()


def test_annotations_have_the_releases_fields(written: Path) -> None:
    entries = json.loads(annotation_of(written, "icfg-pedes").read_text())
    for entry in entries:
        assert list(entry) == ["split", "captions", "file_path", "processed_tokens", "id"]
        assert entry["processed_tokens"] == [tokenize(text) for text in entry["captions"]]
    for entry in json.loads(annotation_of(written, "rstpreid").read_text()):
        assert list(entry) == ["id", "img_path", "captions", "split"]
        assert len(set(entry["captions"])) == 2


def test_lengths_of_captions(written: Path) -> None:
    """About 37 words in ICFG-PEDES style; in RSTPReid style never fewer than 23."""
    frames = icfg_pedes.load(written).splits.values()
    words = [len(tokenize(text)) for frame in frames for text in captions_frame(frame)["caption"]]
    assert abs(statistics.mean(words) - 37.2) < 2.5
    lengths = []
    for person in range(200):
        identity, shot = make_identity(5, person), make_shot(5, person, 0, "msmt")
        visible = render(shot, (96, 48)).visible
        lengths += [len(rstp_caption(identity, shot, visible, k).tokens) for k in (0, 1)]
        assert rstp_caption(identity, shot, visible, 0) == rstp_caption(identity, shot, visible, 0)
    assert min(lengths) >= rstpreid.LEAST_WORDS and statistics.mean(lengths) < 34
    identity, shot = make_identity(5, 0), make_shot(5, 0, 0, "msmt")
    assert len(rstp_caption(identity, shot, {}, 0).tokens) > 0  # of whom nothing can be seen


@both
def test_same_bytes_again_and_estimated_space(written: Path, tmp_path: Path, name: str) -> None:
    again = write(name, tmp_path, seed=3, ids=IDS[name], size=(64, 32))
    first = written / FORMS[name].FOLDER
    files = sorted(path for path in first.rglob("*") if path.is_file())
    for path in files:
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes()
    assert FORMS[name].load(tmp_path).fingerprint == FORMS[name].load(written).fingerprint
    used = sum(path.stat().st_size for path in files)
    plan = writer_of(name).plan(3, ids=IDS[name])
    assert used < writer_of(name).bytes_needed(plan, (64, 32)) < 10 * used


def test_same_bytes_for_two_processes(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidlib.world.write._PART", 5)  # parts end within an identity's folder
    ids = IDS["icfg-pedes"]
    folder = write("icfg-pedes", tmp_path, seed=3, ids=ids, size=(64, 32), jobs=2)
    assert icfg_pedes.load(folder.parent).fingerprint == icfg_pedes.load(written).fingerprint


def test_doctor_finds_them(written: Path, world: Path) -> None:
    rows = {row["name"]: row for row in doctor.datasets(written)}
    for name, counts in (("icfg-pedes", "5 / 5"), ("rstpreid", "10 / 10")):
        assert rows[name]["state"] == "ok" and rows[name]["synthetic"]
        assert counts in rows[name]["detail"]
        assert [c["split"] for c in rows[name]["counts"][::3]] == list(FORMS[name].SPLITS)
    assert rows["cuhk-pedes"]["state"] == "missing"
    shutil.rmtree(world / "RSTPReid" / "imgs")
    rows = {row["name"]: row for row in doctor.datasets(world)}
    assert (rows["rstpreid"]["state"], rows["icfg-pedes"]["state"]) == ("wrong", "ok")


# --- the loaders


@both
def test_real_release_is_accepted(
    full_plans: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    """The annotation alone, without tokens and without SYNTHETIC.json, as a real copy may be."""
    form = FORMS[name]
    entries = [
        {
            "id": image.pid,
            PATH_FIELD[name]: image.path,
            "captions": [f"Person {image.pid} walks."] * image.captions,
            "split": image.split,
        }
        for image in full_plans[name]
    ]
    (tmp_path / form.FOLDER).mkdir()
    annotation = annotation_of(tmp_path, name)
    annotation.write_text(json.dumps(entries))
    dataset = form.load(tmp_path, check_files=False)
    assert dataset.synthetic is None and dataset.notes == ()
    assert form.count(dataset.splits) == form.EXPECTED == form.PUBLISHED[name]
    assert dataset.splits["train"]["label"].max() == form.EXPECTED["train"].ids - 1
    queries = captions_frame(dataset.splits["test"])
    assert len(queries) == form.EXPECTED["test"].captions

    annotation.write_text(json.dumps(entries[1:]))
    text = message(form.load, tmp_path, check_files=False)
    found, expected = (f"{form.EXPECTED['train'].images - n:,}" for n in (1, 0))
    assert f"{found} / {expected} *" in text and str(annotation) in text

    shifted = [{**entry, "id": entry["id"] + 1} for entry in entries]
    annotation.write_text(json.dumps(shifted))
    shifted_dataset = form.load(tmp_path, check_files=False)
    assert shifted_dataset.notes == ("ids start at 1, those of the release at 0",)
    labels = [d.splits["train"]["label"].to_numpy() for d in (dataset, shifted_dataset)]
    assert np.array_equal(*labels)


def test_early_split_of_rstpreid_is_refused(
    full_plans: dict[str, list[Any]], tmp_path: Path
) -> None:
    """An older data_captions.json has 3,901, 100 and 100 identities."""
    entries = [
        {
            "id": image.pid,
            "img_path": image.path,
            "captions": ["A man.", "He walks."],
            "split": "train" if image.pid < 3_901 else "val" if image.pid < 4_001 else "test",
        }
        for image in full_plans["rstpreid"]
    ]
    (tmp_path / "RSTPReid").mkdir()
    annotation_of(tmp_path, "rstpreid").write_text(json.dumps(entries))
    text = message(rstpreid.load, tmp_path, check_files=False)
    assert "3,901 / 3,701 *" in text and "100 / 200 *" in text and "early" in text


def test_both_spellings_of_icfg(world: Path) -> None:
    folder = world / "ICFG-PEDES"
    hyphen, underscore = folder / "ICFG-PEDES.json", folder / "ICFG_PEDES.json"
    before = icfg_pedes.load(world)
    shutil.copy(hyphen, underscore)
    assert icfg_pedes.load(world).fingerprint == before.fingerprint  # the same file twice
    hyphen.unlink()
    after = icfg_pedes.load(world)
    for split in ("train", "test"):
        assert after.splits[split].equals(before.splits[split])
    hyphen.write_text(underscore.read_text() + "\n")
    text = message(icfg_pedes.load, world)
    assert "ICFG-PEDES.json and ICFG_PEDES.json" in text and "different content" in text
    hyphen.unlink()
    underscore.unlink()
    text = message(icfg_pedes.load, world)
    assert "nor ICFG_PEDES.json" in text and "Expected" in text and "imgs/" in text


@pytest.mark.parametrize("spelling", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_folder_with_the_other_spelling(world: Path, spelling: str) -> None:
    (world / "ICFG-PEDES" / "ICFG-PEDES.json").rename(world / "ICFG-PEDES" / spelling)
    (world / "ICFG-PEDES").rename(world / "ICFG_PEDES")
    text = message(icfg_pedes.load, world)
    assert "rename that folder to ICFG-PEDES" in text and f"pass {world}\n" in text


@both
def test_root_too_deep_or_missing(world: Path, tmp_path: Path, name: str) -> None:
    folder = FORMS[name].FOLDER
    assert f"pass {world}\n" in message(FORMS[name].load, world / folder / "imgs")
    text = message(FORMS[name].load, tmp_path / "nowhere")
    assert "nowhere" in text and ANNOTATION[name] in text
    shutil.rmtree(world / folder)
    assert f"no folder {folder}" in message(FORMS[name].load, world)


def test_a_dataset_is_not_taken_for_another(world: Path) -> None:
    """RSTPReid's annotation under ICFG's name, and the other way round."""
    icfg, rstp = annotation_of(world, "icfg-pedes"), annotation_of(world, "rstpreid")
    contents = icfg.read_text(), rstp.read_text()
    icfg.write_text(contents[1])
    assert "field file_path is missing" in message(icfg_pedes.load, world)
    rstp.write_text(contents[0])
    assert "field img_path is missing" in message(rstpreid.load, world)


@both
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"split": "validation"}, "split must be one of train, "),
        ({"id": "0000"}, "id must be an integer"),
        ({"path": "../0000.jpg"}, "relative to imgs/"),
        ({"path": 7}, "must be a string"),
        ({"captions": "A man."}, "list of strings"),
    ],
)
def test_wrong_field(world: Path, name: str, change: dict[str, Any], expected: str) -> None:
    change = {PATH_FIELD[name] if key == "path" else key: value for key, value in change.items()}
    edit(world, name, lambda entries: entries[3].update(change))
    text = message(FORMS[name].load, world)
    assert "entry 3" in text and expected in text and ANNOTATION[name] in text


def test_icfg_has_no_validation_split(world: Path) -> None:
    edit(world, "icfg-pedes", lambda entries: entries[0].update(split="val"))
    assert "split must be one of train, test" in message(icfg_pedes.load, world)


@both
def test_broken_annotations_and_images(world: Path, name: str) -> None:
    load, annotation = FORMS[name].load, annotation_of(world, name)
    paths = load(world).image_paths("test")
    paths[0].write_bytes(b"")
    assert "zero bytes" in message(load, world)
    paths[0].unlink()
    text = message(load, world)
    assert "1 of" in text and paths[0].name in text
    whole = annotation.read_text()
    annotation.write_text(whole[: len(whole) // 2])
    text = message(load, world)
    assert str(annotation) in text and "truncated" in text
    annotation.write_text("[]")
    assert f"{PATH_FIELD[name]}, id; found an empty array" in message(load, world)
    entries = json.loads(whole)
    annotation.write_text(json.dumps([entries[0], *entries]))
    assert "entries 0 and 1 (counted from 0) name the same image" in message(load, world)
    entries[0]["id"] = entries[-1]["id"]
    annotation.write_text(json.dumps(entries))
    assert "expected every identity in one split" in message(load, world)


@both
def test_images_with_no_one_or_many_captions(world: Path, name: str) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[0]["captions"] = []
        entries[1]["captions"][0] = " "
        entries[2]["captions"] = ["A man."] * 3
        entries[-1]["captions"][0] = "A man. "

    edit(world, name, change)
    dataset = FORMS[name].load(world)
    assert dataset.splits["train"]["captions"][0] == [""]
    usual = {"icfg-pedes": "one caption", "rstpreid": "two captions"}[name]
    assert dataset.notes == (
        "1 image has no caption: one empty caption stands in for each",
        "1 caption is empty: to the models they are one unknown word",
        f"1 image has more than {usual}: all are used",
        "1 caption stands with several identities",
    )


# --- what the models make of odd data


def prepared(dataset: Dataset, cache: Path) -> TextImageData:
    return prepare(dataset, image_size=(64, 32), cache_dir=cache, device="cpu")


def small_ssan(data: TextImageData) -> SSAN:
    torch.manual_seed(0)
    size = {"width": 0.0625, "depths": (1, 1, 1, 1), "K": 3, "V": 12, "M": 20, "M_": 8, "N": 10}
    return SSAN(SSANConfig(ids=data.ids, vocabulary=len(data.vocabulary), **size))


@both
def test_caption_with_no_known_word(world: Path, tmp_path: Path, name: str) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        test = [entry for entry in entries if entry["split"] == "test"]
        test[0]["captions"] = ["Zyx wvu, tsr!"] * len(test[0]["captions"])
        test[1]["captions"][0] = "!!!"

    edit(world, name, change)
    data = prepared(FORMS[name].load(world), tmp_path / "cache")
    text = text_of(data.test, torch.arange(len(data.test.captions)))
    assert text.tokens[0, :3].tolist() == [UNK] * 3 and text.lengths[0] == 3
    wordless = data.test.captions.index("!!!")
    assert text.lengths[wordless] == 1 and text.tokens[wordless, 0] == UNK
    assert len(data.test.text.warnings) == 1
    codes = small_ssan(data).eval().encode_text(text.tokens, text.lengths)
    assert all(torch.isfinite(code).all() for code in codes)


def test_identity_with_one_image_only(world: Path, tmp_path: Path) -> None:
    """It stays in the training set; its D' of the CR loss is the caption itself."""
    edit(world, "icfg-pedes", lambda entries: [e for e in entries if e["id"] != 0] + [entries[0]])
    dataset = icfg_pedes.load(world)
    assert dataset.notes == ("1 identity has one image only",)
    assert dataset.splits["train"]["label"].nunique() == IDS["icfg-pedes"][0]
    data = prepared(dataset, tmp_path / "cache")
    weak = WeakCaptions.build(data.train.image_of, data.train.labels)
    everything = torch.arange(len(data.train.captions))
    drawn = weak.draw(everything, torch.Generator().manual_seed(0))
    assert (data.train.labels[drawn] == data.train.labels).all()
    alone = data.train.labels == 0
    assert (data.train.image_of[drawn] == data.train.image_of).equal(alone) and alone.sum() == 1

    batch = torch.cat((everything[alone], everything[~alone][:7]))
    images = data.train.images.batch(
        data.train.image_of[batch], flip=False, crop_pad=0, generator=None
    )
    text, other = text_of(data.train, batch), text_of(data.train, drawn[batch])
    losses = small_ssan(data)(
        images, text.tokens, text.lengths, data.train.labels[batch], other.tokens, other.lengths
    )
    assert math.isfinite(sum(loss.item() for loss in losses.values()))


# --- the domains of CUHK-PEDES


@pytest.fixture(scope="module")
def five_domains(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("domains")
    write("cuhk-pedes", root, seed=1, ids=(40, 4, 40), size=(64, 32))
    return cuhk_pedes.load(root)


def test_domains_are_a_partition_within_the_official_split(five_domains: Dataset) -> None:
    domains = {name: cuhk_pedes.domain(five_domains, name) for name in cuhk_pedes.DOMAINS}
    assert list(domains) == [
        f"cuhk-pedes-{name}" for name in ("ssm", "cuhk03", "market", "viper", "cuhk01")
    ]
    for split, frame in five_domains.splits.items():
        paths = [path for each in domains.values() for path in each.splits[split]["path"]]
        assert sorted(paths) == sorted(frame["path"])
    for name, each in domains.items():
        assert each.name == name and each.synthetic == five_domains.synthetic
        assert any("official split within the domain" in note for note in each.notes)
        for split, frame in each.splits.items():
            assert set(frame["source"]) <= set(cuhk_pedes.DOMAINS[name])
            assert frame.index.tolist() == list(range(len(frame)))
            assert set(frame["label"]) == set(range(frame["pid"].nunique()))
            whole = five_domains.splits[split].set_index("path")
            for row in frame.itertuples():
                assert row.pid == whole["pid"][row.path]
                assert row.captions == whole["captions"][row.path]
        assert all(path.is_file() for path in each.image_paths("test"))
    everything = [five_domains, *domains.values()]
    assert len({each.fingerprint for each in everything}) == 1  # the same files
    assert len({Hashed(each) for each in everything}) == 6
    again = cuhk_pedes.domain(five_domains, "cuhk-pedes-ssm")
    assert Hashed(again) == Hashed(domains["cuhk-pedes-ssm"])


def without(dataset: Dataset, source: str, splits: tuple[str, ...]) -> Dataset:
    changed = dict(dataset.splits)
    for split in splits:
        frame = changed[split]
        changed[split] = frame[frame["source"] != source].reset_index(drop=True)
    return replace(dataset, splits=changed)


def test_absent_and_empty_domains(five_domains: Dataset) -> None:
    absent = without(five_domains, "CUHK01", ("train", "val", "test"))
    text = message(cuhk_pedes.domain, absent, "cuhk-pedes-cuhk01")
    assert "cuhk-pedes-cuhk01" in text and "CUHK01/" in text and "Market/" in text
    assert str(five_domains.images) in text
    partial = without(five_domains, "Market", ("test",))
    text = message(cuhk_pedes.domain, partial, "cuhk-pedes-market")
    assert "the test split" in text and "Market/" in text and "test 0" in text
    assert "more identities" in text
    only_train = cuhk_pedes.domain(partial, "cuhk-pedes-market", needed=("train",))
    assert len(only_train.splits["test"]) == 0 < len(only_train.splits["train"])
    with pytest.raises(UsageError, match="cuhk-pedes-viper"):
        cuhk_pedes.domain(five_domains, "cuhk-pedes-sysu")


def test_domains_of_another_dataset_are_refused(written: Path) -> None:
    with pytest.raises(UsageError, match="icfg-pedes"):
        cuhk_pedes.domain(icfg_pedes.load(written), "cuhk-pedes-ssm")


def test_domains_differ_visibly(five_domains: Dataset) -> None:
    """Color, contrast and sharpness alone tell from which source most images are."""
    features, sources = [], []
    for number, name in enumerate(cuhk_pedes.DOMAINS):
        for split in ("train", "test"):
            for path in cuhk_pedes.domain(five_domains, name).image_paths(split):
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"), dtype=float)
                if (pixels[..., 0] == pixels[..., 2]).all():
                    continue  # one of the few gray ones
                gray = pixels.mean(-1)
                warmth = pixels[..., 0].mean() - pixels[..., 2].mean()
                green = pixels[..., 1].mean() - gray.mean()
                edges = np.abs(np.diff(gray, n=2, axis=1)).mean()
                chroma = np.ptp(pixels, axis=-1).mean()
                features.append((warmth, green, edges, chroma, gray.std()))
                sources.append(number)
    x, y = np.array(features), np.array(sources)
    x = (x - x.mean(0)) / x.std(0)
    right = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        centers = np.array([x[rest & (y == number)].mean(0) for number in range(5)])
        right.append(np.argmin(((centers - x[i]) ** 2).sum(1)) == y[i])
    shares = [np.mean(np.array(right)[y == number]) for number in range(5)]
    assert np.mean(shares) > 0.55 and min(shares) > 0.35, shares  # by chance: 0.2
