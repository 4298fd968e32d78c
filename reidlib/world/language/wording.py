"""How the things a picture shows are put into words: noun phrases and verb phrases.

All functions return the markup of `reidlib.world.language.markup`. A `Voice` is one annotator
looking at one picture: what she sees, how much detail she likes, and how often she gets a color
wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reidlib.world.dice import Dice
from reidlib.world.drawing.shot import Shot
from reidlib.world.language import lexicon as lex
from reidlib.world.people.identity import Carried, Garment, Identity

SEEN = 0.3  # visible fraction from which a thing is noticed


@dataclass(frozen=True)
class Voice:
    """One annotator before one picture.

    `wrong` is the chance that a color word names a similar color, `detail` (0 to 2) the taste for
    optional words. `dice` is the only state.
    """

    dice: Dice
    person: Identity
    shot: Shot
    visible: Mapping[str, float]
    wrong: float
    detail: float

    @property
    def he(self) -> str:
        return "he" if self.person.sex == "male" else "she"

    @property
    def his(self) -> str:
        return "his" if self.person.sex == "male" else "her"

    @property
    def him(self) -> str:
        return "him" if self.person.sex == "male" else "her/PRP"

    def sees(self, thing: str, share: float = SEEN) -> bool:
        """Whether at least `share` of a thing can be seen."""
        return self.visible.get(thing, 0.0) >= share

    def often(self, share: float) -> bool:
        """Whether a detail is mentioned: always for `detail` 2, a `share` of the time for 0."""
        return self.dice.chance(share + (1.0 - share) * 0.5 * self.detail)

    def color(self, name: str, words: Mapping[str, Mapping[str, float]] = lex.COLOR_WORDS) -> str:
        """A word for the color of cloth (or denim, by `words`), now and then the wrong one."""
        if self.dice.chance(self.wrong):
            name = self.dice.pick(lex.NEAR_COLORS[name])
        return self.dice.weighted(dict(words.get(name) or lex.COLOR_WORDS[name]))

    def hair_color(self) -> str:
        """A word for the color of the hair, now and then the wrong one."""
        name = self.person.hair_color
        if self.dice.chance(self.wrong):
            name = self.dice.pick(lex.NEAR_HAIR_COLORS[name])
        return self.dice.weighted(lex.HAIR_WORDS[name])

    def noun(self, kind: str, nouns: Mapping, nouns_female: Mapping | None = None) -> str:
        """A noun for a kind of thing."""
        table = nouns[kind]
        if self.person.sex == "female" and nouns_female and kind in nouns_female:
            table = nouns_female[kind]
        return self.dice.weighted(dict(table))


@dataclass(frozen=True)
class Worn:
    """One piece of an outfit: `phrase` with its article, and what a sentence about it needs.

    `noun` and `color` serve "his pants are black" (empty where that would sound odd).
    """

    slot: str
    phrase: str
    noun: str = ""
    color: str = ""


def subject(voice: Voice) -> str:
    """Noun phrase for the person, without article: "[young man]"."""
    person, dice = voice.person, voice.dice
    male = person.sex == "male"
    # Who turns the back is hard to date.
    dated = 1.0 if voice.sees("face") else 0.5
    noun = dice.weighted(
        {"man": 72, "male": 9, "guy": 5, "person": 8, "pedestrian": 3}
        if male
        else {"woman": 62, "lady": 14, "female": 9, "girl": 5, "person": 7, "pedestrian": 3}
    )
    if person.age < 13:
        noun = "boy" if male else "girl"
        age = "little" if person.age < 9 else "young"
    elif person.age < 18:
        noun = dice.pick(["boy", "young man", "boy"] if male else ["girl", "young woman", "girl"])
        age = "teenage" if noun in ("boy", "girl") else ""
    elif person.age < 33:
        age = "young"
    elif person.age < 45:
        age = "adult" if noun in ("male", "female") else ""
    elif person.age < 61:
        age = "middle-aged"
    else:
        age = dice.pick(["older", "elderly", "older", "old"])
    if noun == "girl" and person.age > 30:
        noun = "woman"
    if person.girth > 1.13:
        build = dice.weighted({"heavyset": 60, "stocky": 30, "big": 10})
    elif person.girth < 0.87:
        build = dice.weighted({"slim": 50, "thin": 35, "slender": 15})
    else:
        build = "tall" if person.height > (1.83 if male else 1.72) else ""
    if not age or not voice.dice.chance(dated * (0.34 + 0.2 * voice.detail)):
        age = ""
    if not build or not voice.dice.chance(0.2 + 0.08 * voice.detail):
        build = ""
    return f"[{' '.join(word for word in (build, age, noun) if word)}]"


def outfit(voice: Voice) -> list[Worn]:
    """What is worn from head to feet, as far as it can be seen."""
    person, dice = voice.person, voice.dice
    worn = []
    if person.headwear != "none" and voice.sees("headwear"):
        worn.append(_headwear(voice))
    if person.scarf_color and voice.sees("scarf"):
        scarf = f"a [{voice.color(person.scarf_color)} scarf]"
        if voice.often(0.4):
            scarf += f" around {voice.his} [neck]"
        worn.append(Worn("scarf", scarf))
    sees_lower = voice.sees("lower")
    one_piece = person.upper.kind == "dress"
    suit = (
        person.upper.kind == "suit jacket"
        and person.lower.kind == "trousers"
        and person.lower.color == person.upper.color
        and sees_lower
        and dice.chance(0.55)
    )
    if voice.sees("upper"):
        worn.append(_suit(voice) if suit else _upper(voice))
    if sees_lower and not one_piece and not suit:
        worn.append(_lower(voice))
    if person.stockings and sees_lower and dice.chance(0.4 + 0.25 * voice.detail):
        worn.append(Worn("stockings", f"[{dice.pick(['black', 'dark'])} stockings]"))
    if voice.sees("footwear"):
        worn.append(_footwear(voice))
    return worn


def _headwear(voice: Voice) -> Worn:
    person = voice.person
    noun = voice.noun(person.headwear, lex.HEADWEAR_NOUNS)
    phrase = f"a [{voice.color(person.headwear_color or 'black')} {noun}]"
    if voice.often(0.1):
        phrase += f" on {voice.his} [head]"
    return Worn("headwear", phrase)


def _upper(voice: Voice) -> Worn:
    """The upper garment, with its pattern and the shirt below it where they can be seen."""
    garment = voice.person.upper
    noun = voice.noun(garment.kind, lex.UPPER_NOUNS, lex.UPPER_NOUNS_FEMALE)
    color = voice.color(garment.color)
    sleeve = _sleeve(voice, garment, noun)
    if garment.kind == "dress":
        hem = "long" if voice.person.lower.length == "long" else "short"
        if not sleeve and voice.often(0.35):
            sleeve = hem
    patterned = garment.pattern != "plain" and voice.sees("upper_pattern") and voice.often(0.75)
    tail = ""
    if patterned:
        front, tail = _patterned(voice, garment, color, noun, sleeve)
    elif garment.second and garment.pattern == "plain" and voice.often(0.6):
        second = voice.color(garment.second)
        front, tail = f"{color} {noun}", f" with [{second} sleeves]"
    else:
        front = f"{color} {noun}"
        if sleeve in ("short sleeve", "long sleeve"):  # nouns stand next to the noun
            front = f"{color} {sleeve} {noun}"
        elif sleeve and voice.dice.chance(0.2) and sleeve.endswith("-sleeved"):
            tail = f" with [{sleeve.removesuffix('-sleeved')} sleeves]"
        elif sleeve:
            front = f"{sleeve} {color} {noun}"
    plain = Worn("upper", f"a [{front}]{tail}", noun, "" if patterned else color)
    if voice.person.inner_color and voice.sees("inner") and voice.often(0.75):
        return _layered(voice, plain, front, tail)
    return plain


def _layered(voice: Voice, outer: Worn, front: str, tail: str) -> Worn:
    """An open garment and the shirt below it."""
    dice = voice.dice
    noun = dice.weighted(lex.INNER_NOUNS)
    if voice.person.upper.kind == "suit jacket":
        noun = dice.weighted({"shirt": 70, "dress shirt": 30})
    elif voice.person.upper.kind == "shirt":
        noun = dice.weighted({"t-shirt": 80, "tank top": 20})
    inner = f"[{voice.color(voice.person.inner_color or 'white')} {noun}]"
    if not front.startswith("open") and dice.chance(0.18):
        front = f"open {front}"
    phrase = f"a [{front}]{tail}"
    forms = {
        f"{phrase} over a {inner}": 48.0,
        f"a {inner} under a [{front}]{tail}": 20.0,
        f"a {inner} underneath a [{front}]{tail}": 4.0,
        f"{phrase} and a {inner}": 10.0,
    }
    if not tail:
        forms |= {
            f"{phrase} with a {inner} underneath/RB": 14.0,
            f"{phrase} with a {inner} under it": 8.0,
        }
    return Worn(outer.slot, dice.weighted(forms))


def _sleeve(voice: Voice, garment: Garment, noun: str) -> str:
    """Words for the sleeves, or nothing where the noun says it or nobody would mention it."""
    if noun == "tank top" or noun.startswith("sleeveless"):
        return ""
    chance = {"t-shirt": 0.3, "shirt": 0.35, "polo shirt": 0.2, "dress": 0.2}.get(garment.kind, 0.0)
    if garment.kind == "sweater":
        chance = 0.12
    if garment.kind == "t-shirt" and garment.length == "long":
        chance = 0.85
    if not voice.dice.chance(chance * (0.7 + 0.55 * voice.detail)):
        return ""
    if garment.length == "none":
        return "sleeveless"
    forms = {"{}-sleeved": 46.0, "{} sleeved": 26.0}
    if not noun.startswith(("button", "collared")):
        forms["{} sleeve"] = 28.0
    form = voice.dice.weighted(forms)
    return form.format(garment.length)


def _patterned(
    voice: Voice, garment: Garment, color: str, noun: str, sleeve: str
) -> tuple[str, str]:
    """(noun phrase, what follows it) of a striped, checked or printed garment."""
    dice = voice.dice
    second = voice.color(garment.second or "white")
    before = f"{sleeve} " if sleeve.endswith("sleeved") or sleeve in ("short", "long") else ""
    if second == color:
        second = "dark" if color in ("white", "yellow", "beige") else "white"
    if garment.pattern == "plaid":
        forms = {
            (f"{before}{color} and {second} plaid {noun}", ""): 42.0,
            (f"{before}{color} and {second} checkered {noun}", ""): 18.0,
            (f"{before}{color} plaid {noun}", ""): 16.0,
            (f"{before}plaid {noun}", ""): 6.0,
            (f"checkered {color} and {second} {noun}", ""): 8.0,
            (f"{before}{color} {noun}", f" with a [{second} plaid/NN pattern]"): 6.0,
            (f"{before}{color} {noun}", f" with [{second} checks]"): 4.0,
        }
    elif garment.pattern == "logo":
        noun_of = dice.weighted(
            {"logo": 34, "design": 28, "print": 22, "picture": 6, "graphic": 10}
        )
        where = dice.weighted(
            {
                " on the [front]": 50,
                f" on {voice.his} [chest]": 8,
                " on the [chest]": 22,
                " on it": 20,
            }
        )
        graphic = "graphic/NN" if noun_of == "graphic" else noun_of
        forms = {
            (f"{before}{color} {noun}", f" with a [{second} {graphic}]{where}"): 70.0,
            (
                f"{before}{color} {noun}",
                f" with [{second} {dice.pick(['writing', 'lettering'])}]{where}",
            ): 22.0,
            (f"{before}{color} and {second} {noun}", ""): 6.0,
        }
        if noun in ("t-shirt", "tee shirt"):
            forms[(f"{color} graphic {noun}", "")] = 6.0
    else:
        wide = dice.pick(["thick", "wide"]) if garment.pattern == "thick stripes" else "thin"
        wide = f"{wide} " if voice.often(0.35) else ""
        forms = {
            (f"{before}{color} and {second} striped {noun}", ""): 44.0,
            (f"{before}{color} {noun}", f" with [{wide}{second} stripes]"): 32.0,
            (f"{before}striped {color} and {second} {noun}", ""): 10.0,
            (f"{before}{color} striped {noun}", ""): 9.0,
            (f"{before}striped {noun}", ""): 5.0,
        }
    return dice.weighted(forms)


def _suit(voice: Voice) -> Worn:
    color = voice.color(voice.person.upper.color)
    noun = voice.dice.weighted({"suit": 80, "business/NN suit": 20})
    phrase = f"a [{color} {noun}]"
    if voice.person.inner_color and voice.sees("inner"):
        inner = (
            f"[{voice.color(voice.person.inner_color)} {voice.dice.pick(['shirt', 'dress shirt'])}]"
        )
        phrase += voice.dice.pick([f" over a {inner}", f" with a {inner}", f" and a {inner}"])
    return Worn("upper", phrase)


def _lower(voice: Voice) -> Worn:
    garment, dice = voice.person.lower, voice.dice
    noun = voice.noun(garment.kind, lex.LOWER_NOUNS)
    if garment.kind == "trousers" and voice.person.footwear == "leather shoes" and dice.chance(0.2):
        noun = "dress pants"
    color = voice.color(
        garment.color, lex.DENIM_WORDS if garment.kind == "jeans" else lex.COLOR_WORDS
    )
    front = f"{color} {noun}"
    if garment.pattern == "plaid" and voice.often(0.7):
        second = voice.color(garment.second or "white")
        front = dice.pick([f"{color} plaid {noun}", f"{color} and {second} plaid {noun}"])
        color = ""
    elif garment.pattern == "thin stripes" and voice.often(0.7):
        second = voice.color(garment.second or "white")
        front = dice.pick([f"{color} striped {noun}", f"{color} and {second} striped {noun}"])
        color = ""
    elif garment.kind == "jeans" and noun == "jeans" and dice.chance(0.05):
        front, color = "jeans", ""
    fit, _, rest = noun.partition(" ")
    if fit in ("tight", "skinny"):  # "tight black pants"
        noun, front = rest, f"{fit} {front.replace(noun, rest)}"
    if garment.kind == "skirt":
        if voice.often(0.5):
            long = garment.length == "long"
            front = (
                f"long {front}"
                if long
                else f"{dice.pick(['short', 'short', 'knee-length'])} {front}"
            )
        return Worn("lower", f"a [{front}]", noun, color)
    if garment.kind == "shorts" and dice.chance(0.06):
        front = f"knee-length {front}"
    return Worn("lower", _pair(voice, front, 0.09), noun, color)


def _footwear(voice: Voice) -> Worn:
    person = voice.person
    noun = voice.noun(person.footwear, lex.SHOE_NOUNS, lex.SHOE_NOUNS_FEMALE)
    color = voice.color(person.footwear_color)
    return Worn("footwear", _pair(voice, f"{color} {noun}", 0.1), noun, color)


def _pair(voice: Voice, front: str, chance: float) -> str:
    return f"a pair of [{front}]" if voice.dice.chance(chance) else f"[{front}]"


def hair(voice: Voice) -> str:
    """Noun phrase for the hair, for "has ..." and "with ..."."""
    person, dice = voice.person, voice.dice
    if person.hair_length == "bald":
        return dice.weighted({"a [bald head]": 60, "a [shaved head]": 40})
    color = voice.hair_color()
    if person.hair_style == "ponytail":
        tied = dice.weighted(
            {"tied back/RB": 30, "pulled back/RB": 26, "tied": 18, "worn": 8, "up/RP": 6, "": 30}
        )
        length = dice.weighted({"long ": 45, "": 55})
        if dice.chance(0.14):
            return f"a [{length}{color} ponytail]"
        return f"[{length}{color} hair] {tied + ' ' if tied else ''}in a [ponytail]"
    if person.hair_style == "bun":
        tied = dice.weighted(
            {"pulled up/RP": 24, "tied up/RP": 18, "tied": 16, "pulled back/RB": 22, "": 26}
        )
        return f"[{color} hair] {tied + ' ' if tied else ''}in a [bun]"
    if person.hair_length == "long":
        return dice.weighted(
            {f"[long {color} hair]": 86, "[long hair]": 8, f"[long straight {color} hair]": 6}
        )
    return dice.weighted({f"[short {color} hair]": 72, f"[{color} hair]": 20, "[short hair]": 8})


def carried_things(voice: Voice) -> list[tuple[Carried, str]]:
    """The things carried that can be seen, each with its placement."""
    pairs = zip(voice.shot.carried, voice.shot.placement, strict=True)
    return [(thing, place) for thing, place in pairs if voice.sees(f"carried:{thing.kind}")]
