"""What a paper's results come to, in three sentences made from them."""

from collections.abc import Sequence

from reidlib.papers.claims import ClaimResult
from reidlib.report import Html, escape
from reidlib.report.labels import plain
from reidlib.report.results import PaperResults
from reidlib.report.tables import signed
from reidlib.report.verdicts import bar, counts, is_judged, kind_of

SMOKE = (
    "This is a smoke run: everything was trained for a few steps only, to see that it runs.",
    "The numbers mean nothing.",
)


def in_three_sentences(results: PaperResults, *, profile: str = "") -> str:
    """How many claims were reproduced, what was found most clearly, and what it can be compared
    with. Plain text."""
    claims = results.claims
    if not is_judged(profile):
        return " ".join([*SMOKE, f"None of the paper's {len(claims)} claims is judged here."])
    return " ".join([_how_many(claims), _clearest(results), _what_for(results.synthetic)])


def verdict(results: PaperResults, *, profile: str = "") -> Html:
    """`in_three_sentences` under a bar of the verdicts."""
    text = f'<p class="lead">{escape(in_three_sentences(results, profile=profile))}</p>'
    drawn = bar(counts(map(kind_of, results.claims))) if is_judged(profile) else ""
    return Html(f'<div class="reid verdict">{drawn}{text}</div>')


def _how_many(claims: Sequence[ClaimResult]) -> str:
    numbers = counts(map(kind_of, claims))
    absent = numbers["not_run"] + numbers.get("failed", 0)
    tested = len(claims) - absent
    if not tested:
        return f"None of the paper's {len(claims)} claims has been tested yet."
    were = "was" if tested == 1 else "were"
    which = f"Of the paper's {len(claims)} claims {tested} {were} tested"
    if not absent:
        which = f"All {len(claims)} claims of the paper were tested"
    return (
        f"{which}: {numbers['reproduced']} reproduced, {numbers['contradicted']} contradicted, "
        f"{numbers['undecided']} undecided."
    )


def _clearest(results: PaperResults) -> str:
    """The decided claims that lie farthest from zero, one of either kind; those whose other side
    hardly learned only where there are no others."""
    claims, parts = results.claims, []
    for kind in ("reproduced", "contradicted"):
        decided = [c for c in claims if kind_of(c) == kind]
        decided = [c for c in decided if not _hardly_learned(c, results)] or decided
        if decided:
            parts.append(f"most clearly {kind} is {_named(max(decided, key=_clearness))}")
    if parts:
        text = ", ".join(parts)
        return f"{text[0].upper()}{text[1:]}."
    tested = [c for c in claims if c.difference is not None]
    if not tested:
        return "So nothing can be said about them."
    ahead = sum(c.difference > 0 for c in tested)
    return f"The measured difference points the paper's way in {ahead} of {len(tested)} of them."


def _hardly_learned(result: ClaimResult, results: PaperResults) -> bool:
    """Whether one side reaches less than a fifth of the other, as where a rival is barely above
    chance: that it is worse says little."""
    values = []
    for side in (result.higher, result.lower):
        filled = results.tables.get(side.table)
        cell = filled and filled.cells.get((side.row, side.column))
        values.append(cell.measured if cell else None)
    if None in values:
        return False
    return min(values) < max(values) / 5


def _clearness(result: ClaimResult) -> float:
    """Points between zero and the nearer end of the interval."""
    if result.ci_low is None or result.ci_high is None:
        return 0.0
    return max(result.ci_low, -result.ci_high)


def _named(result: ClaimResult) -> str:
    there = result.paper_difference
    printed = "" if there is None else f", {signed(there, 1)} in the paper"
    statement, here = plain(result.claim.statement), signed(result.difference, 1)
    return f"“{statement}” ({here} points here{printed})"


def _what_for(synthetic: bool) -> str:
    if synthetic:
        return (
            "The data is synthetic: which variant is better can be compared with the paper, the "
            "numbers themselves cannot."
        )
    return "The data is real, so the numbers can be compared with the paper's."
