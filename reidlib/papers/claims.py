"""A paper's claims as data, and their verdicts from measured runs.

`claims.toml` holds one `[[claim]]` per comparative statement that the paper's tables support:

    id, section, table   where it stands; `table` is the default table of the sides
    says                 our paraphrase; `quote` (optional) a few words of the paper
    metric               printed column that is compared; default "Top-1"
    higher, lower        a side each; `lower` may be a list: every one must be beaten
    pairs                instead of higher and lower: [{higher = …, lower = …}, …], all must hold

A side is a row slug, or {table = n, row = "slug", column = "printed column"} where the table or
the column differs from the claim's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reidlib.errors import DataError
from reidlib.papers.bootstrap import RESAMPLES, Difference, paired_difference, query_scores
from reidlib.papers.tables import Measure, Measurement, PublishedTable, build, load_toml

VERDICTS = ("reproduced", "contradicted", "undecided", "not_run")
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
    says: str
    quote: str
    metric: str
    pairs: tuple[tuple[Side, Side], ...]


@dataclass(frozen=True)
class ClaimResult:
    """A verdict. Numbers are percentage points, those of the weakest pair (`higher`, `lower`).

    Where the verdict is not_run, they are None and `reason` says why; `paper_difference` is then
    the smallest one of the claim's pairs.
    """

    claim: Claim
    verdict: str  # reproduced | contradicted | undecided | not_run
    higher: Side
    lower: Side
    paper_difference: float | None
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    seeds: int = 0
    queries: int = 0
    reason: str = ""


def load_claims(
    paper: str, tables: Mapping[int, PublishedTable], folder: Path | None = None
) -> tuple[Claim, ...]:
    """The claims of a paper in their order.

    Raises `DataError`, naming the file, for an unknown key, row or column and for double ids.
    """
    path = (folder or Path(__file__).parent / paper) / "claims.toml"
    claims: dict[str, Claim] = {}
    for entry in load_toml(path).get("claim", []):
        claim = _claim(path, dict(entry), tables)
        if claim.id in claims:
            raise DataError(f"{path}: claim {claim.id!r} stands there twice")
        claims[claim.id] = claim
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
    resamples: int = RESAMPLES,
) -> list[ClaimResult]:
    """The verdict of every claim.

    A pair is reproduced if the 95 % interval of the difference lies above 0, contradicted if it
    lies below, else undecided. A claim is reproduced if all its pairs are, contradicted if any is.
    A side that the authors only cite is compared as an exact number on real data; on synthetic
    data there is nothing to compare, and the claim counts as not run.

    Raises `DataError` if the runs of a pair were not evaluated on the same queries.
    """
    return [_judge(claim, tables, measure, synthetic, resamples) for claim in claims]


def _judge(
    claim: Claim,
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    synthetic: bool,
    resamples: int,
) -> ClaimResult:
    decided = []
    for higher, lower in claim.pairs:
        found = _compare(higher, lower, tables, measure, synthetic, resamples)
        if isinstance(found, str):
            printed = [(_printed(tables, h, lo), h, lo) for h, lo in claim.pairs]
            known = [entry for entry in printed if entry[0] is not None] or printed
            paper, weakest_higher, weakest_lower = min(known, key=lambda entry: entry[0] or 0.0)
            return ClaimResult(claim, "not_run", weakest_higher, weakest_lower, paper, reason=found)
        decided.append((found, higher, lower))
    weakest, higher, lower = min(
        decided, key=lambda pair: (_WEAKEST_FIRST[verdict(pair[0])], pair[0].value)
    )
    return ClaimResult(
        claim,
        verdict(weakest),
        higher,
        lower,
        _printed(tables, higher, lower),
        weakest.value,
        weakest.low,
        weakest.high,
        weakest.seeds,
        weakest.queries,
    )


def verdict(difference: Difference) -> str:
    """reproduced | contradicted | undecided, by where the interval lies."""
    if difference.low > 0:
        return "reproduced"
    return "contradicted" if difference.high < 0 else "undecided"


def _compare(
    higher: Side,
    lower: Side,
    tables: Mapping[int, PublishedTable],
    measure: Measure,
    synthetic: bool,
    resamples: int,
) -> Difference | str:
    """The difference of a pair, or why there is none."""
    cited = [_is_cited(tables, side) for side in (higher, lower)]
    if any(cited) and (synthetic or cited[0]):
        return "compares with numbers that the authors cite: only meaningful on the real data"
    left = measure(higher.table, higher.row, higher.column)
    if cited[1]:
        published = tables[lower.table].printed(lower.row, lower.column)
        finished = [m for m in left or () if m.run is not None]
        if published is None or not finished:
            return _why(higher, left) if published is not None else "no published number"
        return paired_difference(_scores(higher, finished), published, resamples=resamples)
    right = measure(lower.table, lower.row, lower.column)
    for side, found in ((higher, left), (lower, right)):
        if not any(m.run is not None for m in found or ()):
            return _why(side, found)
    # Seed by seed: only seeds that both sides have finished are compared.
    both = [(a, b) for a, b in zip(left or (), right or (), strict=False) if a.run and b.run]
    if not both:
        return f"no seed is finished for both {higher.row} and {lower.row}"
    return paired_difference(
        _scores(higher, [a for a, _ in both]),
        _scores(lower, [b for _, b in both]),
        resamples=resamples,
    )


def _scores(side: Side, measurements: Sequence[Measurement]) -> list:
    scores = [query_scores(measurement) for measurement in measurements]
    if any(values is None for values in scores):
        raise DataError(
            f"table {side.table}, row {side.row}: claims compare query by query, and of column "
            f"{side.column} the run holds no value per query (a Top-k follows from its ranks)"
        )
    return scores


def _is_cited(tables: Mapping[int, PublishedTable], side: Side) -> bool:
    table = tables[side.table]
    return table.origin(table.row(side.row), table.metric(side.column)) == "cited"


def _why(side: Side, found: Sequence[Measurement] | None) -> str:
    if found and any(m.failed for m in found):
        return f"the training of row {side.row} (table {side.table}) failed"
    planned = "is not finished" if found else "is not part of this profile"
    return f"row {side.row} (table {side.table}) {planned}"


def _printed(tables: Mapping[int, PublishedTable], higher: Side, lower: Side) -> float | None:
    first, second = (tables[s.table].printed(s.row, s.column) for s in (higher, lower))
    return None if first is None or second is None else round(first - second, 6)


def to_summary(results: Iterable[ClaimResult]) -> list[dict[str, Any]]:
    """The claims as they stand in `summary.json`; differences in percentage points."""
    return [
        {
            "id": result.claim.id,
            "table": result.claim.table,
            "says": result.claim.says,
            "verdict": result.verdict,
            "difference": _rounded(result.difference),
            "ci_low": _rounded(result.ci_low),
            "ci_high": _rounded(result.ci_high),
        }
        for result in results
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def count_verdicts(results: Iterable[ClaimResult]) -> dict[str, int]:
    """How many claims have which verdict, in the order of `VERDICTS`."""
    found = [result.verdict for result in results]
    return {name: found.count(name) for name in VERDICTS}
