"""COCO person key points (Lin et al., ECCV 2014): everyday pictures with people and their joints.

annotations/person_keypoints_train2017.json lists pictures, and people with a box, an outline and 17
joints of x, y and v: 0 not labeled, 1 labeled but hidden, 2 visible. Of small people and crowds
there is an outline only. Here joints are brought to the 18 of OpenPose's COCO model, with the neck
in the middle of the shoulders where both are labeled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats import checks, image_sets, keypoints
from reidlib.data.formats.checks import Counts
from reidlib.data.formats.decoding import MAX_PIXELS
from reidlib.data.formats.keypoints import FROM_COCO, NECK, SHOULDERS
from reidlib.data.register import FORMATS
from reidlib.errors import DataError

NAME = "coco-keypoints"
FOLDER = FORMATS[NAME].folder
SPLITS = {"train": "train2017", "val": "val2017"}
# The release has had several versions, and says nothing of pictures with people: there is nothing
# to compare real data with. Generated data is compared with what it was written with.
PUBLISHED: dict[str, dict[str, Counts]] = {}
_WRITTEN = {split: Counts(None, None) for split in SPLITS}
ANNOTATIONS = "annotations"

TREE = """
coco/
  annotations/  person_keypoints_train2017.json, person_keypoints_val2017.json
  train2017/    000000000009.jpg, ...
  val2017/      000000000139.jpg, ...
"""

COCO_JOINTS = tuple(joint.replace(" ", "_") for joint in keypoints.COCO_JOINTS)  # as in the file

Segmentation = list[list[float]] | dict[str, Any]


@dataclass(frozen=True)
class Person:
    """One person in a picture, in pixels of it.

    joints: float32 (18, 3) of x, y and 2 visible, 1 hidden, 0 not labeled, in OpenPose's order.
    box: x, y, width, height. segmentation: polygons [x0, y0, x1, y1, ...], or run lengths
    {"counts", "size"}, as the file has them. crowd: several people who are not told apart.
    """

    joints: np.ndarray
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    segmentation: Segmentation

    @property
    def labeled(self) -> int:
        """Joints that are labeled, the neck not counted."""
        return int((np.delete(self.joints[:, 2], NECK) > 0).sum())


def load(root: Path, check_files: bool = True) -> Dataset:
    """Read the release, or a generated dataset of the same form, from `root`/coco.

    Splits: train and val, tables with a row per **picture** that shows people: `path`, `height`,
    `width`, and `people`, a list of `Person`. There are no identities: no `pid`.

    Args:
        root: the folder that contains coco/.
        check_files: raise if an image file is missing or empty.

    Raises:
        DataError: missing folder, annotation or image, an annotation that is no such JSON, has no
            key points (instances_*.json has none), joints in another order, or numbers that make
            no sense; names the file and what was expected.
    """
    names = [f"{ANNOTATIONS}/{_file(split)}" for split in SPLITS]
    folder = checks.locate(root, FOLDER, names, TREE)
    synthetic = checks.read_synthetic(folder)
    splits = {split: _read(folder, split) for split in SPLITS}
    if synthetic is not None:
        image_sets.check_counts(NAME, folder, count(splits), synthetic, _WRITTEN)
    paths = [path for table in splits.values() for path in table["path"]]
    sizes = file_sizes(folder, paths)
    if check_files:
        checks.check_files(FOLDER, folder, paths, sizes)
    return Dataset(
        name=NAME,
        root=folder,
        images=folder,
        splits=splits,
        files=(*names, *paths),
        synthetic=synthetic,
    )


def count(splits: Mapping[str, pd.DataFrame]) -> dict[str, Counts]:
    """Pictures of every split; there are no identities."""
    return {split: Counts(images=len(table), ids=None) for split, table in splits.items()}


def _file(split: str) -> str:
    return f"person_keypoints_{SPLITS[split]}.json"


def _read(folder: Path, split: str) -> pd.DataFrame:
    path = folder / ANNOTATIONS / _file(split)
    what = "COCO's person key points: an object with images, annotations and categories"
    content = checks.read_json(path, what)
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise DataError(f"{path}: expected {what}")
    _check_categories(path, content["categories"])
    pictures: dict[int, tuple[str, int, int]] = {}
    names: set[str] = set()
    for entry in content["images"]:
        number, name, height, width = (
            _get(path, "image", entry, key) for key in ("id", "file_name", "height", "width")
        )
        _check_picture(path, number, name, height, width)
        if number in pictures or name in names:
            raise DataError(
                f"{path}: image {number}, {checks.shown(name)}, stands there twice; expected once"
            )
        names.add(name)
        pictures[number] = (f"{SPLITS[split]}/{name}", int(height), int(width))
    people: dict[int, list[Person]] = {}
    for entry in content["annotations"]:
        number = _get(path, "annotation", entry, "image_id")
        if not isinstance(number, int) or number not in pictures:
            raise DataError(
                f"{path}: annotation {_id(entry)} is of image {checks.shown(number)}, "
                "which is not listed"
            )
        people.setdefault(number, []).append(_person(path, entry, *pictures[number][1:]))
    if not any(person.labeled for those in people.values() for person in those):
        raise DataError(f"{path}: nobody in it has a labeled key point; expected {what}")
    shown = sorted((pictures[number], those) for number, those in people.items())
    return pd.DataFrame(
        {
            "path": pd.Series([picture[0] for picture, _ in shown], dtype=str),
            "height": np.array([picture[1] for picture, _ in shown], np.int64),
            "width": np.array([picture[2] for picture, _ in shown], np.int64),
            "people": pd.Series([those for _, those in shown], dtype=object),
        }
    )


def _id(entry: Any) -> str:
    """What an entry is called in messages."""
    return checks.shown(entry.get("id", "without a number") if isinstance(entry, dict) else entry)


def _get(path: Path, kind: str, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        which = _id(entry)
        if key == "keypoints":
            raise DataError(
                f"{path}: {kind} {which} has no key points; expected a person_keypoints file "
                "(instances files have boxes and outlines only)"
            )
        raise DataError(f"{path}: {kind} {which} has no {key!r}")
    return entry[key]


def _check_picture(path: Path, number: Any, name: Any, height: Any, width: Any) -> None:
    """Raise `DataError` for an entry that is no picture of the dataset's own folder."""
    if not isinstance(number, int):
        raise DataError(f"{path}: image {checks.shown(number)}: expected a number as its id")
    if not isinstance(name, str) or (problem := checks.path_problem(name)):
        said = "expected text" if not isinstance(name, str) else problem
        raise DataError(f"{path}: image {number}: file_name {checks.shown(name)}: {said}")
    for side in (height, width):
        if not isinstance(side, int) or not 1 <= side <= MAX_PIXELS:
            raise DataError(
                f"{path}: image {number}: height {checks.shown(height)}, width "
                f"{checks.shown(width)}; expected pixels"
            )
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{path}: image {number}: {height:,}x{width:,} pixels (height x width); expected at "
            f"most {MAX_PIXELS:,}"
        )


