"""Key points of the people in an image set: 18 joints each, read from JSON files.

Two forms are read. OpenPose writes a file per image, here below keypoints/ of the dataset's folder
and named as the image is there: bounding_box_train/0002_c1s1_000451_03_keypoints.json. COCO has
one file for all images, keypoints.json in the dataset's folder. The images of CUHK03 are not in
files of the release, and have two kinds of boxes: their key points are below keypoints/labeled/
and keypoints/detected/, or in keypoints_labeled.json and keypoints_detected.json.

The 18 joints and their order are those of OpenPose's COCO model. A file of COCO's 17 joints is
brought to them; the neck is then the middle of the shoulders.
"""

import contextlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from reidlib.data.content import digests
from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats.checks import check_named_apart, read_json, shown
from reidlib.data.formats.decoding import read_size
from reidlib.errors import DataError, StoreError
from reidlib.experiment import hash_json
from reidlib.files import digest_of, read_arrays, write_atomic

FOLDER = "keypoints"
SUFFIX = "_keypoints.json"
THRESHOLD = 0.1  # confidence below which a joint counts as not found

JOINTS = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
COCO_JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear",
    "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
    "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
NECK = JOINTS.index("neck")
# The joints but the neck, in COCO's numbers.
FROM_COCO = [COCO_JOINTS.index(joint) for joint in JOINTS if joint != "neck"]
SHOULDERS = [COCO_JOINTS.index("left shoulder"), COCO_JOINTS.index("right shoulder")]

_ORDER = f"x, y, confidence of 18 joints in the order {', '.join(JOINTS)}"
_OTHER_ORDERS = {
    75: "75 numbers are the 25 joints of OpenPose's BODY_25 model, which has another order: run "
    "OpenPose with --model_pose COCO",
    51: "51 numbers are COCO's 17 joints, which have another order and no neck: put them into a "
    "COCO file (keypoints.json), where they are converted",
    45: "45 numbers are the 15 joints of OpenPose's MPI model, which has another order: run "
    "OpenPose with --model_pose COCO",
}
_MOST = 1e9  # no pixel's place is beyond
_SLACK = 2.0  # pixels that a joint may lie outside its image
_ENOUGH = 20  # people from which on the order of joints and the size of pictures can be judged
# A few files suffice to see that the poses are those of larger or smaller pictures.
_LEAST_REACH = 0.6

Person = np.ndarray  # float32 (18, 3): x, y in pixels and confidence; 0 where not found


@dataclass(frozen=True)
class Keypoints:
    """Key points of the N images of a split, in row order.

    joints: float32 (N, 18, 3), x and y in pixels of the image and confidence, all 0 where a joint
        was not found. Of several people in an image, the one with the most confident joints.
    sizes: int64 (N, 2), height and width of the images.
    """

    joints: np.ndarray
    sizes: np.ndarray

    @property
    def nobody(self) -> int:
        """Images in which no joint was found."""
        return int((self.joints[:, :, 2] == 0).all(1).sum())


# ------------------------------------------------------------------ where they are


def kind(dataset: Dataset) -> str:
    """ "labeled" or "detected" for CUHK03, whose images are boxes of two kinds; else ""."""
    last = dataset.name.rpartition("-")[2]
    return last if last in ("labeled", "detected") else ""


def folder_of(dataset: Dataset) -> Path:
    """Where the OpenPose files of a dataset are."""
    return dataset.root / FOLDER / kind(dataset)


def coco_file(dataset: Dataset) -> Path:
    """The COCO file of a dataset."""
    which = kind(dataset)
    return dataset.root / (f"{FOLDER}_{which}.json" if which else f"{FOLDER}.json")


def file_name(path: str) -> str:
    """Name of the OpenPose file of the image `path`, relative to `folder_of`."""
    return str(PurePosixPath(path).with_suffix("")) + SUFFIX


def files(dataset: Dataset, splits: Sequence[str] | None = None) -> list[Path]:
    """The files that hold the key points of a dataset: the COCO file if there is one, else the
    OpenPose file of every image of `splits` (all of them, by default).

    Raises `DataError` if any is missing, or if two images would share one.
    """
    if coco_file(dataset).is_file():
        return [coco_file(dataset)]
    names = list(dataset.splits) if splits is None else list(splits)
    return [path for split in names for path in openpose_paths(dataset, split)]


