"""CUHK03 written from the procedural world: cuhk-03.mat and the two files of the 767/700 protocol.

Both kinds of boxes show the same frames: "detected" as the other datasets crop, "labeled" as a
person would. At scale 1.0 the numbers of all four datasets (two protocols, two kinds) are those of
the release, and so are two oddities: one person has no labeled image in view 1, and the training
persons of the new protocol differ by one between the kinds.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reidlib.data.formats.checks import SYNTHETIC, read_synthetic
from reidlib.data.formats.cuhk03 import ALL, CELLS, CONFIG, MAT, NAME, SOURCE, TEST_SETS
from reidlib.data.formats.exported import save_png
from reidlib.world.dice import Dice
from reidlib.world.writers import cuhk_pedes, image_worlds
from reidlib.world.writers.captioned_worlds import choose
from reidlib.world.writers.image_worlds import Description, Picture

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 2  # bump when the plan or the file formats change

FULL = (767, 700)  # training and test identities of the new protocol
KINDS = ("detected", "labeled")
_PAIRS = cuhk_pedes.CUHK03_PAIRS
_IMAGES = (8_177, 4_337, 650, 510, 423)  # detected
_CLASSIC_TEST = 100
_TEST_IMAGES = {"detected": 1_400 + 5_332, "labeled": 1_400 + 5_328}  # of 700 persons
_HALF_SEEN = cuhk_pedes.CUHK03_HALF_SEEN
_NATIVE_PIXELS = 27_000
_TEMPORARY = ".cells"


@dataclass(frozen=True)
class Person:
    """A person of the plan: pair and number in it (from 0), images per view, and in the world."""

    pair: int
    number: int
    views: tuple[int, int]
    world: int
    descriptions: dict[int, Description]  # by cell, from 0

    @property
    def half_seen(self) -> bool:
        return (self.pair, self.number) == _HALF_SEEN

    def cells(self, kind: str) -> list[int]:
        """The cells (0 to 9) that hold an image."""
        first = 0 if kind == "labeled" and self.half_seen else self.views[0]
        return [*range(first), *range(CELLS // 2, CELLS // 2 + self.views[1])]

    def name(self, cell: int) -> str:
        view = 1 + cell // (CELLS // 2)
        return f"{self.pair + 1}_{self.number + 1:03d}_{view}_{cell + 1:02d}.png"


def people(seed: int, scale: float | None, ids: tuple[int, int] | None) -> list[Person]:
    """All persons, pair by pair; with five or more of them all five pairs. A pure function."""
    total = sum(_ids(scale, ids))
    # A person's place among those that are taken is its number in CUHK-PEDES.
    ranks = {place: rank for rank, place in enumerate(cuhk_pedes.cuhk03_places()[:total])}
    dice = Dice(NAME, "plan", seed, total)
    known = image_worlds.described_people(seed, "cuhk03", scale)
    persons: list[Person] = []
    for pair, (full, images) in enumerate(zip(_PAIRS, _IMAGES, strict=True)):
        size = sum(place[0] == pair for place in ranks)
        descriptions = [_descriptions(seed, ranks[pair, i], pair, i, known) for i in range(size)]
        # Empty cells stand at the end of a view, behind the cells that CUHK-PEDES describes.
        free, least = [], []
        for i, (_, of_cell) in enumerate(descriptions):
            for first in (0, CELLS // 2):
                last = max((c for c in of_cell if first <= c < first + 5), default=first) - first
                half_seen = (pair, i) == _HALF_SEEN and first == 0
                free.append(4 if half_seen else 4 - last)
                least.append(4 if half_seen else 0)
        empty = CELLS * size - round(images * size / full)
        empty = max(sum(least), min(sum(free), empty))  # no described image is left out
        empties = _deal_empty(dice, least, free, empty)
        for i, (world, of_cell) in enumerate(descriptions):
            views = 5 - empties[2 * i], 5 - empties[2 * i + 1]
            person = Person(pair, i, views, world, of_cell)
            kept = {c: d for c, d in of_cell.items() if c in person.cells("detected")}
            persons.append(Person(pair, i, views, world, kept))
    return persons


def _ids(scale: float | None, ids: tuple[int, int] | None) -> tuple[int, ...]:
    return image_worlds.scaled_ids(
        scale, ids, FULL, "identities of train and test (767/700 protocol)"
    )


def _deal_empty(dice: Dice, least: list[int], free: list[int], total: int) -> list[int]:
    """Empty cells per view, `total` in all, from `least` to `free` each."""
    empties = list(least)
    places = [
        i for i, (now, top) in enumerate(zip(least, free, strict=True)) for _ in range(now, top)
    ]
    for at in choose(dice, len(places), total - sum(empties)):
        empties[places[at]] += 1
    return empties


def _descriptions(
    seed: int, index: int, pair: int, number: int, known: Sequence[Sequence[Any]]
) -> tuple[int, dict[int, Description]]:
    """The person in the world, and what CUHK-PEDES describes: two cells of each view."""
    if index < len(known):
        images = known[index]
        return images[0].person, {
            int(Path(image.path).stem[-2:]) - 1: Description(
                image.path, image.pid, image.split, image.captions
            )
            for image in images
        }
    world = image_worlds.OWN_PEOPLE["cuhk03"] + index
    dice = Dice(NAME, "files", seed, index)
    cells = [*choose(dice, 3, 2), *(5 + c for c in choose(dice, 3, 2))]
    blank = Person(pair, number, (5, 5), world, {})
    return world, {
        cell: Description(f"{SOURCE}/{blank.name(cell)}", world, "train") for cell in sorted(cells)
    }


def test_persons(
    seed: int, persons: Sequence[Person], test: int, scale: float
) -> dict[str, list[int]]:
    """Test persons (positions) of the new protocol, per kind of box."""
    dice = Dice(NAME, "new protocol", seed, len(persons))
    able = [i for i, person in enumerate(persons) if not person.half_seen]
    chosen = {able[i] for i in choose(dice, len(able), test)}
    images = [len(person.cells("detected")) for person in persons]
    for_kind = {}
    for kind in KINDS:
        target = round(test * _TEST_IMAGES["detected"] / FULL[1])
        if kind == "labeled":  # four images fewer than detected, by exchanging one person
            target = sum(images[i] for i in chosen) + round(
                scale * (_TEST_IMAGES["labeled"] - _TEST_IMAGES["detected"])
            )
        chosen = _exchange(chosen, able, images, target)
        for_kind[kind] = sorted(chosen)
    return for_kind


def _exchange(chosen: set[int], able: list[int], images: list[int], target: int) -> set[int]:
    """Exchange persons with others until `chosen` has `target` images, as far as possible."""
    chosen = set(chosen)
    while True:
        excess = sum(images[i] for i in chosen) - target
        if not excess:
            return chosen
        others = [i for i in able if i not in chosen]
        sign = 1 if excess > 0 else -1
        by_images: dict[int, int] = {}
        for i in others:
            by_images.setdefault(images[i], i)
        best = None
        for i in sorted(chosen):
            for step in range(min(abs(excess), 8), 0, -1):
                other = by_images.get(images[i] - sign * step)
                if other is not None and (best is None or step > best[0]):
                    best = step, i, other
        if best is None:
            return chosen
        chosen = chosen - {best[1]} | {best[2]}


def test_sets(seed: int, persons: Sequence[Person], size: int) -> list[list[tuple[int, int]]]:
    """The 20 classic test sets: [pair, person], counted from 1, of the first three pairs."""
    able = [p for p in persons if p.pair < 3 and not p.half_seen]
    sets = []
    for k in range(TEST_SETS):
        dice = Dice(NAME, "test set", seed, k, len(persons))
        chosen = sorted(choose(dice, len(able), min(size, len(able) - 1)))
        sets.append([(able[i].pair + 1, able[i].number + 1) for i in chosen])
    return sets


def plan(
    seed: int, scale: float | None = None, ids: tuple[int, int] | None = None
) -> list[Picture]:
    """Every frame: its detected box and, but for `box` "detector", its labeled one. Pure.

    `ids` are the training and test identities of the new protocol. Raises `UsageError`.
    """
    frames = []
    for index, person in enumerate(people(seed, scale, ids)):
        known = sorted(person.descriptions)
        labeled = person.cells("labeled")
        # Shots that CUHK-PEDES has come first, in its order; then all others.
        numbers = {cell: number for number, cell in enumerate(known)}
        for cell in person.cells("detected"):
            numbers.setdefault(cell, len(numbers))
        for cell in person.cells("detected"):
            frames.append(
                Picture(
                    split=ALL,
                    pid=index + 1,
                    person=person.world,
                    number=numbers[cell],
                    family="cuhk03",
                    camid=1 + cell // (CELLS // 2),
                    path=person.name(cell),
                    box="both" if cell in labeled else "detector",
                    description=person.descriptions.get(cell),
                )
            )
    return frames


def _protocol(
    seed: int, scale: float | None, ids: tuple[int, int] | None
) -> tuple[list[Person], dict[str, list[int]], list[list[tuple[int, int]]]]:
    """Persons, test persons of the new protocol per kind, classic test sets."""
    persons = people(seed, scale, ids)
    train, test = _ids(scale, ids)
    share = (train + test) / sum(FULL)
    classic = min(_CLASSIC_TEST, test) if scale is None else max(2, round(_CLASSIC_TEST * scale))
    return persons, test_persons(seed, persons, test, share), test_sets(seed, persons, classic)


def count(images: Sequence[Picture]) -> dict[str, dict[str, dict[str, int]]]:
    """Images and identities of the two classic datasets; `finish` adds the splits of the other."""
    counts = {}
    for kind in KINDS:
        mine = [image for image in images if kind == "detected" or image.box == "both"]
        whole = {ALL: {"images": len(mine), "ids": len({image.pid for image in mine})}}
        counts[f"cuhk03-classic-{kind}"] = whole
    return counts


def np_counts(persons: Sequence[Person], test: Sequence[int], kind: str) -> dict[str, Any]:
    """Counts of the new protocol."""
    images = [len(person.cells(kind)) for person in persons]
    views = sum(len({cell // 5 for cell in persons[i].cells(kind)}) for i in test)
    tested = sum(images[i] for i in test)
    return {
        ALL: {"images": sum(images), "ids": len(persons)},
        "train": {"images": sum(images) - tested, "ids": len(persons) - len(test)},
        "query": {"images": views, "ids": len(test)},
        "gallery": {"images": tested - views, "ids": len(test)},
    }


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above: the images are there twice."""
    return 4 * image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folders for images until they are in the .mat file."""
    for kind in KINDS:
        (folder / _TEMPORARY / kind).mkdir(parents=True)


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[Picture]
) -> list[dict[str, Any]]:
    """Draw frames with both boxes; return for each its entry in CUHK-PEDES (empty: none)."""
    cv2.setNumThreads(1)
    entries = []
    for picture in part:
        shot, rendering = image_worlds.draw(seed, picture, size)
        save_png(folder / _TEMPORARY / "detected" / picture.path, rendering.image)
        if picture.box == "both":
            by_hand = image_worlds.render(shot, size, hand_box=True)
            save_png(folder / _TEMPORARY / "labeled" / picture.path, by_hand.image)
        entries.append(image_worlds.describe(seed, picture, shot, rendering))
    return entries


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Put the images into cuhk-03.mat, write the new protocol, and what CUHK-PEDES says."""
    asked = read_synthetic(folder)
    ids = None if asked["ids"] is None else tuple(asked["ids"])
    persons, tests, sets = _protocol(asked["world_seed"], asked["scale"], ids)
    _write_mat(folder, persons, sets)
    for kind in KINDS:
        _write_config(folder, kind, persons, tests[kind])
        asked["counts"][f"cuhk03-np-{kind}"] = np_counts(persons, tests[kind], kind)
    (folder / SYNTHETIC).write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    image_worlds.write_excerpt(folder, entries)
    shutil.rmtree(folder / _TEMPORARY)


