"""A paper's claims as data, and their verdicts from measured runs.

`claims.toml` holds one `[[claim]]` per comparative statement that the paper's tables support:

    id, section, table   where it stands; `table` is the default table of the sides
    statement            our paraphrase; `quote` (optional) a few words of the paper
    metric               printed column that is compared; default "Top-1"
    higher, lower        a side each; `lower` may be a list: every one must be beaten
    pairs                instead of higher and lower: [{higher = …, lower = …}, …], all must hold

A side is a row slug, or {table = n, row = "slug", column = "printed column"} where the table or
the column differs from the claim's.

A `[[reason]]` says why the procedural world contradicts some of them, where that was looked for:

    claims   their ids
    likely   the likely reason, with what was measured in profile study; shown with those of them
             that are contradicted
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from reidlib.errors import DataError
from reidlib.papers.intervals import Difference, Sample, compare, samples
from reidlib.papers.tables import Measure, Measurement, PublishedTable, build, load_toml

DECIDED = ("reproduced", "contradicted")
VERDICTS = (*DECIDED, "undecided", "not_run")
TRAININGS = 3  # on each side; fewer decide nothing
_WEAKEST_FIRST = {"contradicted": 0, "undecided": 1, "reproduced": 2}


@dataclass(frozen=True)
class Side:
    """A cell of a published table."""

    table: int
    row: str
    column: str


@dataclass(frozen=True)
class Claim:
    """One statement: in every pair the first side is higher than the second."""

    id: str
    section: str
    table: int
    statement: str
    quote: str
    metric: str
    pairs: tuple[tuple[Side, Side], ...]
    likely: str = ""  # why the procedural world contradicts it, where that was looked for


@dataclass(frozen=True)
class ClaimResult:
    """A verdict. Numbers are percentage points, those of the weakest pair (`higher`, `lower`).

    Where the verdict is not_run, they are None and `reason` says why; `paper_difference` is then
    the smallest one of the claim's pairs. Where a side did not learn, `reason` says so too.
    """

    claim: Claim
    verdict: str  # reproduced | contradicted | undecided | not_run
    higher: Side
    lower: Side
    paper_difference: float | None
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    seeds: int = 0  # trainings of the side that has fewer
    queries: int = 0
    reason: str = ""
    people: int = 0
    leans: str = ""  # reproduced | contradicted, where only more trainings could decide
    failed: bool = False  # not_run because a training failed
    by_luck: float = 0.0  # probability of being decided if no side were better than another
    likely: str = ""  # why it is contradicted, where that was looked for


def load_claims(
    paper: str, tables: Mapping[int, PublishedTable], folder: Path | None = None
) -> tuple[Claim, ...]:
    """The claims of a paper in their order.

    Raises `DataError`, naming the file, for an unknown key, row, column or claim, for double ids
    and for two reasons of one claim.
    """
    path = (folder or Path(__file__).parent / paper) / "claims.toml"
    content = load_toml(path)
    claims: dict[str, Claim] = {}
    for entry in content.get("claim", []):
        claim = _claim(path, dict(entry), tables)
        if claim.id in claims:
            raise DataError(f"{path}: claim {claim.id!r} stands there twice")
        claims[claim.id] = claim
    for number, entry in enumerate(content.get("reason", []), start=1):
        what = f"reason {number}"
        if set(entry) != {"claims", "likely"} or not entry["likely"]:
            raise DataError(f"{path}: {what}: expected claims and likely")
        for name in entry["claims"]:
            if name not in claims:
                raise DataError(f"{path}: {what}: no claim {name!r}")
            if claims[name].likely:
                raise DataError(f"{path}: {what}: claim {name!r} has a reason already")
            claims[name] = replace(claims[name], likely=entry["likely"])
    return tuple(claims.values())


def _claim(path: Path, entry: dict[str, Any], tables: Mapping[int, PublishedTable]) -> Claim:
    what = f"claim {entry.get('id')!r}"
    entry.setdefault("metric", "Top-1")
    entry.setdefault("quote", "")
    pairs = entry.pop("pairs", None)
    if pairs is None:
        lower = entry.pop("lower", [])
        lower = lower if isinstance(lower, list) else [lower]
        higher = entry.pop("higher", None)
        pairs = [{"higher": higher, "lower": side} for side in lower]
    if not pairs or any(
        set(pair) != {"higher", "lower"} or None in pair.values() for pair in pairs
    ):
        raise DataError(f"{path}: {what}: expected higher and lower, or pairs of them")

    def side(value: str | dict[str, Any]) -> Side:
        given = {"row": value} if isinstance(value, str) else value
        place = {"table": entry.get("table"), "column": entry["metric"]} | given
        result = build(Side, path, place, what)
        if result.table not in tables:
            raise DataError(f"{path}: {what}: no table {result.table}")
        try:
            tables[result.table].printed(result.row, result.column)
        except DataError as error:
            raise DataError(f"{path}: {what}: {error}") from error
        return result

    sides = tuple((side(pair["higher"]), side(pair["lower"])) for pair in pairs)
    return build(Claim, path, {**entry, "pairs": sides}, what)


def judge(
    claims: Iterable[Claim],
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    *,
    synthetic: bool,
) -> list[ClaimResult]:
    """The verdict of every claim.

    A pair is reproduced if the 95 % interval of the difference lies above 0, contradicted if it
    lies below, else undecided; undecided too with fewer than `TRAININGS` trainings on a side, and
    if a side is not above chance. A claim is reproduced if all its pairs are, contradicted if any
    is. A side that the authors only cite is compared as an exact number on real data; on synthetic
    data there is nothing to compare, and the claim counts as not run.

    Raises `DataError` if the runs of a pair were not evaluated on the same queries, or do not say
    whom the queries show.
    """
    return [_judge(claim, tables, measure, synthetic) for claim in claims]


@dataclass(frozen=True)
class _Pair:
    """A compared pair; `untrained` names the side that is not above chance, if one is not."""

    higher: Side
    lower: Side
    difference: Difference
    untrained: str

    @property
    def decidable(self) -> bool:
        return self.difference.seeds >= TRAININGS and not self.untrained

    @property
    def verdict(self) -> str:
        return "undecided" if self.untrained else verdict(self.difference)


def _judge(
    claim: Claim,
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    synthetic: bool,
) -> ClaimResult:
    pairs = []
    for higher, lower in claim.pairs:
        found = _compare(higher, lower, tables, measure, synthetic)
        if isinstance(found, _NotRun):
            printed = [(_printed(tables, h, lo), h, lo) for h, lo in claim.pairs]
            known = [entry for entry in printed if entry[0] is not None] or printed
            paper, weakest_higher, weakest_lower = min(known, key=lambda entry: entry[0] or 0.0)
            return ClaimResult(
                claim,
                "not_run",
                weakest_higher,
                weakest_lower,
                paper,
                reason=found.reason,
                failed=found.failed,
            )
        pairs.append(found)

    def weakness(pair: _Pair) -> tuple[int, float]:
        return _WEAKEST_FIRST[pair.verdict], pair.difference.value

    outcome = min(pairs, key=weakness).verdict
    # What is shown is the weakest comparison that says something: none with an untrained side.
    weakest = min([p for p in pairs if not p.untrained] or pairs, key=weakness)
    untrained = next((p.untrained for p in pairs if p.untrained), "")
    found = weakest.difference
    return ClaimResult(
        claim,
        outcome,
        weakest.higher,
        weakest.lower,
        _printed(tables, weakest.higher, weakest.lower),
        found.value,
        found.low,
        found.high,
        found.seeds,
        found.queries,
        untrained if outcome == "undecided" else "",
        found.people,
        _leans_of(pairs) if outcome == "undecided" else "",
        by_luck=_by_luck(pairs, tables),
        # What was found in the procedural world says nothing about trainings on real data.
        likely=claim.likely if synthetic and outcome == "contradicted" else "",
    )


def verdict(difference: Difference) -> str:
    """reproduced | contradicted | undecided, by where the interval lies; undecided with fewer than
    `TRAININGS` trainings on a side."""
    if difference.seeds < TRAININGS:
        return "undecided"
    return _place(difference.low, difference.high) or "undecided"


def leans(difference: Difference) -> str:
    """What fewer than `TRAININGS` trainings speak for: reproduced | contradicted, if the interval
    from the choice of people alone does not hold 0; else "" (also with enough trainings)."""
    if difference.seeds >= TRAININGS:
        return ""
    return _place(difference.people_low, difference.people_high)


def _place(low: float, high: float) -> str:
    if low > 0:
        return "reproduced"
    return "contradicted" if high < 0 else ""


def _leans_of(pairs: Sequence[_Pair]) -> str:
    """Where an undecided claim leans, whose pairs are all trained but some too seldom."""
    if any(pair.untrained for pair in pairs):
        return ""
    votes = [leans(pair.difference) or pair.verdict for pair in pairs]
    if "contradicted" in votes:
        return "contradicted"
    return "reproduced" if set(votes) == {"reproduced"} else ""


@dataclass(frozen=True)
class _NotRun:
    reason: str
    failed: bool = False


def _compare(
    higher: Side,
    lower: Side,
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    synthetic: bool,
) -> _Pair | _NotRun:
    """The difference of a pair, or why there is none."""
    cited = [_is_cited(tables, side) for side in (higher, lower)]
    if any(cited) and (synthetic or cited[0]):
        return _NotRun(
            "compares with numbers that the authors cite: only meaningful on the real data"
        )
    published = tables[lower.table].printed(lower.row, lower.column) if cited[1] else None
    if cited[1] and published is None:
        return _NotRun("no published number")
    measured = [(higher, measure(higher.table, higher.row, higher.column) or ())]
    if not cited[1]:
        measured.append((lower, measure(lower.table, lower.row, lower.column) or ()))
    for side, found in measured:
        if not any(m.run is not None for m in found):
            return _why(side, found)
    left, *others = [_samples(side, found) for side, found in measured]
    right = others[0] if others else published
    difference = compare(left, right)
    if difference is None:
        return _NotRun(f"no seed is finished for both {higher.row} and {lower.row}")
    untrained = [_untrained(side, found) for side, found in measured]
    return _Pair(higher, lower, difference, next(filter(None, reversed(untrained)), ""))


def _samples(side: Side, measurements: Sequence[Measurement]) -> list[Sample | None]:
    found = samples(measurements)
    for measurement, values in zip(measurements, found, strict=True):
        if measurement.run is not None and values is None:
            raise DataError(
                f"table {side.table}, row {side.row}: claims compare query by query, and of column "
                f"{side.column} the run holds no value per query (a Top-k follows from its ranks)"
            )
    return found


def _untrained(side: Side, measurements: Sequence[Measurement]) -> str:
    """Says so if a side is not above chance; "" if it is, or if its runs do not know chance."""
    known = [m for m in measurements if m.run is not None and m.chance() is not None]
    if not known:
        return ""
    chance = fmean(m.chance() for m in known)
    above = compare(samples(known), chance)
    if (above.low if above.seeds >= TRAININGS else above.people_low) > 0:
        return ""
    return (
        f"not trained: {side.row} is not above chance ({above.value + chance:.1f} % against "
        f"{chance:.1f} %)"
    )


# ------------------------------------------------------------------ verdicts that luck gives


def expected_by_luck(results: Iterable[ClaimResult]) -> float:
    """How many of the claims would be decided, one way or the other, if no side were better than
    another. Claims that cannot be decided (not run, too few trainings, not trained) add nothing.
    """
    return sum(result.by_luck for result in results)


def _by_luck(pairs: Sequence[_Pair], tables: Mapping[int, PublishedTable]) -> float:
    """The probability that a claim is decided although all its sides are equally good.

    With one pair 5 %: half of it reproduced, half contradicted. With several, all must lie above,
    but one that lies below contradicts; comparisons that have a side in common agree more often.
    """
    numbers: dict[Side, int] = {}
    structure = tuple(
        (
            numbers.setdefault(pair.higher, len(numbers)),
            None if _is_cited(tables, pair.lower) else numbers.setdefault(pair.lower, len(numbers)),
            pair.decidable,
        )
        for pair in pairs
    )
    return _decided_by_luck(structure)


@lru_cache(maxsize=256)
def _decided_by_luck(
    structure: tuple[tuple[int, int | None, bool], ...], draws: int = 40_000
) -> float:
    """structure: of each pair the number of its sides, None for one that is exact, and whether the
    pair can be decided. Sides are drawn as equally uncertain and independent of each other."""
    if not any(decidable for *_, decidable in structure):
        return 0.0
    if len(structure) == 1:
        return 0.05
    sides = 1 + max(n for *pair, _ in structure for n in pair if n is not None)
    drawn = np.random.default_rng(0).standard_normal((sides, draws))
    bound = NormalDist().inv_cdf(0.975)
    above, below = np.ones(draws, dtype=bool), np.zeros(draws, dtype=bool)
    for higher, lower, decidable in structure:
        difference = drawn[higher] if lower is None else (drawn[higher] - drawn[lower]) / 2**0.5
        above &= decidable & (difference > bound)
        below |= decidable & (difference < -bound)
    return float((above | below).mean())


# ------------------------------------------------------------------ words and numbers


def _is_cited(tables: Mapping[int, PublishedTable], side: Side) -> bool:
    table = tables[side.table]
    return table.origin(table.row(side.row), table.metric(side.column)) == "cited"


def _why(side: Side, found: Sequence[Measurement]) -> _NotRun:
    if any(m.failed for m in found):
        return _NotRun(f"the training of row {side.row} (table {side.table}) failed", failed=True)
    planned = "is not finished" if found else "is not part of this profile"
    return _NotRun(f"row {side.row} (table {side.table}) {planned}")


def _printed(tables: Mapping[int, PublishedTable], higher: Side, lower: Side) -> float | None:
    first, second = (tables[s.table].printed(s.row, s.column) for s in (higher, lower))
    return None if first is None or second is None else round(first - second, 6)


def to_summary(results: Iterable[ClaimResult]) -> list[dict[str, Any]]:
    """The claims as they stand in `summary.json`; differences in percentage points."""
    return [
        {
            "id": result.claim.id,
            "table": result.claim.table,
            "says": result.claim.statement,
            "verdict": result.verdict,
            "difference": _rounded(result.difference),
            "ci_low": _rounded(result.ci_low),
            "ci_high": _rounded(result.ci_high),
            **({"likely": result.likely} if result.likely else {}),
        }
        for result in results
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def count_verdicts(results: Iterable[ClaimResult]) -> dict[str, int]:
    """How many claims have which verdict, in the order of `VERDICTS`."""
    found = [result.verdict for result in results]
    return {name: found.count(name) for name in VERDICTS}
