"""CUHK-SYSU written from the procedural world: scenes with several people, and boxes around them.

A scene is a cut of a camera's background into which people are pasted side by side, each drawn
with that camera's light and lens. It is simpler than a street: nobody stands before anybody else,
and scenes are smaller than the release's. At scale 1.0 the numbers of scenes, boxes, persons,
queries and crops are those of the release (of crops: those of GLA). Written are the scenes and
Images, Person, pool, Train and TestG50.mat, not the larger galleries and the query subsets.

File names are not those of a CUHK-PEDES written beside: which scenes are test scenes is decided
here, and there each person has scenes of its own. Captions come with the dataset instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reidlib.data.formats.checks import read_synthetic
from reidlib.data.formats.cuhk_sysu import (
    EXPECTED_SCENES,
    GLA_CROPS,
    IMAGES_MAT,
    NAME,
    PERSON_MAT,
    POOL_MAT,
    SCENES,
    SOURCES,
    TEST_MAT,
    TRAIN_MAT,
)
from reidlib.world.dice import Dice
from reidlib.world.drawing.camera import LOOKS
from reidlib.world.drawing.render import render
from reidlib.world.drawing.scene import backdrop
from reidlib.world.drawing.sensor import develop
from reidlib.world.drawing.shot import make_shot, native_size
from reidlib.world.writers import image_worlds
from reidlib.world.writers.captioned_worlds import choose
from reidlib.world.writers.image_worlds import Description, Picture, deal

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 1  # bump when the plan or the file formats change

FULL = (5_532, 2_900)  # identities of train and test
_BOXES = 96_143  # in all scenes
_PERSONS = 11_934  # entries of Person.mat: people without a split, too
_GALLERY = 50  # scenes per query
_CROPS = {"train": GLA_CROPS["train"], "test": FULL[1] + GLA_CROPS["gallery"]}
_MOST = 8  # people per scene; a wider picture than that no background has
_NARROWEST = 0.34  # height / width of a cut of the background
_STRANGERS = 500_000  # in the world, beyond the dataset's own people
_NATIVE_PIXELS = 390 * 640


@dataclass(frozen=True)
class Scene:
    """A scene to be: its file name, half ("train" or "test"), camera and the people in it."""

    name: str
    split: str
    camid: int
    people: tuple[Picture, ...]  # pid 0: nobody's number


def plan(seed: int, scale: float | None = None, ids: tuple[int, int] | None = None) -> list[Scene]:
    """Every scene, in the order of names. A pure function; renders nothing.

    `ids` are the identities of train and test. Raises `UsageError` for impossible sizes.
    """
    return list(_plan(seed, scale, None if ids is None else tuple(ids)))


@lru_cache(maxsize=2)
def _plan(seed: int, scale: float | None, ids: tuple[int, ...] | None) -> tuple[Scene, ...]:
    numbers = dict(
        zip(("train", "test"), image_worlds.scaled_ids(scale, ids, FULL, "identities of train and "
        "test"), strict=True)
    )  # fmt: skip
    total = sum(numbers.values())
    dice = Dice(NAME, "plan", seed, *numbers.values())
    in_train = set(choose(dice, total, numbers["train"]))
    halves = {
        "train": [p for p in range(total) if p in in_train],
        "test": [p for p in range(total) if p not in in_train],
    }
    sizes = {
        split: round(numbers[split] * EXPECTED_SCENES[f"scenes, {split}"].images / full)
        for split, full in zip(halves, FULL, strict=True)
    }
    order = choose(dice, sum(sizes.values()), sum(sizes.values()))
    boxes = deal(
        dice, [2] * len(order), round(total * _BOXES / sum(FULL)), _MOST
    )  # two at least: so many have a number at most
    strangers = 0
    scenes: list[Scene] = []
    for split, full in zip(halves, FULL, strict=True):
        places = order[: sizes["train"]] if split == "train" else order[sizes["train"] :]
        crops = round(numbers[split] * _CROPS[split] / full)
        shares = deal(dice, [2] * numbers[split], crops, min(12, len(places)))
        slots = [(p, k) for p, n in zip(halves[split], shares, strict=True) for k in range(n)]
        of_place: dict[int, list[tuple[int, int]]] = {place: [] for place in places}
        for i, slot in enumerate(slots):  # a person's scenes follow each other
            of_place[places[i % len(places)]].append(slot)
        for place in places:
            name, camid = f"s{place + 1}.jpg", 1 + place % LOOKS["sysu"].cameras
            people = [
                _person(split, person, number, name, camid) for person, number in of_place[place]
            ]
            while len(people) < boxes[place]:
                world = image_worlds.OWN_PEOPLE["sysu"] + _STRANGERS + strangers
                people.append(Picture(split, 0, world, 0, "sysu", camid, name))
                strangers += 1
            scenes.append(Scene(name, split, camid, tuple(people)))
    return tuple(sorted(scenes, key=lambda scene: int(scene.name[1:-4])))


def _person(split: str, person: int, number: int, scene: str, camid: int) -> Picture:
    world = image_worlds.OWN_PEOPLE["sysu"] + person
    source = SOURCES["train" if split == "train" else "query"]
    about = Description(f"{source}/p{person + 1}_{scene}", world, split)
    return Picture(split, person + 1, world, number, "sysu", camid, scene, description=about)


def count(images: Sequence[Scene]) -> dict[str, dict[str, int | None]]:
    """Scenes, and images and identities as the loader counts them."""
    persons = {
        split: {p.pid for scene in images if scene.split == split for p in scene.people if p.pid}
        for split in ("train", "test")
    }
    counts: dict[str, dict[str, int | None]] = {
        f"scenes, {split}": {"images": sum(s.split == split for s in images), "ids": None}
        for split in persons
    }
    test = len(persons["test"])
    return counts | {
        "train": {"images": None, "ids": len(persons["train"])},
        "query": {"images": test, "ids": test},
        "gallery": {"images": None, "ids": test},
    }


def bytes_needed(images: Sequence[Scene], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    pixels = _NATIVE_PIXELS if size is None else 1.3 * size[0] * 5.5 * size[1]
    return int(len(images) * (pixels * image_worlds.BYTES_PER_PIXEL[".jpg"] + 12_000))


def prepare(folder: Path) -> None:
    """Make the folders."""
    for name in (f"{SCENES}/x", IMAGES_MAT, TRAIN_MAT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Scene]
) -> list[dict[str, Any]]:
    """Draw scenes; return for each its boxes (x, y, width, height), and entries in CUHK-PEDES.

    `size` is (height, width) of a person's crop, from which that of the scene follows. What is
    written depends on the arguments only. Raises `OSError`.
    """
    cv2.setNumThreads(1)
    entries = []
    for scene in part:
        picture, boxes, described = draw_scene(seed, scene, size)
        image_worlds.save(folder / SCENES / scene.name, picture)
        entries.append({"boxes": boxes, "described": described})
    return entries


def draw_scene(
    seed: int, scene: Scene, size: tuple[int, int] | None
) -> tuple[np.ndarray, list[list[int]], list[dict[str, Any]]]:
    """The picture uint8 (h, w, 3), a box per person, and the entries of the described ones."""
    dice = Dice(NAME, "scene", seed, scene.name)
    shots = [
        make_shot(seed, person.person, person.number, "sysu", scene.camid)
        for person in scene.people
    ]
    tall, wide = size or native_size(shots[0])
    height = round(1.3 * tall)
    width = round(wide * (0.9 * len(shots) + 0.4))
    native = (round(height * LOOKS["sysu"].height[1] / tall) if size else height, 0)
    ground = backdrop(
        seed, "sysu", scene.camid, shots[0].background, max(_NARROWEST, height / width),
        (height, width),
    )  # fmt: skip
    # One lens and one light for all that is in the picture.
    common = replace(shots[0], occluder="none", bystander=False)
    picture = develop(ground, common, (native[0], round(native[0] * width / height)))
    boxes, described = [], []
    for i in choose(dice, len(shots), len(shots)):
        person, shot = scene.people[i], shots[i]
        shot = replace(
            shot, occluder="none", bystander=False, blur=common.blur, noise=common.noise,
            brightness=common.brightness, light=common.light, sun=common.sun,
            resolution=common.resolution,
        )  # fmt: skip
        share = dice.uniform(0.8, 1.0) if person.pid else dice.uniform(0.5, 0.9)
        rendering = render(shot, (max(16, round(share * tall)), max(8, round(share * wide))))
        rows, columns = rendering.image.shape[:2]
        x = round(0.9 * wide * len(boxes) + dice.uniform(0.0, 1.0) * max(0, wide - columns))
        y = height - rows - round(dice.uniform(0.0, 1.0) * (0.3 * tall))
        y, x = max(0, min(y, height - rows)), max(0, min(x, width - columns))
        soft = cv2.blur((rendering.mask > 0).astype(np.float32), (3, 3))[..., None]
        under = picture[y : y + rows, x : x + columns]
        under[:] = np.rint(soft * rendering.image + (1.0 - soft) * under).astype(np.uint8)
        left, top, right, bottom = rendering.box
        boxes.append([i, x + int(left), y + int(top), int(right - left), int(bottom - top)])
        entry = image_worlds.describe(seed, person, shot, rendering)
        if entry:
            described.append(entry)
    return picture, [box[1:] for box in sorted(boxes)], described


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the .mat files, and what CUHK-PEDES says about the persons."""
    asked = read_synthetic(folder)
    ids = None if asked["ids"] is None else tuple(asked["ids"])
    scenes = _plan(asked["world_seed"], asked["scale"], ids)
    image_worlds.write_excerpt(folder, [one for entry in entries for one in entry["described"]])
    save = image_worlds.save_mat

    def box(numbers: Sequence[int]) -> np.ndarray:
        return np.array([numbers], np.float64)

    images = _struct(len(scenes), "imname", "nAppear", "box")
    where: dict[int, list[tuple[str, list[int]]]] = {}
    others: list[tuple[str, list[int]]] = []
    for i, (scene, entry) in enumerate(zip(scenes, entries, strict=True)):
        inside = _struct(len(scene.people), "idlocate", "ishard")
        for k, (person, numbers) in enumerate(zip(scene.people, entry["boxes"], strict=True)):
            inside[0, k] = (box(numbers), 0.0)
            if person.pid:
                where.setdefault(person.pid, []).append((scene.name, numbers))
            else:
                others.append((scene.name, numbers))
        images[0, i] = (scene.name, float(len(scene.people)), inside)
    save(folder / IMAGES_MAT, {"Img": images})
    tests = [scene.name for scene in scenes if scene.split == "test"]
    save(folder / POOL_MAT, {"pool": np.array(tests, dtype=object)[:, None]})

    train = sorted({p.pid for s in scenes if s.split == "train" for p in s.people if p.pid})
    test = sorted(set(where) - set(train))
    extra = round((_PERSONS - sum(FULL)) * len(where) / sum(FULL))
    listed = {pid: where[pid] for pid in sorted(where)}
    for k in range(min(extra, len(others))):
        listed[len(where) + 1 + k] = [others[k]]
    everybody = _struct(len(listed), "idname", "nAppear", "scene")
    for i, (pid, seen) in enumerate(listed.items()):
        everybody[0, i] = (f"p{pid}", float(len(seen)), _scenes(seen))
    save(folder / PERSON_MAT, {"Person": everybody})
    people = np.empty((len(train), 1), dtype=object)  # a cell of structures
    for i, pid in enumerate(train):
        one = _struct(1, "idname", "nAppear", "scene")
        one[0, 0] = (f"p{pid}", float(len(where[pid])), _scenes(where[pid]))
        people[i, 0] = one
    save(folder / TRAIN_MAT, {"Train": people})
    save(folder / TEST_MAT, {"TestG50": _searches(asked["world_seed"], test, where, tests)})


