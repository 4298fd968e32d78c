"""Key points of image sets: both forms, the world's writer, and everything that can be wrong."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reidlib.data.dataset import Dataset
from reidlib.data.formats import cuhk03, dukemtmc, keypoints, market1501
from reidlib.data.formats.keypoints import COCO_JOINTS, JOINTS
from reidlib.errors import DataError
from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import make_shot
from reidlib.world.people import skeleton
from reidlib.world.write import write
from reidlib.world.writers.keypoints import estimate

SIZE = (64, 32)
IDS = (5, 4)
FIRST = 7  # file that tests break


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    write("market1501", root, seed=3, ids=IDS, size=SIZE)
    write("cuhk03", root, seed=3, ids=(4, 3), size=SIZE)
    return root


@pytest.fixture
def own(worlds: Path, tmp_path: Path) -> Dataset:
    """The Market-1501 of the world, for a test to break."""

    def link_images(source: str, target: str) -> None:
        os.link(source, target) if source.endswith(".jpg") else shutil.copyfile(source, target)

    folder = market1501.FOLDER
    shutil.copytree(worlds / folder, tmp_path / folder, copy_function=link_images)
    return market1501.load(tmp_path)


def message(dataset: Dataset, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        keypoints.load(dataset, split)
    return str(caught.value)


def edit(path: Path, **changes: object) -> None:
    """Put other numbers for the main person of a file: joint name -> (x, y, confidence)."""
    content = json.loads(path.read_text())
    numbers = np.array(content["people"][0]["pose_keypoints_2d"]).reshape(18, 3)
    for name, triple in changes.items():
        numbers[JOINTS.index(name.replace("_", " "))] = triple
    content["people"][0]["pose_keypoints_2d"] = numbers.ravel().tolist()
    path.write_text(json.dumps(content))


def victim(dataset: Dataset) -> Path:
    """A file of the training split that lists somebody."""
    paths = keypoints.openpose_paths(dataset, "train")
    return next(path for path in paths[FIRST:] if keypoints.read_openpose(path)[:, 2].any())


# --- what the world writes


def test_order_of_joints_is_that_of_the_world() -> None:
    long = {"r": "right", "l": "left"}
    spelled = tuple(" ".join(long.get(word, word) for word in name.split())
                    for name in skeleton.JOINTS)  # fmt: skip
    assert spelled == JOINTS


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_round_trip(worlds: Path, split: str) -> None:
    dataset = market1501.load(worlds)
    found = keypoints.load(dataset, split)
    table = dataset.splits[split]
    assert found.joints.shape == (len(table), 18, 3) and (found.sizes == SIZE).all()
    people = (table["pid"] > 0).to_numpy()
    there = found.joints[:, :, 2] > 0
    assert 0.6 < there[people].mean() < 0.95  # some are missed, most are not
    assert not there[(table["pid"] == market1501.DISTRACTOR).to_numpy()].any()
    assert found.nobody >= int((table["pid"] == market1501.DISTRACTOR).sum())


def test_key_points_are_read_once_until_a_file_changes(
    own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = replace(own, cache=tmp_path / "cache")
    path = victim(dataset)
    edit(path, neck=(2.5, 3.5, 0.8))
    expected = keypoints.load(dataset, "train")
    found = keypoints.remembered(dataset, "train")
    keypoints.remembered(dataset, "query")
    with monkeypatch.context() as patched:
        patched.setattr(keypoints, "load", lambda *_: pytest.fail("read again"))
        again = keypoints.remembered(dataset, "train")
    for one in (found, again):
        np.testing.assert_array_equal(one.joints, expected.joints)
        np.testing.assert_array_equal(one.sizes, expected.sizes)
    kept = sorted((tmp_path / "cache").glob("keypoints-*"))
    assert len(kept) == 2
    for file in kept:  # damaged: read again
        file.write_bytes(file.read_bytes()[:-30])
    np.testing.assert_array_equal(keypoints.remembered(dataset, "train").joints, expected.joints)
    edit(path, neck=(3.5, 4.5, 0.9))
    row = keypoints.openpose_paths(dataset, "train").index(path)
    found = keypoints.remembered(dataset, "train")
    assert found.joints[row, JOINTS.index("neck")].tolist() == pytest.approx([3.5, 4.5, 0.9])
    assert len(list((tmp_path / "cache").glob("keypoints-*"))) == 2  # the outdated one is gone
    path.unlink()
    with pytest.raises(DataError, match="are missing"):
        keypoints.remembered(dataset, "train")


def test_cuhk03_has_key_points_for_both_kinds_of_boxes(worlds: Path) -> None:
    joints = {}
    for kind in ("labeled", "detected"):
        dataset = cuhk03.load(worlds, f"cuhk03-classic-{kind}")
        assert keypoints.folder_of(dataset) == dataset.root / "keypoints" / kind
        joints[kind] = keypoints.load(dataset, "train").joints
    assert not np.array_equal(joints["labeled"], joints["detected"])


def test_estimates_are_close_to_the_joints_and_hidden_ones_are_missed_more() -> None:
    off, missed = {True: [], False: []}, {True: [], False: []}
    nobody = 0
    for pid in range(150):
        shot = make_shot(1, pid, 0, "market")
        drawn = render(shot, SIZE)
        found = estimate(drawn, shot)
        assert np.array_equal(found, estimate(drawn, shot))
        if not found[:, 2].any():
            nobody += 1
            continue
        inside = ((drawn.joints[:, :2] >= 0) & (drawn.joints[:, :2] < SIZE[::-1])).all(1)
        height = np.ptp(drawn.joints[:, 1])
        for seen in (True, False):
            mine = inside & ((drawn.joints[:, 2] > 0) == seen)
            missed[seen] += (found[mine, 2] == 0).tolist()
            hit = mine & (found[:, 2] > 0)
            distance = np.linalg.norm((found - drawn.joints)[hit, :2], axis=1)
            off[seen] += (distance / height).tolist()
        assert not found[~inside & (drawn.joints[:, 2] == 0), 2].all() or inside.all()
    assert nobody < 8
    assert np.mean(missed[True]) < 0.1 < 0.35 < np.mean(missed[False]) < 0.65
    assert np.mean(off[True]) < 0.015 < np.mean(off[False]) < 0.06


# --- COCO


def coco_of(dataset: Dataset) -> dict:
    """A COCO file of a dataset's images with somebody upright in each."""
    images, annotations = [], []
    for split in dataset.splits:
        for path in dataset.splits[split]["path"]:
            number = len(images) + 1
            images.append({"id": number, "file_name": path, "height": SIZE[0], "width": SIZE[1]})
            rows = {"nose": 6, "eye": 4, "ear": 5, "shoulder": 12, "elbow": 20, "wrist": 28,
                    "hip": 32, "knee": 45, "ankle": 60}  # fmt: skip
            numbers: list[float] = []
            for joint in COCO_JOINTS:
                x = {"left": 20, "right": 12}.get(joint.split()[0], 16)
                numbers += [x, rows[joint.split()[-1]], 2]
            annotations.append({"image_id": number, "keypoints": numbers, "num_keypoints": 17})
    return {"images": images, "annotations": annotations}


