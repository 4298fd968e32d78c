"""COCO's person key points: written, read, cut out for training, and everything that is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import reseal

from reidlib.data.batches import pose_people
from reidlib.data.batches.pose_people import PLAIN, Augmentation, PoseData
from reidlib.data.batches.pose_targets import confidence_maps
from reidlib.data.formats import coco_keypoints as coco
from reidlib.data.formats.coco_keypoints import COCO_JOINTS, FOLDER, Person, mask_of, to_openpose
from reidlib.data.load import load
from reidlib.errors import DataError, UsageError
from reidlib.world.people.skeleton import JOINTS as WORLD_JOINTS
from reidlib.world.write import world_fingerprint, write
from reidlib.world.writers import coco_keypoints as writer

SEED, SIZE = 3, (64, 32)
TRAIN = f"{FOLDER}/annotations/person_keypoints_train2017.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    write("coco-keypoints", root, seed=SEED, ids=(20, 4), size=SIZE)
    return root


@pytest.fixture(scope="module")
def data(world: Path, tmp_path_factory: pytest.TempPathFactory) -> PoseData:
    cache = tmp_path_factory.mktemp("cache")
    dataset = coco.load(world)
    return pose_people.prepare(dataset, image_size=SIZE, cache_dir=cache, device="cpu")


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    shutil.copytree(world / FOLDER, tmp_path / FOLDER)
    return tmp_path


def edit(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = root / TRAIN
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        coco.load(root)
    return str(caught.value)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- joints


def test_order_of_joints() -> None:
    """OpenPose's order, in the world's names for it; the neck has no number in COCO."""
    names = [COCO_JOINTS[i].replace("right_", "r ").replace("left_", "l ") for i in coco.FROM_COCO]
    assert [*names[:1], "neck", *names[1:]] == list(WORLD_JOINTS)


def test_neck_is_the_middle_of_the_shoulders() -> None:
    joints = np.array([[float(i), 2.0 * i, 2] for i in range(17)])
    joints[5] = 10, 20, 1
    joints[6] = 30, 24, 2
    found = to_openpose(joints)
    assert found[1].tolist() == [20, 22, 1] and found[2].tolist() == [30, 24, 2]
    assert found[14].tolist() == [2, 4, 2]  # the right eye is COCO's joint 2
    joints[5, 2] = 0
    found = to_openpose(joints)
    assert found[1].tolist() == [0, 0, 0] and found[5].tolist() == [0, 0, 0]


def test_outlines() -> None:
    polygon = mask_of([[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]], 5, 6)
    assert polygon[1:4, 1:5].all() and polygon.sum() == 12
    # 2 outside, 3 inside, 1 outside, down the columns of 3 rows.
    runs = mask_of({"counts": [2, 3, 1], "size": [3, 2]}, 3, 2)
    assert runs.tolist() == [[0, 1], [0, 1], [1, 0]]
    mask = (np.random.default_rng(0).random((7, 5)) < 0.5).astype(np.uint8)
    again = {"counts": writer._run_lengths(mask), "size": [7, 5]}
    assert np.array_equal(mask_of(again, 7, 5), mask)


# --- what is written is what is loaded


def test_full_size() -> None:
    plan = writer.plan(0, scale=1.0)
    assert writer.count(plan)["train"]["images"] == 64_115
    people = [person for scene in plan for person in scene.people]
    assert len(set(people)) == len(people) and len({scene.name for scene in plan}) == len(plan)


def test_round_trip(world: Path) -> None:
    dataset = coco.load(world)
    plan = {scene.name: scene for scene in writer.plan(SEED, ids=(20, 4))}
    assert {split: len(table) for split, table in dataset.splits.items()} == {"train": 20, "val": 4}
    everybody = []
    for split, table in dataset.splits.items():
        assert list(table.columns) == ["path", "height", "width", "people"]
        for path, height, width, people in table.itertuples(index=False):
            scene = plan[Path(path).name]
            assert scene.split == split and 1 <= len(people) <= len(scene.people)
            with Image.open(dataset.images / path) as image:
                assert image.size == (width, height)
            everybody += people
    assert {s: vars(n) for s, n in coco.count(dataset.splits).items()} == {
        s: {"captions": None, **n} for s, n in dataset.synthetic["counts"].items()
    }
    labeled = [person for person in everybody if person.labeled]
    assert 0 < len(labeled) < len(everybody)
    assert any(person.crowd for person in everybody)  # run lengths
    flags = np.concatenate([person.joints[:, 2] for person in labeled])
    assert {0.0, 1.0, 2.0} == set(flags.tolist())
    for person in labeled:
        x, y, width, height = person.box
        joints = person.joints[person.joints[:, 2] == 2]
        slack = 0.1 * height
        assert (joints[:, 0] > x - slack).all() and (joints[:, 0] < x + width + slack).all()
        assert (joints[:, 1] > y - slack).all() and (joints[:, 1] < y + height + slack).all()
    drawn = world_fingerprint("coco-keypoints", seed=SEED, ids=(20, 4), size=SIZE)
    assert load(world, "coco-keypoints").fingerprint == dataset.fingerprint == drawn


def test_outlines_cover_the_people(world: Path) -> None:
    table = coco.load(world).splits["train"]
    for height, width, people in zip(table["height"], table["width"], table["people"], strict=True):
        for person in people:
            mask = mask_of(person.segmentation, height, width)
            assert mask.sum() == pytest.approx(person.area, rel=0.25, abs=30)


# --- what is wrong ends in an error that says so


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: [a.pop("keypoints") for a in c["annotations"]], "has no key points"),
        (lambda c: [a.update(keypoints=[0] * 51) for a in c["annotations"]], "nobody in it"),
        (lambda c: c["annotations"][0].update(keypoints=[1, 2, 2]), "3 key point numbers"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(2, 3), "v = 3"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(0, float("nan")), "NaN"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, float("inf"), 4]), "bbox with NaN"),
        (lambda c: c["annotations"][0].update(area=None), "area with NaN"),
        (lambda c: c["annotations"][0].update(area=[1, 2]), "expected a number of pixels"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, -3, 4]), "bbox"),
        (lambda c: c["annotations"][0].update(bbox=["a", 0, 3, 4]), "expected numbers"),
        (lambda c: c["annotations"][0].update(image_id=-7), "image -7, which is not listed"),
        (lambda c: c["annotations"][0].pop("image_id"), "has no 'image_id'"),
        (lambda c: c["images"].append(dict(c["images"][0])), "stands there twice"),
        (
            lambda c: c["images"].append({**c["images"][0], "id": 10**6}),
            "stands there twice",
        ),
        (lambda c: c["images"][0].pop("width"), "has no 'width'"),
        (lambda c: c["annotations"][0].update(bbox=5), "bbox 5; expected x, y"),
        (lambda c: c["annotations"][0].update(bbox=[[0], [0], [1], [1]]), "expected x, y"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 1e5, 1e5]), "far outside of the image"),
        (lambda c: c["annotations"][0].update(bbox=[1e308] * 4), "far outside of the image"),
        (
            lambda c: c["annotations"][0].update(keypoints=[[1, 2, 2]] * 51),
            "key points are lists",
        ),
        (lambda c: c["annotations"][0].update(id="\ud800", bbox=5), "annotation \\ud800: bbox"),
        (lambda c: c["annotations"][0].update(iscrowd="0"), "iscrowd is 0; expected 0 or 1"),
        (lambda c: c["categories"][0].update(keypoints=17), "the joints of 'person' are 17"),
        (lambda c: c["categories"][0].update(keypoints=[{}]), "the joints of 'person' are {}"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[-9e7, -9e7, 9e7, -8e7, 3, 9e7]]),
            "an outline far outside of the image",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation={"counts": [16], "size": [4, 4]}),
            "run lengths of 4 x 4 pixels (height x width); the image has",
        ),
        (lambda c: c["categories"][0].update(name="dog"), "no category 'person'"),
        (lambda c: c["categories"][0]["keypoints"].reverse(), "in their order: nose, left_eye"),
        (lambda c: c.pop("categories"), "images, annotations and categories"),
        (
            lambda c: c["annotations"][0].update(segmentation={"counts": "a;Q1", "size": [4, 4]}),
            "packed run lengths",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation={"counts": [3, 4], "size": [4, 4]}),
            "run lengths of 7 pixels",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation={"counts": [-3], "size": [4, 4]}),
            "expected run lengths",
        ),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "pairs x, y"),
        (lambda c: c["images"][0].update(file_name="../../secret.jpg"), "without empty parts"),
        (lambda c: c["images"][0].update(file_name=7), "expected text"),
        (lambda c: c["images"][0].update(id=[1]), "expected a number as its id"),
        (lambda c: c["images"][0].update(width="9"), "expected pixels"),
        (lambda c: c["images"][0].update(width=10**6, height=10**6), "at most 67,108,864"),
    ],
)
def test_bad_annotations(change: Callable[[dict], Any], says: str, copy: Path) -> None:
    edit(copy, change)
    text = message(copy)
    assert str(copy / TRAIN) in text and says in text


def test_an_outline_without_points_is_none(copy: Path) -> None:
    edit(copy, lambda content: content["annotations"][0].update(segmentation=[[]]))
    (person,) = [
        p for people in coco.load(copy).splits["train"]["people"] for p in people
        if p.segmentation == [[]]
    ]  # fmt: skip
    assert mask_of(person.segmentation, 8, 8).sum() == 0


def test_a_cut_that_would_be_huge(copy: Path, tmp_path: Path) -> None:
    """A long, thin picture passes, and its cut, which has the proportions of a person, does not."""

    def change(content: dict[str, Any]) -> None:
        for entry in content["images"]:
            entry.update(height=1, width=60_000)
        for entry in content["annotations"]:
            entry.update(keypoints=[5, 0, 2] * 17, bbox=[0, 0, 60_000, 1], area=60_000)
            entry.update(segmentation=[])

    edit(copy, change)
    dataset = coco.load(copy)
    with pytest.raises(DataError, match=r"\.jpg: a person who takes 0.6 of 100,000x200,000 pixels"):
        pose_people.people_of(dataset, "train", SIZE, tmp_path / "cache", "cpu")


def test_a_joint_outside_the_picture(copy: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        labeled = next(a for a in content["annotations"] if a["num_keypoints"])
        labeled["keypoints"][:3] = [9000, 4, 2]

    edit(copy, change)
    assert "nose is at 9000, 4" in message(copy)


def test_files(copy: Path) -> None:
    path = copy / TRAIN
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert "truncated" in message(copy) and str(path) in message(copy)
    path.write_text("[]")
    assert "expected COCO's person key points" in message(copy)
    path.unlink()
    assert str(path) in message(copy)
    path.write_text(text)
    image = next((copy / FOLDER / "train2017").iterdir())
    image.unlink()
    assert "missing" in message(copy) and image.name in message(copy)
    shutil.rmtree(copy / FOLDER)
    assert "coco not found" in message(copy)


def test_counts_of_generated_data(copy: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        gone = content["images"].pop()["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]

    edit(copy, change)
    assert "wrong counts" in message(copy)


def test_impossible_sizes(tmp_path: Path) -> None:
    for ids in ((1, 4), (5,), (99_999, 4)):
        with pytest.raises(UsageError):
            write("coco-keypoints", tmp_path, ids=ids)


# --- people cut out


def person(x: float, y: float, width: float, height: float, labeled: int = 17) -> Person:
    joints = np.zeros((17, 3))
    joints[:, :2] = x + width / 2, y + height / 2
    joints[:labeled, 2] = 2
    outline = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return Person(to_openpose(joints), (x, y, width, height), width * height, False, outline)


def test_who_becomes_a_center() -> None:
    people = [
        person(10, 10, 40, 100),
        person(20, 12, 40, 100),  # 10 away from the first: less than 30
        person(60, 10, 40, 100),
        person(200, 10, 20, 30),  # too small
        person(300, 10, 40, 100, labeled=4),
    ]
    assert pose_people.centers(people, rows=368) == [0, 2]
    assert pose_people.centers(people, rows=256) == [0, 2, 3]


def test_window() -> None:
    left, top, right, bottom = pose_people.window(person(100, 50, 30, 120), (64, 32))
    assert bottom - top == 200 and right - left == 100  # 120 / 0.6
    assert (left + right) / 2 == 115 and (top + bottom) / 2 == 110
    wide = pose_people.window(person(100, 50, 120, 30), (64, 32))
    assert wide[2] - wide[0] == 200 and wide[3] - wide[1] == 400


def test_cut() -> None:
    picture = Image.new("RGB", (200, 200), (10, 20, 30))
    people = [person(70, 40, 30, 120), person(120, 40, 30, 120, labeled=0)]
    pixels, joints = pose_people.cut(picture, people, 0, (64, 32))
    assert pixels.shape == (64, 32, 4) and joints.shape == (12, 18, 3)
    assert pixels[32, 16].tolist() == [10, 20, 30, 0]
    # The window is 100 x 200 pixels from (35, 0); the center (85, 100) comes to (16, 32) - 0.5.
    x, y = (85 + 0.5 - 35) * 0.32 - 0.5, (100 + 0.5) * 0.32 - 0.5
    np.testing.assert_allclose(joints[0, 3], [x, y, 2], atol=1e-4)
    assert (joints[1:] == 0).all()
    other = pixels[..., 3] > 0
    assert other[32, 28] and not other[32, 20]  # from 120: (120 - 35) * 0.32 = 27.2


def test_peaks_lie_on_the_people(data: PoseData) -> None:
    batch = pose_people.batch(data.val, torch.arange(len(data.val)), PLAIN, generator(), "cpu")
    assert batch.images.shape == (len(data.val), 3, *SIZE) and len(batch) == len(data.val)
    assert batch.H.shape[1:] == (19, 8, 4) and batch.C.shape[1:] == (38, 8, 4)
    assert set(batch.W.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(batch.H, confidence_maps(batch.joints, SIZE))
    own = batch.joints[:, 0]
    known = own[..., 2] > 0
    middle = (own[..., :2] * known[..., None]).sum(1) / known.sum(1, keepdim=True)
    assert (middle - torch.tensor([15.5, 31.5])).abs().max() < 16
    tall = (own[:, :, 1] + 1000 * ~known).amin(1), (own[:, :, 1] * known).amax(1)
    assert ((tall[1] - tall[0]) < 1.15 * batch.heights).all()


def test_pixels_and_joints_move_together(data: PoseData) -> None:
    """A bright spot at a joint is still there after turning, scaling, shifting and mirroring."""
    joints = torch.zeros(6, 1, 18, 3)
    joints[:, 0, 2] = torch.tensor([18.0, 30.0, 2.0])
    pixels = torch.zeros(6, *SIZE, 4, dtype=torch.uint8)
    pixels[:, 29:32, 17:20, 0] = 255
    wide = Augmentation(scale=(0.8, 1.3), rotation=30.0, shift=0.1)
    from reidlib.data.batches.images import DevicePixels

    spots = pose_people.PosePeople(
        DevicePixels(pixels.numpy(), "cpu"), joints, torch.full((6,), 50.0), SIZE
    )
    flipped = set()
    for seed in range(4):
        batch = pose_people.batch(spots, torch.arange(6), wide, generator(seed), "cpu")
        for k in range(6):
            j = 5 if batch.joints[k, 0, 5, 2] > 0 else 2
            flipped.add(j)
            x, y, flag = batch.joints[k, 0, j].tolist()
            assert flag == 2
            red = batch.images[k, 0] - batch.images[k, 0].min()
            rows, columns = torch.meshgrid(
                torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij"
            )
            found = [float((red * c).sum() / red.sum()) for c in (columns, rows)]
            assert found == pytest.approx([x, y], abs=0.35)
    assert flipped == {2, 5}


def test_an_epoch(data: PoseData) -> None:
    def epoch(seed: int) -> list[torch.Tensor]:
        made = pose_people.batches(
            data.train, generator(seed), batch_size=4, augmentation=Augmentation(), device="cpu"
        )
        return [batch.images for batch in made]

    first, again, other = epoch(0), epoch(0), epoch(1)
    assert len(first) == len(data.train) // 4
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    steps = pose_people.batches(
        data.train, generator(), batch_size=4, augmentation=PLAIN, device="cpu", steps=20
    )
    assert sum(1 for _ in steps) == 20


def test_the_mask_hides_people_without_joints(data: PoseData) -> None:
    rows = torch.arange(len(data.train))
    wide = Augmentation(scale=(1.0, 1.0), rotation=0.0, shift=0.0, flip=False)
    batch = pose_people.batch(data.train, rows, wide, generator(), "cpu")
    assert 0.5 < float(batch.W.mean()) < 1


def test_cuts_are_kept(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coco.load(world)
    first = pose_people.people_of(dataset, "val", SIZE, tmp_path, "cpu")
    monkeypatch.setattr(pose_people, "_write", lambda *_: pytest.fail("cut out again"))
    again = pose_people.people_of(dataset, "val", SIZE, tmp_path, "cpu")
    assert torch.equal(first.joints, again.joints) and torch.equal(first.heights, again.heights)
    rows = torch.arange(len(first))
    assert torch.equal(first.pixels.take(rows), again.pixels.take(rows))
    kept = sorted(path.suffix for path in tmp_path.glob("poses-*"))
    assert kept == [".lock", ".npy", ".npz", ".sha256", ".sha256"]
    for damaged in (*tmp_path.glob("*.npy"), *tmp_path.glob("*.npz")):
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(pytest.fail.Exception, match="cut out again"):
            pose_people.people_of(dataset, "val", SIZE, tmp_path, "cpu")
        damaged.write_bytes(content)


def test_cuts_are_mapped_and_not_read(world: Path, tmp_path: Path) -> None:
    people = pose_people.people_of(coco.load(world), "train", SIZE, tmp_path, "cpu")
    stored = np.load(next(tmp_path.glob("*.npy")), mmap_mode="r")
    assert stored.shape == (len(people), *SIZE, 4) and stored.dtype == np.uint8
    taken = people.pixels.take(torch.arange(len(people)))
    np.testing.assert_array_equal(taken.numpy(), stored)
    with open("/proc/self/maps", encoding="utf-8") as maps:  # it takes no memory of its own
        assert next(tmp_path.glob("*.npy")).name in maps.read()


def test_cutting_that_is_stopped_leaves_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pose_people, "cut", stopped)
    with pytest.raises(KeyboardInterrupt):
        pose_people.people_of(coco.load(world), "val", SIZE, tmp_path, "cpu")
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}


def test_a_picture_of_another_size(copy: Path, tmp_path: Path) -> None:
    dataset = coco.load(copy)
    path = dataset.images / dataset.splits["train"]["path"].iloc[0]
    Image.new("RGB", (90, 90)).save(path)
    reseal(copy / FOLDER)
    dataset = coco.load(copy)
    with pytest.raises(DataError, match="90 x 90 pixels; the annotation says") as caught:
        pose_people.people_of(dataset, "train", SIZE, tmp_path / "cache", "cpu")
    assert str(path) in str(caught.value)


def test_nobody_to_learn_from(copy: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            entry["area"] = 4.0

    edit(copy, change)
    with pytest.raises(DataError, match="nobody in train has 5 labeled"):
        pose_people.people_of(coco.load(copy), "train", SIZE, tmp_path / "cache", "cpu")
