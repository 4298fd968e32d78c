"""COCO's person key points written from the procedural world: pictures with one to four people.

A picture is a cut of a camera's background into which people are pasted from left to right; who
comes later may hide some of who came before. Some people have an outline and no key points, and in
some pictures somebody counts as a crowd, with run lengths, as in the release. At scale 1.0 there
are as many pictures with people as in the release of 2017. Nobody of them is in another dataset.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reidlib.data.formats.coco_keypoints import (
    ANNOTATIONS,
    COCO_JOINTS,
    NAME,
    SPLITS,
)
from reidlib.data.formats.keypoints import FROM_COCO, NECK
from reidlib.world.dice import Dice
from reidlib.world.drawing.camera import FAMILIES, LOOKS
from reidlib.world.drawing.render import Rendering, render
from reidlib.world.drawing.scene import backdrop
from reidlib.world.drawing.sensor import develop
from reidlib.world.drawing.shot import make_shot, native_size
from reidlib.world.writers import image_worlds

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 1  # bump when the plan or the file formats change

FULL = (64_115, 2_693)  # pictures with people in train and val
_PEOPLE = 9_000_000  # first person of the world
_MOST = 4  # people in a picture
_UNLABELED, _CROWD = 7, 11  # every so many pictures have one
_NARROWEST = 0.34  # height / width of a cut of the background
_NATIVE_PIXELS = 400 * 500
_FACE = (0, 1, 2, 3, 4)  # COCO's joints that nobody guesses where they are hidden


@dataclass(frozen=True)
class Scene:
    """A picture to be: its number, split, camera and the people in it, from left to right."""

    number: int
    split: str
    family: str
    camid: int
    people: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.number:012d}.jpg"


def plan(seed: int, scale: float | None = None, ids: tuple[int, int] | None = None) -> list[Scene]:
    """Every picture of train and val. A pure function; renders nothing.

    `ids` are the numbers of pictures. Raises `UsageError` for impossible sizes.
    """
    pictures = image_worlds.scaled_ids(scale, ids, FULL, "pictures of train and val")
    scenes = []
    for split, total, first in zip(SPLITS, pictures, (0, FULL[0]), strict=True):
        for i in range(total):
            dice = Dice(NAME, "scene", seed, split, i)
            family = dice.pick(FAMILIES)
            camid = dice.integer(1, LOOKS[family].cameras + 1)
            people = dice.weighted({1: 45, 2: 30, 3: 15, 4: 10})
            start = _PEOPLE + _MOST * (first + i)
            scenes.append(
                Scene(first + i + 1, split, family, camid, tuple(range(start, start + people)))
            )
    return scenes


def count(images: Sequence[Scene]) -> dict[str, dict[str, int | None]]:
    """Pictures of every split; how many people get key points shows when they are drawn."""
    return {
        split: {"images": sum(scene.split == split for scene in images), "ids": None}
        for split in SPLITS
    }


def bytes_needed(images: Sequence[Scene], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    pixels = _NATIVE_PIXELS if size is None else 1.3 * size[0] * 3 * size[1]
    return int(len(images) * (pixels * image_worlds.BYTES_PER_PIXEL[".jpg"] + 12_000))


def prepare(folder: Path) -> None:
    """Make the folders."""
    for name in (ANNOTATIONS, *SPLITS.values()):
        (folder / name).mkdir()


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Scene]
) -> list[dict[str, Any]]:
    """Draw and save pictures; return each one's entries in the annotation file.

    `size` is (height, width) of a person's crop, from which that of the picture follows. What is
    written depends on the arguments only. Raises `OSError`.
    """
    cv2.setNumThreads(1)
    entries = []
    for scene in part:
        picture, people = draw_scene(seed, scene, size)
        image_worlds.save(folder / SPLITS[scene.split] / scene.name, picture)
        image = {
            "id": scene.number,
            "file_name": scene.name,
            "height": picture.shape[0],
            "width": picture.shape[1],
        }
        entries.append({"split": scene.split, "image": image, "people": people})
    return entries


def draw_scene(
    seed: int, scene: Scene, size: tuple[int, int] | None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The picture uint8 (h, w, 3) and the annotations of the people in it."""
    dice = Dice(NAME, "layout", seed, scene.number)
    shots = [make_shot(seed, person, 0, scene.family, scene.camid) for person in scene.people]
    tall, wide = size or native_size(shots[0])
    height, width = round(1.3 * tall), round(wide * (0.75 * len(shots) + 0.6))
    native = round(height * LOOKS[scene.family].height[1] / tall) if size else height
    common = replace(shots[0], occluder="none", bystander=False)
    aspect = max(_NARROWEST, height / width)
    ground = backdrop(seed, scene.family, scene.camid, common.background, aspect, (height, width))
    picture = develop(ground, common, (native, round(native * width / height)))
    owner = np.zeros((height, width), np.uint8)  # whose pixels these are, from 1
    joints = []
    for i, shot in enumerate(shots):
        shot = replace(
            shot, occluder="none", bystander=False, blur=common.blur, noise=common.noise,
            brightness=common.brightness, light=common.light, sun=common.sun,
            resolution=common.resolution,
        )  # fmt: skip
        share = dice.uniform(0.6, 1.0)
        rows, columns = max(16, round(share * tall)), max(8, round(share * wide))
        rendering = render(shot, (rows, columns))
        x = round(0.75 * wide * i + dice.uniform(0.0, 0.6) * wide)
        y = round(dice.uniform(0.0, 1.0) * (height - rows))
        x, y = max(0, min(x, width - columns)), max(0, min(y, height - rows))
        place = np.s_[y : y + rows, x : x + columns]
        soft = cv2.blur((rendering.mask > 0).astype(np.float32), (3, 3))[..., None]
        under = picture[place]
        under[:] = np.rint(soft * rendering.image + (1.0 - soft) * under).astype(np.uint8)
        owner[place][rendering.mask > 0] = i + 1
        joints.append(_joints(rendering, x, y))
    people = []
    crowd = scene.number % _CROWD == 5 and len(shots) > 1
    for i, found in enumerate(joints, start=1):
        mask = (owner == i).astype(np.uint8)
        if not mask.any():
            continue
        labeled = scene.number % _UNLABELED != 4 or i < len(joints)
        people.append(
            _annotation(
                scene.number, _MOST * scene.number + i, mask, _hidden(found, owner, i),
                labeled, crowd and i == len(joints),
            )
        )  # fmt: skip
    return picture, people


