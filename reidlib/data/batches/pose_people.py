"""People of COCO's pictures, cut out, with what a pose net is to draw for them.

A person becomes the center of a picture of its own as in OpenPose's training: at least five labeled
joints, large enough (32 x 32 pixels for pictures of 368 rows, else in proportion), and not within
0.3 of its size of one before. The cut shows a wide
margin; turning, scaling, shifting and mirroring happen on the device, for all pictures of a batch
at once. Others in the picture are targets, too, unless their joints are not labeled: their place
counts for nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reidlib.data.batches import pose_targets
from reidlib.data.batches.images import IMAGENET_MEAN, IMAGENET_STD, DevicePixels, is_whole, seal
from reidlib.data.dataset import Dataset
from reidlib.data.formats.coco_keypoints import Person, mask_of
from reidlib.data.formats.decoding import MAX_PIXELS, read_rgb
from reidlib.devices import send
from reidlib.errors import DataError
from reidlib.experiment import hash_json
from reidlib.files import check_space, disk_errors, locked

SHARE = 0.6  # of the cut's height that the person takes, as in OpenPose's training
LEAST_JOINTS, LEAST_SIDE, APART = 5, 32 / 368, 0.3
_MOST_PEOPLE = 12  # in a cut; the largest ones
_VERSION = 2  # of what is cut, for the cache


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied: a factor of the person's size, degrees, and a share of the height
    and of the width. A person that takes 0.6 of the cut takes 0.54 to 0.96 of the picture."""

    scale: tuple[float, float] = (0.9, 1.6)
    rotation: float = 40.0
    shift: float = 0.1
    flip: bool = True


PLAIN = Augmentation(scale=(1.4, 1.4), rotation=0.0, shift=0.0, flip=False)


@dataclass(frozen=True)
class PosePeople:
    """N cuts of a split.

    pixels: uint8 (N, height, width, 4), RGB and a mask that is not 0 where people are whose joints
    nobody labeled. joints: float32 (N, people, 18, 3), x and y in pixels of the cut and a flag,
    first those of the person in the middle. heights: float32 (N,) of that person, in pixels.
    """

    pixels: DevicePixels
    joints: Tensor
    heights: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.joints)


@dataclass(frozen=True)
class PoseBatch:
    """B pictures with their targets; the maps are `size` / 8."""

    images: Tensor  # float (B, 3, height, width), normalized
    H: Tensor  # float (B, 19, h, w)
    C: Tensor  # float (B, 38, h, w)
    W: Tensor  # float (B, 1, h, w), 0 where nothing is known
    joints: Tensor  # float (B, people, 18, 3)
    heights: Tensor  # float (B,)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class PoseData:
    """What a pose net is trained and tested on."""

    dataset: Dataset
    train: PosePeople
    val: PosePeople


def prepare(
    dataset: Dataset, *, image_size: tuple[int, int], cache_dir: Path, device: str
) -> PoseData:
    """Cut out the people of both splits and move them to `device`; cuts are kept in `cache_dir`.

    Raises `DataError` for a picture that cannot be read (names it) or is not of the size that its
    annotation says, for a split without a person to cut out, and for a full disk.
    """
    parts = {
        split: people_of(dataset, split, image_size, cache_dir, device)
        for split in ("train", "val")
    }
    return PoseData(dataset, **parts)


# ------------------------------------------------------------------ cutting


def centers(people: Sequence[Person], rows: int) -> list[int]:
    """Which people of a picture become the center of a cut of that many rows."""
    chosen: list[int] = []
    before: list[tuple[float, float, float]] = []
    for i, person in enumerate(people):
        x, y, width, height = person.box
        middle = (x + width / 2, y + height / 2)
        if person.crowd or person.labeled < LEAST_JOINTS:
            continue
        if person.area < (LEAST_SIDE * rows) ** 2:
            continue
        if any(math.dist(middle, other[:2]) < APART * other[2] for other in before):
            continue
        chosen.append(i)
        before.append((*middle, max(width, height)))
    return chosen


