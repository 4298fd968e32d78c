"""Who walks through the world: sex, age, build, hair, clothes, shoes and carried things.

`make_identity` is a pure function of the world seed and the person's id. Clothes go together as
they do in a street (season, sex and age decide what is likely), and plain dark, white, gray and
blue garments are common, so that many people share a coarse description and only a detail (a
stripe, a bag, the shoes) tells them apart. The fields are rich enough to fill the attribute lists
of Market-1501, DukeMTMC-reID and PETA.
"""

from dataclasses import dataclass
from functools import lru_cache

from reidlib.world.dice import Dice
from reidlib.world.people.wardrobe import (
    BAG_COLORS,
    INNER_COLORS,
    JEANS_COLORS,
    LEATHER_COLORS,
    LOWER_COLORS,
    OUTER_COLORS,
    PATTERNS_OF,
    SHOE_COLORS,
    SKIRT_COLORS,
    SUIT_COLORS,
    UPPER_BY_SEASON,
    UPPER_COLORS,
)

WORLD_VERSION = 1  # bump when any pixel or any word of the world may change

COLORS = (
    "black",
    "white",
    "gray",
    "red",
    "pink",
    "purple",
    "blue",
    "navy",
    "green",
    "brown",
    "beige",
    "yellow",
    "orange",
)
PATTERNS = ("plain", "thin stripes", "thick stripes", "plaid", "logo")
UPPER_KINDS = (
    "t-shirt",
    "shirt",
    "polo shirt",
    "tank top",
    "sweater",
    "hoodie",
    "jacket",
    "coat",
    "suit jacket",
    "dress",
)
LOWER_KINDS = ("jeans", "trousers", "leggings", "shorts", "capri pants", "skirt", "dress")
CARRIED_KINDS = (
    "backpack",
    "handbag",
    "shoulder bag",
    "messenger bag",
    "plastic bag",
    "suitcase",
    "umbrella",
    "folder",
    "phone",
)


@dataclass(frozen=True)
class Garment:
    """A piece of clothing.

    `length` is the sleeve ("none", "short", "long") of an upper garment and the leg or hem
    ("short", "long") of a lower one. `second` is the color of stripes, checks or logo; in a plain
    garment it is the color of contrasting sleeves (or None).
    """

    kind: str
    color: str
    second: str | None
    pattern: str
    length: str


@dataclass(frozen=True)
class Carried:
    """A thing carried: its kind (one of CARRIED_KINDS) and color."""

    kind: str
    color: str


@dataclass(frozen=True)
class Identity:
    """One pedestrian. Age in years, height in meters, girth 0.8 (slim) to 1.3 (stout), skin 0
    (lightest) to 5 (darkest). `inner_color` is the shirt under an open jacket, None when closed.
    With a dress, `upper` and `lower` both have kind "dress" and the same color and pattern."""

    pid: int
    sex: str
    age: int
    height: float
    girth: float
    skin: int
    hair_length: str
    hair_style: str
    hair_color: str
    headwear: str
    headwear_color: str | None
    glasses: str
    headphones: bool
    scarf_color: str | None
    upper: Garment
    inner_color: str | None
    lower: Garment
    footwear: str
    footwear_color: str
    stockings: bool
    carried: tuple[Carried, ...]


_LIGHT = ("white", "beige", "yellow", "pink", "gray")
_DARK = ("black", "navy", "blue", "red", "green", "purple", "brown")


def _second_color(dice: Dice, color: str) -> str:
    """A color that contrasts with `color`, for stripes, checks and logos."""
    if dice.chance(0.25):
        return dice.pick([c for c in COLORS if c != color and {c, color} != {"black", "navy"}])
    if color in _LIGHT:
        weights = {"black": 5, "blue": 4, "red": 4, "navy": 3, "green": 2, "purple": 1, "brown": 1}
    else:
        weights = {"white": 9, "gray": 2, "yellow": 2, "beige": 1, "pink": 1}
    weights.pop(color, None)
    return dice.weighted(weights)