def test_coco_file(own: Dataset) -> None:
    shutil.rmtree(own.root / "keypoints")
    content = coco_of(own)
    # Somebody else, half seen, in the first image; nobody in the second.
    half = content["annotations"][0]["keypoints"][:15] + [0] * 36
    content["annotations"].append({"image_id": 1, "keypoints": half})
    del content["annotations"][1]
    (own.root / "keypoints.json").write_text(json.dumps(content))
    assert keypoints.files(own) == [own.root / "keypoints.json"]
    found = keypoints.load(own, "train")
    assert found.nobody == 1 and (found.joints[1] == 0).all()
    person = {name: tuple(found.joints[0, i]) for i, name in enumerate(JOINTS)}
    assert person["neck"] == (16, 12, 1) and person["nose"] == (16, 6, 1)
    assert person["right ankle"] == (12, 60, 1) and person["left wrist"] == (20, 28, 1)
    assert person["right eye"] == (12, 4, 1) and person["left ear"] == (20, 5, 1)


def test_neck_needs_both_shoulders() -> None:
    joints = np.tile(np.array([3.0, 4.0, 2.0]), (17, 1))
    joints[COCO_JOINTS.index("left shoulder")] = 7, 8, 0.5
    assert keypoints.from_coco(joints)[1].tolist() == [5, 6, 0.5]
    joints[COCO_JOINTS.index("left shoulder"), 2] = 0
    assert keypoints.from_coco(joints)[1].tolist() == [0, 0, 0]
    assert keypoints.from_coco(joints)[5].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("annotations"), '"annotations": [...]'),
        (lambda c: c["images"].append(c["images"][0]), "two images are called"),
        (lambda c: c["images"][0].pop("file_name"), "without id or file_name"),
        (lambda c: c["images"].pop(0), "which is not among the"),
        (lambda c: c["annotations"][0].pop("keypoints"), "has no keypoints"),
        (lambda c: c["annotations"][0]["keypoints"].pop(), "50 numbers; expected 51"),
        (lambda c: c["images"][0].update(height=99), "99x32 there"),
        (lambda c: (c["annotations"].pop(0), c["images"].pop(0)), "and not bounding_box_train"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(0, 400), "lies outside"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(2, -1), "confidence below 0"),
    ],
)
def test_wrong_coco_files(own: Dataset, change: object, expected: str) -> None:
    content = coco_of(own)
    change(content)
    (own.root / "keypoints.json").write_text(json.dumps(content))
    said = message(own)
    assert expected in said and "keypoints.json" in said


