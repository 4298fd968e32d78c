"""One picture of one person, before it is drawn: where, when, from which side, carrying what.

`make_shot` is a pure function of its arguments. A shot fixes everything that changes between the
pictures of a person; what stays (body and clothes) is in the `Identity`.
"""

from dataclasses import dataclass

from reidlib.errors import UsageError
from reidlib.world.dice import Dice
from reidlib.world.drawing.camera import FAMILIES, LOOKS, make_camera
from reidlib.world.people.identity import Carried, make_identity

__all__ = ["FAMILIES", "Shot", "make_shot", "native_size"]


@dataclass(frozen=True)
class Shot:
    """What `render` draws.

    `yaw` in degrees, [-180, 180): 0 faces the camera, 90 walks to the right edge of the picture
    (so that the camera sees the person's right side), 180 shows the back. `tilt` is the camera's
    downward angle in degrees, `distance` meters. `phase` in radians is the position in the walking
    cycle, `stride` 0 (standing) to 1.2. `placement` says how each thing of `carried` is worn:
    "back", "across", "<side> shoulder", "<side> elbow", "<side> hand", "<side> arm".
    `gesture`: "none", "phone at ear", "looking at phone", "hand in pocket". Crop fields are those
    of a detector's box: `crop_zoom` is the person's share of the picture height, `crop_x` and
    `crop_y` its shift in picture widths and heights. `occluder`: "none", "pole", "bicycle",
    "car" or "person", entering from `occluder_side` (-1 left, 1 right) by `occluder_amount`.
    """

    world_seed: int
    pid: int
    number: int
    family: str
    camid: int
    yaw: float
    tilt: float
    distance: float
    phase: float
    stride: float
    head_turn: float
    gesture: str
    carried: tuple[Carried, ...]
    placement: tuple[str, ...]
    brightness: float
    light: float
    sun: float
    occluder: str
    occluder_side: int
    occluder_amount: float
    bystander: bool
    crop_zoom: float
    crop_x: float
    crop_y: float
    background: int
    blur: float
    noise: float
    resolution: float

    @property
    def view(self) -> str:
        """Which side of the person the camera sees: "front", "back", "left" or "right"."""
        if abs(self.yaw) <= 45.0:
            return "front"
        if abs(self.yaw) >= 135.0:
            return "back"
        return "right" if self.yaw > 0.0 else "left"


def make_shot(
    world_seed: int, pid: int, number: int, family: str, camid: int | None = None
) -> Shot:
    """The shot `number` of person `pid` by a camera of `family`; a pure function of its arguments.

    Without `camid` (1-based) the shots of a person go round the cameras of the family. Raises
    UsageError for a family or camera that does not exist.
    """
    if family not in LOOKS:
        raise UsageError(f"unknown camera family {family!r}; expected one of {', '.join(FAMILIES)}")
    look = LOOKS[family]
    if camid is None:
        first = Dice("first camera", world_seed, pid, family).integer(0, look.cameras)
        camid = 1 + (first + number) % look.cameras
    elif not 1 <= camid <= look.cameras:
        raise UsageError(f"family {family} has cameras 1 to {look.cameras}, not {camid}")
    camera = make_camera(world_seed, family, camid)
    identity = make_identity(world_seed, pid)
    dice = Dice("shot", world_seed, pid, number, family, camid)

    yaw = _yaw(world_seed, pid, family, camid, dice)
    standing = dice.chance(0.14)
    stride = 0.0 if standing else dice.uniform(0.7, 1.1) * (1.0 if identity.age < 60 else 0.7)
    carried, placement = _carried(world_seed, pid, identity.carried, dice)
    gesture = "none"
    if any(c.kind == "phone" for c in carried):
        gesture = dice.weighted({"none": 35, "looking at phone": 40, "phone at ear": 25})
    elif dice.chance(0.22 if standing else 0.09):
        gesture = "hand in pocket"

    light = camera.light + dice.uniform(-20.0, 20.0)
    occluder = "none"
    if dice.chance(look.occluded):
        occluder = dice.weighted({"pole": 30, "bicycle": 22, "car": 20, "person": 28})
    return Shot(
        world_seed=world_seed,
        pid=pid,
        number=number,
        family=family,
        camid=camid,
        yaw=yaw,
        tilt=camera.tilt + dice.uniform(-2.0, 2.0),
        distance=camera.distance * dice.uniform(0.85, 1.2),
        phase=dice.uniform(0.0, 6.283185307),
        stride=stride,
        head_turn=dice.normal(0.0, 16.0, 2.2),
        gesture=gesture,
        carried=carried,
        placement=placement,
        brightness=camera.brightness * dice.uniform(0.88, 1.12),
        light=light,
        sun=camera.sun * (1.0 if dice.chance(0.7) else 0.35),
        occluder=occluder,
        occluder_side=1 if dice.chance(0.5) else -1,
        occluder_amount=dice.uniform(0.2, 0.6),
        bystander=dice.chance(look.bystander),
        crop_zoom=dice.uniform(*look.zoom),
        crop_x=dice.normal(0.0, look.slip),
        crop_y=dice.normal(0.0, 0.5 * look.slip),
        background=dice.integer(0, 1 << 30),
        blur=camera.blur * dice.uniform(0.8, 1.3),
        noise=camera.noise * dice.uniform(0.8, 1.2),
        resolution=dice.uniform(*look.resolution),
    )


