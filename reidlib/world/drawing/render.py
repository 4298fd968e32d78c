"""One shot drawn: picture, joints, mask, box, and how well everything worn can be seen."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from reidlib.world.dice import Dice
from reidlib.world.drawing import bags, clothes, head, legwear, raster, sensor
from reidlib.world.drawing.figure import Figure
from reidlib.world.drawing.mesh import COARSE, FINE, PART_INDEX, PART_MASK, Detail, Mesh
from reidlib.world.drawing.obstacle import obstacle
from reidlib.world.drawing.raster import Quads, View
from reidlib.world.drawing.scene import backdrop
from reidlib.world.drawing.shot import Shot, make_shot, native_size
from reidlib.world.people.identity import make_identity
from reidlib.world.people.skeleton import JOINTS, pose

SUPERSAMPLING = 2
FINE_FROM = 144  # picture rows from which the finer mesh shows


@dataclass(frozen=True)
class Rendering:
    """A drawn shot.

    `image` uint8 (H, W, 3) RGB. `joints` float32 (18, 3): x, y in pixels and 1 visible or 0, in
    OpenPose-COCO order (0 nose, 1 neck, 2-4 right arm, 5-7 left arm, 8-10 right leg, 11-13 left
    leg, 14 right eye, 15 left eye, 16 right ear, 17 left ear). `mask` uint8 (H, W): 0 background,
    1 head, 2 upper body, 3 lower body, 4 shoes, 5 carried. `box` (x0, y0, x1, y1) is the tight box
    of what is seen of the person and the things carried. `visible` says for everything worn or
    carried how much of it can be seen, 0 (nothing, or not worn) to 1 (as well as from its best
    side): "face", "hair", "headwear", "glasses", "headphones", "scarf", "upper", "inner",
    "upper_pattern", "lower", "footwear", and "carried:<kind>" for each thing in the shot.
    """

    image: np.ndarray
    joints: np.ndarray
    mask: np.ndarray
    box: tuple[float, float, float, float]
    visible: dict[str, float]


def render(shot: Shot, size: tuple[int, int] | None = None, hand_box: bool = False) -> Rendering:
    """Draw a shot: a pure function of its arguments.

    `size` is (height, width) in pixels, by default `native_size(shot)`; another size shows the
    same crop, stretched as if the native picture had been resized to it. `hand_box` crops as a
    person would draw the box instead of a poor detector.
    """
    native = native_size(shot)
    height, width = size or native
    detail = FINE if height >= FINE_FROM else COARSE
    identity = make_identity(shot.world_seed, shot.pid)
    view = raster.make_view(shot.yaw, shot.tilt, shot.distance, 0.5 * identity.height, (0.0, 0.0))
    light = _light(shot)
    figure, quads = _see(shot, view, detail, light)

    scale, shift = _crop(shot, quads, native, (height, width), hand_box)
    fine = SUPERSAMPLING
    numbers = np.zeros((fine * height, fine * width), np.uint16)
    first = 1
    colors = [np.zeros((1, 3))]
    if shot.bystander:
        first = _passer_by(shot, numbers, scale, shift, light, colors, first, front=False)
    order = raster.fill(numbers, (quads.flat * scale + shift) * fine, quads.depth, first)
    mine = slice(first, first + len(order))
    colors.append(quads.color[order])
    first = mine.stop
    if shot.occluder == "person":
        first = _passer_by(shot, numbers, scale, shift, light, colors, first, front=True)
    elif shot.occluder != "none":
        first = obstacle(shot, numbers, colors, first)
    table = np.concatenate(colors)

    part = np.zeros(len(table), np.intp)
    part[mine] = quads.part[order]
    sampled = np.ascontiguousarray(numbers[fine // 2 :: fine, fine // 2 :: fine])
    mask = PART_MASK[part][sampled]
    x, y, wide, tall = cv2.boundingRect(mask)
    scene = backdrop(
        shot.world_seed, shot.family, shot.camid, shot.background, native[0] / native[1],
        (height, width),
    )  # fmt: skip
    sensor.shadow(scene, figure, view, scale, shift)
    image = sensor.compose(scene, numbers, table)
    return Rendering(
        image=sensor.develop(image, shot, native),
        joints=_joints(figure, view, scale, shift, numbers, mine, quads.depth[order]),
        mask=mask,
        box=(float(x), float(y), float(x + wide), float(y + tall)),
        visible=_visible(figure, quads, part, sampled, scale),
    )


def _see(shot: Shot, view: View, detail: Detail, light: np.ndarray) -> tuple[Figure, Quads]:
    """The person of a shot as lit quads."""
    identity = make_identity(shot.world_seed, shot.pid)
    figure = Figure(Mesh(detail), pose(identity, shot), identity, shot)
    legwear.legs(figure)
    legwear.shoes(figure)
    clothes.top(figure)
    clothes.sleeves(figure)
    head.head(figure)
    bags.carried(figure)
    return figure, raster.see(figure.mesh, view, light, shot.sun)


def _light(shot: Shot) -> np.ndarray:
    """Direction to the sun in the camera frame: 50 degrees high, from the shot's azimuth."""
    azimuth, high = math.radians(shot.light), math.radians(50.0)
    return np.array(
        (math.sin(azimuth) * math.cos(high), math.sin(high), math.cos(azimuth) * math.cos(high))
    )


