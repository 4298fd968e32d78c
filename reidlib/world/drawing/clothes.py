"""Upper garments as surfaces around the trunk and arms, with collars, hoods, prints, scarves."""

import math
from collections.abc import Callable

from reidlib.world.drawing.figure import Cloth, Figure, Profile
from reidlib.world.drawing.legwear import skirt
from reidlib.world.people.palette import mixed, scaled
from reidlib.world.people.skeleton import Vec, add, bone, lerp

# Point on the outside of a garment at (position on the spine, radians from the front, lift).
Outside = Callable[..., Vec]
# How a top is cut: ease (how far off the skin) in body heights, looseness 0..1 (1 hangs straight
# from the chest), hem on the spine (0 hip joints, -0.55 mid-thigh).
CUT = {
    "t-shirt": (0.006, 0.55, -0.06),
    "shirt": (0.006, 0.50, -0.10),
    "polo shirt": (0.006, 0.50, -0.06),
    "tank top": (0.003, 0.30, -0.02),
    "sweater": (0.010, 0.70, -0.04),
    "hoodie": (0.013, 0.80, -0.05),
    "jacket": (0.015, 0.75, -0.07),
    "coat": (0.016, 0.65, -0.60),
    "suit jacket": (0.012, 0.40, -0.18),
    "dress": (0.003, 0.12, 0.10),
}
ARM = Profile(
    (0.0, 0.0305), (0.35, 0.0280), (0.8, 0.0245), (1.0, 0.0240), (1.25, 0.0250), (1.7, 0.0190),
    (2.0, 0.0160),
)  # fmt: skip
_HAND = (
    (-0.1, 0.012, 0.012), (0.05, 0.016, 0.013), (0.6, 0.022, 0.014), (0.95, 0.014, 0.011),
    (1.05, 0.004, 0.005),
)  # fmt: skip


def top(figure: Figure) -> None:
    """The upper garment without sleeves, what is seen inside it, collar, hood, logo."""
    mesh, garment, tall = figure.mesh, figure.identity.upper, figure.tall
    cloth = Cloth(figure, garment, "upper", "upper")
    ease, loose, hem = CUT[garment.kind]
    tucked = garment.kind in ("shirt", "polo shirt") and figure.identity.pid % 3 == 0
    if tucked:
        hem = 0.30
    chest = figure.trunk(0.78)

    def size(v: float) -> tuple[float, float, float]:
        across, deep, ahead = figure.trunk(v)
        off = ease * tall * (1.0 if v < 0.9 else max(0.35, 1.0 - 4.5 * (v - 0.9)))
        if v < 0.78:
            hang = loose * (1.0 - (0.35 if v < 0.15 and garment.kind == "hoodie" else 0.0))
            across += hang * max(0.0, 0.95 * chest[0] - across)
            deep += hang * max(0.0, 0.93 * chest[1] - deep)
            ahead += hang * 0.7 * max(0.0, chest[2] - ahead)
        if v < 0.2:  # room for the thighs
            across = max(across, (0.058 + 0.046 * figure.body.girth) * tall)
        return across + off, deep + off, ahead

    def surface(v: float, phi: float, lift: float = 0.004) -> Vec:
        across, deep, ahead = size(v)
        center = add(figure.spine(v), (0.0, 0.0, ahead))
        left, s, c = figure.hint(v), math.sin(phi), math.cos(phi)
        front = (-left[2], 0.0, left[0])
        return add(add(center, left, (across + lift) * s), front, (deep + lift) * c)

    start = len(mesh.rows)
    falls = garment.kind in ("coat", "dress")
    if falls:
        skirt(figure, cloth, garment.kind, size)
        hem = 0.10
    trunk = len(mesh.rows)
    spine = 0.285 * tall
    plain = (0.08, 0.25, 0.42, 0.60, 0.74, 0.84) if mesh.detail.fine else (0.12, 0.42, 0.76)
    levels = cloth.stations(hem, 0.93, plain, spine)
    bands = len(levels)
    high = 1.07 if garment.kind != "dress" else 1.02
    for k, v in enumerate([*levels, 0.985, 1.03, high]):
        across, deep, ahead = size(v)
        material = cloth.material(k if k < bands else bands - 1)
        shade = 0.86 if k == 0 and not falls else 1.0
        mesh.ring(
            add(figure.spine(v), (0.0, 0.0, ahead)), across, deep, material,
            hint=figure.hint(v), shade=shade,
        )  # fmt: skip
    mesh.end()
    last = len(mesh.rows)
    cloth.finish(trunk, last - 4)
    skin = mesh.material(figure.skin, "neck")
    if garment.kind in ("tank top", "dress") and garment.length == "none":
        bare = mesh.material(figure.skin, "arm")
        mesh.paint(last - 5, last, 70.0, 112.0, bare)
    if garment.kind in ("tank top", "dress", "t-shirt"):  # the neckline
        mesh.paint(last - 2 - (garment.kind != "t-shirt"), last, 0.0, 35.0, skin)
    _front(figure, cloth, surface, range(start, last), hem)
    _collar(figure, cloth, surface)
    if garment.pattern == "logo" and garment.second is not None:
        _logo(figure, surface, garment.second)


