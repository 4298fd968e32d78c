"""How statements about a person become sentences."""

import re
from collections.abc import Sequence

from reidlib.world.language.statements import Statement
from reidlib.world.language.wording import Voice


def sentence(voice: Voice, who: str, statements: Sequence[Statement], first: bool = False) -> str:
    """One sentence (without its full stop) that says one to three things of `who`.

    `who` is a subject with its article, or a pronoun. Only the `first` sentence of a caption may
    hang something on the subject ("a woman with long hair is ...") or be built in another way.
    """
    dice = voice.dice
    rest = list(statements)
    if first and len(rest) > 1:
        for position, statement in enumerate(rest):
            if statement.having and len(statement.having.split()) < 9 and dice.chance(0.5):
                who += f" with {statement.having}"
                del rest[position]
                break
    if first and rest[0].doing and dice.chance(0.2):
        return _turned(voice, who, rest)
    return f"{who} {_predicate(voice, rest)}"


def fragment(voice: Voice, who: str, statements: Sequence[Statement]) -> str:
    """A first sentence without a finite verb: "a man wearing a cap walking down the street".

    The first statement must have `doing`.
    """
    parts = ""
    walking = statements[0].topic == "action"
    for statement in statements:
        doing = statement.doing
        if doing and not parts:
            parts = doing.replace("dressed in", voice.dice.pick(["dressed in", "in"]))
        elif doing and (walking or statement.topic in ("action", "view", "phone")):
            parts += f" {doing}"
        elif doing:
            same = doing.split()[0] == parts.split()[0] == "wearing"
            parts += f" and {doing.removeprefix('wearing ') if same else doing}"
        else:
            who += f" with {statement.having}"
    return f"{who} {parts}"


def _predicate(voice: Voice, statements: Sequence[Statement]) -> str:
    """Coordinated predicates: "is wearing a hat, has long hair, and is walking"."""
    dice = voice.dice
    forms: list[tuple[bool, str]] = []  # (whether it follows "is", words)
    for statement in statements:
        now = bool(statement.doing) and (not statement.does or dice.chance(0.76))
        part = statement.doing if now else statement.does
        forms.append((now, part.replace("dressed in", "wearing") if forms else part))
    if len(forms) == 3:
        if all(now for now, _ in forms):
            parts = [f"is {forms[0][1]}", forms[1][1], forms[2][1]]
        else:
            parts = [f"is {part}" if now else part for now, part in forms]
        return f"{parts[0]}, {parts[1]}{dice.pick([', and ', ' and '])}{parts[2]}"
    now, part = forms[0]
    predicate = f"is {part}" if now else part
    if len(forms) == 1:
        return predicate
    joint = ", and " if " and " in part and dice.chance(0.35) else " and "
    then_now, then = forms[1]
    if now == then_now and _shares_verb(part, statements[1], then):
        then = then.partition(" ")[2]
    elif then_now and not (now and dice.chance(0.6)):
        then = f"is {then}"
    return f"{predicate}{joint}{then}"


def _shares_verb(part: str, statement: Statement, then: str) -> bool:
    """Whether the verb is said already, as in "is wearing glasses and (wearing) a hat"."""
    if statement.topic == "body" or re.search(r" and |/RP", part):
        return False
    verb, _, what = then.partition(" ")
    return part.startswith(f"{verb} ") and what.startswith(("a ", "["))


def _turned(voice: Voice, who: str, statements: Sequence[Statement]) -> str:
    """A first sentence that does not start with the subject and its predicate."""
    dice = voice.dice
    main, rest = statements[0], statements[1:]
    if not rest:
        if main.topic == "wear" and dice.chance(0.4):
            return f"{who} appears to/TO be {main.doing}"
        return f"{who} is {main.doing}"
    remark = next((statement for statement in rest if statement.topic in ("action", "phone")), None)
    if remark is not None and len(rest) == 1:
        link = dice.pick([" while ", " "]) if remark.topic == "action" else " while "
        return f"{who} is {remark.doing}{link}{main.doing}"
    if main.topic == "wear" and all(s.topic in ("carry", "action", "phone", "view") for s in rest):
        if dice.chance(0.5):
            return f"{main.doing}, {who} {_predicate(voice, rest)}"
        return f"{who}, {main.doing}, {_predicate(voice, rest)}"
    return f"{who} {_predicate(voice, statements)}"