def _upper(dice: Dice, season: str, sex: str, age: int) -> Garment:
    formal = 0.0 if age < 18 else 0.07 if sex == "male" else 0.03
    if sex == "female" and dice.chance({"summer": 0.24, "mild": 0.10, "cold": 0.02}[season]):
        kind = "dress"
    elif season != "summer" and dice.chance(formal * 1.6):
        kind = "suit jacket"
    else:
        weights = dict(UPPER_BY_SEASON[season])
        if sex == "male":
            weights["tank top"] = 0.3 * weights.get("tank top", 0)
        if age > 50:
            weights["hoodie"] = 0.2 * weights.get("hoodie", 0)
        kind = dice.weighted(weights)
    if kind in ("jacket", "coat"):
        color = dice.weighted(OUTER_COLORS)
    elif kind == "suit jacket":
        color = dice.weighted(SUIT_COLORS)
    elif kind == "dress":
        color = dice.weighted(SKIRT_COLORS)
    else:
        weights = dict(UPPER_COLORS)
        if sex == "male":
            weights["pink"], weights["purple"] = 1.2, 1.8
        color = dice.weighted(weights)
    pattern = dice.weighted(PATTERNS_OF[kind])
    second = None if pattern == "plain" else _second_color(dice, color)
    if kind in ("jacket", "hoodie", "sweater", "t-shirt") and second is None and dice.chance(0.07):
        second = _second_color(dice, color)  # contrasting sleeves
    if kind in ("t-shirt", "polo shirt"):
        length = "long" if kind == "t-shirt" and dice.chance(0.08) else "short"
    elif kind == "tank top":
        length = "none"
    elif kind == "shirt":
        length = "short" if season == "summer" and dice.chance(0.65) else "long"
    elif kind == "dress":
        short = {"none": 45, "short": 45, "long": 10}
        length = dice.weighted(short if season == "summer" else {"short": 30, "long": 70})
    else:
        length = "long"
    return Garment(kind, color, second, pattern, length)


def _lower(dice: Dice, season: str, sex: str, age: int, upper: Garment) -> Garment:
    if upper.kind == "dress":
        hem = "long" if dice.chance(0.35) else "short"
        return Garment("dress", upper.color, upper.second, upper.pattern, hem)
    if upper.kind == "suit jacket":
        same = upper.color if dice.chance(0.75) else dice.weighted(SUIT_COLORS)
        if sex == "female" and dice.chance(0.4):
            return Garment("skirt", same, None, "plain", "short")
        return Garment("trousers", same, None, "plain", "long")
    weights = {"jeans": 42.0, "trousers": 36.0, "leggings": 2.0 if sex == "male" else 14.0}
    if season == "summer":
        weights |= {"shorts": 34.0 if sex == "male" else 26.0, "capri pants": 9.0}
    elif season == "mild":
        weights |= {"shorts": 5.0, "capri pants": 3.0}
    if sex == "male":
        weights["leggings"] = 0.6
    else:
        weights["skirt"] = {"summer": 24.0, "mild": 14.0, "cold": 7.0}[season]
    if age > 55:
        weights["shorts"] = 0.4 * weights.get("shorts", 0.0)
        weights["leggings"] = 0.0
    kind = dice.weighted(weights)
    length = "short" if kind in ("shorts", "capri pants") else "long"
    if kind == "skirt":
        color = dice.weighted(SKIRT_COLORS)
        length = "long" if dice.chance(0.3) else "short"
    elif kind == "jeans" or (kind in ("shorts", "capri pants") and dice.chance(0.35)):
        color = dice.weighted(JEANS_COLORS)
    else:
        color = dice.weighted(LOWER_COLORS)
    pattern = "plain"
    if kind in ("skirt", "shorts", "trousers") and dice.chance(0.07):
        pattern = "plaid"
    elif kind == "leggings" and dice.chance(0.10):
        pattern = "thin stripes"
    second = None if pattern == "plain" else _second_color(dice, color)
    return Garment(kind, color, second, pattern, length)


def _carried(dice: Dice, sex: str, age: int, season: str) -> tuple[Carried, ...]:
    count = dice.weighted({0: 14, 1: 46, 2: 31, 3: 9})
    weights = {
        "backpack": 30.0,
        "handbag": 16.0 if sex == "female" else 4.0,
        "shoulder bag": 18.0 if sex == "female" else 9.0,
        "messenger bag": 8.0,
        "plastic bag": 10.0,
        "suitcase": 4.0,
        "umbrella": 7.0,
        "folder": 6.0,
        "phone": 12.0,
    }
    if age < 15:
        weights |= {"handbag": 1.0, "suitcase": 0.5, "messenger bag": 2.0}
    if season == "summer":
        weights["umbrella"] = 4.0
    shoulder = ("backpack", "shoulder bag", "messenger bag")
    in_hand = ("handbag", "plastic bag", "suitcase", "umbrella", "folder", "phone")
    chosen: list[Carried] = []
    for _ in range(count):
        kind = dice.weighted(weights)
        colors = LEATHER_COLORS if kind == "handbag" else BAG_COLORS
        if kind == "plastic bag":
            colors = {"white": 60, "red": 12, "blue": 8, "black": 8, "yellow": 6, "pink": 3}
        elif kind == "folder":
            colors = {"blue": 25, "white": 25, "black": 15, "red": 10, "green": 8, "yellow": 7}
        elif kind == "phone":
            colors = {"black": 70, "white": 30}
        chosen.append(Carried(kind, dice.weighted(colors)))
        weights[kind] = 0.0
        # Nobody has two bags on the shoulders, and two hands hold two things.
        if kind in shoulder:
            weights |= dict.fromkeys(shoulder, 0.0)
        if sum(c.kind in in_hand for c in chosen) == 2:
            weights |= dict.fromkeys(in_hand, 0.0)
    return tuple(chosen)