def _front(figure: Figure, cloth: Cloth, surface: Outside, rings: range, hem: float) -> None:
    """Opening, inner shirt, zip, buttons, tie, pockets."""
    mesh, identity = figure.mesh, figure.identity
    kind = identity.upper.kind
    fine = mesh.detail.fine
    dark = mesh.material(scaled(cloth.color, 0.62), "upper")
    if identity.inner_color is not None:
        color = figure.shade("inner", identity.inner_color)
        inner = mesh.material(color, "inner")
        lower_color = figure.shade("lower", identity.lower.color, identity.lower.kind == "jeans")
        lower = mesh.material(lower_color, "lower")
        wide = 30.0 if fine else 10.0
        for k in rings:
            v = figure.spine_at(mesh.rows[k][1])
            if kind == "suit jacket" and v < 0.50:
                mesh.paint(k, k + 1, 0.0, 5.0, dark if v < 0.35 and not fine else cloth.base)
                continue
            half = wide if v > 0.70 or kind != "suit jacket" else 12.0
            mesh.paint(k, k + 1, 0.0, half, inner if v > 0.04 else lower)
        if kind == "suit jacket" and identity.sex == "male":
            tie = mesh.material(figure.shade("tie", "navy"), "inner")
            for low, high, w in ((0.52, 0.78, 0.10), (0.78, 1.0, 0.07)):
                mesh.patch(
                    (surface(low, -w), surface(low, w), surface(high, w), surface(high, -w)),
                    tie, 0.01, False,
                )  # fmt: skip
        if kind == "shirt":
            return
    elif kind in ("jacket", "coat", "shirt", "suit jacket") and fine:
        for k in range(4):  # zip or button row
            a, b = (hem + 0.02 + step * (1.0 - hem) / 4 for step in (k, k + 1))
            mesh.patch(
                (surface(a, -0.035), surface(a, 0.035), surface(b, 0.035), surface(b, -0.035)),
                dark, 0.01, False,
            )  # fmt: skip
    if kind in ("jacket", "coat", "hoodie") and fine:
        for sign in (-1.0, 1.0):  # pocket openings
            a, b = 0.65 * sign, 0.95 * sign
            mesh.patch(
                (surface(0.30, a), surface(0.31, a + 0.06 * sign), surface(0.12, b + 0.06 * sign),
                 surface(0.11, b)), dark, 0.01,
            )  # fmt: skip
    if kind == "hoodie" and identity.inner_color is None:
        cord = mesh.material(mixed(cloth.color, (235.0, 235.0, 235.0), 0.6), "upper")
        for phi in (-0.22, 0.22):
            mesh.patch(
                (surface(0.74, phi - 0.03), surface(0.74, phi + 0.03), surface(0.97, phi + 0.03),
                 surface(0.97, phi - 0.03)), cord, 0.01, False,
            )  # fmt: skip


