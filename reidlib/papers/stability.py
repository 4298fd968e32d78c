"""Would other trainings have said the same? What every three of a claim's trainings decide.

A verdict needs `TRAININGS` (three) a side; where there are more, the verdicts that any three would
have given alone show how far it hangs on which trainings were done. That asks the finished
trainings only, and so it says nothing about what all of them share, such as the pretraining or the
people of the test.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from reidlib.papers.claims import DECIDED, TRAININGS, Claim, ClaimResult, judge
from reidlib.papers.tables import Measure, Measurement, PublishedTable

CHOICES = 20  # of three trainings; all ten of five, all twenty of six


@dataclass(frozen=True)
class Stability:
    """Verdicts of three trainings a side beside those of all, of the claims that have more."""

    claims: int = 0
    trainings: tuple[int, ...] = ()  # a side; several numbers where claims differ
    decided: int = 0  # choices of three, of all claims that all their trainings decide
    repeated: int = 0  # of these: choices that decide as all trainings do
    reversed: int = 0  # choices that decide the other way
    torn: tuple[str, ...] = ()  # ids of claims that some three reproduce and others contradict


def stability(
    results: Sequence[ClaimResult],
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    *,
    synthetic: bool,
) -> Stability:
    """How far the verdicts hang on which trainings were done; see `judge` for the arguments.

    A choice takes the same seeds of every row; where there are more than `CHOICES`, some of them
    are taken. Claims whose rows differ in their number of trainings, or have no more than three,
    are left out.
    """
    asked = [(result, _trainings(result.claim, measure)) for result in results]
    asked = [(result, n) for result, n in asked if n > TRAININGS and result.seeds == n]
    found: dict[str, Counter[str]] = {}
    for number in sorted({n for _, n in asked}):
        claims = [result.claim for result, n in asked if n == number]
        for chosen in _choices(number):
            some = _only(chosen, measure)
            for result in judge(claims, tables, some, synthetic=synthetic):
                found.setdefault(result.claim.id, Counter())[result.verdict] += 1
    return _counted([result for result, _ in asked], found, sorted({n for _, n in asked}))


def _counted(
    results: Sequence[ClaimResult], found: Mapping[str, Counter[str]], trainings: Iterable[int]
) -> Stability:
    decided = [result for result in results if result.verdict in DECIDED]
    votes = [found[result.claim.id] for result in decided]
    same = sum(vote[result.verdict] for result, vote in zip(decided, votes, strict=True))
    either = sum(vote[verdict] for vote in votes for verdict in DECIDED)
    return Stability(
        claims=len(results),
        trainings=tuple(trainings),
        decided=sum(vote.total() for vote in votes),
        repeated=same,
        reversed=either - same,
        torn=tuple(name for name, vote in found.items() if all(vote[v] for v in DECIDED)),
    )


def together(parts: Iterable[Stability | None]) -> Stability:
    """Of several papers."""
    parts = [part for part in parts if part is not None]
    return Stability(
        claims=sum(part.claims for part in parts),
        trainings=tuple(sorted({n for part in parts for n in part.trainings})),
        decided=sum(part.decided for part in parts),
        repeated=sum(part.repeated for part in parts),
        reversed=sum(part.reversed for part in parts),
        torn=tuple(name for part in parts for name in part.torn),
    )


def _trainings(claim: Claim, measure: Measure) -> int:
    """Finished trainings of each of a claim's measured sides; 0 if they differ, or are not the
    first seeds."""
    found = set()
    for side in {side for pair in claim.pairs for side in pair}:
        trained = [m.run is not None for m in measure(side.table, side.row, side.column) or ()]
        if sum(trained):
            found.add(sum(trained) if all(trained[: sum(trained)]) else 0)
    return found.pop() if len(found) == 1 else 0


def _choices(trainings: int) -> list[tuple[int, ...]]:
    """Numbers of the trainings in each choice of three: all choices, or the same `CHOICES`."""
    found = list(combinations(range(trainings), TRAININGS))
    return found if len(found) <= CHOICES else Random(0).sample(found, CHOICES)


def _only(chosen: Sequence[int], measure: Measure) -> Measure:
    """The same measurements of some of the seeds."""

    def some(table: int, row: str, column: str) -> Sequence[Measurement] | None:
        found = measure(table, row, column)
        if not found or found[0].value is not None:  # computed, not trained
            return found
        return [m for seed, m in enumerate(found) if seed in chosen]

    return some
