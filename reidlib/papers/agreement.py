"""How well the rows of a measured table stand in the paper's order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from reidlib.papers.intervals import Estimate, estimate, samples
from reidlib.papers.tables import CellResult, FilledTable


@dataclass(frozen=True)
class OrderAgreement:
    """Kendall's tau-b between a measured column and the printed one, with its 95 % interval.

    1: the paper's order; -1: the reverse; 0: no more alike than shuffled rows.
    """

    tau: float
    low: float | None  # None where the runs hold no value per query
    high: float | None
    rows: int
    pairs: int  # of rows that have an order, printed and measured
    same: int  # of these: in the same order
    told_apart: int  # of these: in an order that luck does not explain
    seeds: int  # trainings of the row that has fewest; the interval of one covers people alone


def order_agreement(filled: FilledTable, column: str) -> OrderAgreement | None:
    """The agreement of a metric column's measured rows; None where none can be compared.

    Rows are compared within the groups of the table, and tau-b is taken over these pairs: with one
    group it is `scipy.stats.kendalltau`.

    The interval is what tau may be for the rows' true values. Each pair of rows gets an interval
    for its difference (`reidlib.papers.intervals`), all of them together at 95 % (Bonferroni). A
    pair whose interval holds 0 may stand either way: `low` counts all such pairs as against the
    paper, `high` as for it. It is wide where luck could have made the order, as it should be:
    resampled tables are noisier than the measured one, so that quantiles of their tau miss a
    perfect order whose rows lie close together almost always. The rows of a group are taken to
    scatter alike between trainings: a pair alone would have too few of them.
    """
    groups: dict[str, list[CellResult]] = {}
    for row in filled.table.rows:
        cell = filled.cells[row.slug, column]
        if cell.measured is not None and cell.paper is not None:
            groups.setdefault(filled.table.group(row), []).append(cell)
    pairs = [pair for cells in groups.values() for pair in combinations(cells, 2)]
    printed = np.array([np.sign(a.paper - b.paper) for a, b in pairs])
    found = np.array([np.sign(a.measured - b.measured) for a, b in pairs])
    if not printed.any() or not found.any():
        return None
    untied, same = np.count_nonzero(printed), int((printed * found > 0).sum())
    tau = float((printed * found).sum() / np.sqrt(untied * np.count_nonzero(found)))
    apart = [_told_apart(cells, miss=0.05 / untied) for cells in groups.values() if len(cells) > 1]
    rows = sum(len(cells) for cells in groups.values() if len(cells) > 1)
    seeds = min(len(cell.values) for cells in groups.values() for cell in cells)
    low = high = None
    told = 0
    if all(order is not None for order in apart):
        sure = np.concatenate(apart) * printed
        told = np.count_nonzero(sure)
        open_ = untied - told
        # Tied pairs of the printed table count in the scale of tau-b, not in its sum.
        scale = np.sqrt(untied * len(pairs))
        low = min(tau, float((sure.sum() - open_) / scale))
        high = max(tau, float((sure.sum() + open_) / scale))
    in_order = np.count_nonzero(printed * found)
    return OrderAgreement(tau, low, high, rows, in_order, same, told, seeds)


def _told_apart(cells: Sequence[CellResult], miss: float) -> np.ndarray | None:
    """Of each pair of rows, in the order of `combinations`: 1 or -1 if the first is higher or
    lower beyond luck, else 0; None where there are no values per query."""
    rows = [samples(cell.measurements) for cell in cells]
    found = [estimate(a, b) for a, b in combinations(rows, 2)]
    if any(estimated is None for estimated in found):
        return None
    pooled = _pooled(found, len(rows))
    return np.array([np.sign(e.value) * (abs(e.value) > e.margin(miss)) for e in pooled])


def _pooled(found: Sequence[Estimate], rows: int) -> list[Estimate]:
    """The same with the spread between trainings averaged over all pairs.

    Pairs of rows that were evaluated on the same trainings have a spread of their own kind.
    """
    if any(e.trainings is None for e in found):
        return [replace(e, trainings=None) for e in found]
    pooled, index = list(found), list(combinations(range(rows), 2))
    for sides in {len(e.seeds) for e in found}:  # 1: pairs on the same trainings; 2: on their own
        places = [n for n, e in enumerate(found) if len(e.seeds) == sides]
        compared = len({row for n in places for row in index[n]})
        parts = [sum(1 / S for S in found[n].seeds) for n in places]
        spread = np.mean([found[n].trainings / p for n, p in zip(places, parts, strict=True)])
        fewest = min(min(found[n].seeds) for n in places)
        df = (compared - (sides == 1)) * (fewest - 1)
        for n, part in zip(places, parts, strict=True):
            pooled[n] = replace(found[n], trainings=float(spread * part), df=df)
    return pooled