def _collar(figure: Figure, cloth: Cloth, surface: Outside) -> None:
    """What is around the neck: collar of shirts, jackets and coats, the hood, a shirt's V."""
    mesh, tall, kind = figure.mesh, figure.tall, figure.identity.upper.kind
    if kind in ("shirt", "polo shirt", "jacket", "coat", "suit jacket"):
        stands = kind in ("jacket", "coat")
        light = 1.08 if kind in ("shirt", "polo shirt") else 0.90
        collar = mesh.material(scaled(cloth.color, light), "upper")
        first = len(mesh.rows)
        for v, r in ((1.01, 0.052), (1.07, 0.043), (1.14 if stands else 1.11, 0.041)):
            mesh.ring(add(figure.spine(v), (0.0, 0.0, -0.001 * tall)), r * tall, 0.94 * r * tall,
                      collar, hint=figure.hint(1.0), bias=0.01)  # fmt: skip
        mesh.end()
        mesh.paint(first, first + 2, 0.0, 12.0 if mesh.detail.fine else 10.0, -1)
        # Below the open collar a little of the neck, or of the inner shirt, shows.
        seen = mesh.material(figure.skin, "neck")
        if figure.identity.inner_color is not None:
            seen = mesh.material(figure.shade("inner", figure.identity.inner_color), "inner")
        tip = surface(0.86, 0.0)
        mesh.patch((tip, surface(1.02, 0.34), surface(1.05, 0.0), surface(1.02, -0.34)),
                   seen, 0.006, False)  # fmt: skip
    if kind == "hoodie":
        hood = mesh.material(scaled(cloth.color, 0.95), "upper")
        rings = ((0.90, 0.030, 0.012), (0.95, 0.058, 0.034), (1.04, 0.066, 0.042),
                 (1.13, 0.058, 0.034), (1.17, 0.030, 0.012))  # fmt: skip
        for v, across, deep in rings if mesh.detail.fine else rings[::2]:
            mesh.ring(add(figure.spine(v), (0.0, 0.0, -0.044 * tall)), across * tall, deep * tall,
                      hood, hint=figure.hint(1.0))  # fmt: skip
        mesh.end()
    if figure.identity.scarf_color is not None:
        scarf = mesh.material(figure.shade("scarf", figure.identity.scarf_color), "scarf")
        tail = mesh.material(
            scaled(figure.shade("scarf", figure.identity.scarf_color), 0.9), "scarf"
        )
        for v, r in ((0.97, 0.050), (1.01, 0.062), (1.09, 0.060), (1.16, 0.048)):
            mesh.ring(add(figure.spine(v), (0.0, 0.0, 0.004 * tall)), r * tall, r * tall, scarf,
                      hint=figure.hint(1.0), bias=0.02)  # fmt: skip
        mesh.end()
        mesh.patch((surface(0.55, 0.05, 0.012), surface(0.55, 0.35, 0.012),
                    surface(1.0, 0.40, 0.012), surface(1.0, -0.05, 0.012)), tail, 0.03)  # fmt: skip


def _logo(figure: Figure, surface: Outside, second: str) -> None:
    """A print on the chest: a block, a disc or letters, by person."""
    mesh, style = figure.mesh, figure.identity.pid % 4
    ink = mesh.material(figure.shade("logo", second), "pattern")

    def block(low: float, high: float, left: float, right: float) -> None:
        mesh.patch((surface(low, left), surface(low, right), surface(high, right),
                    surface(high, left)), ink, 0.012, False)  # fmt: skip

    if style == 0:
        block(0.52, 0.78, -0.42, 0.42)
    elif style == 1:
        block(0.72, 0.80, -0.55, 0.55)
        block(0.61, 0.66, -0.40, 0.40)
    elif style == 2:
        for low, high, half in ((0.50, 0.56, 0.22), (0.56, 0.72, 0.40), (0.72, 0.78, 0.22)):
            block(low, high, -half, half)
    else:
        for phi in (-0.45, -0.15, 0.15):
            block(0.66, 0.77, phi, phi + 0.2)