def openpose_paths(dataset: Dataset, split: str) -> list[Path]:
    """The OpenPose file of every image of a split, in row order. Costs one `stat` per file.

    Raises `DataError` as `files` does.
    """
    folder, images = folder_of(dataset), list(dataset.splits[split]["path"])
    names = [file_name(path) for path in images]
    check_named_apart(folder, names, images, "hold the key points of")
    missing = [name for name, size in zip(names, file_sizes(folder, names), strict=True)
               if size < 0]  # fmt: skip
    if missing:
        there = "" if folder.is_dir() else " (there is no such folder)"
        raise DataError(
            f"{dataset.name}: {len(missing):,} of {len(names):,} key point files of {split} are "
            f"missing below {folder}{there}; the first: {missing[0]}\n"
            f"Expected OpenPose's JSON for every image, named <image>{SUFFIX}, or COCO's in "
            f"{coco_file(dataset)}.\n"
            "`python -m reidlib pose` estimates them. Generated data brings them; a copy from "
            "before it did has to be deleted and written anew."
        )
    return [folder / name for name in names]


def load(dataset: Dataset, split: str) -> Keypoints:
    """The key points of a split, from whichever form is there.

    Raises:
        DataError: a file is missing, truncated or no JSON, holds joints in another order, numbers
            that are not finite, or joints outside the image; the pictures had another size.
    """
    sizes = np.array([read_size(path) for path in dataset.image_paths(split)], np.int64)
    coco = coco_file(dataset)
    if coco.is_file():
        where = coco
        people = read_coco(coco)
        people.check_sizes(list(dataset.splits[split]["path"]), sizes)
        joints = [people.of(path) for path in dataset.splits[split]["path"]]
        sources: Sequence[Path] = [coco] * len(joints)
    else:
        where = folder_of(dataset)
        sources = openpose_paths(dataset, split)
        joints = [
            read_openpose(path, tuple(size))
            for path, size in zip(sources, sizes.tolist(), strict=True)
        ]
    for person, size, source, image in zip(
        joints, sizes, sources, dataset.splits[split]["path"], strict=True
    ):
        _check_inside(person, size, source, image)
    found = Keypoints(np.stack(joints), sizes)
    check_order(found, where)
    check_reach(found, where)
    return found


def remembered(dataset: Dataset, split: str) -> Keypoints:
    """`load`, done once as long as no file has another content: what it found is in the dataset's
    cache, if it has one. Raises what `load` raises."""
    if dataset.cache is None:
        return load(dataset, split)
    paths = [*dataset.image_paths(split), *files(dataset, [split])]
    which = hash_json([os.fspath(path) for path in paths])
    state = hash_json(digests(paths, dataset.cache))
    target = dataset.cache / f"keypoints-{which}-{state}.npz"
    arrays = read_arrays(target) or {}
    if {"joints", "sizes", "digest"} <= set(arrays):
        digest = str(arrays.pop("digest"))
        if digest_of(arrays) == digest:
            return Keypoints(**arrays)
    made = load(dataset, split)
    arrays = {"joints": made.joints, "sizes": made.sizes}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays, digest=np.array(digest_of(arrays)))
    with contextlib.suppress(StoreError):  # a full disk: they are read again next time
        write_atomic(target, packed.getvalue())
        for old in set(dataset.cache.glob(f"keypoints-{which}-*.npz")) - {target}:
            old.unlink(missing_ok=True)
    return made


# ------------------------------------------------------------------ OpenPose


def read_openpose(path: Path, size: tuple[int, int] | None = None) -> Person:
    """The main person of an OpenPose file: float32 (18, 3), zeros if it lists nobody.

    size: (height, width) of its image; files written here say theirs, and are held to it.
    Raises `DataError`: see `load`.
    """
    content = read_json(path, "key points as OpenPose writes them")
    content = content if isinstance(content, dict) else {}
    said = content.get("image_size")
    if size is not None and said is not None and said != list(size):
        raise DataError(
            f"{path}: key points of an image of {shown(said)} pixels (height, "
            f"width); the image has {list(size)}"
        )
    people = content.get("people")
    if not isinstance(people, list):
        raise DataError(
            f'{path}: expected OpenPose\'s {{"people": [{{"pose_keypoints_2d": [...]}}]}}'
        )
    found = []
    for entry in people:
        entry = entry if isinstance(entry, dict) else {}
        numbers = entry.get("pose_keypoints_2d", entry.get("pose_keypoints"))
        found.append(_triples(path, numbers, len(JOINTS), _ORDER))
    return main_person(found)


