"""CUHK-PEDES written from the procedural world: `plan` says what is there, `write_part` draws it.

At scale 1.0 the number of images, identities and captions of every split is that of the published
release, and so is the number of identities per source: CUHK03 1,467, Market-1501 1,501, CUHK01 971,
VIPeR 632, and CUHK-SYSU the remaining 8,432. At any scale a source shows nobody who is not in the
image dataset of that scale, and every split of six identities or more has all five sources.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from reidlib.data.formats.cuhk_pedes import ANNOTATION, EXPECTED, FOLDERS, NAME, SPLITS
from reidlib.data.language.words import tokenize
from reidlib.world.dice import Dice
from reidlib.world.language.captions import cuhk_caption
from reidlib.world.writers import captioned_worlds
from reidlib.world.writers.captioned_worlds import (
    PlannedImage,
    at_scale,
    bytes_needed,
    choose,
    choose_new,
    count,
)

__all__ = [
    "NAME",
    "SPLITS",
    "VERSION",
    "PlannedImage",
    "bytes_needed",
    "count",
    "finish",
    "plan",
    "write_part",
]

VERSION = 3  # bump when the plan or the file formats change

# Identities of the sources' halves, per source. CUHK-SYSU is last: it takes what the others leave
# of a split's identities, and of its images, of which it has no fixed number per identity.
_HALVES = {"cuhk03": (767, 700), "market": (751, 750), "cuhk01": (971,), "viper": (632,)}
_IDS = {source: sum(halves) for source, halves in _HALVES.items()} | {"sysu": 8_432}
_IMAGES = {"cuhk03": 4, "market": 4, "cuhk01": 4, "viper": 2}
_CAMERAS = {"cuhk03": 2, "market": 6, "cuhk01": 2, "viper": 2}
CUHK03_PAIRS = (843, 440, 77, 58, 49)  # persons per camera pair
CUHK03_HALF_SEEN = (2, 67)  # pair and number, from 0: has one image in view 1, and no labeled one
_ENOUGH = 6  # identities of a split that has all sources: fewer would have too many images
_VIPER_LAST = 873  # VIPeR's numbers begin with 0 and have gaps
_VIPER_ANGLES = (0, 45, 90, 135, 180)
_SYSU_TRAIN = 5_532 / 8_432  # identities in train_query; the others are in test_query

# Captions beyond two: 18 in train, 2 in val, 8 in test, on nine images; one image has ten.
_EXTRA_CAPTIONS = {"train": (4, 4, 2, 2, 2, 2, 2), "val": (2,), "test": (8,)}
# Identities with a single image, counted from 0 within their split: pids 1369, 4116, 6116, 11505.
_SINGLE = {"train": (1368, 4115, 6115), "val": (501,), "test": ()}


def sizes(scale: float | None, ids: Sequence[int] | None) -> dict[str, tuple[int, int]]:
    """(identities, images) of every split; see `captioned_worlds.split_sizes`."""
    return captioned_worlds.split_sizes(EXPECTED, scale, ids)


def plan(
    seed: int, scale: float | None = None, ids: Sequence[int] | None = None
) -> list[PlannedImage]:
    """Every image of the dataset, in the annotation's order. A pure function; renders nothing.

    Pids start at 1 and run on through train, val and test. All images of an identity come from one
    source. See `sizes` for the arguments and errors.
    """
    images: list[PlannedImage] = []
    persons = dict.fromkeys(_IDS, 0)
    pid = 0
    numbers = sizes(scale, ids)
    sources = _ids_per_source([ids for ids, _ in numbers.values()], scale)
    for (split, (id_count, image_count)), ids_of in zip(numbers.items(), sources, strict=True):
        dice = Dice(NAME, "plan", seed, split, id_count)
        share = id_count / EXPECTED[split].ids
        single = _scaled_singles(split, id_count, share)
        families = _families(dice, ids_of, single)
        counts = _images_per_id(dice, families, single, image_count)
        extra = _extra_captions(dice, split, image_count, share)
        unseen = set(range(_CAMERAS["market"]))
        row = 0
        for family, images_of_id in zip(families, counts, strict=True):
            pid += 1
            own = Dice(NAME, "files", seed, pid)
            views = _views(own, family, persons[family], images_of_id, unseen)
            persons[family] += 1
            for number, (camid, path) in enumerate(views):
                images.append(
                    PlannedImage(
                        split=split,
                        pid=pid,
                        person=pid,
                        number=number,
                        family=family,
                        camid=camid,
                        path=path,
                        captions=2 + extra.get(row, 0),
                    )
                )
                row += 1
    return images


def _scaled_singles(split: str, ids: int, share: float) -> set[int]:
    """Positions of the identities with one image; a small training split keeps one of them."""
    positions = _SINGLE[split]
    kept = round(len(positions) * share)
    if split == "train" and ids >= 4:
        kept = max(1, kept)
    return {int(position * min(1.0, share)) for position in positions[:kept]}


def _ids_per_source(ids: Sequence[int], scale: float | None) -> list[dict[str, int]]:
    """Identities of every source in every split, which has `ids` in all."""
    total, large = sum(ids), [number >= _ENOUGH for number in ids]
    left = _shares(total, _IDS, sum(large), dict.fromkeys(_IDS, total))
    if scale is not None:
        for source, halves in _HALVES.items():
            left[source] = min(left[source], sum(at_scale(scale, halves)))
        left["sysu"] += total - sum(left.values())
    splits = []
    for place, number in enumerate(ids):
        most = {source: count - sum(large[place + 1 :]) for source, count in left.items()}
        weights = left if large[place] else _IDS  # a small split has too few images for its share
        splits.append(_shares(number, weights, int(large[place]), {**most, "sysu": number}))
        left = {source: max(0, count - splits[-1][source]) for source, count in left.items()}
    return splits


def _shares(
    number: int, weights: Mapping[str, int], least: int, most: Mapping[str, int]
) -> dict[str, int]:
    """`number` in proportion to `weights` by largest remainder, from `least` to `most` of each."""
    total = sum(weights.values())
    exact = {source: number * weight / total for source, weight in weights.items()}
    counts = {s: max(0, min(max(least, int(exact[s])), most[s])) for s in weights}
    while (excess := sum(counts.values()) - number) != 0:
        step = -1 if excess > 0 else 1
        able = [s for s in counts if (counts[s] > least if excess > 0 else counts[s] < most[s])]
        source = max(able, key=lambda s: step * (exact[s] - counts[s]))
        counts[source] += step
    return counts


def _families(dice: Dice, ids_of: Mapping[str, int], single: set[int]) -> list[str]:
    """Source of every identity of a split, in random order."""
    ordered = [family for family, number in ids_of.items() for _ in range(number)]
    families = [ordered[i] for i in choose(dice, len(ordered), len(ordered))]
    # Only CUHK-SYSU has identities with a single image: exchange where another source stands.
    spare = [i for i, family in enumerate(families) if family == "sysu" and i not in single]
    for position in sorted(single):
        if families[position] != "sysu":
            other = spare.pop()
            families[position], families[other] = families[other], families[position]
    return families


def _images_per_id(dice: Dice, families: list[str], single: set[int], images: int) -> list[int]:
    """Images of every identity; together `images`, as far as at least two each allow it."""
    counts = [_IMAGES.get(family, 2) for family in families]
    for position in single:
        counts[position] = 1
    growing = [i for i, family in enumerate(families) if family == "sysu" and i not in single]
    # A long tail, as in the real set: few people are seen in many scenes.
    weights = list(accumulate(-math.log(1.0 - dice.random()) for _ in growing))
    for _ in range(images - sum(counts) if growing else 0):
        counts[growing[bisect(weights, weights[-1] * dice.random(), hi=len(growing) - 1)]] += 1
    return counts


def _extra_captions(dice: Dice, split: str, images: int, share: float) -> dict[int, int]:
    """Row within the split -> captions beyond two; every split keeps one such image."""
    extras = _EXTRA_CAPTIONS[split]
    kept = extras[: max(1, round(share * len(extras)))]
    rows = choose(dice, images, len(kept))
    return {row: max(1, round(share * extra)) for row, extra in zip(rows, kept, strict=False)}


@lru_cache(maxsize=1)
def cuhk03_places() -> tuple[tuple[int, int], ...]:
    """Camera pair and number in it (both from 0) of CUHK03's persons, in the order in which they
    are taken: any number of them is shared out among the pairs, the first five are of five."""
    places = [(pair, i) for pair, size in enumerate(CUHK03_PAIRS) for i in range(size)]
    return tuple(sorted(places, key=lambda place: (place[1] / CUHK03_PAIRS[place[0]], place[0])))


@lru_cache(maxsize=1)
def viper_numbers() -> tuple[int, ...]:
    """The numbers that VIPeR's persons go by: rising, with gaps."""
    inner = choose(Dice("viper", "numbers"), _VIPER_LAST - 1, _IDS["viper"] - 2)
    return (0, *sorted(1 + number for number in inner), _VIPER_LAST)


