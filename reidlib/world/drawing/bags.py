"""Things people carry, each where it is worn: on the back, across, at the hip, in the hand."""

import math
from collections.abc import Sequence

from reidlib.world.drawing.clothes import CUT
from reidlib.world.drawing.figure import Figure
from reidlib.world.drawing.mesh import LEFT, RGB, UP
from reidlib.world.people.palette import mixed, scaled
from reidlib.world.people.skeleton import Vec, add, lerp

FORWARD: Vec = (0.0, 0.0, 1.0)
# (height, half across, half deep) of a chain of rings, in body heights.
Rings = Sequence[tuple[float, float, float]]


def carried(figure: Figure) -> None:
    """All things present in the shot."""
    shot = figure.shot
    for index, (thing, where) in enumerate(zip(shot.carried, shot.placement, strict=True)):
        color = figure.shade(thing.kind, thing.color)
        part = f"carried {index}"
        if thing.kind == "backpack":
            _backpack(figure, color, part)
        elif thing.kind == "messenger bag":
            _messenger(figure, color, part)
        elif thing.kind == "shoulder bag":
            _shoulder_bag(figure, color, part, where)
        else:
            sign = 1.0 if where.startswith("left") else -1.0
            _in_hand(figure, thing.kind, color, part, sign, where.split()[1])


def _body(figure: Figure, center: Vec, rings: Rings, material: int, hint: Vec = LEFT,
          bias: float = 0.0, along: Vec = UP) -> None:  # fmt: skip
    """A box-like solid: rings stacked on `center` along `along`."""
    tall = figure.tall
    for high, across, deep in rings:
        figure.mesh.ring(add(center, along, high * tall), across * tall, deep * tall, material,
                         along=along, hint=hint, box=True, bias=bias)  # fmt: skip
    figure.mesh.end()


def _strap(figure: Figure, a: Vec, b: Vec, width: float, material: int, bias: float) -> None:
    """A band from a to b that is seen from all sides: two crossed patches."""
    half = 0.5 * width * figure.tall
    for wide in ((half, 0.0, 0.0), (0.0, 0.0, half)):
        figure.mesh.patch((add(a, wide, -1.0), add(a, wide), add(b, wide), add(b, wide, -1.0)),
                          material, bias)  # fmt: skip


def _on_trunk(figure: Figure, v: float, phi: float) -> Vec:
    """Point just above the garment at an angle (radians) from the front."""
    across, deep, ahead = figure.trunk(v)
    lift = (CUT[figure.identity.upper.kind][0] * (1.0 if v < 0.95 else 0.4) + 0.006) * figure.tall
    chest = figure.trunk(0.78)
    if v < 0.78:
        across, deep = max(across, 0.9 * chest[0]), max(deep, 0.9 * chest[1])
    left = figure.hint(v)
    front = (-left[2], 0.0, left[0])
    center = add(figure.spine(v), (0.0, 0.0, ahead))
    center = add(center, left, (across + lift) * math.sin(phi))
    return add(center, front, (deep + lift) * math.cos(phi))


def _band(figure: Figure, path: Sequence[tuple[float, float]], width: float, material: int) -> None:
    """A strap that lies on the trunk along (v, phi) points; the width is across its run."""
    points = [_on_trunk(figure, v, phi) for v, phi in path]
    half = 0.5 * width * figure.tall
    for (a, (v0, p0)), (b, (v1, p1)) in zip(
        zip(points, path, strict=True), list(zip(points, path, strict=True))[1:], strict=False
    ):
        # Wide sideways where the strap runs down, up and down where it runs around.
        run = abs(v1 - v0) * 0.285, abs(p1 - p0) * 0.09
        norm = math.hypot(*run) + 1e-9
        c = math.cos(0.5 * (p0 + p1))
        slope = math.copysign(1.0, (v1 - v0) * (p1 - p0))
        wide = (half * run[0] / norm * c, -slope * half * run[1] / norm,
                -half * run[0] / norm * math.sin(0.5 * (p0 + p1)))  # fmt: skip
        figure.mesh.patch((add(a, wide, -1.0), add(a, wide), add(b, wide), add(b, wide, -1.0)),
                          material, 0.03)  # fmt: skip


