"""Surfaces of the world: rings joined to tubes, and single four-cornered patches.

Everything a person is made of is a chain of ellipses (limbs, trunk, head, hair, bags) or a patch
(eyes, logo, straps). A `Mesh` collects plain numbers; `draw.see` turns them into arrays of quads
once, because a few large array operations are what makes hundreds of pictures a second possible
in Python.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reidlib.world.people.skeleton import Vec

RGB = tuple[float, float, float]
LEFT: Vec = (1.0, 0.0, 0.0)
UP: Vec = (0.0, 1.0, 0.0)

# Parts of a picture and the mask value of each: 1 head, 2 upper body, 3 lower body, 4 shoes,
# 5 carried, 0 somebody or something else.
PARTS: dict[str, int] = {
    "other": 0, "face": 1, "scalp": 1, "hair": 1, "headwear": 1, "glasses": 1, "headphones": 1,
    "scarf": 2, "neck": 1, "upper": 2, "inner": 2, "pattern": 2, "arm": 2, "lower": 3, "leg": 3,
    "footwear": 4, "carried 0": 5, "carried 1": 5, "carried 2": 5,
}  # fmt: skip
PART_INDEX = {name: index for index, name in enumerate(PARTS)}
PART_MASK = np.array(list(PARTS.values()), np.uint8)


def _angles(front: tuple[float, ...], back_vertex: bool) -> np.ndarray:
    """Ring angles in radians from the front, growing to the left, symmetric, over one turn."""
    right = [360.0 - a for a in reversed(front)]
    return np.radians([*front, *([180.0] if back_vertex else []), *right])


@dataclass(frozen=True)
class Detail:
    """How finely rings are cut: `table` (2, N+1, 2) holds sine and cosine of the N+1 corner
    angles (first = last) for round and for box-like rings, `phi` (N,) the angle in degrees of the
    middle of each strip from the front, 0..180."""

    fine: bool
    table: np.ndarray
    phi: tuple[float, ...]

    def strips(self, low: float, high: float) -> list[int]:
        """Numbers of the strips whose angle from the front is within [low, high] degrees."""
        return _strips(self.phi, low, high)


@lru_cache(maxsize=1024)
def _strips(phi: tuple[float, ...], low: float, high: float) -> list[int]:
    return [number for number, angle in enumerate(phi) if low <= angle <= high]


def _detail(fine: bool, front: tuple[float, ...], back_vertex: bool) -> Detail:
    angle = _angles(front, back_vertex)
    angle = np.append(angle, angle[0] + 2.0 * np.pi)
    circle = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    box = np.sign(circle) * np.abs(circle) ** 0.45
    middle = np.degrees(0.5 * (angle[1:] + angle[:-1])) % 360.0
    return Detail(
        fine, np.stack([circle, box]), tuple(np.minimum(middle, 360.0 - middle).round(3).tolist())
    )


FINE = _detail(True, (11.0, 33.0, 55.0, 77.0, 99.0, 121.0, 142.0, 163.0), False)
COARSE = _detail(False, (21.0, 64.0, 118.0), True)


class Mesh:
    """Collects rings and patches of one figure."""

    def __init__(self, detail: Detail) -> None:
        self.detail = detail
        self.rows: list[tuple[float, ...]] = []
        self.paints: list[tuple[int, int, list[int], int]] = []
        self.patches: list[tuple[float, ...]] = []
        self.colors: list[RGB] = []
        self.parts: list[int] = []
        self._materials: dict[tuple[RGB, str], int] = {}

    def material(self, color: RGB, part: str) -> int:
        """Index of a color used on a part."""
        index = self._materials.get((color, part))
        if index is None:
            index = self._materials[color, part] = len(self.colors)
            self.colors.append(color)
            self.parts.append(PART_INDEX[part])
        return index

    def ring(
        self,
        center: Vec,
        across: float,
        deep: float,
        material: int,
        along: Vec = UP,
        hint: Vec = LEFT,
        shade: float = 1.0,
        bias: float = 0.0,
        box: bool = False,
        both: bool = False,
    ) -> None:
        """An ellipse around `center`, `across` meters wide to each side in the direction `hint`
        and `deep` to front and back; `along` is the direction of the tube. It is joined to the
        next ring by strips of `material`; `end` stops that."""
        self.rows.append(
            (*center, *along, *hint, across, deep, shade, material, bias, box, both, True)
        )

    def end(self) -> None:
        """The last ring is the last of its tube."""
        self.rows[-1] = (*self.rows[-1][:-1], False)

    def paint(self, first: int, last: int, low: float, high: float, material: int) -> None:
        """Give the strips of rings `first` to `last` (exclusive) whose angle from the front is
        within [low, high] degrees another material; -1 leaves them out."""
        self.paints.append((first, last, self.detail.strips(low, high), material))

    def patch(
        self, corners: tuple[Vec, Vec, Vec, Vec], material: int, bias: float, both: bool = True
    ) -> None:
        """A convex quad, counterclockwise as seen from outside unless `both` sides can be seen;
        `bias` meters lift it towards the viewer in the drawing order."""
        a, b, c, d = corners
        self.patches.append((*a, *b, *c, *d, material, bias, both))
