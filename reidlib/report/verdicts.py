"""How a verdict looks: its words, its shape, its color. Tables, figures and pages all ask here.

Shape and word say the same as the color, so that nobody needs to see colors. What failed (a
training crashed) is none of the verdicts and looks like none of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from reidlib.papers.claims import ClaimResult
from reidlib.papers.stability import Stability
from reidlib.report.palette import AMBER, GRAY, GREEN, PURPLE, RED, Color

C = TypeVar("C")


@dataclass(frozen=True)
class Look:
    """How one kind of verdict looks."""

    kind: str  # as CSS class
    word: str
    mark: str  # a sign in text
    marker: str  # in charts: circle | cross | square
    filled: bool
    color: Color
    hatch: str = ""  # of its part of a bar: "" | "/" | "\\" | "."


LOOKS = {
    look.kind: look
    for look in (
        Look("reproduced", "reproduced", "✓", "circle", True, GREEN),
        Look("contradicted", "contradicted", "✗", "cross", True, RED, "/"),
        Look("undecided", "undecided", "?", "circle", False, AMBER),
        Look("not_run", "not run", "–", "circle", False, GRAY),
        Look("failed", "failed", "!", "square", True, PURPLE, "."),
    )
}
ORDER = tuple(LOOKS)  # as counts are listed and bars are built


def is_judged(profile: str) -> bool:
    """Whether the numbers of a profile may be taken for evidence."""
    return profile != "smoke"


def kind_of(result: ClaimResult) -> str:
    """The kind of look of a claim's result."""
    return "failed" if result.failed else result.verdict


def kind_in(claim: Mapping[str, Any]) -> str:
    """The same of a claim in `summary.json`."""
    return "failed" if claim.get("failed") else claim["verdict"]


def word(kind: str) -> str:
    """In words; what is no verdict (the status of a cell or a notebook) is said as it is."""
    return LOOKS[kind].word if kind in LOOKS else kind.replace("_", " ")


def label(kind: str) -> str:
    """Sign and word as HTML, in the verdict's color."""
    look = LOOKS[kind]
    return f'<span class="{kind}"><span aria-hidden="true">{look.mark}</span> {look.word}</span>'


def leaning(leans: str) -> str:
    """Where an undecided claim leans, in words; "" if nowhere."""
    return f"leans to {word(leans)}" if leans else ""


def counts(kinds: Iterable[str]) -> dict[str, int]:
    """How many there are of each kind, those that are there, in the order of `ORDER`; the four
    verdicts are always named."""
    found = list(kinds)
    return {kind: found.count(kind) for kind in ORDER if kind != "failed" or kind in found}


def counted(numbers: Mapping[str, int]) -> str:
    """3 reproduced, 1 contradicted, …"""
    return ", ".join(f"{n} {word(kind)}" for kind, n in numbers.items())


def bar(numbers: Mapping[str, int]) -> str:
    """Counts as one bar, a part each with its sign and its number; they are named for those who
    cannot see it."""
    parts = "".join(
        f'<span class="{kind}" style="flex-grow:{n}" title="{n} {word(kind)}">'
        f"{LOOKS[kind].mark} {n}</span>"
        for kind, n in numbers.items()
        if n
    )
    return f'<div class="bar" role="img" aria-label="{counted(numbers)}">{parts}</div>'


_NAMES = {4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}


def steadiness(found: Stability | None) -> str:
    """What any three of the trainings would have said, in a sentence or two; "" where no claim has
    more than three."""
    if found is None or not found.claims:
        return ""
    numbers = " or ".join(_NAMES.get(n, str(n)) for n in found.trainings)
    claims = "1 claim rests" if found.claims == 1 else f"{found.claims} claims rest"
    text = f"{claims} on {numbers} trainings a side"
    if found.torn:
        were = "one is" if len(found.torn) == 1 else f"{len(found.torn)} are"
        text += f"; {were} reproduced by some three of them and contradicted by others"
    else:
        text += "; none is reproduced by some three of them and contradicted by others"
    if found.decided:
        same, other = (100 * n / found.decided for n in (found.repeated, found.reversed))
        text += f". What all of them decide, three alone decide in {same:.0f} % of the choices"
        text += f" the same way, in {other:.1f} % the other way" if other else ", the same way"
        if found.repeated + found.reversed < found.decided:
            text += "; the rest they leave undecided"
    return f"{text}."


def by_likely_reason(claims: Iterable[C], likely: Callable[[C], str]) -> list[tuple[str, list[C]]]:
    """Contradicted claims by their likely reason, in the order in which reasons come; last, under
    "", those of which none is known."""
    groups: dict[str, list[C]] = {}
    for claim in claims:
        groups.setdefault(likely(claim), []).append(claim)
    return sorted(groups.items(), key=lambda group: not group[0])


def rules() -> str:
    """CSS of the verdicts, for inside a rule of the page or of a fragment."""
    hatches = {"/": "135deg", "\\": "45deg", ".": "90deg"}
    lines = []
    for look in LOOKS.values():
        color = look.color.css
        weight = "400" if look.kind == "not_run" else "600"
        lines.append(f".{look.kind} {{ color: {color}; font-weight: {weight}; }}")
        if not look.filled:
            edge = "dashed" if look.kind == "not_run" else "solid"
            fill = f"background: var(--r-paper); color: {color}; border: 1.5px {edge} {color};"
        else:
            fill = f"background-color: {color}; color: var(--r-paper);"
            if look.hatch:
                stripe = f"color-mix(in srgb, {color} 78%, var(--r-ink))"
                fill += (
                    f" background-image: repeating-linear-gradient({hatches[look.hatch]}, "
                    f"transparent 0 6px, {stripe} 6px 8px);"
                )
        lines.append(f".bar .{look.kind} {{ {fill} }}")
    return "\n".join(lines)