def sleeves(figure: Figure) -> None:
    """Arms: sleeve, bare skin below it, hands."""
    mesh, garment, tall = figure.mesh, figure.identity.upper, figure.tall
    points = figure.body.points
    cloth = Cloth(figure, garment, "upper", "upper")
    if garment.second is not None and garment.pattern == "plain":
        contrast = mesh.material(figure.shade("upper second", garment.second), "upper")
        cloth.bands = [contrast]
    skin = mesh.material(figure.skin, "arm")
    thick = (0.92 if figure.identity.sex == "female" else 1.06) * (0.55 + 0.45 * figure.body.girth)
    end = {"none": 0.0, "short": 0.62, "long": 1.94}[garment.length]
    ease = CUT[garment.kind][0] * (1.1 if garment.length == "short" else 0.8)
    for side, sign in (("r", -1.0), ("l", 1.0)):
        chain = tuple(points[f"{side} {name}"] for name in ("shoulder", "elbow", "wrist"))

        def ring(u: float, off: float, material: int, shade: float = 1.0, chain=chain) -> None:
            center, along = bone(*chain, u)
            r = (ARM(u)[0] * thick + off) * tall
            mesh.ring(center, r, r, material, along=along, shade=shade)

        first = cloth.material(0) if end > 0.0 else skin
        cap = add(chain[0], (-sign * 0.032 * tall, 0.023 * tall, 0.0))
        off = ease if end > 0.0 else 0.0
        start = len(mesh.rows)
        mesh.ring(cap, 0.012 * tall, 0.022 * tall, first, along=add(chain[1], cap, -1.0))
        shoulder = (ARM(0.0)[0] * thick + off) * tall
        mesh.ring(add(chain[0], (-sign * 0.006 * tall, 0.008 * tall, 0.0)), shoulder, shoulder,
                  first, along=add(chain[1], cap, -1.0))  # fmt: skip
        if end > 0.0:
            plain = (0.4, 0.85, 1.0, 1.15, 1.55) if mesh.detail.fine else (0.88, 1.12)
            levels = cloth.stations(0.18, end, plain, 0.157 * tall)
            if not mesh.detail.fine and cloth.step is None:
                levels = levels[1:]
            for k, u in enumerate(levels):
                crease = 0.90 if 0.95 < u < 1.05 else 1.0
                ring(u, ease, cloth.material(k), crease)
            cloth.finish(start + 2, len(mesh.rows) - 1)
            if mesh.detail.fine or end < 1.9:
                ring(end, 0.0, skin, 0.8)
        for u in (0.3, 0.7, 0.9, 1.1, 1.35, 1.7, 2.0) if mesh.detail.fine else (0.88, 1.12, 2.0):
            if u > end + 0.03:
                ring(u, 0.0, skin)
        mesh.end()
        _hand(figure, side, thick)


def _hand(figure: Figure, side: str, thick: float) -> None:
    mesh, tall = figure.mesh, figure.tall
    wrist, tip = figure.body.points[f"{side} wrist"], figure.body.points[f"{side} hand"]
    along = add(tip, wrist, -1.0)
    skin = mesh.material(figure.skin, "arm")
    rings = _HAND if mesh.detail.fine else ((0.0, 0.018, 0.014), (0.95, 0.016, 0.012))
    for t, across, deep in rings:
        mesh.ring(lerp(wrist, tip, t), across * thick * tall, deep * thick * tall, skin,
                  along=along, hint=(0.2, 0.1, 1.0))  # fmt: skip
    mesh.end()
