"""Camera families and their cameras.

A family stands for one source dataset: its picture sizes, how its cameras hang, what they look
at, and how good they are. The families differ visibly, so that training on one and testing on
another is a change of domain. All looks were set once by eye and are not tuned to any result.
"""

from dataclasses import dataclass
from functools import lru_cache

from reidlib.world.dice import Dice

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Family:
    """What the cameras of a family have in common. Ranges are (low, high).

    `height` and `aspect` (height / width) give the native picture size; `tilt` is degrees of
    looking down, `distance` meters, `gain` the color cast, `contrast` around mid-gray, `saturation`
    1 = neutral, `blur` sigma in pixels at 128 rows, `noise` gray levels, `resolution` the share
    of the native rows that carry detail, `zoom` the person's share of a detector's box height.
    """

    cameras: int
    height: tuple[int, int]
    aspect: tuple[float, float]
    tilt: tuple[float, float]
    distance: tuple[float, float]
    scenes: tuple[str, ...]
    gain: RGB
    gain_spread: float
    brightness: tuple[float, float]
    contrast: tuple[float, float]
    saturation: tuple[float, float]
    blur: tuple[float, float]
    noise: tuple[float, float]
    resolution: tuple[float, float]
    zoom: tuple[float, float]
    slip: float
    sun: float
    occluded: float
    bystander: float


LOOKS: dict[str, Family] = {
    # A campus walkway by daylight, two views, sharp pictures.
    "cuhk01": Family(
        2,
        (160, 160),
        (2.67, 2.67),
        (6, 10),
        (9, 12),
        ("plaza", "lawn"),
        (1.03, 1.01, 0.95),
        0.02,
        (1.0, 1.14),
        (1.0, 1.12),
        (0.95, 1.1),
        (0.15, 0.3),
        (1.0, 2.5),
        (0.95, 1.0),
        (0.86, 0.95),
        0.02,
        0.32,
        0.02,
        0.05,
    ),
    # Bluish building entrances, five pairs of views seen as two kinds.
    "cuhk03": Family(
        2,
        (220, 300),
        (2.3, 2.9),
        (12, 20),
        (6, 9),
        ("hall", "plaza"),
        (0.90, 0.98, 1.12),
        0.03,
        (0.82, 1.02),
        (0.9, 1.05),
        (0.7, 0.9),
        (0.3, 0.55),
        (2.0, 4.5),
        (0.55, 0.85),
        (0.82, 1.0),
        0.05,
        0.12,
        0.08,
        0.08,
    ),
    # In front of a supermarket in summer: warm, outdoor, small pictures, sloppy boxes.
    "market": Family(
        6,
        (128, 128),
        (2.0, 2.0),
        (8, 16),
        (6, 10),
        ("plaza", "road", "lawn"),
        (1.08, 1.0, 0.88),
        0.05,
        (0.88, 1.15),
        (0.95, 1.15),
        (0.9, 1.15),
        (0.3, 0.75),
        (1.5, 4.0),
        (0.7, 1.0),
        (0.78, 1.04),
        0.07,
        0.28,
        0.10,
        0.12,
    ),
    # Streets and films: every camera is another place, other light, other size.
    "sysu": Family(
        24,
        (180, 420),
        (2.0, 3.1),
        (0, 9),
        (4, 9),
        ("road", "hall", "plaza", "wall"),
        (1.0, 1.0, 1.0),
        0.11,
        (0.68, 1.15),
        (0.85, 1.2),
        (0.6, 1.2),
        (0.1, 0.5),
        (0.5, 3.5),
        (0.6, 1.0),
        (0.84, 0.98),
        0.03,
        0.20,
        0.08,
        0.22,
    ),
    # Two old cameras on a campus, strong compression, views a quarter turn apart.
    "viper": Family(
        2,
        (128, 128),
        (2.67, 2.67),
        (4, 9),
        (7, 10),
        ("lawn", "plaza"),
        (1.0, 1.05, 0.93),
        0.06,
        (0.86, 1.12),
        (0.75, 0.92),
        (0.55, 0.8),
        (0.7, 1.05),
        (3.0, 6.0),
        (0.55, 0.75),
        (0.86, 0.97),
        0.02,
        0.35,
        0.02,
        0.04,
    ),
    # Winter on a campus, eight cameras, roads and paths, gray light.
    "duke": Family(
        8,
        (150, 300),
        (2.1, 2.8),
        (12, 22),
        (9, 16),
        ("road", "plaza", "wall"),
        (0.96, 1.0, 1.03),
        0.05,
        (0.78, 1.05),
        (0.95, 1.15),
        (0.65, 0.9),
        (0.15, 0.4),
        (0.8, 2.5),
        (0.7, 1.0),
        (0.84, 0.97),
        0.03,
        0.22,
        0.14,
        0.12,
    ),
    # Fifteen cameras, indoors and outdoors, morning to afternoon.
    "msmt": Family(
        15,
        (200, 360),
        (2.2, 3.0),
        (8, 18),
        (5, 12),
        ("hall", "plaza", "road", "lawn", "wall"),
        (1.0, 1.0, 0.99),
        0.08,
        (0.62, 1.2),
        (0.9, 1.2),
        (0.7, 1.05),
        (0.15, 0.5),
        (1.0, 3.5),
        (0.6, 1.0),
        (0.80, 1.0),
        0.05,
        0.25,
        0.14,
        0.16,
    ),
    # A recent campus set: sharp, varied weather, detector boxes.
    "campus": Family(
        15,
        (200, 340),
        (2.2, 2.9),
        (8, 16),
        (6, 12),
        ("plaza", "lawn", "road", "wall"),
        (1.02, 1.0, 0.98),
        0.05,
        (0.85, 1.12),
        (1.0, 1.2),
        (0.85, 1.1),
        (0.1, 0.3),
        (0.8, 2.0),
        (0.8, 1.0),
        (0.82, 0.98),
        0.04,
        0.30,
        0.10,
        0.14,
    ),
}
FAMILIES = tuple(LOOKS)


