"""Lower garments and footwear: trousers, skirts and the skirts of coats, bare legs, shoes."""

import math
from collections.abc import Callable

from reidlib.world.drawing.figure import Cloth, Figure, Profile
from reidlib.world.drawing.mesh import LEFT
from reidlib.world.people.palette import mixed, scaled
from reidlib.world.people.skeleton import add, bone, lerp

# Half width, half depth and forward shift in meters over the position on the spine.
Size = Callable[[float], tuple[float, float, float]]
# Radius of the leg in body heights: 0 hip, 1 knee, 2 ankle.
LEG = Profile(
    (0.0, 0.0500), (0.3, 0.0515), (0.7, 0.0430), (1.0, 0.0365), (1.3, 0.0375), (1.6, 0.0300),
    (1.9, 0.0220), (2.0, 0.0215),
)  # fmt: skip
# Over the position from heel (0) to toe (1): half width and height of the shoe in body heights.
FOOT = (
    (-0.09, 0.004, 0.010), (-0.08, 0.017, 0.032), (0.02, 0.026, 0.044), (0.26, 0.028, 0.060),
    (0.50, 0.029, 0.042), (0.76, 0.034, 0.032), (0.97, 0.029, 0.025), (1.06, 0.018, 0.017),
    (1.07, 0.002, 0.004),
)  # fmt: skip
_LEG_COARSE = (0.92, 1.08)
_SHIN = (0.4, 0.75, 0.93, 1.08, 1.35, 1.65, 1.9, 2.03)
_SHIN_COARSE = (0.92, 1.08, 1.35, 2.03)


def hem_height(figure: Figure, kind: str | None = None) -> float:
    """Height in meters of the hem of a coat, dress or skirt (by default the lowest); large if
    there is none."""
    upper, lower = figure.identity.upper, figure.identity.lower
    coat = (0.36 + 0.06 * (figure.identity.pid % 3 - 1)) * figure.tall
    below = (0.13 if lower.length == "long" else 0.335) * figure.tall
    if kind is not None:
        return coat if kind == "coat" else below
    worn = [9.0]
    if upper.kind == "coat":
        worn.append(coat)
    if lower.kind in ("skirt", "dress"):
        worn.append(below)
    return min(worn)


def skirt(figure: Figure, cloth: Cloth, kind: str, size: Size) -> None:
    """The part of a coat, dress or skirt below the hips; it hangs around both legs.

    `size(v)` is the cut above, so that the two meet. Of a coat or dress the last ring is left
    open: the trunk goes on from there. A dress counts as lower garment below the hips."""
    mesh, tall = figure.mesh, figure.tall
    lower = figure.identity.lower
    flare = 0.020 if kind == "coat" else 0.045 if lower.length == "long" else 0.042
    hem = hem_height(figure, kind)
    base = figure.spine(0.0)[1]
    high = figure.spine(0.36 if kind == "skirt" else 0.10)[1]
    below = cloth if kind != "dress" else Cloth(figure, lower, "upper", "lower")
    first, change = len(mesh.rows), 0
    shares = (0.20, 0.28, 0.36, 0.43, 0.49, 0.54) if mesh.detail.fine else (0.28, 0.46)
    levels = cloth.stations(hem, high, [share * tall for share in shares], 1.0)
    for k, y in enumerate(levels if kind == "skirt" else levels[:-1]):
        v = figure.spine_at(y)
        across, deep, ahead = size(max(v, -0.02))
        center = add(figure.spine(v), (0.0, 0.0, ahead))
        drop = max(0.0, (base - y) / (base - hem))
        if drop > 0.0:
            change = k + 1
            right, left = figure.leg_at("r", y), figure.leg_at("l", y)
            reach = 0.5 * abs(right[2] - left[2]) + (0.046 * drop + 0.012) * tall
            deep = max(deep * (1.0 - 0.25 * drop), reach)
            center = (0.0, y, ahead * (1.0 - drop) + 0.5 * (right[2] + left[2]) * drop)
        mesh.ring(center, across + flare * tall * drop, deep + 0.4 * flare * tall * drop,
                  below.material(k) if drop > 0.0 else cloth.material(k), hint=figure.hint(v),
                  shade=0.84 if k == 0 else 1.0,
                  bias=-0.03 if kind == "skirt" else 0.0)  # fmt: skip
    below.finish(first, first + change)
    cloth.finish(first + change, len(mesh.rows) - (kind == "skirt"))
    if kind == "skirt":
        mesh.end()
    if mesh.detail.fine and kind != "coat" and cloth.step is None:  # folds
        fold = mesh.material(scaled(cloth.color, 0.88), "lower")
        for angle in sorted(set(mesh.detail.phi))[1::3]:
            mesh.paint(first, first + change, angle - 1.0, angle + 1.0, fold)


