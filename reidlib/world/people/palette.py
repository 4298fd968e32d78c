"""Colors of the world: cloth, skin, hair, and the small differences between two red shirts."""

from functools import lru_cache

from reidlib.world.dice import Dice
from reidlib.world.people.identity import COLORS

RGB = tuple[float, float, float]

# Reflectance in 0..255 under neutral light; no name is pure, as cloth seen by a camera is not.
CLOTH: dict[str, RGB] = {
    "black": (34.0, 34.0, 37.0),
    "white": (232.0, 231.0, 228.0),
    "gray": (132.0, 133.0, 136.0),
    "red": (186.0, 38.0, 42.0),
    "pink": (232.0, 148.0, 172.0),
    "purple": (112.0, 58.0, 138.0),
    "blue": (58.0, 98.0, 172.0),
    "navy": (34.0, 42.0, 82.0),
    "green": (58.0, 122.0, 66.0),
    "brown": (104.0, 68.0, 44.0),
    "beige": (206.0, 182.0, 144.0),
    "yellow": (228.0, 194.0, 58.0),
    "orange": (226.0, 120.0, 40.0),
}
DENIM: dict[str, RGB] = CLOTH | {"blue": (78.0, 104.0, 146.0), "navy": (46.0, 56.0, 86.0)}
SKIN: tuple[RGB, ...] = (
    (242.0, 208.0, 184.0),
    (230.0, 190.0, 160.0),
    (212.0, 168.0, 132.0),
    (182.0, 134.0, 98.0),
    (136.0, 94.0, 68.0),
    (94.0, 64.0, 48.0),
)
HAIR: dict[str, RGB] = {
    "black": (34.0, 29.0, 28.0),
    "brown": (82.0, 55.0, 38.0),
    "blond": (194.0, 160.0, 104.0),
    "gray": (158.0, 157.0, 156.0),
    "red": (142.0, 66.0, 34.0),
}

assert tuple(CLOTH) == COLORS


@lru_cache(maxsize=8192)
def shade(world_seed: int, pid: int, what: str, color: str, denim: bool = False) -> RGB:
    """RGB (0..255) of the `color` thing `what` of one person: the named color, a little off.

    Two people in "red" do not wear the same red; one person's garment is the same in all shots.
    """
    dice = Dice("shade", world_seed, pid, what, color)
    light = dice.normal(1.0, 0.09, 2.0)
    red, green, blue = (DENIM if denim else CLOTH)[color]
    return (
        min(245.0, red * light * dice.normal(1.0, 0.04)),
        min(245.0, green * light * dice.normal(1.0, 0.04)),
        min(245.0, blue * light * dice.normal(1.0, 0.04)),
    )


def scaled(color: RGB, factor: float) -> RGB:
    """The color made darker (factor < 1) or lighter, clipped to 255."""
    return (
        min(255.0, color[0] * factor),
        min(255.0, color[1] * factor),
        min(255.0, color[2] * factor),
    )


def mixed(first: RGB, second: RGB, share: float) -> RGB:
    """`share` of the second color in the first."""
    keep = 1.0 - share
    return (
        keep * first[0] + share * second[0],
        keep * first[1] + share * second[1],
        keep * first[2] + share * second[2],
    )
