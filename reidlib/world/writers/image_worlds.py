"""What the writers of image datasets share: planned pictures, how they are drawn and described."""

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reidlib.data.formats.cuhk_pedes import EXCERPT, SPLITS
from reidlib.data.formats.keypoints import FOLDER as KEYPOINTS
from reidlib.data.formats.keypoints import JOINTS
from reidlib.data.formats.keypoints import file_name as keypoint_name
from reidlib.data.language.words import tokenize
from reidlib.errors import DataError, UsageError
from reidlib.world.dice import Dice
from reidlib.world.drawing.render import Rendering, render
from reidlib.world.drawing.scene import backdrop
from reidlib.world.drawing.sensor import develop
from reidlib.world.drawing.shot import Shot, make_shot, native_size
from reidlib.world.language.captions import cuhk_caption
from reidlib.world.people.identity import make_identity
from reidlib.world.writers import cuhk_pedes
from reidlib.world.writers.captioned_worlds import PlannedImage, at_scale, write_annotation
from reidlib.world.writers.keypoints import estimate
from reidlib.world.writers.keypoints import write as write_keypoints

# People of the world who are in no CUHK-PEDES written beside: far above its 13,003.
OWN_PEOPLE = {
    "market": 1_000_000,
    "cuhk03": 2_000_000,
    "cuhk01": 3_000_000,
    "viper": 4_000_000,
    "sysu": 5_000_000,
    "duke": 7_000_000,  # those of MSMT17 are between
}
BYTES_PER_PIXEL = {".png": 2.2, ".jpg": 0.7, ".bmp": 3.0}  # from above
_BYTES_PER_FILE = 9_000  # captions, key points, and the file system's share
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Description:
    """What CUHK-PEDES says about a picture: its entry there, and how many captions it has."""

    file_path: str
    pid: int
    split: str
    captions: int = 2


@dataclass(frozen=True)
class Picture:
    """One picture to be, of an image dataset.

    `pid` is the dataset's number of the person, `person` the world's, `number` that of the shot.
    `camid` counts from 1. `path` is relative to the dataset's folder. `box`: "detector", "hand"
    (drawn by a person), "bad" (a part of the person) or "nothing" (nobody in it).
    """

    split: str
    pid: int
    person: int
    number: int
    family: str
    camid: int | None
    path: str
    box: str = "detector"
    description: Description | None = None


def described_people(seed: int, family: str, scale: float | None) -> list[list[PlannedImage]]:
    """The pictures of each person of a source in the CUHK-PEDES of this seed and scale, in the
    order of the source's own numbers; none without a scale.

    An image dataset and a CUHK-PEDES of one seed and scale so show the same people, in the same
    pictures under the same names, as the real ones do.
    """
    return list(_people(seed, scale).get(family, [])) if scale is not None else []


@lru_cache(maxsize=2)
def _people(seed: int, scale: float) -> dict[str, list[list[PlannedImage]]]:
    people: dict[str, dict[int, list[PlannedImage]]] = {}
    for image in cuhk_pedes.plan(seed, scale=scale):
        people.setdefault(image.family, {}).setdefault(image.pid, []).append(image)
    return {family: list(by_pid.values()) for family, by_pid in people.items()}


def scaled_ids(
    scale: float | None, ids: tuple[int, ...] | None, full: tuple[int, ...], what: str
) -> tuple[int, ...]:
    """Numbers of identities: the release's `full` times `scale`, or `ids` as given.

    Raises `UsageError` unless exactly one of `scale`, in (0, 1], and `ids`, from 2 to the
    release's numbers, is given; `what` says what they count.
    """
    if (scale is None) == (ids is None):
        raise UsageError(f"give either a scale or the number of {what}")
    if scale is not None:
        if not 0.0 < scale <= 1.0:
            raise UsageError(f"scale must be in (0, 1], found {scale}")
        return at_scale(scale, full)
    if len(ids) != len(full) or any(not 2 <= n <= most for n, most in zip(ids, full, strict=True)):
        raise UsageError(
            f"expected the number of {what}, from 2 to {', '.join(map(str, full))}; found {ids}"
        )
    return tuple(ids)


def deal(dice: Dice, shares: Sequence[int], total: int, most: int | None = None) -> list[int]:
    """Raise the numbers `shares` to the sum `total`, with a long tail; none beyond `most`."""
    counts = list(shares)
    open_ones = [i for i, share in enumerate(counts) if most is None or share < most]
    weights = [-math.log(1.0 - dice.random()) for _ in open_ones]
    sums = list(accumulate(weights))
    left = total - sum(counts)
    while left > 0 and open_ones:
        at = bisect(sums, sums[-1] * dice.random(), hi=len(open_ones) - 1)
        counts[open_ones[at]] += 1
        left -= 1
        if most is not None and counts[open_ones[at]] >= most:
            del open_ones[at], weights[at]
            sums = list(accumulate(weights))
    return counts