def _check_categories(path: Path, categories: Sequence[Any]) -> None:
    person = [c for c in categories if isinstance(c, dict) and c.get("name") == "person"]
    if not person:
        raise DataError(f"{path}: no category 'person' in it; expected COCO's person key points")
    joints = person[0].get("keypoints") or []
    if joints and joints != list(COCO_JOINTS):
        named = ", ".join(map(str, joints)) if isinstance(joints, list) else str(joints)
        raise DataError(
            f"{path}: the joints of 'person' are {checks.shown(named)}; expected COCO's 17 "
            f"in their order: {', '.join(COCO_JOINTS)}"
        )


def _person(path: Path, entry: Any, height: int, width: int) -> Person:
    numbers = _get(path, "annotation", entry, "keypoints")
    box = _get(path, "annotation", entry, "bbox")
    which = f"{path}: annotation {_id(entry)}"
    if not isinstance(numbers, list) or len(numbers) != 3 * len(COCO_JOINTS):
        count = len(numbers) if isinstance(numbers, list) else type(numbers).__name__
        raise DataError(f"{which}: {count} key point numbers; expected 51: x, y, v of 17 joints")
    values = _finite(which, numbers, "key points")
    if values.ndim != 1:
        raise DataError(f"{which}: key points are lists; expected 51 numbers: x, y, v of 17 joints")
    values = values.reshape(-1, 3)
    x, y, v = values.T
    if not np.isin(v, (0, 1, 2)).all():
        raise DataError(f"{which}: a joint has v = {v[~np.isin(v, (0, 1, 2))][0]:g}; expected 0-2")
    outside = (v > 0) & ((x < -1) | (y < -1) | (x > width + 1) | (y > height + 1))
    if outside.any():
        at = int(np.argmax(outside))
        raise DataError(
            f"{which}: {COCO_JOINTS[at]} is at {x[at]:g}, {y[at]:g}; the image has {width} x "
            f"{height} pixels"
        )
    sides = _finite(which, box, "bbox")
    if sides.shape != (4,) or (sides[2:] < 0).any():
        raise DataError(f"{which}: bbox {checks.shown(box)}; expected x, y, width and height")
    # A person is cut out with a margin: boxes of any size would be pictures of any size.
    corner, extent, picture = sides[:2], sides[2:], np.array([width, height])
    if (corner < -picture).any() or (corner > 2 * picture - extent).any():
        raise DataError(
            f"{which}: bbox {checks.shown(sides.tolist())} lies far outside of the image, which "
            f"has {width} x {height} pixels (width x height)"
        )
    area = _finite(which, entry.get("area", box[2] * box[3]), "area")
    if area.ndim or area < 0:
        raise DataError(f"{which}: area {checks.shown(area.tolist())}; expected a number of pixels")
    segmentation = entry.get("segmentation", [])
    if isinstance(segmentation, dict) and not isinstance(segmentation.get("counts"), list):
        raise DataError(
            f"{which}: packed run lengths; expected polygons or a list of counts, as in the "
            "published files"
        )
    _check_outline(which, segmentation, height, width)
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{which}: iscrowd is {checks.shown(crowd)}; expected 0 or 1")
    return Person(
        joints=to_openpose(values),
        box=tuple(sides.tolist()),
        area=float(area),
        crowd=bool(crowd),
        segmentation=segmentation,
    )