def viper_names(dice: Dice, person: int) -> list[str]:
    """The names of the two images of VIPeR's `person` (counted from 0), without a file type."""
    angles = [dice.pick(_VIPER_ANGLES) for _ in "ab"]
    return [f"cam_{'ab'[i]}/{viper_numbers()[person]:03d}_{angles[i]}" for i in range(2)]


def _views(
    dice: Dice, family: str, person: int, number: int, unseen: set[int]
) -> list[tuple[int | None, str]]:
    """Camera and file name of every image of the source's `person` (counted from 0).

    Names follow the source's own scheme, so that they are unique and look familiar. `unseen` are
    the cameras of Market-1501 that have seen nobody of the split yet.
    """
    if family == "cuhk01":  # two images per view
        return [(1 + i // 2, f"CUHK01/{person + 1:04d}{i + 1:03d}.png") for i in range(number)]
    if family == "viper":
        return [(1 + i, f"{name}.png") for i, name in enumerate(viper_names(dice, person)[:number])]
    if family == "cuhk03":  # cells 1-5 of a person are the first view, 6-10 the second
        pair, place = cuhk03_places()[person]
        first, second = (sorted(choose(dice, 5, 2)) for _ in range(2))
        if (pair, place) == CUHK03_HALF_SEEN:
            first, second = [0], sorted(choose(dice, 5, 3))
        cells = first + [5 + i for i in second]
        return [
            (
                1 + cell // 5,
                f"CUHK03/{pair + 1}_{place + 1:03d}_{cell // 5 + 1}_{cell + 1:02d}.png",
            )
            for cell in cells[:number]
        ]
    if family == "market":
        cameras = sorted(choose_new(dice, range(_CAMERAS[family]), number, unseen))
        sequence, frame = dice.integer(1, 7), dice.integer(1_000, 90_000)
        return [
            (1 + c, f"Market/{person + 1:04d}_c{c + 1}s{sequence}_{frame + 25 * i:06d}_01.jpg")
            for i, c in enumerate(cameras)
        ]
    folder = "train_query" if dice.chance(_SYSU_TRAIN) else "test_query"
    scene = dice.integer(1, 17_000)
    paths = []
    for _ in range(number):
        paths.append(f"{folder}/p{person + 1}_s{scene}.jpg")
        scene += dice.integer(1, 12)
    return [(None, path) for path in paths]


def write_part(
    folder: Path, seed: int, size: tuple[int, int] | None, part: Sequence[PlannedImage]
) -> list[dict[str, Any]]:
    """Draw, describe and save some of the planned images; return their annotation entries.

    See `reidlib.world.writers.captioned_worlds.draw` for arguments and errors.
    """
    entries = []
    for image, describe in captioned_worlds.draw(folder, seed, size, part):
        captions = [describe(cuhk_caption, k) for k in range(image.captions)]
        entries.append(
            {
                "split": image.split,
                "captions": captions,
                "file_path": image.path,
                "processed_tokens": [tokenize(caption) for caption in captions],
                "id": image.pid,
            }
        )
    return entries


def prepare(folder: Path) -> None:
    """Make the folders that images and masks are written to."""
    captioned_worlds.make_folders(folder, FOLDERS)


def finish(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the annotation."""
    captioned_worlds.write_annotation(folder / ANNOTATION, entries)
