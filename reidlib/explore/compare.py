"""Two rows of a paper's tables query by query, from the stored ranks: no weights are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reidlib.data.dataset import Dataset, captions_frame
from reidlib.errors import DataError, StoreError
from reidlib.explore import common
from reidlib.metrics.first_match import NO_MATCH
from reidlib.papers import driver
from reidlib.papers.driver import Place
from reidlib.papers.intervals import TOP_K, sample
from reidlib.papers.tables import Measurement
from reidlib.run.reference import LAST_RANK, ReferenceRun
from reidlib.run.session import Session

KS = tuple(range(1, LAST_RANK + 1))  # of the CMC
CUT = LAST_RANK + 1  # stands for all ranks beyond


@dataclass(frozen=True, eq=False)
class Side:
    """The trainings of a row, S of them, on Q queries.

    scores: float (S, Q) in 0..1, what each query adds to the row's metric; NaN where a query does
        not count.
    ranks: int32 (S, Q) of the first correct picture; None if a run has not stored them.
    cmc: k -> percent, mean over the trainings.
    """

    metric: str
    scores: np.ndarray
    ranks: np.ndarray | None
    cmc: dict[int, float]
    people: np.ndarray  # int64 (Q,)


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rows on the same queries.

    first, second: their trainings. values: float (2, Q), a number a query and row: the geometric
    mean of its ranks over the trainings if `by_rank`, else the mean of its scores; NaN where a
    query does not count. cut: rank that stands for all beyond it, as of runs that travelled without
    weights; None where ranks are exact.
    """

    first: Side
    second: Side
    by_rank: bool
    values: np.ndarray
    cut: int | None

    @property
    def gains(self) -> np.ndarray:
        """How much better the second row is, float (Q,): halvings of the rank, or score points."""
        first, second = self.values
        return np.log2(first) - np.log2(second) if self.by_rank else second - first

    @property
    def order(self) -> np.ndarray:
        """Queries, int64, by how much the rows differ, most first; those alone that count."""
        gains = self.gains
        order = np.argsort(-np.abs(gains), kind="stable")
        return order[~np.isnan(gains[order])]

    def counts(self) -> tuple[int, int, int]:
        """On how many queries the second row is better, as good, worse."""
        gains = self.gains[self.order]
        return int((gains > 0).sum()), int((gains == 0).sum()), int((gains < 0).sum())


def compare(session: Session, paper: str, first: Place, second: Place) -> Compared | None:
    """The trainings behind two cells of a paper's tables, as far as they are finished, here or as
    runs that came along; None where one of them has none.

    Raises `DataError` if they were not tested on the same queries.
    """
    sides = []
    for place in (first, second):
        cell = driver.cell(paper, session.profile, *place, session.seeds)
        if cell is None:
            return None
        sides.append(common.measurements(session, cell))
    return compare_runs(*sides)


def compare_runs(first: Sequence[Measurement], second: Sequence[Measurement]) -> Compared | None:
    """The same of measurements at hand, one per training."""
    # Runs that travelled know no ranks beyond 10; beside them the others do not, either.
    cut = any(isinstance(m.run, ReferenceRun) for m in (*first, *second))
    sides = [_side(found, cut) for found in (first, second)]
    if None in sides:
        return None
    a, b = sides
    if not np.array_equal(a.people, b.people):
        raise DataError(
            f"{len(a.people)} and {len(b.people)} queries, or of other people: both rows must have "
            "been tested on the same ones"
        )
    by_rank = a.ranks is not None and b.ranks is not None
    values = np.stack([_value(side, by_rank) for side in sides])
    values[:, np.isnan(values).any(0)] = np.nan
    return Compared(a, b, by_rank, values, CUT if cut and by_rank else None)


def _side(found: Sequence[Measurement], cut: bool) -> Side | None:
    """The finished trainings of a row; None if there are none, or they say nothing of queries."""
    pairs = [(m, s) for m in found if m.run is not None and (s := sample(m)) is not None]
    if not pairs:
        return None
    ranks: np.ndarray | None
    try:
        ranks = np.stack([np.asarray(m.run.ranks(m.evaluation)) for m, _ in pairs])
    except StoreError:  # the run has not stored them
        ranks = None
    if ranks is None:
        cmc = _cmc_of_metrics([m for m, _ in pairs])
    else:
        cmc = {k: 100 * float((ranks <= k).mean(1).mean()) for k in KS}
        if cut:
            ranks = np.where(ranks == NO_MATCH, NO_MATCH, np.minimum(ranks, CUT))
    scores = np.stack([s.scores for _, s in pairs])
    return Side(pairs[0][0].metric, scores, ranks, cmc, pairs[0][1].people)


def _cmc_of_metrics(found: Sequence[Measurement]) -> dict[int, float]:
    """What the runs have recorded of Top-k, by rising k: files have names in their own order."""
    recorded = [m.run.metrics["evaluations"][m.evaluation] for m in found if m.run is not None]
    names = {int(k[1]): name for name in recorded[0] if (k := TOP_K.fullmatch(name))}
    return {k: float(np.mean([each[names[k]] for each in recorded])) for k in sorted(names)}


def _value(side: Side, by_rank: bool) -> np.ndarray:
    if not by_rank:
        return side.scores.mean(0)
    counted = (side.ranks != NO_MATCH).all(0)
    # Rounded, so that equal ranks are equal whatever the number of trainings.
    return np.where(counted, np.exp(np.log(side.ranks).mean(0)).round(9), np.nan)


# ------------------------------------------------------------------ the queries


def named(dataset: Dataset, queries: Sequence[int]) -> list[str]:
    """What queries of a test are, by their number: sentences, or who is shown in which picture."""
    if "test" in dataset.splits:
        captions = captions_frame(dataset.splits["test"])["caption"]
        return [captions[int(query)] for query in queries]
    frame = dataset.splits["query"].iloc[[int(query) for query in queries]]
    return [
        f"query {query + 1}: person {pid}, camera {camid}"
        for query, pid, camid in zip(queries, frame["pid"], frame["camid"], strict=True)
    ]


def table(found: Compared, titles: Sequence[str], dataset: Dataset, number: int) -> pd.DataFrame:
    """The queries on which the rows differ most: what they are, and the number of each row."""
    queries = found.order[:number]
    columns = {
        title: [_written(value, found) for value in values[queries]]
        for title, values in zip(titles, found.values, strict=True)
    }
    return pd.DataFrame({"query": named(dataset, queries.tolist()), **columns})


def _written(value: float, found: Compared) -> str:
    if not found.by_rank:
        return f"{100 * value:.1f} %"
    if found.cut is not None and value >= found.cut:
        return f"> {found.cut - 1}"
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
