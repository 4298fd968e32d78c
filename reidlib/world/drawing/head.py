"""Head and neck: face, hair, hats, glasses, headphones."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from reidlib.world.drawing.figure import Figure, Profile
from reidlib.world.drawing.mesh import LEFT, UP
from reidlib.world.people import palette
from reidlib.world.people.palette import mixed, scaled
from reidlib.world.people.skeleton import Vec, add, turn

Tube = Callable[..., tuple[int, int]]  # rings parallel to the skull, see `head`
Mark = Callable[..., None]  # a patch on the face
# Half width, half depth and forward shift over the height from the center, all in head heights.
SKULL = Profile(
    (-0.50, 0.110, 0.130, 0.150), (-0.44, 0.190, 0.230, 0.130), (-0.32, 0.255, 0.320, 0.065),
    (-0.15, 0.300, 0.375, 0.020), (0.05, 0.325, 0.405, 0.000), (0.22, 0.322, 0.405, -0.010),
    (0.35, 0.275, 0.350, -0.015), (0.45, 0.180, 0.230, -0.020), (0.50, 0.060, 0.070, -0.020),
)  # fmt: skip


def head(figure: Figure) -> None:
    """Everything above the collar."""
    mesh, body, skin = figure.mesh, figure.body, figure.skin
    unit, center = body.head_height, body.points["head"]
    side = turn(LEFT, body.head_turn)
    front = (-side[2], 0.0, side[0])

    def tube(levels: Sequence[float], material: int,
             grow: float = 0.0, bias: float = 0.0, back: float = 0.0,
             both: bool = False) -> tuple[int, int]:  # fmt: skip
        """Rings parallel to the skull; returns the range of their numbers."""
        first = len(mesh.rows)
        for t in levels:
            across, deep, ahead = SKULL(t)
            rise = add(center, (0.0, (t + grow * max(0.0, t) * 1.4) * unit, 0.0))
            mesh.ring(add(rise, front, (ahead - back) * unit), (across + grow) * unit,
                      (deep + grow) * unit, material, hint=side, bias=bias, both=both)  # fmt: skip
        mesh.end()
        return first, len(mesh.rows)

    neck = mesh.material(scaled(skin, 0.86), "neck")
    for v, r in ((0.97, 0.034), (1.08, 0.030), (1.2, 0.030))[:: 1 if mesh.detail.fine else 2]:
        thick = 0.9 if figure.identity.sex == "female" else 1.06
        base = add(figure.spine(v), (0.0, 0.0, 0.006 * figure.tall * (v - 0.97)))
        mesh.ring(base, r * thick * figure.tall, r * thick * figure.tall, neck)
    mesh.ring(add(center, (0.0, -0.25 * unit, 0.0)), 0.22 * unit, 0.24 * unit, neck)
    mesh.end()

    scalp = mesh.material(skin, "scalp")
    face = mesh.material(skin, "face")
    fine = (-0.50, -0.44, -0.32, -0.15, 0.05, 0.22, 0.35, 0.45, 0.50)
    levels = fine if mesh.detail.fine else (-0.50, -0.38, -0.08, 0.26, 0.50)
    first, last = tube(levels, scalp)
    mesh.paint(first, last - (3 if mesh.detail.fine else 1), 0.0, 92.0, face)

    def on_skull(phi: float, t: float, lift: float) -> Vec:
        across, deep, ahead = SKULL(t)
        flat = add(add(center, (0.0, t * unit, 0.0)), front, ahead * unit)
        flat = add(flat, side, (across + lift) * unit * math.sin(phi))
        return add(flat, front, (deep + lift) * unit * math.cos(phi))

    def mark(
        phi: float, t: float, wide: float, high: float, material: int, lift: float = 0.01
    ) -> None:
        """A patch on the face: center, half width in radians, half height in head heights."""
        mesh.patch((on_skull(phi - wide, t - high, lift), on_skull(phi + wide, t - high, lift),
                    on_skull(phi + wide, t + high, lift), on_skull(phi - wide, t + high, lift)),
                   material, 0.012 + lift * unit, False)  # fmt: skip

    # From behind a face only costs time.
    turned = abs((figure.shot.yaw + math.degrees(body.head_turn) + 180.0) % 360.0 - 180.0)
    if turned < 140.0:
        _features(figure, mark, center, side, front)
        _glasses(figure, mark)
    _hair(figure, tube, center, front, side)
    _headwear(figure, tube, on_skull)
    if figure.identity.headphones:
        _headphones(figure, center, side)
    loose = figure.identity.hair_length == "long" and figure.identity.hair_style == "plain"
    for sign in () if loose or not mesh.detail.fine else (-1.0, 1.0):  # ears
        ear = add(center, side, sign * 0.335 * unit)
        rim = mesh.material(scaled(skin, 0.90), "scalp")
        for t, r in ((-0.11, 0.012), (-0.05, 0.035), (0.06, 0.05), (0.11, 0.012)):
            mesh.ring(add(ear, (0.0, t * unit, 0.0)), 0.035 * unit, r * 1.4 * unit, rim, hint=side,
                      bias=0.008)  # fmt: skip
        mesh.end()


def _features(figure: Figure, mark: Mark, center: Vec, side: Vec, front: Vec) -> None:
    """Eyes, brows, nose and mouth, kept faint: at this resolution they are shadows."""
    mesh, skin, unit = figure.mesh, figure.skin, figure.body.head_height
    shadow = mesh.material(scaled(skin, 0.78), "face")
    lips = mesh.material(mixed(scaled(skin, 0.80), (170.0, 60.0, 62.0), 0.35), "face")
    eye = mesh.material(mixed(scaled(skin, 0.5), (40.0, 28.0, 24.0), 0.6), "face")
    brow = mesh.material(mixed(skin, palette.HAIR[figure.identity.hair_color], 0.65), "face")
    for sign in (-1.0, 1.0):
        mark(sign * 0.40, 0.045, 0.115, 0.022, eye, 0.016)
        if mesh.detail.fine:
            mark(sign * 0.40, 0.045, 0.16, 0.040, shadow)
            mark(sign * 0.40, 0.125, 0.17, 0.014, brow)
    mark(0.0, -0.255, 0.24, 0.020, lips)
    if figure.identity.sex == "male" and figure.identity.pid % 7 == 0 and figure.identity.age > 24:
        beard = mesh.material(mixed(skin, palette.HAIR[figure.identity.hair_color], 0.55), "face")
        mark(0.0, -0.40, 0.9, 0.06, beard, 0.008)
        mark(0.0, -0.19, 0.3, 0.02, beard, 0.008)

    if not mesh.detail.fine:
        return
    mark(0.0, -0.31, 0.16, 0.012, shadow)

    def at(x: float, y: float, z: float) -> Vec:
        point = add(add(center, side, x * unit), front, z * unit)
        return add(point, UP, y * unit)

    nose = mesh.material(scaled(skin, 1.03), "face")
    under = mesh.material(scaled(skin, 0.80), "face")
    bridge, tip = at(0.0, 0.08, 0.405), at(0.0, -0.075, 0.475)
    for sign in (-1.0, 1.0):
        wing = at(sign * 0.065, -0.105, 0.385)
        mesh.patch((bridge, wing, tip, tip), nose if sign < 0 else under, 0.025, True)
        mesh.patch((tip, wing, at(0.0, -0.12, 0.39), tip), under, 0.02, True)


def _hair(figure: Figure, tube: Tube, center: Vec, front: Vec, side: Vec) -> None:
    """A shell over the skull, open at the face; long hair falls behind the shoulders."""
    mesh, identity, unit = figure.mesh, figure.identity, figure.body.head_height
    if identity.hair_length == "bald":
        return
    tone = palette.HAIR[identity.hair_color]
    hair = mesh.material(tone, "hair")
    covered = identity.headwear != "none"
    long = identity.hair_length == "long"
    top = (0.16,) if covered else (0.10, 0.24, 0.34, 0.43, 0.49, 0.53)
    grow = 0.030 if not long else 0.045
    levels = (-0.30, -0.20, -0.08, 0.02, *top)
    if not mesh.detail.fine:
        levels = (-0.26, -0.02, 0.16) if covered else (-0.26, -0.02, 0.20, 0.38, 0.53)
    first, last = tube(levels, hair, grow, 0.03)
    fringe = 0.30 if identity.pid % 2 and mesh.detail.fine else 0.20
    for k in range(first, last - 1):
        t = levels[min(k - first, len(levels) - 1)]
        if long and identity.hair_style == "plain":
            face = 66.0 if t < 0.05 else 56.0 if t < fringe else -1.0
        else:
            face = 135.0 if t < -0.15 else 112.0 if t < -0.02 else 86.0 if t < 0.12 else 58.0
            if t >= fringe:
                face = -1.0
        if face > 0.0:
            mesh.paint(k, k + 1, 0.0, face, -1)
    if not long:
        return

    def strand(rings: Sequence[tuple[float, float, float, float]], bias: float = 0.0) -> None:
        for behind, y, across, deep in rings:
            middle = add(add(center, front, -behind * unit), UP, y * unit)
            mesh.ring(middle, across * unit, deep * unit, hair, hint=side, bias=bias)
        mesh.end()

    if identity.hair_style == "plain":
        fall = -0.75 - 0.45 * (identity.pid % 5) / 4.0
        start = len(mesh.rows)
        strand(((0.08, 0.05, 0.37, 0.40), (0.10, -0.25, 0.37, 0.38), (0.22, -0.52, 0.36, 0.30),
                (0.34, fall, 0.33, 0.20), (0.36, fall - 0.08, 0.20, 0.10)), 0.01)  # fmt: skip
        mesh.paint(start, start + 1, 0.0, 70.0, -1)
        mesh.paint(start + 1, len(mesh.rows), 0.0, 84.0 if mesh.detail.fine else 72.0, -1)
    elif identity.hair_style == "ponytail":
        strand(((0.40, 0.26, 0.05, 0.05), (0.50, 0.22, 0.10, 0.09), (0.56, 0.02, 0.12, 0.10),
                (0.53, -0.35, 0.12, 0.09), (0.48, -0.72, 0.07, 0.05),
                (0.47, -0.80, 0.02, 0.02)), 0.01)  # fmt: skip
    else:
        strand(((0.34, 0.52, 0.07, 0.06), (0.35, 0.46, 0.15, 0.14), (0.37, 0.36, 0.17, 0.16),
                (0.38, 0.25, 0.13, 0.12), (0.38, 0.19, 0.04, 0.04)), 0.01)  # fmt: skip


def _headwear(figure: Figure, tube: Tube, on_skull: Callable[..., Vec]) -> None:
    """Cap, beanie or hat."""
    mesh, identity, unit = figure.mesh, figure.identity, figure.body.head_height
    if identity.headwear == "none" or identity.headwear_color is None:
        return
    color = figure.shade("headwear", identity.headwear_color)
    cloth = mesh.material(color, "headwear")
    trim = mesh.material(scaled(color, 0.75), "headwear")
    if identity.headwear == "beanie":
        tube((0.13, 0.24), trim, 0.085, 0.04)
        tube((0.18, 0.27, 0.36, 0.45, 0.52), cloth, 0.075, 0.04)
        return
    tube((0.14, 0.24, 0.34, 0.44, 0.52), cloth, 0.060, 0.04)
    if identity.headwear == "cap":
        ends = [math.radians(a) for a in (-52.0, -18.0, 18.0, 52.0)]
        for a, b in pairwise(ends):
            reach = 0.32 * math.cos(0.5 * (a + b))
            mesh.patch((on_skull(a, 0.17, 0.05), on_skull(b, 0.17, 0.05),
                        on_skull(b, 0.12, 0.05 + reach),
                        on_skull(a, 0.12, 0.05 + reach)), trim, 0.05)  # fmt: skip
        return
    center = figure.body.points["head"]
    for k, (r, y) in enumerate(((0.36, 0.19), (0.62, 0.14), (0.62, 0.125), (0.36, 0.14))):
        mesh.ring(add(center, (0.0, y * unit, 0.0)), r * unit, (r + 0.05) * unit,
                  cloth if k else trim, bias=0.02, both=True)  # fmt: skip
    mesh.end()


def _glasses(figure: Figure, mark: Mark) -> None:
    """Frames and lenses; from behind nothing shows."""
    mesh, kind = figure.mesh, figure.identity.glasses
    if kind == "none":
        return
    frame = mesh.material((32.0, 30.0, 32.0), "glasses")
    lens = frame
    if kind == "glasses":
        lens = mesh.material(mixed(figure.skin, (120.0, 130.0, 140.0), 0.45), "glasses")
    for sign in (-1.0, 1.0):
        mark(sign * 0.41, 0.045, 0.27, 0.075, frame, 0.030)
        if kind == "glasses":
            mark(sign * 0.41, 0.045, 0.20, 0.050, lens, 0.040)
        mark(sign * 1.15, 0.065, 0.50, 0.014, frame, 0.030)
    mark(0.0, 0.06, 0.16, 0.016, frame, 0.030)


def _headphones(figure: Figure, center: Vec, side: Vec) -> None:
    """A band over the head and a cup on each ear."""
    mesh, unit = figure.mesh, figure.body.head_height
    tone = figure.shade("headphones", ("black", "white", "red")[figure.identity.pid % 3])
    plastic = mesh.material(tone, "headphones")
    front = (-side[2], 0.0, side[0])
    angles = [math.radians(a) for a in (-95.0, -60.0, -25.0, 25.0, 60.0, 95.0)]

    def rim(angle: float, forward: float) -> Vec:
        point = add(center, side, 0.41 * unit * math.sin(angle))
        return add(add(point, UP, 0.60 * unit * math.cos(angle)), front, forward * unit)

    for a, b in pairwise(angles):
        mesh.patch((rim(a, -0.05), rim(b, -0.05), rim(b, 0.05), rim(a, 0.05)), plastic, 0.04)
    for sign in (-1.0, 1.0):
        for x, r in ((0.30, 0.13), (0.40, 0.14), (0.44, 0.08), (0.45, 0.02)):
            mesh.ring(add(center, side, sign * x * unit), r * unit, r * unit, plastic, along=side,
                      hint=UP, bias=0.03)  # fmt: skip
        mesh.end()
