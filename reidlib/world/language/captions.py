"""Captions of the procedural world, in the manner of CUHK-PEDES, ICFG-PEDES and RSTPReid.

A caption is a pure function of (world seed, pid, shot number, caption number) and of what can be
seen in the picture. The author of a caption draws a length, then says one thing after the other
until it is reached: in CUHK-PEDES style with omissions, in any order, with remarks that are of no
use for finding the person and a wrong color now and then; in ICFG-PEDES style completely and in
detail; in RSTPReid style in detail, but shorter. Only what is visible is mentioned.
"""

import math
from collections.abc import Mapping

from reidlib.data.formats.rstpreid import LEAST_WORDS
from reidlib.world.dice import Dice
from reidlib.world.drawing.shot import Shot
from reidlib.world.language.markup import Caption, count_words, realize
from reidlib.world.language.sentences import fragment, sentence
from reidlib.world.language.statements import (
    Statement,
    about_action,
    about_body,
    about_carried,
    about_empty_hands,
    about_face,
    about_hair,
    about_sleeves,
    about_view,
    wearing,
)
from reidlib.world.language.wording import Voice, Worn, carried_things, outfit, subject
from reidlib.world.people.identity import Identity

__all__ = ["Caption", "cuhk_caption", "icfg_caption", "rstp_caption"]

# Chance that a piece is mentioned at all in a CUHK-PEDES caption.
_MENTIONED = {
    "headwear": 0.85,
    "scarf": 0.8,
    "upper": 0.98,
    "lower": 0.93,
    "stockings": 0.7,
    "footwear": 0.72,
}
# Garments whose sleeves are worth a word.
_SLEEVES = {"t-shirt", "shirt", "polo shirt", "tank top", "dress"}
# Words of a subject that already tell the build.
_BUILDS = {"tall", "slim", "thin", "slender", "heavyset", "stocky", "big"}
# Statements that share a sentence: what a person looks like, or what she does.
_LOOKS = {"wear", "carry", "hair", "glasses", "headphones", "body"}
_DEEDS = {"wear", "carry", "phone", "action", "view"}
# What may follow a sentence on the same topic.
_ALSO = (
    ("wear", "is wearing", "is also wearing"),
    ("wear", "has on", "also has on"),
    ("carry", "is carrying", "is also carrying"),
    ("carry", "is holding", "is also holding"),
)
_SHORTEST = 12  # words from which a caption may end
_CUHK_WRONG_COLORS = 0.065
_ICFG_WRONG_COLORS = 0.012
_RSTP_WRONG_COLORS = 0.03


def cuhk_caption(identity: Identity, shot: Shot, visible: Mapping[str, float], k: int) -> Caption:
    """Caption number `k` (0, 1, ...) of a picture, 23.5 words on average.

    visible: fraction 0..1 of every part that can be seen, as `render` reports it.
    """
    dice = Dice("cuhk caption", shot.world_seed, shot.pid, shot.number, k)
    target = min(56.0, max(12.0, math.exp(dice.normal(math.log(22.2), 0.29))))
    detail = min(1.0, max(0.0, (target - 12.0) / 26.0))
    voice = Voice(dice, identity, shot, visible, _CUHK_WRONG_COLORS, detail)

    worn = [piece for piece in outfit(voice) if dice.chance(_MENTIONED[piece.slot])]
    clothes = _grouped(voice, worn, _group_size(dice, target))
    others = [statement for statement in about_face(voice) if dice.chance(0.65)]
    others += [about_carried(voice, *pair) for pair in carried_things(voice) if dice.chance(0.86)]
    if voice.sees("hair", 0.4) and dice.chance(0.52):
        others.append(about_hair(voice))
    others = _shuffled(dice, others + clothes[1:])
    action = about_action(voice)
    view = about_view(voice, action)
    remarks = [action] if dice.chance(0.25) else []
    remarks += [view] if dice.chance(0.07) else []
    statements = _shuffled(dice, others + remarks) if dice.chance(0.5) else others + remarks
    # Most annotators start with the clothes; some with what else they see.
    statements = (
        statements[:1] + clothes[:1] + statements[1:]
        if dice.chance(0.2)
        else clothes[:1] + statements
    )
    noun = subject(voice)
    markup = _composed(voice, noun, statements, [action, view], target, fragments=0.14)
    return realize(markup, capitals=not dice.chance(0.12), final_stop=not dice.chance(0.1))


