"""What stands behind people: one wide picture per camera, cut at another place for every shot."""

import math
from functools import lru_cache

import cv2
import numpy as np

from reidlib.world.dice import Dice, key_seed
from reidlib.world.drawing.camera import Camera, make_camera
from reidlib.world.people.palette import RGB, mixed, scaled

ROWS, COLUMNS = 384, 1152

_GROUND: dict[str, tuple[RGB, ...]] = {
    "plaza": ((172.0, 164.0, 154.0), (188.0, 178.0, 164.0), (150.0, 148.0, 146.0)),
    "road": ((112.0, 112.0, 114.0), (128.0, 126.0, 124.0), (96.0, 98.0, 102.0)),
    "lawn": ((164.0, 158.0, 146.0), (150.0, 146.0, 138.0), (178.0, 168.0, 150.0)),
    "hall": ((186.0, 184.0, 178.0), (170.0, 174.0, 178.0), (198.0, 188.0, 170.0)),
    "wall": ((142.0, 140.0, 136.0), (160.0, 156.0, 148.0), (124.0, 126.0, 130.0)),
}
_WALLS: tuple[RGB, ...] = (
    (196.0, 186.0, 168.0), (160.0, 108.0, 86.0), (174.0, 174.0, 172.0), (208.0, 204.0, 196.0),
    (134.0, 140.0, 146.0), (186.0, 160.0, 124.0),
)  # fmt: skip
_PAINTS: tuple[RGB, ...] = (
    (180.0, 180.0, 184.0), (40.0, 42.0, 46.0), (150.0, 40.0, 40.0), (50.0, 80.0, 130.0),
    (214.0, 214.0, 210.0), (96.0, 104.0, 96.0),
)  # fmt: skip


@lru_cache(maxsize=64)
def scene(world_seed: int, family: str, camid: int) -> np.ndarray:
    """The scene of a camera, uint8 (ROWS, COLUMNS, 3) RGB: a pure function of its arguments."""
    camera = make_camera(world_seed, family, camid)
    dice = Dice("scene", world_seed, family, camid)
    noise = np.random.Generator(np.random.PCG64(key_seed("grain", world_seed, family, camid)))
    tone = scaled(dice.pick(_GROUND[camera.scene]), dice.uniform(0.88, 1.08))
    picture = np.empty((ROWS, COLUMNS, 3), np.float32)
    picture[:] = tone
    # The horizon is above the picture for all but flat views; the far edge of the ground is not.
    horizon = ROWS * (0.5 - math.radians(camera.tilt) * camera.distance / 2.05) - 30.0
    edge = int(ROWS * dice.uniform(0.16, 0.48 if camera.tilt < 14.0 else 0.30))
    _ground(picture, camera, dice, tone, horizon)
    _texture(picture, noise, 0.035 if camera.scene != "lawn" else 0.05)
    _far_side(picture, camera, dice, noise, edge)
    # Light falls off to one side, so that two cuts of one scene are not equally bright.
    slope = np.linspace(0.94, 1.06, COLUMNS, dtype=np.float32)[:: 1 if dice.chance(0.5) else -1]
    picture *= slope[None, :, None]
    picture *= np.linspace(0.94, 1.04, ROWS, dtype=np.float32)[:, None, None]
    return cv2.GaussianBlur(np.clip(picture, 0.0, 255.0), (0, 0), 1.4).astype(np.uint8)


def _polygon(picture: np.ndarray, points: list[tuple[float, float]], color: RGB) -> None:
    fixed = np.rint(np.array(points) * 16.0).astype(np.int32)
    cv2.fillPoly(picture, [fixed], color, cv2.LINE_8, 4)