def legs(figure: Figure) -> None:
    """Lower garment and bare or stockinged legs."""
    mesh, identity, tall = figure.mesh, figure.identity, figure.tall
    garment = identity.lower
    cloth = Cloth(figure, garment, "upper" if garment.kind == "dress" else "lower", "lower")
    bare_color = mixed(figure.skin, (28.0, 26.0, 30.0), 0.78) if identity.stockings else figure.skin
    bare = mesh.material(bare_color, "leg")
    loose_top = garment.kind in ("skirt", "dress")
    end, ease, least = {
        "jeans": (1.99, 0.006, 0.033),
        "trousers": (2.0, 0.010, 0.036),
        "leggings": (1.86, 0.001, 0.0),
        "capri pants": (1.42, 0.006, 0.036),
        "shorts": (0.86, 0.014, 0.0),
    }.get(garment.kind, (0.0, 0.0, 0.0))
    if identity.upper.kind == "suit jacket" and garment.kind == "trousers":
        least = 0.038
    if not loose_top:
        for v in (-0.17, -0.05, 0.08, 0.24, 0.34) if mesh.detail.fine else (-0.17, 0.05, 0.34):
            across, deep, ahead = figure.trunk(v)
            off = (0.4 * ease + 0.002) * tall
            mesh.ring(add(figure.spine(v), (0.0, 0.0, ahead)), across + off, deep + off,
                      cloth.base, hint=figure.hint(v), shade=0.8 if v < -0.1 else 1.0,
                      bias=-0.05)  # fmt: skip
        mesh.end()
        if garment.kind != "leggings" and mesh.detail.fine:
            belt = mesh.material((44.0, 34.0, 30.0), "lower")
            mesh.paint(len(mesh.rows) - 2, len(mesh.rows) - 1, 0.0, 180.0, belt)
    elif garment.kind == "skirt":
        skirt(figure, cloth, "skirt", figure.trunk)
    thick = (1.03 if identity.sex == "female" else 1.0) * (0.5 + 0.5 * figure.body.girth)
    cover = hem_height(figure)
    for side in ("r", "l"):
        chain = tuple(figure.body.points[f"{side} {name}"] for name in ("hip", "knee", "ankle"))

        # Nothing is drawn under a skirt or coat but a little above its hem.
        hip, knee = chain[0][1], chain[1][1]
        under = max(0.0, (hip - cover - 0.04 * tall) / max(1e-3, hip - knee))

        def ring(u: float, off: float, floor: float, material: int, shade: float = 1.0,
                 chain=chain, under=under) -> None:  # fmt: skip
            center, along = bone(*chain, u)
            r = max(LEG(u)[0] * thick + off, floor if u > 0.6 else 0.0) * tall
            # Under the hem: thighs are drawn before whatever falls over them.
            mesh.ring(center, r, r * 1.04, material, along=along, shade=shade,
                      bias=-0.03 if u < 0.3 else -0.06 if u < under + 0.1 else 0.0)  # fmt: skip

        start = len(mesh.rows)
        if end > under:
            plain = (0.15, 0.45, 0.75, 0.94, 1.06, 1.35, 1.65) if mesh.detail.fine else _LEG_COARSE
            for k, u in enumerate(cloth.stations(under, end, plain, 0.246 * tall)):
                crease = 0.86 if u < 0.1 else 0.92 if 0.9 < u < 1.0 or u > end - 0.04 else 1.0
                flare = 0.003 if u > end - 0.04 else 0.0
                ring(u, ease + flare, least, cloth.material(k), crease)
            cloth.finish(start, len(mesh.rows) - 1)
            if mesh.detail.fine or end < 1.9:
                ring(end, 0.0, 0.0, bare, 0.75)
        for u in (under, *(_SHIN if mesh.detail.fine else _SHIN_COARSE)):
            if u > end + 0.05 and u >= under:
                ring(u, 0.0, 0.0, bare, 0.85 if u < end + 0.15 else 1.0)
        mesh.end()


def shoes(figure: Figure) -> None:
    """Shoes along the direction of each foot, with soles; shafts of boots; bare feet in sandals."""
    mesh, identity, tall = figure.mesh, figure.identity, figure.tall
    color = figure.shade("footwear", identity.footwear_color)
    leather = mesh.material(color, "footwear")
    kind = identity.footwear
    sole_color = (226.0, 226.0, 222.0) if kind == "sneakers" else scaled(color, 0.55)
    sole = mesh.material(sole_color, "footwear")
    skin = mesh.material(figure.skin, "footwear")
    bulk = {"sneakers": 1.12, "boots": 1.10, "leather shoes": 0.98, "sandals": 0.92}[kind]
    bulk *= 0.93 if identity.sex == "female" else 1.03
    low = 30.0 if kind == "leather shoes" else 60.0
    for side in ("r", "l"):
        heel, toe = figure.body.points[f"{side} heel"], figure.body.points[f"{side} toe"]
        along = add(toe, heel, -1.0)
        pitch = figure.body.pitch[side]
        up = (0.0, math.cos(pitch), -math.sin(pitch))
        start = len(mesh.rows)
        for k, (t, across, high) in enumerate(FOOT):
            if not mesh.detail.fine and k not in (1, 3, 5, 7):
                continue
            material = leather
            if kind == "sandals":
                material = leather if k in ((2, 4) if mesh.detail.fine else (3,)) else skin
            center = add(lerp(heel, toe, t), up, 0.5 * high * bulk * tall)
            mesh.ring(center, across * bulk * tall, 0.5 * high * bulk * tall, material,
                      along=along, hint=LEFT)  # fmt: skip
        mesh.end()
        mesh.paint(start, len(mesh.rows), 0.0, low, sole)
        if kind in ("boots", "sneakers"):
            chain = tuple(figure.body.points[f"{side} {n}"] for n in ("hip", "knee", "ankle"))
            top_u = 1.50 if kind == "boots" else 1.86
            covered = identity.lower.kind in ("jeans", "trousers")
            if covered and kind == "sneakers":
                continue
            if kind == "boots" and covered and identity.sex == "male":
                top_u = 1.80
            for u in (top_u, 0.5 * (top_u + 2.0), 2.04):
                center, direction = bone(*chain, min(2.0, u))
                r = (max(LEG(u)[0], 0.027) + (0.012 if kind == "boots" else 0.002)) * tall
                if kind == "boots" and covered and identity.sex == "female":
                    r = max(r, 0.039 * tall)
                mesh.ring(center, r, r, leather, along=direction, bias=0.03)
            mesh.end()
