"""What can be said of a person in a picture.

A `Statement` comes in up to four grammatical forms, so that statements can be combined into
sentences in many ways (see `reidlib.world.language.sentences`). All strings are the markup of
`reidlib.world.language.markup`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reidlib.world.language import lexicon as lex
from reidlib.world.language.wording import Voice, Worn, hair
from reidlib.world.people.identity import Carried


@dataclass(frozen=True)
class Statement:
    """One statement: `doing` follows "is", `does` is a finite predicate, `having` follows "with",
    `own` is a sentence with its own subject. At least one of `doing`, `does` and `own` is set."""

    topic: str
    doing: str = ""
    does: str = ""
    having: str = ""
    own: str = ""


def wearing(voice: Voice, worn: Sequence[Worn]) -> Statement:
    """That some clothes are worn."""
    dice = voice.dice
    clothes = _listed(voice, worn)
    doing = f"wearing {clothes}"
    if worn[0].slot in ("upper", "lower") and dice.chance(0.13):
        doing = f"dressed in {clothes}"
    does = f"wears {clothes}"
    if len(worn) == 1 and dice.chance(0.25):
        placed = f" {voice.his} " in clothes or " with " in clothes
        does = f"has on/RP {clothes}" if placed or dice.chance(0.6) else f"has {clothes} on/RP"
    own = ""
    if all(piece.color for piece in worn) and len(worn) <= 2:
        own = " and ".join(
            f"{voice.his} [{piece.noun}] {'are' if _plural(piece.noun) else 'is'} {piece.color}"
            for piece in worn
        )
    elif len(worn) == 1 and worn[0].slot == "footwear":
        does = f"has {clothes} on {voice.his} [feet]"
    return Statement("wear", doing, does, "", own)


def _plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith("dress")


def _listed(voice: Voice, worn: Sequence[Worn]) -> str:
    """Pieces of clothing as an enumeration."""
    dice = voice.dice
    phrases = [piece.phrase for piece in worn]
    *head, last = phrases
    if not head:
        return last
    if len(head) == 1:
        joint = " and "
        if worn[0].slot in ("upper", "lower") and " with " not in head[0]:
            joints = {" and ": 78, " with ": 17, " paired with ": 2, " along with ": 3}
            joint = dice.weighted(joints)
        return head[0] + joint + last
    if dice.chance(0.12):
        return " and ".join(phrases)
    if len(phrases) == 3 and dice.chance(0.1):
        return f"{head[0]} and {head[1]} with {last}"
    return ", ".join(head) + dice.weighted({", and ": 55, " and ": 45}) + last


def about_hair(voice: Voice) -> Statement:
    """Length, color and style of the hair."""
    person, phrase = voice.person, hair(voice)
    own = ""
    if person.hair_length == "bald":
        return Statement("hair", "", f"has {phrase}", phrase, f"{voice.he} is bald")
    color = voice.hair_color()
    if person.hair_style == "plain":
        own = f"{voice.his} [hair] is {person.hair_length} and {color}"
    elif person.hair_style == "ponytail":
        own = voice.dice.pick(
            [
                f"{voice.his} [{color} hair] is in a [ponytail]",
                f"{voice.his} [hair] is tied back/RB in a [ponytail]",
                f"{voice.his} [{color} hair] is pulled back/RB in a [ponytail]",
            ]
        )
    else:
        own = voice.dice.pick(
            [
                f"{voice.his} [{color} hair] is in a [bun]",
                f"{voice.his} [hair] is pulled up/RP in a [bun]",
            ]
        )
    return Statement("hair", "", f"has {phrase}", phrase, own)


def about_face(voice: Voice) -> list[Statement]:
    """Glasses and headphones, where they can be seen."""
    person, dice, statements = voice.person, voice.dice, []
    if person.glasses != "none" and voice.sees("glasses"):
        noun = dice.weighted({"glasses": 90, "eyeglasses": 10})
        if person.glasses == "sunglasses":
            noun = dice.weighted({"sunglasses": 80, "dark sunglasses": 14, "dark glasses": 6})
        phrase = f"a pair of [{noun}]" if dice.chance(0.08) else f"[{noun}]"
        statements.append(Statement("glasses", f"wearing {phrase}", f"wears {phrase}", phrase))
    if person.headphones and voice.sees("headphones"):
        phrase = "[headphones]"
        if voice.often(0.3):
            phrase += dice.pick([f" on {voice.his} [head]", f" over {voice.his} [ears]"])
        does = f"has {phrase}" if " " in phrase else f"has {phrase} on/RP"
        statements.append(Statement("headphones", f"wearing {phrase}", does, phrase))
    return statements


def about_carried(voice: Voice, thing: Carried, placement: str) -> Statement:
    """A thing carried and where."""
    dice, his = voice.dice, voice.his
    side, _, part = placement.partition(" ")
    if not part:
        side, part = "", placement
    sided = f"{side} " if side and dice.chance(0.3 + 0.15 * voice.detail) else ""
    noun = voice.noun(thing.kind, lex.CARRIED_NOUNS)
    if voice.person.sex == "male" and noun == "purse":
        noun = "bag"
    if thing.kind == "phone":
        return _about_phone(voice, noun, sided)
    colored = f"{voice.color(thing.color)} {noun}" if voice.often(0.85) else noun
    phrase = f"a [{colored}]"
    if part == "back":
        doing, does = _backpack(voice, phrase)
    elif part == "across":
        where = dice.weighted(
            {
                f" across {his} [body]": 30,
                f" across {his} [chest]": 22,
                f" over {his} [shoulder]": 30,
                f" slung over {his} [shoulder]": 12,
                "": 14,
            }
        )
        if noun == "shoulder bag":
            where = f" across {his} [body]"
        doing = f"{dice.pick(['carrying', 'wearing', 'carrying'])} {phrase}{where}"
        does = f"has {phrase}{where}" if where else f"carries {phrase}"
    elif part == "shoulder":
        where = dice.weighted({"over": 44, "on": 56})
        where = f" {where} {his} [{sided}shoulder]" if voice.often(0.75) else ""
        if noun == "shoulder bag":
            where = f" on {his} [{sided}side]" if dice.chance(0.3) else ""
        doing, does = f"carrying {phrase}{where}", f"has {phrase}{where}"
        if not where:
            does = f"carries {phrase}"
    elif part == "elbow":
        where = f" on {his} [{sided}arm]" if voice.often(0.7) else ""
        doing = f"carrying {phrase}{where}"
        does = f"has {phrase}{where}" if where else f"carries {phrase}"
    elif thing.kind == "suitcase":
        where = f" behind {voice.him}" if dice.chance(0.35) else ""
        doing, does = f"pulling {phrase}{where}", f"pulls {phrase}{where}"
    elif thing.kind == "folder":
        under, inside = f" under {his} [{sided}arm]", f" in {his} [{sided}hand]"
        where = dice.weighted({under: 45, inside: 15, "": 40})
        doing = f"{dice.pick(['carrying', 'holding'])} {phrase}{where}"
        does = f"carries {phrase}{where}"
    else:
        where = f" in {his} [{sided}hand]" if voice.often(0.6) else ""
        doing = f"{dice.pick(['carrying', 'holding'])} {phrase}{where}"
        does = f"{dice.pick(['carries', 'holds'])} {phrase}{where}"
        if where:
            does = dice.pick([does, f"has {phrase}{where}"])
    own = f"there is {phrase} on {his} [back]" if part == "back" and dice.chance(0.3) else ""
    return Statement("carry", doing, does, phrase, own)


def _backpack(voice: Voice, phrase: str) -> tuple[str, str]:
    dice, his = voice.dice, voice.his
    where = dice.weighted(
        {
            f" on {his} [back]": 48,
            f" over {his} [shoulders]": 10,
            f" on {his} [shoulders]": 6,
            "": 40,
        }
    )
    wears = dice.chance(0.5) and (where or "bag" not in phrase)
    doing = f"{'wearing' if wears else 'carrying'} {phrase}{where}"
    does = dice.pick([f"carries {phrase}{where}", f"has {phrase}{where}"])
    return doing, does


def _about_phone(voice: Voice, noun: str, sided: str) -> Statement:
    dice, his, gesture = voice.dice, voice.his, voice.shot.gesture
    if gesture == "looking at phone":
        doing = dice.weighted(
            {
                f"looking at {his} [{noun}]": 50,
                f"looking down at {his} [{noun}]": 28,
                f"looking at a [{noun}] in {his} [hand]": 14,
                f"checking {his} [{noun}]": 8,
            }
        )
        return Statement(
            "phone", doing, doing.replace("looking", "looks").replace("checking", "uses")
        )
    if gesture == "phone at ear":
        doing = dice.weighted(
            {
                f"talking on {his} [{noun}]": 46,
                f"talking on a [{noun}]": 34,
                f"holding a [{noun}] to {his} [ear]": 20,
            }
        )
        return Statement(
            "phone", doing, doing.replace("talking", "talks").replace("holding", "holds")
        )
    where = f" in {his} [{sided}hand]"
    phrase = f"a [{noun}]{where}"
    return Statement("phone", f"holding {phrase}", f"has {phrase}", phrase)


def about_action(voice: Voice) -> Statement:
    """What the person does and where: nothing that tells one person from another."""
    dice, shot = voice.dice, voice.shot
    place = dice.weighted(
        {
            " on the [sidewalk]": 20,
            " down the [street]": 14,
            " outside": 9,
            " on the [street]": 9,
            " along the [sidewalk]": 6,
            " down the [road]": 5,
            " across the [street]": 4,
            " on a [path]": 3,
            " by a [building]": 4,
            " in front of a [building]": 4,
            " near a [wall]": 2,
            " past a [store]": 2,
            " through a [plaza]": 2,
            " over a [crosswalk]": 2,
            " on the [pavement]": 3,
        }
    )
    if shot.stride == 0.0:
        if place.split()[0] in ("down", "along", "across", "over", "past", "through"):
            place = " on the [sidewalk]"
        doing = dice.weighted({f"standing{place}": 76, "standing still": 14, f"waiting{place}": 10})
        return Statement("action", doing, doing.replace("ing", "s", 1))
    if shot.view == "back" and dice.chance(0.35):
        doing = dice.pick(["walking away", "walking away from the [camera]"])
    elif shot.view == "front" and dice.chance(0.2):
        doing = "walking toward the [camera]"
    elif shot.view in ("left", "right") and dice.chance(0.2):
        doing = f"walking to the [{shot.view}/NN]"
    else:
        manners = {"walking": 88, "strolling": 4, "walking casually": 4, "walking alone": 4}
        doing = f"{dice.weighted(manners)}{place}"
    if shot.gesture == "hand in pocket" and dice.chance(0.6):
        doing += f" with {voice.his} [hand] in {voice.his} [pocket]"
    elif not shot.carried and dice.chance(0.08):
        doing += f" with {voice.his} [arms] at {voice.his} [sides]"
    does = doing.replace("walking", "walks", 1) if doing.startswith("walking") else ""
    return Statement("action", doing, does)


def about_view(voice: Voice, action: Statement) -> Statement:
    """How the person is turned: of no use for telling people apart either.

    Does not repeat what `action` says of the direction.
    """
    dice, shot = voice.dice, voice.shot
    if any(word in action.doing for word in ("away", "camera", "right", "left")):
        return Statement("view", dice.pick(["looking straight ahead", "looking ahead"]))
    if shot.view == "back":
        doing = dice.pick(["facing away from the [camera]", "facing away"])
        back = f"{voice.his} [back]"
        own = dice.pick([f"{back} is to the [camera]", f"{voice.he} has {back} to the [camera]"])
        return Statement("view", doing, "", f"{back} to the [camera]", own)
    if shot.view == "front":
        doing = dice.weighted(
            {
                "facing the [camera]": 30,
                "looking straight ahead": 24,
                "looking down": 16 if shot.gesture != "looking at phone" else 0.0,
                "facing forward": 20,
                "looking to the [side]": 10,
            }
        )
    else:
        side = f"facing to the [{shot.view}/NN]"
        doing = dice.pick([side, "facing sideways", "looking straight ahead"])
    return Statement("view", doing)


def about_body(voice: Voice) -> Statement:
    """Height and build."""
    person = voice.person
    tall = 1.80 if person.sex == "male" else 1.68
    height = "tall" if person.height > tall else "short" if person.height < tall - 0.17 else ""
    if person.girth > 1.1:
        build = voice.dice.pick(["heavyset", "stocky"])
    else:
        build = "slim" if person.girth < 0.92 else voice.dice.pick(["medium", "average"])
    has = f"has a [{build} build]"
    return Statement("body", "", f"is {height} and {has}" if height else has, f"a [{build} build]")


def about_sleeves(voice: Voice) -> Statement:
    """The length of the sleeves, in a sentence of its own."""
    upper = voice.person.upper
    noun = {"polo shirt": "polo shirt", "dress": "dress"}.get(upper.kind, "shirt")
    if upper.length == "none":
        return Statement("sleeves", own=f"{voice.his} [{noun}] is sleeveless")
    sleeves = f"{voice.his} [{noun}] has [{upper.length} sleeves]"
    return Statement("sleeves", own=sleeves)


def about_empty_hands(voice: Voice) -> Statement:
    """That nothing is carried."""
    dice, his = voice.dice, voice.his
    own = dice.pick([f"{voice.he} is not carrying a [bag]", f"there is [nothing] in {his} [hands]"])
    return Statement("carry", "", f"has [nothing] in {his} [hands]", "", own)