@lru_cache(maxsize=4096)
def make_identity(world_seed: int, pid: int) -> Identity:
    """The person `pid` of the world `world_seed`: a pure function of both."""
    dice = Dice("identity", world_seed, pid)
    sex = "male" if dice.chance(0.53) else "female"
    low, high = dice.weighted({(6, 15): 3, (15, 31): 58, (31, 46): 24, (46, 61): 10, (61, 80): 5})
    age = dice.integer(low, high)
    height = dice.normal(1.74, 0.065) if sex == "male" else dice.normal(1.62, 0.06)
    if age < 16:
        height *= 0.62 + 0.38 * (age - 4) / 12
    girth = dice.normal(0.98 + 0.002 * max(0, age - 25), 0.09)
    skin = dice.weighted({0: 14, 1: 34, 2: 26, 3: 13, 4: 7, 5: 6})

    if sex == "male":
        bald = 0.02 if age < 40 else 0.16
        lengths = {"bald": bald, "short": 0.95 - bald, "long": 0.04}
    else:
        lengths = {"short": 0.22 if age < 45 else 0.5, "long": 0.78 if age < 45 else 0.5}
    hair_length = dice.weighted(lengths)
    styles = {"plain": 55, "ponytail": 32, "bun": 13}
    hair_style = dice.weighted(styles) if hair_length == "long" else "plain"
    hair_colors = {"black": 60, "brown": 25, "blond": 10, "gray": 2, "red": 3}
    if age > 55:
        hair_colors = {"gray": 65, "black": 20, "brown": 12, "blond": 3}
    hair_color = dice.weighted(hair_colors)

    season = dice.weighted({"summer": 52, "mild": 28, "cold": 20})
    wear = {"none": 85, "cap": 7, "beanie": 0.5, "hat": 2}
    if season == "cold":
        wear = {"none": 78, "cap": 4, "beanie": 13, "hat": 3}
    headwear = dice.weighted(wear)
    headwear_color = None if headwear == "none" else dice.weighted(OUTER_COLORS)
    glasses = dice.weighted({"none": 74, "glasses": 20, "sunglasses": 6})
    headphones = age < 45 and dice.chance(0.05)
    scarf_chance = {"summer": 0.005, "mild": 0.06, "cold": 0.25}[season]
    scarf_color = dice.weighted(SKIRT_COLORS) if dice.chance(scarf_chance) else None

    upper = _upper(dice, season, sex, age)
    inner_color = None
    may_open = {"jacket": 0.55, "coat": 0.4, "suit jacket": 0.8, "hoodie": 0.2, "shirt": 0.12}
    if dice.chance(may_open.get(upper.kind, 0.0)) and upper.pattern != "logo":
        weights = {c: w for c, w in INNER_COLORS.items() if c != upper.color}
        inner_color = dice.weighted(weights)
    lower = _lower(dice, season, sex, age, upper)

    if upper.kind == "suit jacket":
        footwear = "leather shoes"
    else:
        weights = {"sneakers": 58, "leather shoes": 22, "boots": 5, "sandals": 2}
        if season == "summer":
            weights |= {"sandals": 16, "boots": 1}
        elif season == "cold":
            weights |= {"boots": 22, "sandals": 0}
        footwear = dice.weighted(weights)
    footwear_color = dice.weighted(SHOE_COLORS[footwear])
    bare_legs = lower.kind in ("skirt", "dress", "shorts") and lower.length == "short"
    stockings = sex == "female" and bare_legs and footwear != "sandals" and dice.chance(0.3)
    return Identity(
        pid=pid,
        sex=sex,
        age=age,
        height=round(max(1.0, height), 3),
        girth=round(min(1.3, max(0.8, girth)), 3),
        skin=skin,
        hair_length=hair_length,
        hair_style=hair_style,
        hair_color=hair_color,
        headwear=headwear,
        headwear_color=headwear_color,
        glasses=glasses,
        headphones=headphones,
        scarf_color=scarf_color,
        upper=upper,
        inner_color=inner_color,
        lower=lower,
        footwear=footwear,
        footwear_color=footwear_color,
        stockings=stockings,
        carried=_carried(dice, sex, age, season),
    )