def _check_outline(which: str, segmentation: Any, height: int, width: int) -> None:
    """Raise `DataError` unless it is polygons or run lengths that can be drawn in the image."""
    if isinstance(segmentation, dict):
        runs, size = segmentation["counts"], segmentation.get("size")
        whole = isinstance(size, list) and len(size) == 2
        numbers = [*runs, *size] if whole else []
        if not whole or not all(isinstance(n, int) and 0 <= n <= MAX_PIXELS for n in numbers):
            raise DataError(f"{which}: expected run lengths as counts, and size: height and width")
        if sum(runs) != size[0] * size[1]:
            raise DataError(
                f"{which}: run lengths of {sum(runs):,} pixels; expected those of {size[0]} x "
                f"{size[1]}"
            )
        if size != [height, width]:
            raise DataError(
                f"{which}: run lengths of {size[0]} x {size[1]} pixels (height x width); the image "
                f"has {height} x {width}"
            )
        return
    if not isinstance(segmentation, list):
        raise DataError(f"{which}: segmentation {checks.shown(segmentation)}; expected polygons")
    for polygon in segmentation:
        values = _finite(which, polygon, "outline")
        if values.ndim != 1 or len(values) % 2:
            raise DataError(f"{which}: expected an outline of pairs x, y of pixels")
        points, picture = values.reshape(-1, 2), np.array([width, height])
        if ((points < -picture) | (points > 2 * picture)).any():  # drawing them takes for ever
            raise DataError(
                f"{which}: an outline far outside of the image, which has {width} x {height} "
                "pixels (width x height)"
            )


def _finite(which: str, numbers: Any, what: str) -> np.ndarray:
    try:
        values = np.array(numbers, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{which}: {what} {checks.shown(numbers)}; expected numbers") from error
    if not all(math.isfinite(value) for value in values.ravel()):
        raise DataError(f"{which}: {what} with NaN or infinity; expected numbers")
    return values


def to_openpose(joints: np.ndarray) -> np.ndarray:
    """COCO's 17 joints (17, 3) of x, y, v as OpenPose's 18: float32 (18, 3).

    The neck is the middle of the shoulders, where both are labeled, and visible if both are.
    Joints without a label are zeros.
    """
    neck = np.zeros(3)
    left, right = joints[list(SHOULDERS)]
    if left[2] > 0 and right[2] > 0:
        neck = np.array([*(left[:2] + right[:2]) / 2, min(left[2], right[2])])
    found = np.insert(joints[list(FROM_COCO)], NECK, neck, axis=0).astype(np.float32)
    found[found[:, 2] == 0] = 0
    return found


def mask_of(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """An outline as pixels: uint8 (height, width), 1 inside."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    if isinstance(segmentation, dict):  # run lengths down the columns, first those outside
        counts = np.array(segmentation["counts"], np.int64)
        rows, columns = segmentation["size"]
        inside = np.arange(len(counts)) % 2 == 1
        runs = np.repeat(inside, counts)
        if len(runs) == rows * columns == height * width:
            mask = runs.reshape(columns, rows).T.astype(np.uint8)
        return mask
    for polygon in segmentation:
        points = np.round(np.array(polygon, np.float64).reshape(-1, 2)).astype(np.int32)
        if len(points):
            cv2.fillPoly(mask, [points], 1)
    return mask
