"""What a paper's runs come to: its tables filled in, its claims judged."""

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reidlib.data.register import FORMATS, format_of
from reidlib.errors import DataError
from reidlib.experiment import Experiment
from reidlib.papers import driver
from reidlib.papers.claims import ClaimResult, judge, load_claims
from reidlib.papers.stability import Stability, stability
from reidlib.papers.tables import (
    FilledTable,
    Measure,
    Measurement,
    count_rows,
    fill,
    load_tables,
)
from reidlib.run.plan import key_of
from reidlib.run.runner import failure
from reidlib.run.session import Session
from reidlib.run.store import RunLike


@dataclass(frozen=True)
class PaperResults:
    """All tables and claims of a paper in one profile, as measured so far."""

    paper: str
    synthetic: bool
    tables: dict[int, FilledTable]
    claims: tuple[ClaimResult, ...]
    stability: Stability | None = None

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows per table, as in summary.json: own, measured, cited."""
        return {str(number): count_rows(filled) for number, filled in self.tables.items()}


def measure_from_store(session: Session, paper: str, *, draw: bool = False) -> Measure:
    """The function that table code asks for a cell's measurements, one per seed.

    draw: render procedural data that is not there, where a table counts it.
    """
    computed = _computed(session, paper, draw)
    loaded: dict[str, RunLike | None] = {}
    absent: set[tuple[str, type]] = set()  # data that is not there, and the methods that need it

    def key_if_there(experiment: Experiment) -> str:
        """The run's key; "" if its data is not there."""
        needed = experiment.dataset, type(experiment.model)
        if needed in absent:
            return ""
        try:
            return key_of(session, experiment)
        except DataError:
            absent.add(needed)
            return ""

    def run_of(key: str) -> RunLike | None:
        if key not in loaded:
            loaded[key] = session.store.load(key)
        return loaded[key]

    def measure(table: int, row: str, column: str) -> Sequence[Measurement] | None:
        if (value := computed.get((table, row, column))) is not None:
            return [Measurement(None, value=value)]
        cell = driver.cell(paper, session.profile, table, row, column, session.seeds)
        if cell is None:
            return None
        measurements = []
        for experiment in cell.experiments:
            key = key_if_there(experiment)
            run = run_of(key) if key else None
            failed = key != "" and run is None and failure(session, key) != ""
            measurements.append(Measurement(run, cell.evaluation, cell.metric, failed))
        return measurements

    return measure


def _computed(session: Session, paper: str, draw: bool) -> dict[driver.Place, float]:
    """Cells that no training measures, such as sizes of networks and counts of the data: what
    `values` of the paper's module `computed` gives, if it has one, of the datasets that are there
    (or can be drawn, if that is wanted).
    """
    name = f"reidlib.papers.{paper}.computed"
    if importlib.util.find_spec(name) is None:
        return {}
    datasets = {}
    for dataset in dict.fromkeys(e.dataset for e in driver.experiments(paper, session.profile)):
        folder = session.data_root(dataset) / FORMATS[format_of(dataset)].folder
        if folder.is_dir() or (draw and session.draws(dataset)):
            with contextlib.suppress(DataError):
                datasets[dataset] = session.dataset(dataset, progress=draw)
    return importlib.import_module(name).values(datasets)


def is_synthetic(session: Session, experiments: Iterable[Experiment]) -> bool:
    """Whether any of the datasets is generated; the datasets themselves say so."""
    if session.data is None:
        return True
    for name in dict.fromkeys(experiment.dataset for experiment in experiments):
        with contextlib.suppress(DataError):  # of several datasets, some may not be there
            if session.dataset(name).synthetic is not None:
                return True
    return False


def collect(session: Session, paper: str, *, draw: bool = False) -> PaperResults:
    """Fill the paper's tables and judge its claims from the runs that are in the store.

    draw: see `measure_from_store`; a report draws nothing just to count it.
    """
    published = load_tables(paper)
    measure = measure_from_store(session, paper, draw=draw)
    tables = {number: fill(table, measure) for number, table in published.items()}
    synthetic = is_synthetic(session, driver.experiments(paper, session.profile))
    claims = judge(load_claims(paper, published), published, measure, synthetic=synthetic)
    stable = stability(claims, published, measure, synthetic=synthetic)
    return PaperResults(paper, synthetic, tables, tuple(claims), stable)
