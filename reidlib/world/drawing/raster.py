"""From surfaces to pixels: camera, light, drawing order, and one fill per visible quad.

Quads are filled from far to near into one 16-bit picture of quad numbers. Color, mask and what
can be seen of each part are then table lookups and counts on that picture.
"""

import math
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from reidlib.world.drawing.mesh import PART_INDEX, Mesh

cv2.setNumThreads(1)  # one thread per process: runs use several processes

SHIFT = 4  # fractional bits of corner coordinates


@dataclass(frozen=True)
class View:
    """How a figure stands in front of the camera: `rotation` (3, 3) from the body frame to the
    camera frame (x right, y up, z towards the camera), `distance` of the camera in meters,
    `aim` the height in meters the camera looks at, `offset` (3,) of the figure on the ground."""

    rotation: np.ndarray
    distance: float
    aim: float
    offset: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (..., 3) of the body frame -> picture plane (..., 2) in meters at the aim (y
        down), depth (...) towards the camera, and camera frame (..., 3)."""
        seen = (points + self.offset) @ self.rotation.T
        scale = self.distance / np.maximum(self.distance - seen[..., 2:], 0.3)
        return seen[..., :2] * scale * (1.0, -1.0), seen[..., 2], seen


def make_view(
    yaw: float, tilt: float, distance: float, aim: float, where: tuple[float, float]
) -> View:
    """View of a figure turned by `yaw` degrees under a camera tilted down by `tilt` degrees.
    `where` is its place on the ground (right, towards the camera) relative to the aim."""
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    ct, st = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    spin = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    lean = np.array([[1.0, 0.0, 0.0], [0.0, ct, -st], [0.0, st, ct]])
    place = spin.T @ np.array([where[0], -aim, where[1]])
    return View(lean @ spin, distance, aim, place)


@dataclass(frozen=True)
class Quads:
    """Visible quads of one figure, unsorted: `flat` (Q, 4, 2) in the picture plane, `depth` (Q,)
    towards the camera with bias, `color` (Q, 3) lit, `part` (Q,). `area` (parts,) is the whole
    surface of every part in square meters, seen or not."""

    flat: np.ndarray
    depth: np.ndarray
    color: np.ndarray
    part: np.ndarray
    area: np.ndarray


def see(mesh: Mesh, view: View, light: np.ndarray, sun: float) -> Quads:
    """Cut the mesh into quads, light them and drop what faces away. `light` (3,) points to the
    sun in the camera frame, `sun` is its share of the light."""
    # All arrays below are planes (rings, strips) or flat lists of one coordinate: that costs a
    # third of the time of the same arithmetic on (..., 3) arrays.
    rings = len(mesh.rows)
    rows = np.fromiter(chain.from_iterable(mesh.rows), np.float64, 17 * rings).reshape(-1, 17)
    vectors = rows[:, 0:9].reshape(-1, 3, 3)
    vectors[:, 0] += view.offset
    center, along, hint = (vectors @ view.rotation.T).transpose(1, 2, 0)
    along = along / np.sqrt((along * along).sum(0))
    hint = hint - (hint * along).sum(0) * along
    hint *= rows[:, 9] / np.sqrt((hint * hint).sum(0))
    front = _cross(hint, along) * (rows[:, 10] / rows[:, 9])
    table = mesh.detail.table[rows[:, 14].astype(np.intp)]
    points = table[..., 0] * hint[:, :, None]
    points += table[..., 1] * front[:, :, None]
    points += center[:, :, None]
    strips = len(mesh.detail.phi)
    material = np.repeat(rows[:-1, 12].astype(np.intp), strips).reshape(-1, strips)
    for first, last, strip, value in mesh.paints:
        material[first:last, strip] = value

    # Tubes whose rings run against their direction are wound the other way round.
    run = ((center[:, 1:] - center[:, :-1]) * along[:, :-1]).sum(0) < 0.0
    diagonal = points[:, 1:, :-1] - points[:, :-1, 1:]
    diagonal[:, run] *= -1.0
    normal = _cross(points[:, 1:, 1:] - points[:, :-1, :-1], diagonal)
    length = np.sqrt((normal * normal).sum(0)) + 1e-12
    depth = points[2]
    facing = normal[2] * view.distance - (normal * points[:, :-1, :-1]).sum(0)
    exists = (rows[:-1, 16:17] > 0.0) & (material >= 0)
    keep = exists & ((facing > 0.0) | (rows[:-1, 15:16] > 0.0))
    parts = np.array(mesh.parts)
    area = np.bincount(parts[material].ravel(), (length * exists).ravel(), len(PART_INDEX))

    scale = view.distance / np.maximum(view.distance - depth, 0.3)
    flat = np.empty((*scale.shape, 2))
    np.multiply(points[0], scale, out=flat[..., 0])
    np.multiply(points[1], -scale, out=flat[..., 1])
    corners = np.empty((rings - 1, strips, 4, 2))
    corners[:, :, 0], corners[:, :, 1] = flat[:-1, :-1], flat[:-1, 1:]
    corners[:, :, 2], corners[:, :, 3] = flat[1:, 1:], flat[1:, :-1]
    corners = corners[keep]
    # The middle of a quad is the middle of either diagonal, nearly.
    depth = (0.5 * (depth[:-1, :-1] + depth[1:, 1:]) + rows[:-1, 13:14])[keep]
    bright = _light(normal, length, light, sun)
    # Between rings the light changes smoothly, though every quad is flat.
    linked = rows[:-1, 16:17].copy()
    linked[-1] = 0.0
    total = 2.0 * bright
    total[1:] += linked[:-1] * bright[:-1]
    total[:-1] += linked[:-1] * bright[1:]
    weight = 2.0 + linked
    weight[1:] += linked[:-1]
    bright = (total * (rows[:-1, 11:12] / weight))[keep]
    material = material[keep]

    if mesh.patches:
        spots = np.fromiter(chain.from_iterable(mesh.patches), np.float64, 15 * len(mesh.patches))
        spots = spots.reshape(-1, 15)
        spot_flat, spot_depth, seen = view.project(spots[:, :12].reshape(-1, 4, 3))
        seen = seen.transpose(2, 1, 0)
        normal = _cross(seen[:, 2] - seen[:, 0], seen[:, 3] - seen[:, 1])
        length = np.sqrt((normal * normal).sum(0)) + 1e-12
        spot_material = spots[:, 12].astype(np.intp)
        area += np.bincount(parts[spot_material], length, len(PART_INDEX))
        keep = (spots[:, 14] > 0.0) | (normal[2] > 0.0)
        corners = np.concatenate((corners, spot_flat[keep]))
        depth = np.concatenate((depth, (spot_depth.mean(1) + spots[:, 13])[keep]))
        bright = np.concatenate((bright, _light(normal, length, light, sun)[keep]))
        material = np.concatenate((material, spot_material[keep]))

    color = np.array(mesh.colors)[material] * bright[:, None]
    return Quads(corners, depth, color, parts[material], 0.5 * area)


def _light(normal: np.ndarray, length: np.ndarray, light: np.ndarray, sun: float) -> np.ndarray:
    """Brightness of surfaces with normals (3, ...) of the given length, turned to the viewer:
    light from all sides, more from above, less where the surface turns away, and the sun."""
    normal = normal / (length * np.where(normal[2] < 0.0, -1.0, 1.0))
    lit = np.maximum(light[0] * normal[0] + light[1] * normal[1] + light[2] * normal[2], 0.0)
    return 0.52 - 0.35 * sun + 0.16 * normal[1] + 0.34 * normal[2] + 1.25 * sun * lit


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of arrays whose first axis is the coordinate."""
    out = np.empty_like(a)
    np.subtract(a[1] * b[2], a[2] * b[1], out=out[0])
    np.subtract(a[2] * b[0], a[0] * b[2], out=out[1])
    np.subtract(a[0] * b[1], a[1] * b[0], out=out[2])
    return out


def fill(target: np.ndarray, corners: np.ndarray, depth: np.ndarray, first: int) -> np.ndarray:
    """Fill quads (Q, 4, 2) in pixels into `target` (uint16) from far to near with the numbers
    first + 0, 1, 2, ...; returns the drawing order (Q,)."""
    order = np.argsort(depth, kind="stable")
    fixed = np.rint(corners[order] * (1 << SHIFT) - (1 << (SHIFT - 1))).astype(np.int32)
    convex = cv2.fillConvexPoly
    for number, quad in enumerate(fixed, first):
        convex(target, quad, number, 8, SHIFT)
    return order
