"""Things between the camera and the person: a pole, a bicycle, the corner of a car."""

import cv2
import numpy as np

from reidlib.world.dice import Dice
from reidlib.world.drawing.shot import Shot
from reidlib.world.people.palette import RGB, scaled

_PAINTS: tuple[RGB, ...] = (
    (176.0, 178.0, 182.0), (36.0, 38.0, 42.0), (150.0, 36.0, 38.0), (46.0, 74.0, 126.0),
    (222.0, 222.0, 218.0), (92.0, 100.0, 94.0),
)  # fmt: skip


def obstacle(shot: Shot, numbers: np.ndarray, colors: list[np.ndarray], first: int) -> int:
    """Draw the shot's obstacle into the picture of numbers (h, w) uint16 with numbers from
    `first` on, append its colors, and return the next free number."""
    dice = Dice("obstacle", shot.world_seed, shot.pid, shot.number, shot.background)
    rows, columns = numbers.shape
    paint = scaled(dice.pick(_PAINTS), dice.uniform(0.85, 1.1))
    palette: list[RGB] = []

    def ink(color: RGB) -> int:
        palette.append(color)
        return first + len(palette) - 1

    def polygon(points: list[tuple[float, float]], number: int) -> None:
        fixed = np.rint(np.array(points) * (16.0 * columns, 16.0 * rows)).astype(np.int32)
        cv2.fillPoly(numbers, [fixed], number, cv2.LINE_8, 4)

    side, amount = shot.occluder_side, shot.occluder_amount

    def at(x: float, y: float) -> tuple[float, float]:
        """x counts from the side the obstacle comes from."""
        return (x if side < 0 else 1.0 - x, y)

    if shot.occluder == "pole":
        left, width = 0.10 + 0.9 * amount * 0.7, dice.uniform(0.09, 0.20)
        for k, tone in enumerate((0.62, 0.86, 1.0, 0.92, 0.70)):
            a, b = left + width * k / 5.0, left + width * (k + 1) / 5.0
            polygon([at(a, -0.1), at(b, -0.1), at(b, 1.1), at(a, 1.1)], ink(scaled(paint, tone)))
    elif shot.occluder == "bicycle":
        tire, metal = ink((34.0, 34.0, 36.0)), ink((150.0, 152.0, 154.0))
        frame = ink(paint)
        radius = 0.17 * rows
        x, y = at(amount - 0.25, 0.0)[0] * columns, 0.86 * rows
        thick = max(2, round(0.014 * rows))
        hub = (round(x), round(y))
        for angle in range(0, 180, 30):
            dx, dy = radius * np.cos(np.radians(angle)), radius * np.sin(np.radians(angle))
            cv2.line(
                numbers, (round(x - dx), round(y - dy)), (round(x + dx), round(y + dy)), metal, 1
            )
        cv2.circle(numbers, hub, round(radius), tire, thick)
        away = -1 if side > 0 else 1
        bar = (round(x - away * 0.04 * rows), round(y - 0.36 * rows))
        cv2.line(numbers, hub, bar, frame, thick)
        seat = (round(bar[0] - away * 0.5 * columns), round(y - 0.28 * rows))
        cv2.line(numbers, bar, seat, frame, thick)
        grip = (round(bar[0] + away * 0.10 * columns), round(bar[1] - 0.03 * rows))
        cv2.line(numbers, bar, grip, tire, thick + 1)
    else:
        top = 0.90 - 0.38 * amount
        body, light, glass = ink(paint), ink(scaled(paint, 1.18)), ink((54.0, 62.0, 70.0))
        reach = 0.35 + 0.6 * amount
        polygon([at(-0.1, top), at(0.7 * reach, top + 0.01), at(0.92 * reach, top + 0.05),
                 at(reach, top + 0.14), at(1.01 * reach, 1.1), at(-0.1, 1.1)], body)  # fmt: skip
        polygon([at(-0.1, top), at(0.7 * reach, top + 0.01), at(0.86 * reach, top + 0.04),
                 at(-0.1, top + 0.035)], light)  # fmt: skip
        polygon([at(-0.1, top - 0.10), at(0.25 * reach, top - 0.09), at(0.48 * reach, top),
                 at(-0.1, top)], glass)  # fmt: skip
        lamp = ink((226.0, 222.0, 206.0))
        polygon([at(0.84 * reach, top + 0.08), at(0.97 * reach, top + 0.11),
                 at(0.98 * reach, top + 0.15), at(0.86 * reach, top + 0.13)], lamp)  # fmt: skip
    colors.append(np.array(palette))
    return first + len(palette)