def main_person(people: Sequence[Person]) -> Person:
    """Of several people, the one whose confidences sum to most; zeros if there is none."""
    if not people:
        return np.zeros((len(JOINTS), 3), np.float32)
    return max(people, key=lambda person: float(person[:, 2].sum()))


def openpose_json(people: Sequence[Person], size: tuple[int, int]) -> str:
    """The content of an OpenPose file; `size`, (height, width) of the image, is put beside."""
    listed = [
        {"person_id": [-1], "pose_keypoints_2d": [round(float(n), 3) for n in person.ravel()]}
        for person in people
    ]
    content = {"version": 1.3, "image_size": list(size), "people": listed}
    return json.dumps(content, separators=(",", ":"))


# ------------------------------------------------------------------ COCO


@dataclass(frozen=True)
class CocoPeople:
    """The people of a COCO file, by the file name of their image."""

    path: Path
    people: dict[str, list[Person]]
    sizes: dict[str, tuple[int, int] | None]

    def of(self, image: str) -> Person:
        """The main person of an image, relative to the dataset's image folder."""
        if image not in self.people:
            raise DataError(
                f"{self.path}: lists {len(self.people):,} images, and not {image}; expected every "
                'image of the dataset in "images", also those in which nobody was found'
            )
        return main_person(self.people[image])

    def check_sizes(self, images: Sequence[str], sizes: np.ndarray) -> None:
        """Raise `DataError` if the file says another size than an image has."""
        for image, (height, width) in zip(images, sizes.tolist(), strict=True):
            said = self.sizes.get(image)
            if said is not None and said != (height, width):
                raise DataError(
                    f"{self.path}: {image} is {said[0]}x{said[1]} there (height x width), the "
                    f"file is {height}x{width}; expected key points of these images"
                )


def read_coco(path: Path) -> CocoPeople:
    """All people of a COCO key point file, with 18 joints. Raises `DataError`: see `load`."""
    content = read_json(path, "key points as COCO has them")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise DataError(
            f'{path}: expected COCO\'s {{"images": [...], "annotations": [...]}}, with file_name '
            "and id of each image, image_id and keypoints of each annotation"
        )
    names: dict[Any, str] = {}
    people: dict[str, list[Person]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for entry in content["images"]:
        try:
            number, name = entry["id"], str(entry["file_name"])
            size = tuple(int(entry[side]) for side in ("height", "width") if side in entry)
            hash(number)
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: an image without id or file_name, or of no size: {shown(entry)}"
            ) from error
        if number in names or name in people:
            raise DataError(
                f"{path}: two images are called {name}, or have the id {number}; expected each once"
            )
        names[number], people[name] = name, []
        sizes[name] = (size[0], size[1]) if len(size) == 2 else None
    for entry in content["annotations"]:
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(number, int | str) or number not in names:
            raise DataError(
                f"{path}: an annotation belongs to the image {shown(number)}, which is not among "
                f"the {len(names):,} images"
            )
        if "keypoints" not in entry:
            raise DataError(
                f"{path}: the annotation of {names[number]} has no keypoints; expected a person's "
                "17 joints (person_keypoints_*.json, not instances_*.json)"
            )
        triples = _triples(
            path, entry["keypoints"], len(COCO_JOINTS),
            f"x, y, visibility of 17 joints in COCO's order: {', '.join(COCO_JOINTS)}",
        )  # fmt: skip
        people[names[number]].append(from_coco(triples))
    return CocoPeople(path, people, sizes)