def bytes_needed(
    pictures: Sequence[Picture], size: tuple[int, int] | None, native_pixels: int
) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    pixels = native_pixels if size is None else size[0] * size[1]
    return int(sum(
        pixels * BYTES_PER_PIXEL[Path(picture.path).suffix] + _BYTES_PER_FILE
        for picture in pictures
    ))  # fmt: skip


def draw(seed: int, picture: Picture, size: tuple[int, int] | None) -> tuple[Shot, Rendering]:
    """The picture's shot and rendering; of "nothing" only the image is meant."""
    shot = make_shot(seed, picture.person, picture.number, picture.family, picture.camid)
    if picture.box == "bad":
        # A part of a person, or a person lost in a large box: an overlap of less than one half.
        dice = Dice("bad box", seed, picture.person, picture.number)
        part = dice.chance(0.6)
        side, up = (1.0 if dice.chance(0.5) else -1.0 for _ in range(2))
        shot = replace(
            shot,
            crop_zoom=dice.uniform(1.6, 2.4) if part else dice.uniform(0.4, 0.6),
            crop_x=side * dice.uniform(0.1, 0.5),
            crop_y=up * dice.uniform(0.1, 0.5 if part else 0.2),
        )
    return shot, render(shot, size, hand_box=picture.box == "hand")


def _nothing(seed: int, picture: Picture, size: tuple[int, int] | None) -> np.ndarray:
    """A false alarm: a cut of the scene with nobody in it, uint8 (h, w, 3)."""
    shot = make_shot(seed, picture.person, picture.number, picture.family, picture.camid)
    native = native_size(shot)
    scene = backdrop(
        seed, shot.family, shot.camid, shot.background, native[0] / native[1], size or native
    )
    return develop(scene, shot, native)


def describe(seed: int, picture: Picture, shot: Shot, rendering: Rendering) -> dict[str, Any]:
    """The picture's entry in CUHK-PEDES; empty if it has none."""
    about = picture.description
    if about is None:
        return {}
    identity = make_identity(seed, picture.person)
    captions = [cuhk_caption(identity, shot, rendering.visible, k).text
                for k in range(about.captions)]  # fmt: skip
    return {
        "split": about.split,
        "captions": captions,
        "file_path": about.file_path,
        "processed_tokens": [tokenize(caption) for caption in captions],
        "id": about.pid,
    }


def write_part(
    folder: Path,
    seed: int,
    size: tuple[int, int] | None,
    part: Sequence[Picture],
    keypoints: bool = False,
    watch: Callable[[Picture, Rendering | None], None] | None = None,
) -> list[dict[str, Any]]:
    """Draw and save pictures; return for each its entry in CUHK-PEDES (empty: none).

    `size` is (height, width), None for sizes typical of the source. `keypoints`: write what a pose
    estimator would find, too. `watch` is called with every picture and what was drawn, None for
    pictures of nothing. What is written depends on the arguments only. Raises `OSError`.
    """
    cv2.setNumThreads(1)
    entries = []
    for picture in part:
        path = folder / KEYPOINTS / keypoint_name(picture.path)
        if picture.box == "nothing":
            image = _nothing(seed, picture, size)
            save(folder / picture.path, image)
            if keypoints:
                write_keypoints(path, np.zeros((len(JOINTS), 3)), image.shape[:2])
            entries.append({})
            if watch is not None:
                watch(picture, None)
            continue
        shot, rendering = draw(seed, picture, size)
        save(folder / picture.path, rendering.image)
        if keypoints:
            write_keypoints(path, estimate(rendering, shot), rendering.image.shape[:2])
        entries.append(describe(seed, picture, shot, rendering))
        if watch is not None:
            watch(picture, rendering)
    return entries


def save(path: Path, image: np.ndarray) -> None:
    """Write uint8 (h, w, 3) RGB as the file type of `path`."""
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    }
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(path.suffix, bgr, options.get(path.suffix, []))
    if not done:
        raise DataError(f"{path}: this build of OpenCV cannot write {path.suffix} files")
    path.write_bytes(encoded)


def write_excerpt(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the described pictures' entries, one per line, ordered as in CUHK-PEDES."""
    order = {split: i for i, split in enumerate(SPLITS)}
    kept = [entry for entry in entries if entry]
    kept.sort(key=lambda entry: (order[entry["split"]], entry["id"], entry["file_path"]))
    write_annotation(folder / EXCERPT, kept)


def save_mat(path: Path, variables: dict[str, Any]) -> None:
    """Write a MATLAB v5 file; the same variables give the same bytes."""
    from scipy.io import savemat

    savemat(path, variables, do_compression=True)
    with path.open("r+b") as file:  # scipy writes the time into the header's text
        file.write(b"MATLAB 5.0 MAT-file, written from the procedural world".ljust(116))
