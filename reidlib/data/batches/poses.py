"""Poses made whole: joints that an estimator missed are filled in from canonical poses.

Attention Driven re-ID (Yang et al. 2019, Section 3.2) keeps the joints that were found with
confidence and takes the others from "canonical poses". Which these are is left open; here they are
the typical poses of the training images in which every joint was found.
"""

from dataclasses import dataclass

import numpy as np

from reidlib.data.formats.keypoints import JOINTS, THRESHOLD

LEAST_JOINTS = 3  # found ones, to lay a canonical pose over them
POSES = 4
_ENOUGH = 10  # fully found poses per canonical one
_ROUNDS = 20

# Somebody who stands and faces the camera, in units of body height, for image sets without a
# single fully found pose. The person's right is at the left of the picture.
STANDING = np.array(
    [
        (0.0, 0.09), (0.0, 0.18),
        (-0.11, 0.19), (-0.14, 0.34), (-0.15, 0.48), (0.11, 0.19), (0.14, 0.34), (0.15, 0.48),
        (-0.06, 0.51), (-0.06, 0.73), (-0.06, 0.94), (0.06, 0.51), (0.06, 0.73), (0.06, 0.94),
        (-0.02, 0.07), (0.02, 0.07), (-0.045, 0.08), (0.045, 0.08),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Poses:
    """Poses of N images.

    joints: float64 (N, 18, 2), x and y in pixels; found or filled in, and where `complete` is off
        as far as found.
    complete: bool (N,), whether enough joints were found to fill in the others.
    """

    joints: np.ndarray
    complete: np.ndarray


def canonical_poses(joints: np.ndarray, count: int = POSES) -> np.ndarray:
    """Typical poses among `joints`, float (N, 18, 3): float64 (count, 18, 2), normalized.

    The fully found ones, moved and scaled to the same mean and spread, in clusters by distance of
    joints; a canonical pose is the median of its cluster, joint by joint. Fewer clusters if there
    are fewer than ten poses for each, and `STANDING` if none can be made.
    """
    full = joints[(joints[:, :, 2] >= THRESHOLD).all(1), :, :2].astype(np.float64)
    spread = full.std(1).max(1) if len(full) else np.zeros(0)
    full = _normalized(full[spread > 0])
    count = min(count, len(full) // _ENOUGH)
    if count < 1:
        return _normalized(STANDING[None])
    centers = full[:1]
    while len(centers) < count:  # the pose that is farthest from those there are
        centers = np.concatenate((centers, full[[_distances(full, centers).min(1).argmax()]]))
    for _ in range(_ROUNDS):
        nearest = _distances(full, centers).argmin(1)
        moved = np.stack([
            np.median(full[nearest == k], 0) if (nearest == k).any() else centers[k]
            for k in range(count)
        ])  # fmt: skip
        if (moved == centers).all():
            break
        centers = moved
    return _normalized(centers)


def complete(joints: np.ndarray, canonical: np.ndarray, threshold: float = THRESHOLD) -> Poses:
    """Fill in the joints of `joints`, float (N, 18, 3), whose confidence is below `threshold`.

    Each canonical pose, float (K, 18, 2), is laid over the found joints by least squares (scale and
    shift); the one that fits best gives the missing ones. Fewer than three found joints, or joints
    to which no pose fits upright, are not filled in.
    """
    there = (joints[:, :, 2] >= threshold).astype(np.float64)  # (N, 18)
    xy = joints[:, :, :2].astype(np.float64)
    count = there.sum(1)
    weight = there / np.maximum(count, 1)[:, None]
    mean = np.einsum("nj,njd->nd", weight, xy)[:, None]  # (N, 1, 2)
    means = np.einsum("nj,kjd->nkd", weight, canonical)[:, :, None]  # (N, K, 1, 2)
    here, model = xy - mean, canonical[None] - means
    cross = np.einsum("nj,njd,nkjd->nk", weight, here, model)
    own = np.einsum("nj,nkjd->nk", weight, model**2)
    scale = cross / np.maximum(own, 1e-12)
    residual = np.einsum("nj,njd->n", weight, here**2)[:, None] - scale * cross
    usable = (own > 1e-9) & (scale > 0)
    best = np.where(usable, residual, np.inf).argmin(1)
    rows = np.arange(len(joints))
    laid = mean + scale[rows, best][:, None, None] * model[rows, best]
    whole = (count >= LEAST_JOINTS) & (usable[rows, best] | (count == len(JOINTS)))
    filled = np.where(whole[:, None, None] & (there[..., None] == 0), laid, xy)
    return Poses(filled, whole)


def _normalized(poses: np.ndarray) -> np.ndarray:
    centered = poses - poses.mean(1, keepdims=True)
    return centered / np.sqrt((centered**2).sum((1, 2), keepdims=True))


def _distances(poses: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Squared distances, (N, K)."""
    return ((poses[:, None] - centers[None]) ** 2).sum((2, 3))
