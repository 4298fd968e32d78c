"""CUHK-PEDES written from the procedural world: `plan` says what is there, `write_part` draws it.

At scale 1.0 the number of images, identities and captions of every split is that of the published
release, and so (within one) is the number of identities per source: CUHK03 1,467, Market-1501
1,501, CUHK01 971, VIPeR 632, and CUHK-SYSU the remaining 8,432.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from reidlib.data.formats.cuhk_pedes import ANNOTATION, EXPECTED, FOLDERS, NAME, SPLITS
from reidlib.data.language.words import tokenize
from reidlib.world.dice import Dice
from reidlib.world.language.captions import cuhk_caption
from reidlib.world.writers import captioned_worlds
from reidlib.world.writers.captioned_worlds import PlannedImage, bytes_needed, choose, count

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

VERSION = 2  # bump when the plan or the file formats change

# Identities per source, and the images each identity has there. CUHK-SYSU is last: it has no fixed
# number and takes what the others leave of a split's images.
_IDS = {"cuhk03": 1_467, "market": 1_501, "cuhk01": 971, "viper": 632, "sysu": 8_432}
_IMAGES = {"cuhk03": 4, "market": 4, "cuhk01": 4, "viper": 2}
_CAMERAS = {"cuhk03": 2, "market": 6, "cuhk01": 2, "viper": 2}
_CUHK03_PAIRS = (843, 440, 77, 58, 49)  # persons per camera pair
_SYSU_TRAIN = 5_532 / 8_432  # identities in train_query; the others are in test_query

# Captions beyond two: 18 in train, 2 in val, 8 in test, on nine images; one image has ten.
_EXTRA_CAPTIONS = {"train": (4, 4, 2, 2, 2, 2, 2), "val": (2,), "test": (8,)}
# Identities with a single image, counted from 0 within their split: pids 1369, 4116, 6116, 11505.
_SINGLE = {"train": (1368, 4115, 6115), "val": (501,), "test": ()}
_GRAY = 0.002  # share of images without color


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
    for split, (id_count, image_count) in sizes(scale, ids).items():
        dice = Dice(NAME, "plan", seed, split, id_count)
        share = id_count / EXPECTED[split].ids
        single = _scaled_singles(split, id_count, share)
        families = _families(dice, id_count, single)
        counts = _images_per_id(dice, families, single, image_count)
        extra = _extra_captions(dice, split, image_count, share)
        gray = set(choose(dice, image_count, max(1, round(_GRAY * image_count))))
        row = 0
        for family, images_of_id in zip(families, counts, strict=True):
            pid += 1
            views = _views(Dice(NAME, "files", seed, pid), family, persons[family], images_of_id)
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
                        gray=row in gray,
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


def _families(dice: Dice, ids: int, single: set[int]) -> list[str]:
    """Source of every identity of a split: shares by largest remainder, in random order."""
    total = sum(_IDS.values())
    exact = {family: ids * number / total for family, number in _IDS.items()}
    counts = {family: int(share) for family, share in exact.items()}
    by_remainder = sorted(exact, key=lambda family: counts[family] - exact[family])
    for family in by_remainder[: ids - sum(counts.values())]:
        counts[family] += 1
    ordered = [family for family, number in counts.items() for _ in range(number)]
    families = [ordered[i] for i in choose(dice, ids, ids)]
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


def _views(dice: Dice, family: str, person: int, number: int) -> list[tuple[int | None, str]]:
    """Camera and file name of every image of the source's `person` (counted from 0).

    Names follow the source's own scheme, so that they are unique and look familiar.
    """
    if family == "cuhk01":  # two images per view
        return [(1 + i // 2, f"CUHK01/{person + 1:04d}{i + 1:03d}.png") for i in range(number)]
    if family == "viper":
        angles = [dice.pick((0, 45, 90, 135, 180)) for _ in range(2)]
        return [(1 + i, f"cam_{'ab'[i]}/{person:03d}_{angles[i]:02d}.png") for i in range(number)]
    if family == "cuhk03":  # cells 1-5 of a person are the first view, 6-10 the second
        pair, offset = 0, person
        while pair < len(_CUHK03_PAIRS) - 1 and offset >= _CUHK03_PAIRS[pair]:
            offset -= _CUHK03_PAIRS[pair]
            pair += 1
        cells = sorted(choose(dice, 5, 2)) + [5 + i for i in sorted(choose(dice, 5, 2))]
        return [
            (
                1 + cell // 5,
                f"CUHK03/{pair + 1}_{offset + 1:03d}_{cell // 5 + 1}_{cell + 1:02d}.png",
            )
            for cell in cells[:number]
        ]
    if family == "market":
        cameras = sorted(choose(dice, _CAMERAS[family], number))
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