def _joints(rendering: Rendering, x: int, y: int) -> np.ndarray:
    """COCO's 17 joints (17, 3) in pixels of the whole picture, v 2 or 1."""
    found = np.delete(rendering.joints, NECK, axis=0)[np.argsort(FROM_COCO)].astype(np.float64)
    found[:, :2] = np.floor(found[:, :2]) + np.array((x, y))  # the pixel that a joint is in
    found[:, 2] = 1 + (found[:, 2] > 0)
    return found


def _hidden(joints: np.ndarray, owner: np.ndarray, mine: int) -> np.ndarray:
    """The same with v as annotators set it: 0 outside the picture and for hidden points of the
    face, 1 for what the body itself or somebody in front hides."""
    joints = joints.copy()
    height, width = owner.shape
    x, y = joints[:, 0].astype(int), joints[:, 1].astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    over = np.zeros(len(joints), bool)
    over[inside] = owner[y[inside], x[inside]] > mine
    joints[over, 2] = np.minimum(joints[over, 2], 1)
    face = np.isin(np.arange(len(joints)), _FACE) & (joints[:, 2] < 2)
    joints[~inside | face] = 0
    return joints


def _annotation(
    picture: int, number: int, mask: np.ndarray, joints: np.ndarray, labeled: bool, crowd: bool
) -> dict[str, Any]:
    x, y, wide, tall = cv2.boundingRect(mask)
    if crowd:
        segmentation: Any = {"counts": _run_lengths(mask), "size": list(mask.shape)}
    else:
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        segmentation = [o.reshape(-1).tolist() for o in outlines if len(o) >= 3]
    if crowd or not labeled:
        joints = np.zeros_like(joints)
    return {
        "id": number,
        "image_id": picture,
        "category_id": 1,
        "iscrowd": int(crowd),
        "area": float(mask.sum()),
        "bbox": [float(x), float(y), float(wide), float(tall)],
        "num_keypoints": int((joints[:, 2] > 0).sum()),
        "keypoints": [int(value) for value in joints.reshape(-1)],
        "segmentation": segmentation,
    }


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, beginning with those outside."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the annotation files."""
    for split, name in SPLITS.items():
        mine = [entry for entry in entries if entry["split"] == split]
        content = {
            "info": {"description": "written from the procedural world", "version": "1.0"},
            "licenses": [],
            "images": [entry["image"] for entry in mine],
            "annotations": [person for entry in mine for person in entry["people"]],
            "categories": [
                {
                    "id": 1,
                    "name": "person",
                    "supercategory": "person",
                    "keypoints": list(COCO_JOINTS),
                    "skeleton": [],
                }
            ],
        }
        path = folder / ANNOTATIONS / f"person_keypoints_{name}.json"
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