def icfg_caption(identity: Identity, shot: Shot, visible: Mapping[str, float]) -> Caption:
    """The caption of a picture in ICFG-PEDES style, 37.2 words on average, arguments as above."""
    dice = Dice("icfg caption", shot.world_seed, shot.pid, shot.number)
    target = min(66.0, max(22.0, dice.normal(38.0, 7.0)))
    return _detailed(Voice(dice, identity, shot, visible, _ICFG_WRONG_COLORS, 2.0), target)


def rstp_caption(identity: Identity, shot: Shot, visible: Mapping[str, float], k: int) -> Caption:
    """Caption number `k` of a picture in RSTPReid style, arguments as above.

    It has at least `LEAST_WORDS` words: an author who falls short of them starts again with
    more to say, eight times at most. Of somebody who is all but hidden the longest attempt is kept.
    """
    longest = Caption("", (), (), ())
    for attempt in range(8):
        dice = Dice("rstp caption", shot.world_seed, shot.pid, shot.number, k, attempt)
        target = min(48.0, max(24.0, dice.normal(28.0, 4.0))) + 4.0 * attempt
        caption = _detailed(Voice(dice, identity, shot, visible, _RSTP_WRONG_COLORS, 1.5), target)
        longest = max(longest, caption, key=lambda each: len(each.tokens))
        if len(longest.tokens) >= LEAST_WORDS:
            break
    return longest


def _detailed(voice: Voice, target: float) -> Caption:
    """All that can be seen of a person, as far as about `target` words allow it."""
    dice, identity, shot = voice.dice, voice.person, voice.shot
    worn = outfit(voice)
    clothes = _grouped(voice, worn, dice.weighted({1: 10, 2: 45, 3: 35, 4: 10}))
    statements = about_face(voice)
    statements += [about_carried(voice, *pair) for pair in carried_things(voice)]
    statements = _shuffled(dice, statements)
    looks = [about_hair(voice)] if voice.sees("hair") else []
    if dice.chance(0.7):
        statements = looks + clothes + statements
    else:
        statements = clothes[:1] + looks + _shuffled(dice, clothes[1:] + statements)
    noun = subject(voice)
    action = about_action(voice)
    spare = [action]
    if not _BUILDS & set(noun.strip("[]").split()) and dice.chance(0.5):
        spare.insert(dice.integer(0, 2), about_body(voice))
    sleeves = any(
        word in statement.doing for statement in clothes for word in ("sleeve", "tank top")
    )
    if identity.upper.kind in _SLEEVES and voice.sees("upper") and not sleeves and dice.chance(0.8):
        spare.insert(0, about_sleeves(voice))
    if not shot.carried and dice.chance(0.7):
        spare.insert(0, about_empty_hands(voice))
    spare.append(about_view(voice, action))
    return realize(_composed(voice, noun, statements, spare, target, fragments=0.0))


def _group_size(dice: Dice, target: float) -> int:
    """How many pieces of clothing the first enumeration has."""
    if target < 16.0:
        return 2
    return dice.weighted({1: 12, 2: 34, 3: 40, 4: 14} if target > 20.0 else {1: 8, 2: 50, 3: 42})


def _grouped(voice: Voice, worn: list[Worn], size: int) -> list[Statement]:
    """The clothes as one enumeration of `size` pieces and what is left one or two at a time.

    Small things (scarf, headwear) come in the enumeration or on their own; most enumerations go
    from head to feet.
    """
    dice = voice.dice
    small = {"headwear": 0.6, "scarf": 0.5, "stockings": 0.3}
    alone = [piece for piece in worn if dice.chance(small.get(piece.slot, 0.0))]
    main = [piece for piece in worn if piece not in alone]
    if dice.chance(0.16):
        main = _shuffled(dice, main)
    groups = [main[:size]] if main else []
    rest = main[size:]
    step = 2 if dice.chance(0.5) else 1
    groups += [rest[start : start + step] for start in range(0, len(rest), step)]
    groups += [[piece] for piece in alone]
    return [wearing(voice, group) for group in groups]