def window(person: Person, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the picture (left, top, right, bottom), in the proportions of `size` = (height,
    width), of whose height or width the person takes `SHARE`; it may reach beyond the picture."""
    x, y, width, height = person.box
    aspect = size[0] / size[1]
    tall = max(height, width * aspect) / SHARE
    wide = tall / aspect
    left, top = round(x + width / 2 - wide / 2), round(y + height / 2 - tall / 2)
    return left, top, left + max(1, round(wide)), top + max(1, round(tall))


def cut(
    picture: Image.Image, people: Sequence[Person], center: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (height, width, 4) and joints float32 (12, 18, 3) of one cut; see `PosePeople`.

    Beyond the picture it is black.
    """
    left, top, right, bottom = window(people[center], size)
    height, width = size
    rgb = picture.crop((left, top, right, bottom))
    rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    scale = np.array([width / (right - left), height / (bottom - top)])
    mask = np.zeros(size, np.uint8)
    for person in people:
        if person.labeled == 0 or person.crowd:
            mask |= _scaled(person, picture.size, (left, top, right, bottom), size)
    order = sorted(
        (i for i, person in enumerate(people) if person.labeled and not person.crowd),
        key=lambda i: (i != center, -people[i].area),
    )[:_MOST_PEOPLE]
    joints = np.zeros((_MOST_PEOPLE, pose_targets.JOINTS, 3), np.float32)
    for row, i in enumerate(order):
        found = people[i].joints
        xy = (found[:, :2] + 0.5 - (left, top)) * scale - 0.5
        known = found[:, 2] > 0
        inside = (xy >= -0.5).all(1) & (xy <= np.array([width, height]) - 0.5).all(1)
        joints[row, :, :2], joints[row, :, 2] = xy, found[:, 2] * (known & inside)
    return np.dstack([np.asarray(rgb), mask * 255]), joints


def _scaled(
    person: Person, picture: tuple[int, int], part: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """The person's outline in the cut: uint8 (height, width), 0 or 1."""
    whole = Image.fromarray(mask_of(person.segmentation, picture[1], picture[0]))
    small = whole.crop(part).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(small)


def people_of(
    dataset: Dataset, split: str, size: tuple[int, int], cache_dir: Path, device: str
) -> PosePeople:
    """All cuts of a split. Raises `DataError` as `prepare` does."""
    table = dataset.splits[split]
    which = [
        (row, i) for row, people in enumerate(table["people"]) for i in centers(people, size[0])
    ]
    if not which:
        raise DataError(
            f"{dataset.root}: nobody in {split} has {LEAST_JOINTS} labeled joints and an area of "
            f"{(LEAST_SIDE * size[0]) ** 2:.0f} pixels; expected people large enough to learn from"
        )
    for row, i in which:
        left, top, right, bottom = window(table["people"].iloc[row][i], size)
        if (right - left) * (bottom - top) > MAX_PIXELS:
            raise DataError(
                f"{dataset.images / table['path'].iloc[row]}: a person who takes {SHARE} of "
                f"{right - left:,}x{bottom - top:,} pixels; expected at most {MAX_PIXELS:,}"
            )
    key = hash_json([_VERSION, dataset.fingerprint, str(dataset.root), split, list(size), SHARE])
    target = Path(cache_dir) / f"poses-{split}-{key}.npy"
    needed = len(which) * (4 * size[0] * size[1] + _MOST_PEOPLE * pose_targets.JOINTS * 12)
    doing = f"cutting out {len(which):,} people"
    with disk_errors(target, doing, needed):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            kept = (target, _beside(target))
            if not all(is_whole(path, target.parent) for path in kept):
                check_space(target.parent, needed, doing)
                _write(dataset, split, which, size, target)
                for path in kept:
                    seal(path, target.parent)
    pixels = np.lib.format.open_memmap(target, mode="c")  # as `images.image_cache`
    with np.load(_beside(target)) as stored:
        joints, heights = stored["joints"], stored["heights"]
    return PosePeople(
        DevicePixels(pixels, device), torch.from_numpy(joints), torch.from_numpy(heights), size
    )


def _beside(target: Path) -> Path:
    """Where joints and heights are kept: of another stem, so that each file has a seal."""
    return target.with_name(f"{target.stem}-joints.npz")


def _write(
    dataset: Dataset, split: str, which: Sequence[tuple[int, int]], size: tuple[int, int],
    target: Path,
) -> None:  # fmt: skip
    """Write pixels to `target`, which appears when it is complete, joints and heights beside it."""
    cv2.setNumThreads(1)
    joints = np.empty((len(which), _MOST_PEOPLE, pose_targets.JOINTS, 3), np.float32)
    heights = np.empty(len(which), np.float32)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(which), *size, 4)}
    unfinished = target.with_suffix(".unfinished")
    try:
        with unfinished.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for k, (pixels, *rest) in enumerate(_cuts(dataset, split, which, size)):
                file.write(pixels.tobytes())
                joints[k], heights[k] = rest
        with _beside(target).open("wb") as file:
            np.savez(file, joints=joints, heights=heights)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _cuts(
    dataset: Dataset, split: str, which: Sequence[tuple[int, int]], size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Pixels, joints and height of one cut after the other; see `PosePeople`."""
    table = dataset.splits[split]
    before, picture = -1, None
    for row, i in which:
        if row != before:
            path = dataset.images / table["path"].iloc[row]
            picture, before = read_rgb(path), row
            expected = int(table["width"].iloc[row]), int(table["height"].iloc[row])
            if picture.size != expected:
                raise DataError(
                    f"{path}: {picture.size[0]} x {picture.size[1]} pixels; the annotation says "
                    f"{expected[0]} x {expected[1]}"
                )
        people = table["people"].iloc[row]
        _, top, _, bottom = window(people[i], size)
        yield *cut(picture, people, i, size), people[i].box[3] * size[0] / (bottom - top)


# ------------------------------------------------------------------ batches


def batches(
    people: PosePeople,
    generator: torch.Generator,
    *,
    batch_size: int,
    augmentation: Augmentation,
    device: str,
    steps: int | None = None,
) -> Iterator[PoseBatch]:
    """One epoch: `steps` batches, by default as many as are full, at least one. All people come
    once before one comes again."""
    steps = steps or max(1, len(people) // batch_size)
    rows = torch.cat(
        [
            torch.randperm(len(people), generator=generator)
            for _ in range(-(-steps * batch_size // len(people)))
        ]
    )
    for part in rows[: steps * batch_size].split(batch_size):
        yield batch(people, part, augmentation, generator, device)


def batch(
    people: PosePeople,
    rows: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    device: str,
) -> PoseBatch:
    """The people `rows`, varied at random, and their targets, on `device`."""
    matrix, flips = draw(len(rows), people.size, augmentation, generator)
    pixels = send(people.pixels.take(rows, flips, None, None, 0), device)
    pixels = _moved(pixels.permute(0, 3, 1, 2).float(), matrix)
    mean, std = (
        send(torch.tensor(v), device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD)
    )
    images = (pixels[:, :3] / 255 - mean) / std
    joints = send(pose_targets.moved(people.joints[rows], matrix, flips, people.size), device)
    return PoseBatch(
        images=images.contiguous(memory_format=torch.channels_last),
        H=pose_targets.confidence_maps(joints, people.size),
        C=pose_targets.affinity_fields(joints, people.size),
        W=pose_targets.weights(pixels[:, 3] > 127),
        joints=joints,
        heights=send(people.heights[rows] * matrix[:, :, :2].det().abs().sqrt(), device),
    )


def draw(
    number: int, size: tuple[int, int], augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random choices for pictures: float (N, 2, 3), where x' = M (x, y, 1) in pixels, about the
    middle of the picture, and bool (N,), whether it is mirrored before."""
    low, high = augmentation.scale
    a, b, c, d, e = torch.rand(5, number, generator=generator)
    scale = low + (high - low) * a
    angle = math.radians(augmentation.rotation) * (2 * b - 1)
    height, width = size
    shift = augmentation.shift * torch.stack((width * (2 * c - 1), height * (2 * d - 1)), 1)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2)
    turn = turn * scale[:, None, None]
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    offset = middle + shift - turn @ middle
    return torch.cat((turn, offset[..., None]), 2), (e < 0.5) & augmentation.flip


def _moved(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Pictures (N, c, h, w) moved by x' = M (x, y, 1); black where nothing comes from."""
    height, width = pixels.shape[2:]
    forth, shift = matrix[:, :, :2], matrix[:, :, 2:]
    back = torch.linalg.inv(forth)
    # grid_sample counts from -1 to 1 over the whole picture: u = (2 x + 1) / width - 1.
    half = torch.tensor([2 / width, 2 / height])
    edge = torch.tensor([1 / width - 1, 1 / height - 1])
    A = half[:, None] * back / half
    t = (-(back @ shift)[..., 0]) * half + edge - (A @ edge)
    theta = send(torch.cat((A, t[..., None]), 2), pixels.device)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