def _crop(
    shot: Shot, quads: Quads, native: tuple[int, int], size: tuple[int, int], hand_box: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels per meter (x, y) and the pixel of the aim: where the box lies around the person."""
    x, y = quads.flat[..., 0], quads.flat[..., 1]
    left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    slip = np.array((shot.crop_x, shot.crop_y))
    if hand_box:
        # A person draws the box around all that belongs to the person, things carried included.
        zoom = 0.90 + 0.04 * shot.resolution
        slip *= (0.2, 0.1)
    else:
        zoom = shot.crop_zoom
        if shot.carried:
            body = quads.part < PART_INDEX["carried 0"]
            x, y = x[body], y[body]
            left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    middle = np.array((0.5 * (left + right), 0.5 * (top + bottom)))
    per_meter = zoom / (bottom - top)
    scale = np.array((per_meter * native[0] / native[1] * size[1], per_meter * size[0]))
    shift = (0.5 + slip) * (size[1], size[0]) - middle * scale
    return scale, shift


def _passer_by(
    shot: Shot, numbers: np.ndarray, scale: np.ndarray, shift: np.ndarray, light: np.ndarray,
    colors: list[np.ndarray], first: int, front: bool,
) -> int:  # fmt: skip
    """Draw somebody else behind or in front of the person; returns the next free number."""
    dice = Dice("passer-by", shot.world_seed, shot.pid, shot.number, shot.background, int(front))
    other = make_shot(shot.world_seed, dice.integer(1 << 24, 1 << 25), shot.number, shot.family,
                      shot.camid)  # fmt: skip
    tall = make_identity(shot.world_seed, shot.pid).height
    if front:
        where = (shot.occluder_side * dice.uniform(0.34, 0.52), dice.uniform(0.5, 0.9))
    else:
        side = 1.0 if dice.chance(0.5) else -1.0
        where = (side * dice.uniform(0.3, 0.9), -dice.uniform(1.2, 4.0))
    yaw = shot.yaw + dice.uniform(-30.0, 30.0) if dice.chance(0.5) else other.yaw
    other = replace(other, yaw=yaw, sun=shot.sun)
    view = raster.make_view(yaw, shot.tilt, shot.distance, 0.5 * tall, where)
    _, quads = _see(other, view, COARSE, light)
    order = raster.fill(numbers, (quads.flat * scale + shift) * SUPERSAMPLING, quads.depth, first)
    colors.append(quads.color[order])
    return first + len(order)


# How far in front of a joint the surface over it may be, in body heights: joints lie inside.
_SKIN_DEPTH = np.array(
    [0.03, 0.06, *[0.06, 0.05, 0.045] * 2, *[0.10, 0.06, 0.055] * 2, 0.03, 0.03, 0.05, 0.05]
)


def _joints(
    figure: Figure, view: View, scale: np.ndarray, shift: np.ndarray, numbers: np.ndarray,
    mine: slice, depth: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Joint pixels and flags: visible if inside the picture and nothing is drawn before it."""
    points = np.array([figure.body.points[name] for name in JOINTS])
    flat, near, _ = view.project(points)
    flat = flat * scale + shift
    rows, columns = numbers.shape
    spot = np.rint(flat * SUPERSAMPLING - 0.5).astype(np.intp)
    x, y = spot.T
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    covering = numbers[y * inside, x * inside]
    # Depth of what is drawn: nothing and people behind never hide, what stands in front does.
    surface = np.full(max(mine.stop, int(covering.max()) + 1), -np.inf)
    surface[mine] = depth
    surface[mine.stop :] = np.inf
    shown = inside & (surface[covering] - near <= _SKIN_DEPTH * figure.tall)
    return np.column_stack((flat, shown)).astype(np.float32)


# Share of a part's whole surface that is seen from its best side.
_BEST_SIDE = {
    "face": 0.62, "hair": 0.36, "headwear": 0.36, "glasses": 0.30, "headphones": 0.34,
    "scarf": 0.34, "upper": 0.27, "inner": 0.75, "pattern": 0.85, "lower": 0.26, "footwear": 0.26,
    "carried 0": 0.30, "carried 1": 0.30, "carried 2": 0.30,
}  # fmt: skip


def _visible(
    figure: Figure, quads: Quads, part: np.ndarray, numbers: np.ndarray, scale: np.ndarray
) -> dict[str, float]:
    """Drawn pixels of every part against what its surface would fill at its best."""
    counts = np.bincount(numbers.ravel(), minlength=len(part))
    seen = np.bincount(part, weights=counts, minlength=len(PART_INDEX))
    unit = float(scale[0] * scale[1])

    def share(name: str) -> float:
        index = PART_INDEX[name]
        best = quads.area[index] * unit * _BEST_SIDE[name]
        return float(min(1.0, seen[index] / best)) if best > 0.0 else 0.0

    names = ("face", "hair", "headwear", "glasses", "headphones", "scarf", "upper", "inner",
             "lower", "footwear")  # fmt: skip
    visible = {name: share(name) for name in names}
    pattern = figure.identity.upper.pattern
    visible["upper_pattern"] = (
        share("pattern") if pattern == "logo" else 0.0 if pattern == "plain" else visible["upper"]
    )
    for index, thing in enumerate(figure.shot.carried):
        visible[f"carried:{thing.kind}"] = share(f"carried {index}")
    return visible
