"""Market-1501 written from the procedural world, with the release's numbers at scale 1.0.

A query is the hand-drawn box of a frame, and is in gt_bbox too; other images there are hand-drawn
boxes of frames whose detector's box is in the training or the test folder. gt_query/, which
follows from the file names, is not written. Key points (`reidlib.world.writers.keypoints`) and the
persons' attributes, as market_attribute.mat, are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reidlib.data.formats.market1501 import (
    DISTRACTOR,
    DISTRACTOR_ROW,
    EXPECTED,
    FOLDERS,
    JUNK,
    JUNK_ROW,
    NAME,
    SOURCE,
)
from reidlib.world.dice import Dice
from reidlib.world.writers import attributes, image_worlds
from reidlib.world.writers.attributes import write_part
from reidlib.world.writers.captioned_worlds import PlannedImage, choose, choose_new
from reidlib.world.writers.image_worlds import Description, Picture, deal

__all__ = ["NAME", "VERSION", "bytes_needed", "count", "finish", "plan", "write_part"]

VERSION = 4  # bump when the plan or the file formats change

FULL = (751, 750)  # identities of train and test
_CAMERAS = 6
_DESCRIBED = 4  # images of a person in CUHK-PEDES, each by another camera
_NATIVE_PIXELS = 128 * 64
# People in bad boxes and places of false alarms, beyond the dataset's own people.
_STRANGERS, _PLACES = 500_000, 600_000


def plan(
    seed: int, scale: float | None = None, ids: tuple[int, int] | None = None
) -> list[Picture]:
    """Every image of the dataset. A pure function; renders nothing.

    `ids` are the identities of train and test. Persons have numbers from 1, as in the release
    those of train and test are mixed. Raises `UsageError` for impossible sizes.
    """
    train, test = image_worlds.scaled_ids(scale, ids, FULL, "identities of train and test")
    dice = Dice(NAME, "plan", seed, train, test)
    people = image_worlds.described_people(seed, "market", scale)
    in_train = set(choose(dice, train + test, train))
    halves = {
        "train": [p for p in range(train + test) if p in in_train],
        "gallery": [p for p in range(train + test) if p not in in_train],
    }
    images = {
        "train": round(train * EXPECTED["train"].images / FULL[0]),
        "gallery": round(test * _GOOD / FULL[1]),
    }
    rows: dict[str, list[Picture]] = {split: [] for split in FOLDERS}
    for split, half in halves.items():
        views = round(len(half) * EXPECTED["query"].images / FULL[1])
        per_person = deal(dice, [_DESCRIBED] * len(half), views, _CAMERAS)
        extra = deal(dice, [1] * sum(per_person), images[split])
        slot = 0
        unseen = set(range(1, _CAMERAS + 1))
        for person, cameras in zip(half, per_person, strict=True):
            known = people[person] if person < len(people) else None
            of_cameras = extra[slot : slot + cameras]
            made = _person(seed, person, split, cameras, of_cameras, known, unseen)
            slot += cameras
            for picture in made:
                rows[picture.split].append(picture)
    boxes = round((train + test) * EXPECTED["multi_query"].images / sum(FULL))
    frames = rows["train"] + rows["gallery"]
    rows["multi_query"] += [_by_hand(picture) for picture in rows["query"]]
    for i in choose(dice, len(frames), boxes - len(rows["query"])):
        rows["multi_query"].append(_by_hand(frames[i]))
    rows["gallery"] += _not_people(seed, test)
    return [
        picture
        for split in FOLDERS
        for picture in sorted(rows[split], key=lambda picture: picture.path)
    ]


_GOOD = EXPECTED["gallery"].images - EXPECTED[JUNK_ROW].images - EXPECTED[DISTRACTOR_ROW].images


def _person(
    seed: int,
    person: int,
    split: str,
    cameras: int,
    extra: Sequence[int],
    known: Sequence[PlannedImage] | None,
    unseen: set[int],
) -> list[Picture]:
    """The pictures of a person (counted from 0): `extra[i]` by its i-th camera, at least one each,
    and for a test person a query by each. `unseen` are cameras that saw nobody of this half yet."""
    dice = Dice(NAME, "files", seed, person, known is None)
    sequence, frame = dice.integer(1, 7), dice.integer(100_000, 900_000)
    if known:
        world = known[0].person
        first = [image.camid for image in known]
        described = [
            (image.path.partition("/")[2], Description(image.path, image.pid, image.split,
                                                       image.captions))
            for image in known
        ]  # fmt: skip
    else:
        world = image_worlds.OWN_PEOPLE["market"] + person
        first = sorted(choose_new(dice, range(1, _CAMERAS + 1), _DESCRIBED, unseen))
        described = []
        for i, camid in enumerate(first):
            name = _name(person, camid, sequence, 1_000 + frame // 10 + 25 * i, 1)
            where = "train" if split == "train" else "test"
            described.append((name, Description(f"{SOURCE}/{name}", world, where)))
    others = [c for c in range(1, _CAMERAS + 1) if c not in first]
    unseen.difference_update(first)
    camids = first + choose_new(dice, others, max(0, cameras - len(first)), unseen)
    made = []
    number = len(first)
    for i, camid in enumerate(camids[:cameras]):
        for k in range(extra[i]):
            if k == 0 and i < len(first):
                name, description = described[i]
                shot = i
            else:
                shot, description = number, None
                name = _name(person, camid, sequence, frame + 25 * number, dice.integer(1, 10))
                number += 1
            path = f"{FOLDERS[split]}/{name}"
            made.append(
                Picture(split, person + 1, world, shot, "market", camid, path, "detector",
                        description)
            )  # fmt: skip
        if split == "gallery":
            name = _name(person, camid, sequence, frame + 25 * number, 0)
            path = f"{FOLDERS['query']}/{name}"
            made.append(Picture("query", person + 1, world, number, "market", camid, path, "hand"))
            number += 1
    return made


def _name(person: int, camid: int, sequence: int, frame: int, box: int) -> str:
    return f"{person + 1:04d}_c{camid}s{sequence}_{frame:06d}_{box:02d}.jpg"


def _by_hand(picture: Picture) -> Picture:
    """The hand-drawn box of the frame that `picture` is from."""
    name = Path(picture.path).stem[:-2] + "00.jpg"
    path = f"{FOLDERS['multi_query']}/{name}"
    return Picture("multi_query", picture.pid, picture.person, picture.number, picture.family,
                   picture.camid, path, "hand")  # fmt: skip


def _not_people(seed: int, test: int) -> list[Picture]:
    """Junk (bad boxes) and distractors (false alarms) of the test folder."""
    made = []
    for row, pid, label, base, box in (
        (JUNK_ROW, JUNK, "-1", _STRANGERS, "bad"),
        (DISTRACTOR_ROW, DISTRACTOR, "0000", _PLACES, "nothing"),
    ):
        for i in range(round(test * EXPECTED[row].images / FULL[1])):
            dice = Dice(NAME, row, seed, i)
            camid, sequence = dice.integer(1, _CAMERAS + 1), dice.integer(1, 7)
            name = f"{label}_c{camid}s{sequence}_{1 + 25 * i:06d}_{dice.integer(1, 10):02d}.jpg"
            path = f"{FOLDERS['gallery']}/{name}"
            person = image_worlds.OWN_PEOPLE["market"] + base + i
            made.append(Picture("gallery", pid, person, 0, "market", camid, path, box))
    return made


def count(images: Sequence[Picture]) -> dict[str, dict[str, int | None]]:
    """Images and identities as the loader counts them."""
    counts: dict[str, dict[str, int | None]] = {}
    for row, expected in EXPECTED.items():
        split = "gallery" if row in (JUNK_ROW, DISTRACTOR_ROW) else row
        mine = [image for image in images if image.split == split]
        if split != row:
            pid = JUNK if row == JUNK_ROW else DISTRACTOR
            mine = [image for image in mine if image.pid == pid]
        persons = {image.pid for image in mine} - {JUNK, DISTRACTOR}
        counts[row] = {"images": len(mine), "ids": None if expected.ids is None else len(persons)}
    return counts


def bytes_needed(images: Sequence[Picture], size: tuple[int, int] | None) -> int:
    """Disk space that writing a plan takes, estimated from above."""
    return image_worlds.bytes_needed(images, size, _NATIVE_PIXELS)


def prepare(folder: Path) -> None:
    """Make the folders that images are written to."""
    for name in FOLDERS.values():
        (folder / name).mkdir()


def finish(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write what CUHK-PEDES says about these images, and the attributes of the persons."""
    image_worlds.write_excerpt(folder, [entry["entry"] for entry in entries])
    people = attributes.halves(entry["look"] for entry in entries)
    labels = {
        half: {pid: attributes.market(*person) for pid, person in mine.items()}
        for half, mine in people.items()
    }
    attributes.write(folder, NAME, labels)