def _write_mat(
    folder: Path, persons: Sequence[Person], sets: Sequence[Sequence[tuple[int, int]]]
) -> None:
    """A MATLAB v7.3 file: HDF5 behind a header of 512 bytes, cells as references into #refs#."""
    import h5py

    path = folder / MAT
    with h5py.File(path, "w", userblock_size=512, track_order=False) as file:
        store = file.create_group("#refs#")
        reference = h5py.ref_dtype

        def put(value: np.ndarray, kind: str, **options: Any) -> Any:
            data = store.create_dataset(f"r{len(store):06d}", data=value, **options)
            data.attrs["MATLAB_class"] = np.bytes_(kind)
            return data

        def cell(name: str, references: np.ndarray) -> None:
            data = file.create_dataset(name, data=references, dtype=reference)
            data.attrs["MATLAB_class"] = np.bytes_("cell")

        def nothing(kind: str) -> Any:
            data = put(np.zeros(2, np.uint64), kind)
            data.attrs["MATLAB_empty"] = np.uint8(1)
            return data.ref

        empty = nothing("double")
        for kind in KINDS:
            pairs = np.empty((1, len(_PAIRS)), dtype=object)
            for pair in range(len(_PAIRS)):
                mine = [person for person in persons if person.pair == pair]
                cells = np.full((CELLS, len(mine)), empty, dtype=object)
                for column, person in enumerate(mine):
                    for number in person.cells(kind):
                        image = cv2.imread(str(folder / _TEMPORARY / kind / person.name(number)))
                        pixels = np.ascontiguousarray(image[..., ::-1].T)  # (3, W, H)
                        data = put(pixels, "uint8", compression="gzip", compression_opts=1)
                        cells[number, column] = data.ref
                if mine:
                    pairs[0, pair] = put(cells, "cell", dtype=reference).ref
                else:
                    pairs[0, pair] = nothing("cell")
            cell(kind, pairs)
        lists = [put(np.array(rows, np.float64).T, "double").ref for rows in sets]
        references = np.empty((1, len(lists)), dtype=object)
        references[0] = lists
        cell("testsets", references)
    text = b"MATLAB 7.3 MAT-file, Platform: reidlib, written from the procedural world"
    with path.open("r+b") as file:
        file.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")


def _write_config(folder: Path, kind: str, persons: Sequence[Person], test: Sequence[int]) -> None:
    rows = sorted(
        (person.name(cell), i + 1, 1 + cell // 5, cell % 5 == 0, i in set(test))
        for i, person in enumerate(persons)
        for cell in person.cells(kind)
    )
    names = np.array([row[0] for row in rows], dtype=object)[:, None]
    parts: dict[str, list[int]] = {"train_idx": [], "query_idx": [], "gallery_idx": []}
    for number, (_, _, _, first, tested) in enumerate(rows, start=1):
        parts["query_idx" if tested and first else
              "gallery_idx" if tested else "train_idx"].append(number)  # fmt: skip
    image_worlds.save_mat(
        folder / CONFIG.format(kind),
        {
            "filelist": names,
            "labels": np.array([[row[1]] for row in rows], np.uint16),
            "camId": np.array([[row[2]] for row in rows], np.uint8),
            **{name: np.array(part, np.uint16)[:, None] for name, part in parts.items()},
        },
    )
