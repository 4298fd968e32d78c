"""The body: a 3-D skeleton with human proportions, posed along a walking cycle.

Body frame, in meters: x to the person's left, y up from the ground, z forward. Plain tuples and
floats are used on purpose: for thirty points they are several times faster than small arrays.
"""

import math
from dataclasses import dataclass

from reidlib.world.drawing.shot import Shot
from reidlib.world.people.identity import Identity

Vec = tuple[float, float, float]

# OpenPose-COCO order; `pose` names its points accordingly ("r" is the person's right).
JOINTS = (
    "nose", "neck",
    "r shoulder", "r elbow", "r wrist", "l shoulder", "l elbow", "l wrist",
    "r hip", "r knee", "r ankle", "l hip", "l knee", "l ankle",
    "r eye", "l eye", "r ear", "l ear",
)  # fmt: skip


# Face points in head heights from the center of the head.
_FACE: dict[str, Vec] = {
    "nose": (0.0, -0.07, 0.455),
    "r eye": (-0.135, 0.05, 0.375),
    "l eye": (0.135, 0.05, 0.375),
    "r ear": (-0.335, -0.01, -0.02),
    "l ear": (0.335, -0.01, -0.02),
}


@dataclass(frozen=True)
class Body:
    """A posed body: `points` by name (JOINTS, "pelvis", "chest", "head", "<side> hand", "<side>
    heel", "<side> toe") and the measures the drawing needs, all in meters (angles in radians).

    `head_turn` is the yaw of the head relative to the chest, `twist` of the chest relative to the
    pelvis, `lean` the forward lean of the trunk; `pitch` of the feet is positive toes up.
    """

    points: dict[str, Vec]
    height: float
    head_height: float
    girth: float
    shoulder: float
    head_turn: float
    twist: float
    lean: float
    pitch: dict[str, float]


def add(a: Vec, b: Vec, scale: float = 1.0) -> Vec:
    """a + scale * b."""
    return (a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2])


def lerp(a: Vec, b: Vec, t: float) -> Vec:
    """The point a share `t` of the way from a to b."""
    return (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2]))


def turn(p: Vec, angle: float) -> Vec:
    """`p` turned about the vertical axis, forward towards the left for a positive angle."""
    c, s = math.cos(angle), math.sin(angle)
    return (c * p[0] + s * p[2], p[1], c * p[2] - s * p[0])


def bend(start: Vec, target: Vec, first: float, second: float, pole: Vec) -> tuple[Vec, Vec]:
    """Middle and end joint of a two-bone chain that reaches for `target`, bent towards `pole`."""
    dx, dy, dz = (target[i] - start[i] for i in range(3))
    reach = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
    axis = (dx / reach, dy / reach, dz / reach)
    length = min(reach, 0.995 * (first + second))
    along = (first * first - second * second + length * length) / (2.0 * length)
    off = math.sqrt(max(0.0, first * first - along * along))
    dot = axis[0] * pole[0] + axis[1] * pole[1] + axis[2] * pole[2]
    side = add(pole, axis, -dot)
    norm = math.sqrt(side[0] ** 2 + side[1] ** 2 + side[2] ** 2) + 1e-9
    return add(add(start, axis, along), side, off / norm), add(start, axis, length)


def pose(identity: Identity, shot: Shot) -> Body:
    """The body of a person in one shot."""
    tall = identity.height
    male = identity.sex == "male"
    child = max(0.0, (16 - identity.age) / 10.0)
    head_height = tall * (0.131 + 0.030 * child)
    girth = identity.girth
    shoulder = tall * (0.103 if male else 0.094) * (0.75 + 0.25 * girth) * (1.0 - 0.08 * child)
    hip = tall * (0.050 if male else 0.052) * (0.6 + 0.4 * girth)
    stride, phase = shot.stride, shot.phase
    if identity.lower.kind in ("skirt", "dress"):  # a skirt shortens the step
        stride *= 0.55 if identity.lower.length == "long" else 0.8
    thigh, shin, ankle = 0.245 * tall, 0.247 * tall, 0.040 * tall
    upper_arm, forearm, hand = 0.168 * tall, 0.146 * tall, 0.075 * tall

    points: dict[str, Vec] = {"pelvis": (0.0, 0.53 * tall, 0.0)}
    pitch: dict[str, float] = {}
    lowest = 0.0
    for side, sign, step in (("r", -1.0, phase), ("l", 1.0, phase + math.pi)):
        swing = math.sin(step)
        forward = 0.04 + 0.42 * stride * swing
        knee = 0.07 + stride * (0.10 + 0.92 * max(0.0, math.cos(step + 0.45)) ** 2)
        tip = stride * (0.25 * max(0.0, swing) ** 3 - 0.75 * max(0.0, -math.sin(step + 0.25)) ** 3)
        tip -= 0.3 * stride * max(0.0, math.cos(step + 0.3)) ** 3
        if stride == 0.0:  # weight on one leg, the other a little ahead
            forward = 0.03 + 0.07 * math.sin(phase + sign)
            knee = 0.05 + 0.18 * max(0.0, math.sin(phase + sign))
        out = 0.012 + (0.035 if stride == 0.0 else 0.0)
        top = (sign * hip, 0.53 * tall, 0.0)
        mid = add(top, (sign * out, -math.cos(forward), math.sin(forward)), thigh)
        low = add(mid, (0.0, -math.cos(forward - knee), math.sin(forward - knee)), shin)
        ahead = (sign * 0.14, math.sin(tip), math.cos(tip))
        below = add(low, (0.0, -math.cos(tip), math.sin(tip)), ankle * 0.92)
        points[f"{side} hip"], points[f"{side} knee"], points[f"{side} ankle"] = top, mid, low
        points[f"{side} heel"] = add(below, ahead, -0.040 * tall)
        points[f"{side} toe"] = add(below, ahead, 0.100 * tall)
        pitch[side] = tip
        lowest = min(points[f"{side} heel"][1], points[f"{side} toe"][1], lowest or 9.0)
    points = {name: (x, y - lowest, z) for name, (x, y, z) in points.items()}
    base = points["pelvis"][1]

    stoop = 0.05 + 0.03 * stride + max(0.0, (identity.age - 62) / 150.0)
    twist = -0.10 * stride * math.sin(phase)
    spine = 0.285 * tall  # hip joints to shoulder line
    looks = 0.35 if shot.gesture == "looking at phone" else 0.0
    chest = (0.0, base + 0.8 * spine, math.sin(stoop) * 0.8 * spine - 0.01)
    neck = (0.0, base + spine, math.sin(stoop) * spine - 0.012)
    points["chest"], points["neck"] = chest, neck
    for side, sign in (("r", -1.0), ("l", 1.0)):
        joint = turn((sign * shoulder, -0.022 * tall, -0.006), twist)
        points[f"{side} shoulder"] = add(neck, joint)
        points[f"{side} elbow"], points[f"{side} wrist"] = _arm(
            shot, side, sign, points, upper_arm, forearm, tall
        )
        elbow, wrist = points[f"{side} elbow"], points[f"{side} wrist"]
        points[f"{side} hand"] = add(
            wrist, lerp((0, 0, 0), add(wrist, elbow, -1.0), hand / forearm)
        )

    head_turn = math.radians(shot.head_turn) + twist * 0.3
    center = add(neck, (0.0, 0.045 * tall + 0.5 * head_height, 0.012 * tall + 0.10 * looks))
    points["head"] = center
    for name, (x, y, z) in _FACE.items():
        offset = turn((x * head_height, y * head_height, z * head_height), head_turn)
        points[name] = add(center, offset)
    return Body(points, tall, head_height, girth, shoulder, head_turn, twist, stoop, pitch)