def _composed(
    voice: Voice,
    noun: str,
    statements: list[Statement],
    spare: list[Statement],
    target: float,
    fragments: float,
) -> str:
    """Sentences made of `statements` about `noun` until about `target` words are reached.

    Where there is too little to say, `spare` remarks fill in. fragments: the chance that the first
    sentence has no finite verb.
    """
    dice = voice.dice
    article = dice.weighted({"a": 42, "the": 46, "this": 12})
    terse = dice.chance(fragments)
    sentences: list[str] = []
    words = 0
    topics: set[str] = set()
    said = {statement.topic for statement in statements}
    queue = statements + [statement for statement in spare if statement.topic not in said]
    while queue:
        count = dice.weighted({1: 40, 2: 46, 3: 14} if not sentences else {1: 58, 2: 42})
        chosen = _fitting(queue, count)
        if not sentences and terse and chosen[0].doing:
            opening = dice.weighted({"a": 76, "": 10, "this is a": 14})
            text = fragment(voice, f"{opening} {noun}", chosen)
        elif not sentences and chosen[0].own.startswith(f"{voice.his} ") and dice.chance(0.07):
            chosen = chosen[:1]
            text = chosen[0].own.replace(voice.his, f"the {noun} 's", 1)
        elif not sentences:
            text = sentence(voice, f"{article} {noun}", chosen, first=True)
        else:
            text = _follow_up(voice, noun, chosen, topics)
        length = count_words(text)
        if words >= _SHORTEST and abs(words + length - target) > abs(words - target):
            if len(chosen) == 1 or words + 6 > target:
                break
            chosen = chosen[:1]
            text = _follow_up(voice, noun, chosen, topics)
            length = count_words(text)
            if words + length - target > target - words:
                break
        sentences.append(text)
        words += length
        topics.update(statement.topic for statement in chosen)
        queue = [statement for statement in queue if statement not in chosen]
    return ". ".join(sentences) + "."


def _fitting(queue: list[Statement], count: int) -> list[Statement]:
    """Up to `count` statements from the front that go together: no topic twice, looks or deeds."""
    chosen = queue[:1]
    for statement in queue[1:]:
        topics = {statement.topic, *(other.topic for other in chosen)}
        if len(chosen) == count:
            break
        if len(topics) > len(chosen) and (topics <= _LOOKS or topics <= _DEEDS):
            chosen.append(statement)
    return chosen


def _follow_up(voice: Voice, noun: str, statements: list[Statement], topics: set[str]) -> str:
    """A sentence behind the first one."""
    dice = voice.dice
    owned = [statement for statement in statements if statement.own]
    silent = any(not statement.doing and not statement.does for statement in statements)
    if silent or (owned and len(owned) == len(statements) and dice.chance(0.34)):
        return " and ".join(statement.own for statement in owned)
    base = noun.strip("[]").split()[-1]
    who = dice.weighted({voice.he: 80, f"the [{base}]": 18, f"this [{base}]": 2})
    text = sentence(voice, who, statements)
    if text.startswith(f"{voice.he} is ") and dice.chance(0.03):
        return text.replace(" is ", " 's/VBZ ", 1)
    for topic, plain, also in _ALSO:
        if topic in topics and text.startswith(f"{who} {plain}") and dice.chance(0.2):
            return text.replace(plain, also, 1)
    return text


def _shuffled(dice: Dice, items: list) -> list:
    """The items in random order."""
    keyed = [(dice.random(), position, item) for position, item in enumerate(items)]
    return [item for *_, item in sorted(keyed, key=lambda entry: entry[:2])]