def _searches(
    seed: int, test: Sequence[int], where: dict[int, list[tuple[str, list[int]]]],
    scenes: Sequence[str],
) -> np.ndarray:  # fmt: skip
    """Queries with their galleries: the scenes that show the person, then others."""
    searches = _struct(len(test), "Query", "Gallery")
    for i, pid in enumerate(test):
        dice = Dice(NAME, "gallery", seed, pid)
        (name, numbers), *shown = where[pid]
        query = _struct(1, "imname", "idlocate", "ishard", "idname", "nAppear")
        query[0, 0] = (name, np.array([numbers], np.float64), 0.0, f"p{pid}",
                       float(len(shown) + 1))  # fmt: skip
        with_person = {scene for scene, _ in where[pid]}
        more = min(_GALLERY - len(shown), len(scenes) - len(with_person))
        gallery = _struct(len(shown) + more, "imname", "idlocate", "ishard")
        for k, (scene, of_person) in enumerate(shown):
            gallery[0, k] = (scene, np.array([of_person], np.float64), 0.0)
        at = dice.integer(0, len(scenes))
        k = len(shown)
        while k < len(shown) + more:
            scene = scenes[at % len(scenes)]
            at += 1
            if scene not in with_person:
                gallery[0, k] = (scene, np.zeros((0, 0)), np.zeros((0, 0)))
                k += 1
        searches[0, i] = (query, gallery)
    return searches


def _scenes(seen: Sequence[tuple[str, list[int]]]) -> np.ndarray:
    scenes = _struct(len(seen), "imname", "idlocate", "ishard")
    for k, (name, numbers) in enumerate(seen):
        scenes[0, k] = (name, np.array([numbers], np.float64), 0.0)
    return scenes


def _struct(number: int, *fields: str) -> np.ndarray:
    """A MATLAB structure array, 1 x `number`."""
    return np.empty((1, number), dtype=[(field, object) for field in fields])