def from_coco(joints: np.ndarray) -> Person:
    """COCO's 17 joints as the 18 of OpenPose: float (17, 3) -> float32 (18, 3).

    The neck is the middle of the shoulders, and there if both are. COCO's visibility flags 1
    (occluded) and 2 (visible) become confidence 1; scores between 0 and 1 stay.
    """
    found = np.zeros((len(JOINTS), 3), np.float32)
    others = [i for i in range(len(JOINTS)) if i != NECK]
    found[others] = joints[FROM_COCO]
    shoulders = joints[SHOULDERS]
    if (shoulders[:, 2] > 0).all():
        found[NECK] = [*shoulders[:, :2].mean(0), shoulders[:, 2].min()]
    found[:, 2] = found[:, 2].clip(max=1.0)
    found[found[:, 2] == 0] = 0
    return found


# ------------------------------------------------------------------ checks


def _triples(path: Path, numbers: Any, joints: int, expected: str) -> np.ndarray:
    """`numbers` as float32 (joints, 3), with an error that says what else they may be."""
    if not isinstance(numbers, list) or not all(
        isinstance(n, int | float) and not isinstance(n, bool) for n in numbers
    ):
        raise DataError(f"{path}: key points are no list of numbers; expected {expected}")
    if len(numbers) != 3 * joints:
        other = _OTHER_ORDERS.get(len(numbers)) if joints == len(JOINTS) else None
        raise DataError(
            f"{path}: {len(numbers)} numbers; expected {3 * joints}, {expected}"
            + (f". {other}" if other else "")
        )
    for place, number in enumerate(numbers):
        if not -_MOST <= number <= _MOST:  # neither are infinity and what is not a number
            raise DataError(
                f"{path}: number {place + 1} of the key points is {shown(number)}; expected finite "
                "numbers"
            )
    found = np.array(numbers, np.float32).reshape(joints, 3)
    if (found[:, 2] < 0).any():
        raise DataError(f"{path}: a confidence below 0; expected {expected}")
    found[found[:, 2] == 0] = 0
    return found


def _check_inside(person: Person, size: np.ndarray, source: Path, image: str) -> None:
    height, width = size.tolist()
    x, y, there = person[:, 0], person[:, 1], person[:, 2] > 0
    outside = there & ((x < -_SLACK) | (y < -_SLACK) | (x > width + _SLACK) | (y > height + _SLACK))
    if outside.any():
        joint = int(np.argmax(outside))
        raise DataError(
            f"{source}: the {JOINTS[joint]} at ({x[joint]:.1f}, {y[joint]:.1f}) lies outside "
            f"{image}, which has {width} x {height} pixels (width x height); expected key points "
            "in pixels of that image. Were they estimated on pictures of another size?"
        )


def check_order(keypoints: Keypoints, where: Path) -> None:
    """Raise `DataError` if most people would stand on their heads: joints in another order.

    Looks at people whose neck and legs were found, from 20 on; upside down are those whose neck,
    hips, knees and ankles do not follow each other downwards.
    """
    chains = np.array([[1, 8, 9, 10], [1, 11, 12, 13]])
    found = keypoints.joints[:, chains]  # (N, 2, 4, 3)
    whole = (found[..., 2] > THRESHOLD).all((1, 2))
    if whole.sum() < _ENOUGH:
        return
    downwards = (np.diff(found[whole][..., 1], axis=2) > 0).all((1, 2)).mean()
    if downwards < 0.5:
        raise DataError(
            f"{where}: of {int(whole.sum()):,} people with neck and legs, {100 * downwards:.0f} % "
            "have them from top to bottom. The joints seem to be in another order; expected "
            f"{', '.join(f'{i} {name}' for i, name in enumerate(JOINTS))}"
        )


def check_reach(keypoints: Keypoints, where: Path) -> None:
    """Raise `DataError` if all people are in the upper left corner: poses of smaller pictures."""
    there = keypoints.joints[:, :, 2] > THRESHOLD
    somebody = there.sum(1) >= 3
    if somebody.sum() < _ENOUGH:
        return
    far = (keypoints.joints[:, :, :2] * there[..., None]).max(1)[somebody]  # (N, 2): x, y
    reach = np.quantile(far / keypoints.sizes[somebody][:, ::-1], 0.9, axis=0)
    if (reach < _LEAST_REACH).all():
        raise DataError(
            f"{where}: nine in ten people lie within the left {100 * reach[0]:.0f} % and the upper "
            f"{100 * reach[1]:.0f} % of their images. The key points seem to be of smaller "
            "pictures; expected pixels of these images"
        )