# --- missing, damaged, of other images


def test_some_or_all_are_missing(own: Dataset) -> None:
    paths = keypoints.openpose_paths(own, "train")
    for path in paths[2:5]:
        path.unlink()
    said = message(own)
    assert f"3 of {len(paths)} key point files of train are missing" in said
    assert paths[2].name in said and "python -m reidlib pose" in said
    with pytest.raises(DataError):
        keypoints.files(own)
    assert keypoints.files(own, ["query"]) == keypoints.openpose_paths(own, "query")
    shutil.rmtree(own.root / "keypoints")
    assert "there is no such folder" in message(own)


@pytest.mark.parametrize("content", ["", '{"people": [{"pose', "<html>", "\x00\x01", "nobody"])
def test_truncated_or_no_json(own: Dataset, content: str) -> None:
    path = victim(own)
    path.write_text(content)
    said = message(own)
    assert str(path) in said and "not valid JSON" in said


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"people": 3}', '{"people": [7]}', '{"people": [{"face": []}]}',
                '{"people": [{"pose_keypoints_2d": ["a"]}]}'],
)  # fmt: skip
def test_json_of_something_else(own: Dataset, content: str) -> None:
    path = victim(own)
    path.write_text(content)
    assert str(path) in message(own) and "expected" in message(own)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(own: Dataset, number: float) -> None:
    path = victim(own)
    edit(path, left_hip=(number, 20, 0.9))
    said = message(own)
    assert str(path) in said and "number 34 " in said and str(number) in said


def test_joint_outside_the_image(own: Dataset) -> None:
    path = victim(own)
    edit(path, right_ankle=(40.5, 60, 0.9))
    said = message(own)
    assert str(path) in said and "right ankle at (40.5, 60.0)" in said and "32 x 64" in said
    edit(path, right_ankle=(40.5, 60, 0))  # not found: whatever stands there
    keypoints.load(own, "train")


def test_negative_confidence(own: Dataset) -> None:
    path = victim(own)
    edit(path, right_ankle=(20, 60, -0.1))
    assert "confidence below 0" in message(own)


