"""Writing finished runs as small files that travel: see `reidlib.run.reference`."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from reidlib.errors import DataError
from reidlib.papers import driver
from reidlib.run import reference
from reidlib.run.plan import key_of
from reidlib.run.session import Session


def keep(session: Session, papers: Sequence[str], out: Path) -> list[Path]:
    """Write what the papers' cells compare of their finished runs; returns the files.

    Pretrainings that the runs start from are kept with them, so that what needs no weights needs no
    training either.
    """
    written = []
    for paper in papers:
        compared: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for place in driver.places(paper, session.profile):
            cell = driver.cell(paper, session.profile, *place, session.seeds)
            for experiment in cell.experiments:
                try:
                    key = key_of(session, experiment)
                    for earlier in experiment.all_before:
                        _ = compared[key_of(session, earlier)]
                except DataError:
                    continue
                compared[key][cell.evaluation].add(cell.metric)
        runs = [(session.store.load(key), what) for key, what in compared.items()]
        finished = [(run, what) for run, what in runs if run is not None]
        if finished:
            written += reference.save(out, paper, finished)
    return written
