"""What the drawing of one person needs at hand: mesh, body, colors, and cloth with its pattern."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reidlib.world.drawing.mesh import LEFT, Mesh
from reidlib.world.drawing.shot import Shot
from reidlib.world.people import palette
from reidlib.world.people.identity import Garment, Identity
from reidlib.world.people.palette import RGB
from reidlib.world.people.skeleton import Body, Vec, lerp, turn


class Profile:
    """Columns of numbers over a position, interpolated between the given rows (first column:
    position, ascending) and tabulated in steps of 0.01, as they are asked for constantly."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        position = [row[0] for row in rows]
        self.low, self.last = position[0], round(100 * (position[-1] - position[0]))
        at = np.linspace(position[0], position[-1], self.last + 1)
        columns = [np.interp(at, position, column) for column in list(zip(*rows, strict=True))[1:]]
        self.table = list(zip(*(column.tolist() for column in columns), strict=True))

    def __call__(self, x: float) -> tuple[float, ...]:
        """The columns at position x, clamped to the ends."""
        return self.table[max(0, min(self.last, int(100.0 * (x - self.low) + 0.5)))]


# Half width, half depth and forward shift of the trunk, in body heights, over the position along
# the spine (0 hip joints, 1 shoulder line).
TRUNK = {
    "male": Profile(
        (-0.16, 0.076, 0.056, 0.000), (0.00, 0.092, 0.064, -0.004), (0.18, 0.090, 0.062, 0.000),
        (0.40, 0.083, 0.057, 0.004), (0.62, 0.090, 0.063, 0.005), (0.80, 0.099, 0.068, 0.008),
        (0.91, 0.098, 0.058, 0.000), (0.98, 0.078, 0.047, -0.004), (1.04, 0.050, 0.041, -0.003),
        (1.12, 0.036, 0.036, 0.001),
    ),
    "female": Profile(
        (-0.16, 0.084, 0.058, -0.002), (0.00, 0.099, 0.067, -0.008), (0.18, 0.093, 0.061, -0.003),
        (0.42, 0.073, 0.051, 0.004), (0.60, 0.080, 0.056, 0.006), (0.74, 0.087, 0.073, 0.016),
        (0.84, 0.088, 0.066, 0.009), (0.92, 0.085, 0.052, 0.000), (0.98, 0.067, 0.042, -0.004),
        (1.04, 0.043, 0.036, -0.003), (1.12, 0.031, 0.032, 0.001),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One person about to be drawn."""

    mesh: Mesh
    body: Body
    identity: Identity
    shot: Shot

    @property
    def tall(self) -> float:
        """Body height in meters."""
        return self.body.height

    def shade(self, what: str, color: str, denim: bool = False) -> RGB:
        """This person's shade of a named color on the thing `what`."""
        return palette.shade(self.shot.world_seed, self.identity.pid, what, color, denim)

    @property
    def skin(self) -> RGB:
        """This person's skin."""
        return palette.SKIN[self.identity.skin]

    def spine(self, v: float) -> Vec:
        """Point of the spine: v = 0 between the hip joints, 1 at the neck joint."""
        return lerp(self.body.points["pelvis"], self.body.points["neck"], v)

    def spine_at(self, y: float) -> float:
        """Position along the spine of a height in meters."""
        low, high = self.body.points["pelvis"][1], self.body.points["neck"][1]
        return (y - low) / (high - low)

    def trunk(self, v: float) -> tuple[float, float, float]:
        """Half width, half depth, forward shift of the bare trunk in meters."""
        across, deep, ahead = TRUNK[self.identity.sex](v)
        girth, tall = self.body.girth, self.tall
        belly = max(0.0, girth - 1.05) * 0.09 * max(0.0, 1.0 - abs(v - 0.35) / 0.45)
        return (
            across * tall * (0.45 + 0.55 * girth),
            (deep * (0.35 + 0.65 * girth) + 0.5 * belly) * tall,
            (ahead + 0.5 * belly) * tall,
        )

    def hint(self, v: float) -> Vec:
        """Direction to the person's left at a place of the spine."""
        return turn(LEFT, self.body.twist * max(0.0, min(1.0, v)))

    def leg_at(self, side: str, y: float) -> Vec:
        """Point of the leg's axis at a height."""
        points = self.body.points
        hip, knee, ankle = (points[f"{side} {name}"] for name in ("hip", "knee", "ankle"))
        upper = y > knee[1]
        a, b = (hip, knee) if upper else (knee, ankle)
        return lerp(a, b, max(0.0, min(1.0, (a[1] - y) / max(1e-3, a[1] - b[1]))))


class Cloth:
    """Material of a garment, ring by ring: `step` is the distance in meters at which the pattern
    changes (None for plain and logo), `material(k)` that of the k-th band."""

    def __init__(self, figure: Figure, garment: Garment, what: str, part: str) -> None:
        self.mesh = figure.mesh
        self.pattern = garment.pattern
        self.color = figure.shade(what, garment.color, garment.kind == "jeans")
        self.base = self.mesh.material(self.color, part)
        self.bands = [self.base]
        self.checks: tuple[int, int] | None = None
        self.step: float | None = None
        if garment.second is None or garment.pattern in ("plain", "logo"):
            return
        second = figure.shade(what + " second", garment.second)
        other = self.mesh.material(second, part)
        if garment.pattern == "plaid":
            between = palette.mixed(self.color, second, 0.45)
            middle = self.mesh.material(between, part)
            self.bands, self.step = [self.base, middle], 0.055
            self.checks = (middle, other)
        else:
            thin = garment.pattern == "thin stripes"
            self.step = 0.036 if thin else 0.085
            self.bands = [self.base, other]

    def material(self, k: int) -> int:
        """Material of band k."""
        return self.bands[k % len(self.bands)]

    def stations(self, low: float, high: float, plain: Sequence[float], unit: float) -> list[float]:
        """Ring positions from low to high: the plain ones, or one per band of the pattern.
        `unit` is the number of meters per unit of position."""
        if self.step is None:
            return [low, *(s for s in plain if low + 0.02 < s < high - 0.02), high]
        count = max(2, round((high - low) * unit / self.step))
        return [low + (high - low) * k / count for k in range(count + 1)]

    def finish(self, first: int, last: int) -> None:
        """Paint the columns of a plaid on rings first to last."""
        if self.checks is None:
            return
        column, crossing = self.checks
        angles = sorted(set(self.mesh.detail.phi))[1::2]
        for k in range(first, last):
            for angle in angles:
                material = crossing if self.mesh.rows[k][12] == column else column
                self.mesh.paint(k, k + 1, angle - 1.0, angle + 1.0, material)