def _arm(
    shot: Shot,
    side: str,
    sign: float,
    points: dict[str, Vec],
    upper: float,
    fore: float,
    tall: float,
) -> tuple[Vec, Vec]:
    """Elbow and wrist: swinging against the legs unless the hand has something to do."""
    start = points[f"{side} shoulder"]
    long_side = "right" if side == "r" else "left"
    held = {w.split()[1]: c for c, w in zip(shot.carried, shot.placement, strict=True)
            if w.startswith(long_side)}  # fmt: skip
    thing = held.get("hand")
    pole = (sign * 0.5, -0.4, -1.0)
    if thing is not None and thing.kind == "phone":
        if shot.gesture == "phone at ear":
            target = add(points["neck"], (sign * 0.068 * tall, 0.026 * tall, 0.052 * tall))
            return bend(start, target, upper, fore, (sign * 0.6, -1.0, 0.2))
        if shot.gesture == "looking at phone":
            target = add(points["neck"], (sign * 0.03 * tall, -0.10 * tall, 0.17 * tall))
            return bend(start, target, upper, fore, (sign * 0.6, -1.0, -0.4))
    if "elbow" in held:
        target = add(start, (sign * 0.02 * tall, -upper * 0.94, 0.9 * fore))
        return bend(start, target, upper, fore, pole)
    if "arm" in held:
        target = add(start, (-sign * 0.01 * tall, -1.24 * upper, 0.62 * fore))
        return bend(start, target, upper, fore, pole)
    if thing is not None and thing.kind == "suitcase":
        target = add(start, (sign * 0.05 * tall, -0.93 * (upper + fore), -0.20 * tall))
        return bend(start, target, upper, fore, (sign * 0.3, 0.0, -1.0))
    if "shoulder" in held and shot.background % 3 == 0:  # the hand on the bag's strap
        target = add(start, (sign * 0.02 * tall, -1.15 * upper, 0.7 * fore))
        return bend(start, target, upper, fore, pole)
    if shot.gesture == "hand in pocket" and (sign > 0) == (shot.head_turn > 0):
        target = add(points[f"{side} hip"], (sign * 0.055 * tall, 0.015 * tall, 0.02 * tall))
        return bend(start, target, upper, fore, (sign * 0.8, 0.0, -1.0))
    # The arm moves with the leg of the other side; a bag in the hand damps the swing.
    step = shot.phase if side == "l" else shot.phase + math.pi
    damp = 0.45 if thing is not None or "shoulder" in held else 1.0
    swing = 0.02 + 0.44 * shot.stride * damp * math.sin(step)
    flex = 0.16 + shot.stride * damp * (0.10 + 0.30 * max(0.0, math.sin(step)))
    out = 0.13 if thing is None else 0.19
    elbow = add(start, (sign * out, -math.cos(swing), math.sin(swing)), upper)
    fold = swing + flex
    return elbow, add(elbow, (sign * 0.03, -math.cos(fold), math.sin(fold)), fore)


def bone(a: Vec, b: Vec, c: Vec, u: float) -> tuple[Vec, Vec]:
    """Point and direction at `u` (0 a, 1 b, 2 c) of a two-bone limb, rounded at the joint."""
    if u <= 0.88:
        return lerp(a, b, u), add(b, a, -1.0)
    if u >= 1.12:
        return lerp(b, c, u - 1.0), add(c, b, -1.0)
    along = lerp(add(b, a, -1.0), add(c, b, -1.0), (u - 0.88) / 0.24)
    return (lerp(a, b, u) if u <= 1.0 else lerp(b, c, u - 1.0)), along