def _backpack(figure: Figure, color: RGB, part: str) -> None:
    mesh, tall = figure.mesh, figure.tall
    cloth, dark = mesh.material(color, part), mesh.material(scaled(color, 0.72), part)
    low = figure.spine(0.16)
    deep = figure.trunk(0.7)[1]
    size = 0.9 + 0.2 * (figure.identity.pid % 5) / 4.0
    center = add(low, FORWARD, -(deep + 0.046 * tall))
    body = ((0.0, 0.050, 0.020), (0.010, 0.080, 0.046), (0.10, 0.088, 0.056), (0.185, 0.083, 0.050),
            (0.225, 0.066, 0.036), (0.240, 0.030, 0.014))  # fmt: skip
    lean = add(figure.spine(1.0), figure.spine(0.0), -1.0)
    hint = figure.hint(0.8)
    scaled_body = [(h * size, a * size, d * size) for h, a, d in body]
    _body(figure, center, scaled_body, cloth, hint=hint, along=_unit(lean))
    pocket = add(add(center, FORWARD, -0.046 * tall * size), UP, 0.018 * tall)
    _body(figure, pocket, ((0.0, 0.045, 0.008), (0.01, 0.064, 0.022), (0.08, 0.062, 0.020),
                           (0.09, 0.045, 0.006)), dark, hint=hint, bias=0.02)  # fmt: skip
    path = ((0.42, 0.95), (0.60, 0.66), (0.80, 0.56), (0.96, 0.60), (1.02, 0.90))
    for sign in (-1.0, 1.0):
        _band(figure, [(v, sign * phi) for v, phi in path], 0.030, dark)


def _unit(a: Vec) -> Vec:
    norm = math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2)
    return (a[0] / norm, a[1] / norm, a[2] / norm)


def _messenger(figure: Figure, color: RGB, part: str) -> None:
    """Bag at one hip, strap over the other shoulder, across chest and back."""
    mesh, tall = figure.mesh, figure.tall
    cloth, dark = mesh.material(color, part), mesh.material(scaled(color, 0.7), part)
    sign = 1.0 if figure.identity.pid % 2 else -1.0
    across, deep, _ = figure.trunk(0.0)
    hip = add(figure.spine(-0.24), LEFT, sign * (across + 0.030 * tall))
    hip = add(hip, FORWARD, -0.25 * deep)
    _body(figure, hip, ((0.0, 0.060, 0.014), (0.008, 0.082, 0.026), (0.10, 0.082, 0.028),
                        (0.115, 0.070, 0.016)), cloth, hint=FORWARD)  # fmt: skip
    flap = add(hip, LEFT, sign * 0.030 * tall)
    mesh.patch(tuple(add(add(flap, FORWARD, z * tall), UP, y * tall)
                     for z, y in ((-0.07, 0.045), (0.07, 0.045), (0.075, 0.108), (-0.075, 0.108))),
               dark, 0.02)  # fmt: skip
    front = ((1.02, -sign * 0.75), (0.86, -sign * 0.52), (0.62, -sign * 0.05),
             (0.36, sign * 0.62), (0.08, sign * 1.25))  # fmt: skip
    _band(figure, front, 0.028, dark)
    _band(figure, [(v, math.pi - phi) for v, phi in front], 0.028, dark)


def _shoulder_bag(figure: Figure, color: RGB, part: str, where: str) -> None:
    mesh, tall = figure.mesh, figure.tall
    cloth, dark = mesh.material(color, part), mesh.material(scaled(color, 0.7), part)
    sign = 1.0 if where.startswith("left") else -1.0
    across, _, ahead = figure.trunk(0.05)
    drop = 0.06 + 0.10 * (figure.identity.pid % 3)
    place = add(figure.spine(drop - 0.18), LEFT, sign * (across + 0.036 * tall))
    place = add(place, FORWARD, ahead - 0.035 * tall)
    _body(figure, place, ((0.0, 0.050, 0.016), (0.010, 0.072, 0.030), (0.06, 0.074, 0.032),
                          (0.125, 0.064, 0.022), (0.135, 0.05, 0.008)), cloth, hint=FORWARD,
          bias=0.02)  # fmt: skip
    shoulder = add(figure.body.points["l shoulder" if sign > 0 else "r shoulder"],
                   (-sign * 0.022 * tall, 0.036 * tall, 0.0))  # fmt: skip
    top = add(place, UP, 0.128 * tall)
    for ahead in (0.050, -0.050):
        bend = add(lerp(shoulder, top, 0.35), (0.0, 0.0, ahead * tall))
        _strap(figure, shoulder, bend, 0.017, dark, 0.05)
        _strap(figure, bend, add(top, FORWARD, ahead * tall), 0.017, dark, 0.03)