def native_size(shot: Shot) -> tuple[int, int]:
    """(height, width) in pixels of the picture as its source dataset would store it."""
    look = LOOKS[shot.family]
    dice = Dice("size", shot.world_seed, shot.pid, shot.number, shot.family, shot.camid)
    height = dice.integer(look.height[0], look.height[1] + 1)
    return height, round(height / dice.uniform(*look.aspect))


def _yaw(world_seed: int, pid: int, family: str, camid: int, dice: Dice) -> float:
    """Walking direction as seen by the camera: the person's way past it, and some wandering."""
    camera = make_camera(world_seed, family, camid)
    if family == "viper":
        # One view at 0, 45, 90, ... degrees, the other usually a quarter turn away.
        way = Dice("way", world_seed, pid, family)
        base = 45.0 * way.integer(0, 8)
        turn = way.weighted({90.0: 70, -90.0: 15, 180.0: 9, 45.0: 6})
        yaw = base + (turn if camid == 2 else 0.0) + dice.uniform(-8.0, 8.0)
    else:
        way = Dice("way", world_seed, pid, family, camid)
        yaw = camera.heading + (180.0 if way.chance(camera.two_way) else 0.0)
        yaw += way.normal(0.0, 25.0) + dice.normal(0.0, 14.0)
        if dice.chance(0.12):  # somebody who stops, turns or crosses
            yaw = dice.uniform(-180.0, 180.0)
    return (yaw + 180.0) % 360.0 - 180.0


def _carried(
    world_seed: int, pid: int, owned: tuple[Carried, ...], dice: Dice
) -> tuple[tuple[Carried, ...], tuple[str, ...]]:
    """The things present in this shot and how each is worn; a person keeps the preferred side."""
    right_handed = Dice("handed", world_seed, pid).chance(0.75)
    side, other = ("right", "left") if right_handed else ("left", "right")
    if dice.chance(0.12):
        side, other = other, side
    present: list[Carried] = []
    placement: list[str] = []
    free = [side, other]
    for thing in owned:
        if not dice.chance(0.85 if thing.kind == "backpack" else 0.72):
            continue
        if thing.kind == "backpack":
            where = "back"
        elif thing.kind == "messenger bag":
            where = "across"
        elif thing.kind == "shoulder bag":
            where = f"{side} shoulder"
        else:
            hand = free.pop(0)
            held = {"folder": "arm"}.get(thing.kind, "hand")
            if thing.kind == "handbag" and dice.chance(0.5):
                held = "elbow"
            where = f"{hand} {held}"
        present.append(thing)
        placement.append(where)
    return tuple(present), tuple(placement)