def _texture(picture: np.ndarray, noise: np.random.Generator, strength: float) -> None:
    """Stains and grain: noise at three sizes, multiplied in."""
    rows, columns = picture.shape[:2]
    total = np.zeros((rows, columns), np.float32)
    for cell, weight in ((48, 1.0), (12, 0.6), (2, 0.5)):
        small = noise.standard_normal((rows // cell + 2, columns // cell + 2), np.float32)
        total += weight * cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
    picture *= 1.0 + strength * total[..., None]


def _ground(picture: np.ndarray, camera: Camera, dice: Dice, tone: RGB, horizon: float) -> None:
    """Tiles or lane marks in perspective."""
    seam = scaled(tone, 0.86 if camera.scene != "hall" else 0.90)
    skew = dice.uniform(-0.5, 0.5) * COLUMNS
    vanish = 0.5 * COLUMNS + skew
    if camera.scene in ("plaza", "hall", "wall"):
        reach = ROWS - horizon
        count = dice.integer(7, 14)
        for k in range(1, 60):  # rows of equal tiles get closer towards the horizon
            y = horizon + reach / (1.0 + (k - 0.5) / count)
            if y < 0.0:
                break
            cv2.line(picture, (0, int(y)), (COLUMNS, int(y - 0.02 * skew)), seam, 1)
        step = dice.uniform(44.0, 80.0)
        for k in range(-60, 61):
            x = vanish + k * step
            foot, top = [(x, ROWS), (x + 2.0, ROWS)], [(vanish + 1.0, horizon), (vanish, horizon)]
            _polygon(picture, foot + top, seam)
    elif camera.scene == "road":
        white = mixed(tone, (235.0, 235.0, 230.0), 0.7)
        for x in (dice.uniform(-400.0, 300.0), dice.uniform(500.0, 1300.0)):
            _polygon(picture, [(x, ROWS), (x + 26.0, ROWS), (vanish + 2.0, horizon),
                               (vanish - 2.0, horizon)], white)  # fmt: skip
        curb = ROWS * dice.uniform(0.45, 0.75)
        light = (166.0, 162.0, 156.0)
        _polygon(picture, [(0, 0), (COLUMNS, 0), (COLUMNS, curb - 14), (0, curb)], light)
        _polygon(picture, [(0, curb), (COLUMNS, curb - 14), (COLUMNS, curb - 6), (0, curb + 8)],
                 scaled(light, 0.72))  # fmt: skip
    else:
        grass = scaled((98.0, 124.0, 62.0), dice.uniform(0.8, 1.15))
        border = dice.uniform(0.35, 0.72) * ROWS
        _polygon(
            picture, [(0, 0), (COLUMNS, 0), (COLUMNS, border - 0.06 * skew), (0, border)], grass
        )
        left = dice.uniform(0.1, 0.7) * COLUMNS
        _polygon(picture, [(left, ROWS), (left + 0.2 * COLUMNS, ROWS),
                           (left + 0.14 * COLUMNS, border),
                           (left + 0.04 * COLUMNS, border)], grass)  # fmt: skip


def _far_side(
    picture: np.ndarray, camera: Camera, dice: Dice, noise: np.random.Generator, edge: int
) -> None:
    """Walls with windows and doors, hedges and trees, and what is parked in front of them."""
    if camera.scene in ("hall", "wall") or dice.chance(0.45):
        wall = scaled(dice.pick(_WALLS), dice.uniform(0.75, 1.05))
        strip = picture[:edge]
        strip[:] = wall
        _texture(strip, noise, 0.03)
        cv2.rectangle(picture, (0, edge - 5), (COLUMNS, edge), scaled(wall, 0.6), -1)
        glass = (92.0, 106.0, 118.0) if camera.scene != "hall" else (168.0, 186.0, 196.0)
        x = dice.uniform(0.0, 60.0)
        while x < COLUMNS:
            width = dice.uniform(40.0, 130.0)
            if dice.chance(0.6):
                low = edge - (6.0 if dice.chance(0.35) else dice.uniform(30.0, 60.0))
                box = [(x, -5.0), (x + width, -5.0), (x + width, low), (x, low)]
                _polygon(picture, box, scaled(glass, dice.uniform(0.55, 1.1)))
                for k in range(1, 3):
                    bar = x + width * k / 3.0
                    cv2.line(picture, (int(bar), 0), (int(bar), int(low)), scaled(wall, 0.8), 2)
            x += width + dice.uniform(20.0, 90.0)
    else:
        leaf = scaled((62.0, 88.0, 48.0), dice.uniform(0.8, 1.25))
        picture[:edge] = scaled(leaf, 0.6)
        for _ in range(420):
            x, y = dice.uniform(0, COLUMNS), dice.uniform(-10, edge)
            size = dice.uniform(5.0, 18.0)
            cv2.ellipse(picture, ((x, y), (2.0 * size, 1.4 * size), dice.uniform(0, 180)),
                        scaled(leaf, dice.uniform(0.6, 1.3)), -1)  # fmt: skip
        for _ in range(dice.integer(2, 6)):
            x, width = dice.uniform(0, COLUMNS), dice.uniform(10.0, 26.0)
            bark = scaled((92.0, 76.0, 62.0), dice.uniform(0.7, 1.1))
            foot = edge + dice.uniform(4.0, 26.0)
            _polygon(picture, [(x, 0), (x + width, 0), (x + 1.2 * width, foot),
                               (x - 0.2 * width, foot)],
                     bark)  # fmt: skip
    indoor = camera.scene == "hall"
    for _ in range(dice.integer(3, 8)):
        kind = dice.weighted(
            {"pole": 3, "board": 2, "bench": 2}
            if indoor
            else {"pole": 3, "bikes": 3, "car": 3, "bench": 1}
        )
        x, foot = dice.uniform(0, COLUMNS), edge + dice.uniform(0.0, 60.0)
        _thing(picture, dice, kind, x, foot)


def _thing(picture: np.ndarray, dice: Dice, kind: str, x: float, foot: float) -> None:
    paint = scaled(dice.pick(_PAINTS), dice.uniform(0.8, 1.1))
    shadow = np.s_[int(foot) : int(foot) + 8, max(0, int(x)) : max(0, int(x) + 60)]
    if kind != "pole":
        picture[shadow] *= 0.7
    if kind == "pole":
        width = dice.uniform(6.0, 16.0)
        for k in range(4):
            left = x + width * k / 4.0
            tone = scaled(paint, (0.75, 1.0, 0.9, 0.65)[k])
            right = left + width / 4
            _polygon(picture, [(left, 0), (right, 0), (right, foot), (left, foot)], tone)
    elif kind == "board":
        height, width = dice.uniform(60.0, 120.0), dice.uniform(50.0, 110.0)
        top = foot - height
        _polygon(picture, [(x, top), (x + width, top), (x + width, foot), (x, foot)], paint)
        _polygon(picture, [(x + 8, foot - height + 8), (x + width - 8, foot - height + 8),
                           (x + width - 8, foot - height * 0.5), (x + 8, foot - height * 0.5)],
                 mixed(paint, (240.0, 240.0, 235.0), 0.6))  # fmt: skip
    elif kind == "bench":
        wood = (128.0, 96.0, 66.0)
        for dy in (34.0, 18.0):
            _polygon(picture, [(x, foot - dy), (x + 120, foot - dy), (x + 124, foot - dy + 8),
                               (x - 4, foot - dy + 8)], wood)  # fmt: skip
        for dx in (8, 108):
            _polygon(picture, [(x + dx, foot - 16), (x + dx + 6, foot - 16), (x + dx + 6, foot),
                               (x + dx, foot)], (60.0, 60.0, 62.0))  # fmt: skip
    elif kind == "bikes":
        for k in range(dice.integer(1, 5)):
            left = x + 46.0 * k
            dark = (38.0, 38.0, 40.0)
            for dx in (0, 64):
                cv2.circle(picture, (int(left + dx), int(foot - 22)), 21, dark, 3)
            frame = scaled(dice.pick(_PAINTS), 0.9)
            corners = [(left, foot - 22), (left + 22, foot - 50), (left + 56, foot - 52),
                       (left + 64, foot - 22), (left + 32, foot - 22)]  # fmt: skip
            for a, b in ((0, 1), (1, 2), (2, 3), (1, 4), (2, 4)):
                p, q = corners[a], corners[b]
                cv2.line(picture, (int(p[0]), int(p[1])), (int(q[0]), int(q[1])), frame, 4)
    else:
        body = [(0, -30), (14, -56), (62, -64), (84, -98), (180, -100), (214, -62), (256, -54),
                (262, -24), (250, -14), (10, -14)]  # fmt: skip
        _polygon(picture, [(x + a, foot + b) for a, b in body], paint)
        windows = [(74, -64), (92, -92), (174, -93), (200, -62)]
        _polygon(picture, [(x + a, foot + b) for a, b in windows], (52.0, 60.0, 68.0))
        for dx in (58, 208):
            cv2.circle(picture, (int(x + dx), int(foot - 18)), 20, (28.0, 28.0, 30.0), -1)
            cv2.circle(picture, (int(x + dx), int(foot - 18)), 9, (140.0, 140.0, 142.0), -1)


@lru_cache(maxsize=192)
def _smaller(world_seed: int, family: str, camid: int, halvings: int) -> np.ndarray:
    """The scene at 1, 1/2 or 1/4 of its size."""
    if halvings == 0:
        return scene(world_seed, family, camid)
    size = (COLUMNS >> halvings, ROWS >> halvings)
    return cv2.resize(scene(world_seed, family, camid), size, interpolation=cv2.INTER_AREA)


def backdrop(
    world_seed: int, family: str, camid: int, number: int, aspect: float, size: tuple[int, int]
) -> np.ndarray:
    """A cut of the camera's scene, uint8 (h, w, 3); `number` chooses the place, `aspect` is
    height / width of the cut in the scene."""
    halvings = 0 if size[0] > 200 else 1 if size[0] > 110 else 2
    whole = _smaller(world_seed, family, camid, halvings)
    spot = number % 9973 / 9973.0, number // 9973 % 997 / 997.0, number // 9943081 % 61 / 61.0
    rows = int(whole.shape[0] * (0.86 + 0.14 * spot[2]))
    columns = int(rows / aspect)
    x = int(spot[0] * (whole.shape[1] - columns))
    y = int(spot[1] * (whole.shape[0] - rows))
    cut = whole[y : y + rows, x : x + columns]
    return cv2.resize(cut, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
