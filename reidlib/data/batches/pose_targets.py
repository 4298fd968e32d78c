"""What a pose net is to draw for given key points: OpenPose's confidence maps and affinity fields.

Joints are in OpenPose's order of 18 (see `reidlib.data.formats.coco_keypoints`), in pixels counted
from the center of the first one; a cell of the maps is `stride` pixels wide, and cell g is sampled
at its center, pixel stride g + (stride - 1) / 2.

Source: Cao et al., CVPR 2017, Eq 6 to 9, and what the authors' training code does where it differs:
confidence maps of several people are summed and cut off at 1, and the background is 1 minus the
highest of all joints. Of affinity fields the mean over the people in a cell is taken, as printed
(the code's counter for it never counts).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

JOINTS = 18
SIGMA = 7.0  # pixels
_FARTHEST = 4.6052  # exponent from which a confidence, then below 1 %, counts as 0
_HALF_WIDTH = 1.0  # cells from the limb's axis

# Joints A and B of each limb; its field is channels 2i and 2i + 1.
LIMBS = (
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16),
    (1, 5), (5, 6), (6, 7), (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17),
)  # fmt: skip
# Joints that change places when a picture is mirrored.
MIRRORED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)


def _centers(cells: int, stride: int, device: torch.device) -> Tensor:
    return torch.arange(cells, device=device) * stride + (stride - 1) / 2


def confidence_maps(
    joints: Tensor, size: tuple[int, int], stride: int = 8, sigma: float = SIGMA
) -> Tensor:
    """G_1: a peak of height 1 at every known joint, and the background: float (B, 19, h, w).

    joints: float (B, people, 18, 3) of x, y and a flag, above 0 where the joint is known; rows of
    zeros for people that are not there. size: (height, width) of the picture in pixels.
    """
    h, w = size[0] // stride, size[1] // stride
    x, y, known = joints.float().unbind(3)
    dx = _centers(w, stride, joints.device) - x[..., None]  # (B, people, 18, w)
    dy = _centers(h, stride, joints.device) - y[..., None]
    exponent = (dy.square()[..., None] + dx.square()[..., None, :]) / (2 * sigma**2)
    peaks = torch.exp(-exponent).masked_fill(exponent > _FARTHEST, 0.0)
    maps = (peaks * (known > 0)[..., None, None]).sum(1).clamp_max(1)  # (B, 18, h, w)
    return torch.cat((maps, 1 - maps.amax(1, keepdim=True)), 1)


def affinity_fields(joints: Tensor, size: tuple[int, int], stride: int = 8) -> Tensor:
    """G_2: along every limb the unit vector from A to B, elsewhere 0: float (B, 38, h, w).

    A cell is on a limb if its center is at most one cell from the limb's axis and inside the box
    around both joints, enlarged by a cell. Limbs without length, or with a joint that is not known,
    are left out. Arguments as of `confidence_maps`.
    """
    h, w = size[0] // stride, size[1] // stride
    known = joints[..., 2] > 0
    # In cells, so that cell g has its center at g.
    points = (joints[..., :2].float() - (stride - 1) / 2) / stride
    a, b = zip(*LIMBS, strict=True)
    A, B = points[:, :, list(a)], points[:, :, list(b)]  # (B, people, 19, 2)
    length = (B - A).norm(dim=3)
    there = known[:, :, list(a)] & known[:, :, list(b)] & (length > 1e-6)
    unit = (B - A) / length.clamp_min(1e-6)[..., None]
    ux, uy = (component[..., None, None] for component in unit.unbind(3))
    gx = torch.arange(w, device=joints.device).float()
    gy = torch.arange(h, device=joints.device).float()[:, None]
    ax, ay = (component[..., None, None] for component in A.unbind(3))
    aside = ((gx - ax) * uy - (gy - ay) * ux).abs()  # (B, people, 19, h, w)
    low = torch.minimum(A, B)[..., None, None] - _HALF_WIDTH
    high = torch.maximum(A, B)[..., None, None] + _HALF_WIDTH
    inside = (gx >= low[:, :, :, 0]) & (gx <= high[:, :, :, 0])
    inside = inside & (gy >= low[:, :, :, 1]) & (gy <= high[:, :, :, 1])
    on = ((aside <= _HALF_WIDTH) & inside & there[..., None, None]).float()
    people = on.sum(1).clamp_min(1)  # (B, 19, h, w)
    fields = torch.stack(((on * ux).sum(1) / people, (on * uy).sum(1) / people), 2)
    return fields.flatten(1, 2)


def weights(mask: Tensor, stride: int = 8) -> Tensor:
    """W of Eq 3 and 4 from a mask of the picture: float (B, 1, h, w), 0 or 1.

    mask: uint8 or bool (B, height, width), not 0 where people are whose joints nobody marked. A
    cell counts if less than half of its pixels are masked.
    """
    share = F.avg_pool2d((mask != 0).float()[:, None], stride)
    return (share < 0.5).float()


def moved(joints: Tensor, matrix: Tensor, flips: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Joints of pictures that were moved, and those outside left out: float (B, people, 18, 3).

    matrix: float (B, 2, 3), x' = M (x, y, 1). flips: bool (B,): the picture was mirrored before it
    was moved, so that left and right joints have changed places. size: (height, width).
    """
    joints = joints.clone()
    if flips is not None:
        mirrored = joints[:, :, list(MIRRORED)]
        mirrored[..., 0] = size[1] - 1 - mirrored[..., 0]
        joints = torch.where(flips[:, None, None, None], mirrored, joints)
    xy = joints[..., :2] @ matrix[:, None, :, :2].transpose(2, 3) + matrix[:, None, None, :, 2]
    inside = (xy >= -0.5).all(3) & (xy[..., 0] <= size[1] - 0.5) & (xy[..., 1] <= size[0] - 0.5)
    return torch.cat((xy, (joints[..., 2] * inside)[..., None]), 3)
