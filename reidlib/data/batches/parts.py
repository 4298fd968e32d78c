"""Body parts: boxes by key points (Attention Driven re-ID, Eq 1-2), and cutting them out.

Five boxes per image: the whole body, head, upper body, upper legs, lower legs. The text lost the
line that says which joints define which part (what is left of it numbers joints from head to
foot); taken are those that bound the part from above and below.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reidlib.data.batches.poses import Poses
from reidlib.data.formats.keypoints import JOINTS
from reidlib.devices import send

REGIONS = ("whole body", "head", "upper body", "upper legs", "lower legs")
_JOINTS_OF = (
    ("nose", "right eye", "left eye", "right ear", "left ear", "neck"),  # P_1
    ("neck", "right shoulder", "left shoulder", "right hip", "left hip"),  # P_2
    ("right hip", "left hip", "right knee", "left knee"),  # P_3
    ("right knee", "left knee", "right ankle", "left ankle"),  # P_4
)
P = tuple([JOINTS.index(joint) for joint in joints] for joints in _JOINTS_OF)

MARGIN = 0.25  # how far outside the image a box may reach, in image heights and widths
_LEAST = 0.02  # height and width of a box, in those of the image
_LEAST_BODY = 0.1


@dataclass(frozen=True)
class Boxes:
    """Boxes of N images.

    boxes: float32 (N, 5, 4), left, top, right, bottom of `REGIONS`, as shares of the image's width
        and height. They may reach outside the image, by `MARGIN`.
    strips: bool (N,), images with fixed strips for want of a usable pose.
    """

    boxes: Tensor
    strips: np.ndarray


def part_boxes(joints: np.ndarray, beta: float) -> np.ndarray:
    """Eq 1 and 2: boxes R_0 ... R_4, float64 (N, 5, 4): left, top, right, bottom, as `joints`.

    joints: float (N, 18, 2), x and y. beta: overlap of neighboring regions, in body heights H.
    """
    x, y = joints[..., 0], joints[..., 1]
    low = np.stack([y[:, of].min(1) for of in P])  # (4, N)
    high = np.stack([y[:, of].max(1) for of in P])
    top = 2 * low[0] - high[0]
    bottom = (4 * high[3] - low[3]) / 3
    H = bottom - top
    x_c = x.mean(1)
    left = np.minimum(x_c - H / 4, x.min(1))
    right = np.maximum(x_c + H / 4, x.max(1))
    over = beta * H
    rows = (
        (top, bottom),
        (top, high[0] + over),
        (low[1] - over, high[1] + over),
        (low[2] - over, high[2] + over),
        (low[3] - over, bottom),
    )
    return np.stack([np.stack((left, first, right, last), 1) for first, last in rows], 1)


def fixed_strips(number: int) -> np.ndarray:
    """The whole image and four strips of the same height: float64 (number, 5, 4), as shares."""
    strips = [(0.0, 0.0, 1.0, 1.0), *((0.0, k / 4, 1.0, (k + 1) / 4) for k in range(4))]
    return np.tile(np.array(strips), (number, 1, 1))


def boxes_of(poses: Poses, sizes: np.ndarray, beta: float) -> Boxes:
    """The boxes of images by their poses; sizes: (N, 2), height and width in pixels.

    Where too few joints are known, or where the boxes of a pose have no height, no width, or lie
    outside the image, fixed strips are taken. Boxes are clipped to the image and its `MARGIN`.
    """
    scale = sizes[:, None, [1, 0, 1, 0]].astype(np.float64)
    shares = part_boxes(poses.joints, beta) / scale
    body = shares[:, 0, 3] - shares[:, 0, 1]
    clipped = shares.clip(-MARGIN, 1 + MARGIN)
    width, height = clipped[..., 2] - clipped[..., 0], clipped[..., 3] - clipped[..., 1]
    inside = shares.clip(0, 1)
    seen = (inside[..., 2] > inside[..., 0]).all(1) & (inside[:, 0, 3] > inside[:, 0, 1])
    usable = poses.complete & np.isfinite(shares).all((1, 2)) & seen
    usable &= (body >= _LEAST_BODY) & ((width >= _LEAST) & (height >= _LEAST)).all(1)
    found = np.where(usable[:, None, None], clipped, fixed_strips(len(shares)))
    return Boxes(torch.from_numpy(found.astype(np.float32)), ~usable)


def strips_of(number: int) -> Boxes:
    """Fixed strips for all images, as the baseline has them: nothing is missed."""
    boxes = torch.from_numpy(fixed_strips(number).astype(np.float32))
    return Boxes(boxes, np.zeros(number, bool))


def flipped(boxes: Tensor, flips: Tensor) -> Tensor:
    """Boxes (B, 5, 4) in mirrored images, where `flips`, bool (B,), is on."""
    left, top, right, bottom = boxes.unbind(2)
    mirrored = torch.stack((1 - right, top, 1 - left, bottom), 2)
    return torch.where(send(flips, boxes.device)[:, None, None], mirrored, boxes)


def cut(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Cut out the whole body at the size of the image, and four parts at a quarter of its height.

    images: float (B, 3, H, W), normalized; boxes: float (B, 5, 4), shares, on the same device.
    Returns float (B, 3, H, W) and (B, 4, 3, H // 4, W). Bilinear between pixel centers; what lies
    outside the image is 0, the mean color. All parts of all images are one call.
    """
    height, width = images.shape[2:]
    whole = F.grid_sample(
        images, _grid(boxes[:, :1], height, width)[:, 0], padding_mode="zeros", align_corners=False
    )
    grid = _grid(boxes[:, 1:], height // 4, width)  # (B, 4, h, W, 2)
    parts = F.grid_sample(
        images, grid.flatten(1, 2), padding_mode="zeros", align_corners=False
    )  # (B, 3, 4 h, W): one part below the other
    return whole, parts.unflatten(2, (4, height // 4)).transpose(1, 2)


def _grid(boxes: Tensor, height: int, width: int) -> Tensor:
    """Where to look in -1 ... 1: float (B, n, height, width, 2) for boxes (B, n, 4)."""
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(2))
    step_x, step_y = (
        (torch.arange(n, device=boxes.device, dtype=boxes.dtype) + 0.5) / n for n in (width, height)
    )
    x = 2 * (left + (right - left) * step_x) - 1  # (B, n, width)
    y = 2 * (top + (bottom - top) * step_y) - 1  # (B, n, height)
    shape = (*boxes.shape[:2], height, width)
    return torch.stack((x[:, :, None].expand(shape), y[..., None].expand(shape)), -1)