def _in_hand(figure: Figure, kind: str, color: RGB, part: str, sign: float, held: str) -> None:
    """Whatever one hand or arm holds."""
    mesh, tall, points = figure.mesh, figure.tall, figure.body.points
    side = "l" if sign > 0.0 else "r"
    wrist, tip = points[f"{side} wrist"], points[f"{side} hand"]
    hand = lerp(wrist, tip, 0.75)
    cloth, dark = mesh.material(color, part), mesh.material(scaled(color, 0.68), part)
    if kind == "handbag":
        grip = hand
        if held == "elbow":
            grip = add(lerp(points[f"{side} elbow"], wrist, 0.25), UP, -0.020 * tall)
        top = add(grip, UP, -0.065 * tall)
        _body(figure, add(top, UP, -0.105 * tall),
              ((0.0, 0.060, 0.018), (0.008, 0.078, 0.030), (0.09, 0.066, 0.024),
               (0.105, 0.055, 0.012)),
              cloth, hint=FORWARD, bias=0.02)  # fmt: skip
        for ahead in (0.038, -0.038):
            _strap(figure, grip, add(top, FORWARD, ahead * tall), 0.010, dark, 0.02)
    elif kind == "plastic bag":
        sag = 0.035 * (figure.shot.number % 2)
        film = mesh.material(mixed(color, (255.0, 255.0, 255.0), 0.12), part)
        low = 0.17 + sag
        _body(figure, add(hand, UP, -(low + 0.02) * tall),
              ((0.0, 0.025, 0.014), (0.012, 0.056, 0.036), (0.07, 0.058, 0.038),
               (0.115, 0.044, 0.024), (low, 0.010, 0.008), (low + 0.02, 0.014, 0.008)), film,
              hint=FORWARD, bias=0.02)  # fmt: skip
        mark = add(hand, (sign * 0.036 * tall, -(low - 0.05) * tall, 0.0))
        logo = mesh.material(mixed(color, (200.0, 60.0, 60.0), 0.5), part)
        mesh.patch(tuple(add(mark, (0.0, y * tall, z * tall)) for y, z in
                         ((-0.02, -0.025), (-0.02, 0.025), (0.015, 0.025), (0.015, -0.025))),
                   logo, 0.02)  # fmt: skip
    elif kind == "suitcase":
        size = 1.0 + 0.25 * (figure.identity.pid % 3)
        base = (hand[0] + sign * 0.050 * tall, 0.022 * tall, hand[2] - 0.095 * tall)
        _body(figure, base, ((0.0, 0.055, 0.030), (0.008, 0.068, 0.040),
                             (0.20 * size, 0.068, 0.040), (0.21 * size, 0.055, 0.030)),
              cloth)  # fmt: skip
        mesh.paint(len(mesh.rows) - 3, len(mesh.rows) - 2, 20.0, 60.0, dark)
        metal = mesh.material((150.0, 152.0, 156.0), part)
        for x in (-0.02, 0.02):
            top = add(base, (x * tall, 0.21 * size * tall, 0.0))
            _strap(figure, top, add(hand, LEFT, x * 0.5 * tall), 0.008, metal, 0.0)
        rubber = mesh.material((30.0, 30.0, 32.0), part)
        for x in (-0.048, 0.048):
            low = (base[0] + x * tall, 0.0, base[2])
            _strap(figure, low, add(low, UP, 0.028 * tall), 0.026, rubber, 0.0)
    elif kind == "umbrella":
        run = _unit((sign * 0.06, -1.0, 0.20))
        # Rings stacked from the handle down to the tip.
        _body(figure, hand, ((-0.05, 0.006, 0.006), (0.02, 0.007, 0.007)), dark, along=run)
        for t, r in ((0.02, 0.008), (0.05, 0.018), (0.20, 0.015), (0.34, 0.007), (0.40, 0.003)):
            mesh.ring(add(hand, run, t * tall), r * tall, r * tall, cloth, along=run)
        mesh.end()
    elif kind == "folder":
        center = lerp(points[f"{side} elbow"], wrist, 0.45)
        center = add(center, (-sign * 0.020 * tall, -0.055 * tall, 0.0))
        _body(figure, center, ((0.0, 0.085, 0.008), (0.004, 0.092, 0.010), (0.128, 0.092, 0.010),
                               (0.132, 0.085, 0.008)), cloth, hint=FORWARD)  # fmt: skip
    elif kind == "phone":
        along = _unit(add(tip, wrist, -1.0))
        _body(figure, lerp(wrist, tip, 0.3), ((0.0, 0.020, 0.005), (0.078, 0.020, 0.005)), cloth,
              hint=(sign * 0.3, 0.0, 1.0), along=along, bias=0.03)  # fmt: skip
