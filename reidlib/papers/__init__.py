"""The papers: one package each, with its published tables and what measures their rows.

A paper's package is a module with these names (there is no base class to derive from):

    TITLE, CITATION       for people
    NOTEBOOK              its notebook's file name
    TABLES                the numbers of its tables
    experiments(profile_name, seeds) -> list[Experiment]     what the profile trains, in order
    cell(profile_name, table, row, column, seeds) -> Cell | None   which runs measure a table's cell
    check(experiment, dataset)                               raises what a training would fail of
    fingerprint(experiment, dataset) -> str                  of all the data that decides its result
    train_and_evaluate(experiment, dataset, ...) -> Result   one training and its evaluation
    cost(experiment) -> float                                multiply-adds per training image
"""

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from reidlib.arguments import PAPERS
from reidlib.errors import UsageError
from reidlib.experiment import Experiment


@dataclass(frozen=True)
class Cell:
    """What measures one cell of a table: one experiment per seed, an evaluation, a metric."""

    experiments: tuple[Experiment, ...]
    evaluation: str
    metric: str


@dataclass(frozen=True)
class Result:
    """What a training leaves; the runner adds provenance and writes it to the store."""

    weights: bytes  # safetensors
    ranks: dict[str, np.ndarray]  # per evaluation, int32 (queries,)
    history: list[dict[str, Any]]  # one record per epoch
    metrics: dict[str, Any]  # "evaluations": {name: {metric: percent}}, "headline", "seconds", …
    notes: dict[str, Any]  # what the record of the run should say besides: tagger, peak memory
    # Where ranks do not say it all: per evaluation and metric what each query adds to the mean,
    # float (queries,) in 0..1; NaN for queries without a correct image, which the mean leaves out.
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def get_paper(name: str) -> ModuleType:
    """The package of a paper; raises `UsageError` for an unknown name."""
    if name not in PAPERS:
        raise UsageError(f"unknown paper {name!r}: expected {', '.join(PAPERS)}")
    return importlib.import_module(f"reidlib.papers.{name}")