@dataclass(frozen=True)
class Camera:
    """One camera of a family: where it hangs, what it sees, how it renders color.

    `heading` is the yaw (degrees) most people walk at in front of it, `cast` multiplies linear
    RGB, `light` is the azimuth of the sun in the camera's frame (degrees, 0 = from behind the
    camera), `sun` the share of directed light.
    """

    family: str
    camid: int
    tilt: float
    distance: float
    heading: float
    two_way: float
    scene: str
    cast: RGB
    brightness: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    light: float
    sun: float


@lru_cache(maxsize=256)
def make_camera(world_seed: int, family: str, camid: int) -> Camera:
    """The camera `camid` (1-based) of `family`: a pure function of the arguments."""
    look = LOOKS[family]
    dice = Dice("camera", world_seed, family, camid)
    spread = look.gain_spread
    red, green, blue = (g * (1.0 + dice.uniform(-spread, spread)) for g in look.gain)
    if family == "cuhk01":  # one camera sees people walk towards or away, the other from the side
        heading, two_way = (0.0, 0.5) if camid == 1 else (90.0, 0.25)
    else:
        heading, two_way = dice.uniform(-180.0, 180.0), dice.uniform(0.25, 0.5)
    return Camera(
        family=family,
        camid=camid,
        tilt=dice.uniform(*look.tilt),
        distance=dice.uniform(*look.distance),
        heading=heading,
        two_way=two_way,
        scene=look.scenes[(camid - 1) % len(look.scenes)],
        cast=(red, green, blue),
        brightness=dice.uniform(*look.brightness),
        contrast=dice.uniform(*look.contrast),
        saturation=dice.uniform(*look.saturation),
        blur=dice.uniform(*look.blur),
        noise=dice.uniform(*look.noise),
        light=dice.uniform(-110.0, 110.0),
        sun=look.sun * dice.uniform(0.6, 1.3),
    )