@pytest.mark.parametrize(("joints", "name"), [(25, "BODY_25"), (17, "COCO's 17"), (15, "MPI")])
def test_another_number_of_joints_is_named(own: Dataset, joints: int, name: str) -> None:
    path = victim(own)
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 3 * joints}]}))
    said = message(own)
    assert name in said and "0 numbers" not in said and f"{3 * joints} numbers" in said
    assert "nose, neck, right shoulder" in said


def test_another_order_of_joints_is_seen(own: Dataset) -> None:
    """COCO's order with a neck behind: 54 numbers, and nothing wrong with a single file."""
    order = [JOINTS.index(joint) for joint in (*COCO_JOINTS, "neck")]
    for path in keypoints.openpose_paths(own, "train"):
        content = json.loads(path.read_text())
        for person in content["people"]:
            triples = np.array(person["pose_keypoints_2d"]).reshape(18, 3)[order]
            triples[:, 2] = triples[:, 2].clip(0.2)  # all found
            person["pose_keypoints_2d"] = triples.ravel().tolist()
        path.write_text(json.dumps(content))
    said = message(own)
    assert "another order" in said and "0 nose, 1 neck" in said


def test_key_points_of_another_picture_size(own: Dataset) -> None:
    """Files that say their image's size are held to it; of others it shows in all of them."""
    paths = keypoints.openpose_paths(own, "train")
    content = json.loads(paths[0].read_text())
    paths[0].write_text(json.dumps({**content, "image_size": [128, 64]}))
    assert "[128, 64] pixels (height, width); the image has [64, 32]" in message(own)
    for path in paths:
        content = json.loads(path.read_text())
        del content["image_size"]
        for person in content["people"]:
            triples = np.array(person["pose_keypoints_2d"]).reshape(18, 3) * (0.5, 0.5, 1)
            person["pose_keypoints_2d"] = triples.ravel().tolist()
        path.write_text(json.dumps(content))
    assert "smaller pictures" in message(own)
    for path in paths:
        content = json.loads(path.read_text())
        for person in content["people"]:
            triples = np.array(person["pose_keypoints_2d"]).reshape(18, 3) * (8, 8, 1)
            person["pose_keypoints_2d"] = triples.ravel().tolist()
        path.write_text(json.dumps(content))
    assert "another size" in message(own)


def test_one_file_for_two_images(own: Dataset) -> None:
    table = own.splits["train"]
    twin = table.iloc[[0]].assign(path=table["path"].iloc[0].replace(".jpg", ".png"))
    doubled = replace(own, splits={**own.splits, "train": pd.concat((twin, table))})
    Image.new("RGB", SIZE[::-1]).save(own.root / twin["path"].iloc[0])
    said = message(doubled)
    assert "would hold the key points of both" in said and ".png and" in said


def test_several_people_the_surest_is_taken(own: Dataset) -> None:
    path = victim(own)
    main = keypoints.read_openpose(path)
    passer_by = main * (1, 1, 0.3)
    path.write_text(keypoints.openpose_json([passer_by, main], SIZE))
    np.testing.assert_allclose(keypoints.read_openpose(path), main, atol=1e-3)
    path.write_text(keypoints.openpose_json([], SIZE))
    assert (keypoints.read_openpose(path) == 0).all()


def test_old_name_of_the_numbers(own: Dataset) -> None:
    path = victim(own)
    main = keypoints.read_openpose(path)
    content = json.loads(path.read_text())
    content["people"][0]["pose_keypoints"] = content["people"][0].pop("pose_keypoints_2d")
    path.write_text(json.dumps(content))
    assert np.array_equal(keypoints.read_openpose(path), main)


def test_unreadable_image(own: Dataset) -> None:
    path = own.image_paths("train")[0]
    path.unlink()
    path.write_bytes(b"no image")
    assert "cannot be read as an image" in message(own)


def test_duke_has_key_points_too(tmp_path: Path) -> None:
    write("dukemtmc-reid", tmp_path, ids=(2, 2), size=SIZE)
    assert keypoints.load(dukemtmc.load(tmp_path), "train").joints.any()
