"""A row of a paper with other settings: an experiment of its own, beside the published one."""

import ast
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from reidlib.errors import UsageError
from reidlib.experiment import Experiment
from reidlib.papers import driver
from reidlib.papers.pretraining import STARTS, started

_FIXED = ("ids", "vocabulary", "stages")  # known from the data; no single values


def trainings_of(
    paper: str, profile: str, row: str, dataset: str | None = None
) -> list[Experiment]:
    """The distinct trainings, of seed 0, behind the cells of a row; on one dataset, or on all.

    row: the slug of a row, as in the paper's CSV files. Raises `UsageError` that names the nearest
    row, or the datasets, if there is none.
    """
    known: dict[str, dict[str, Experiment]] = {}
    for place in driver.places(paper, profile):
        if place[0] == STARTS:  # rows of a table, from another start
            continue
        (experiment,) = driver.cell(paper, profile, *place).experiments
        known.setdefault(place[1], {})[experiment.key("")] = experiment
    if row not in known:
        raise UsageError(
            f"--row {row!r}: profile {profile} of {paper} trains no such row"
            + _nearest(row, known, "; its rows are ")
        )
    found = list(known[row].values())
    if dataset is None:
        return found
    chosen = [experiment for experiment in found if experiment.dataset == dataset]
    if not chosen:
        there = dict.fromkeys(experiment.dataset for experiment in found)
        raise UsageError(f"--dataset {dataset!r}: row {row} is trained on {', '.join(there)}")
    return chosen


def row_of(experiment: Experiment, profile: str) -> str | None:
    """The slug of the first row of the paper's tables that an experiment of seed 0 is behind; None
    if there is none in this profile."""
    paper = experiment.paper
    for place in driver.places(paper, profile):
        if place[0] != STARTS and driver.cell(paper, profile, *place).experiments[0] == experiment:
            return place[1]
    return None


def parse_settings(written: Iterable[str]) -> dict[str, Any]:
    """What stands behind --set, such as "alpha1=0.3", as names and values.

    Example:
        >>> parse_settings(["alpha1=0.3", "pooling=avg", "steps=None"])
        {'alpha1': 0.3, 'pooling': 'avg', 'steps': None}
    """
    settings = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"--set {text!r}: expected FIELD=VALUE")
        try:
            settings[name.strip()] = driver.frozen(ast.literal_eval(value.strip()))
        except (ValueError, SyntaxError):
            settings[name.strip()] = value.strip()  # a word
    return settings


def with_settings(experiment: Experiment, settings: Mapping[str, Any], profile: str) -> Experiment:
    """The experiment with other values of fields of its model or its training. A backbone of
    another shape, or pictures of another size, start from a pretraining of their own.

    Raises `UsageError` for an unknown field (names the nearest one) and for a value of a type that
    the field does not have.
    """
    parts = {"model": experiment.model, "training": experiment.training}
    known = {
        f.name: part
        for part, config in parts.items()
        for f in fields(config)
        if f.name not in _FIXED
    }
    changes: dict[str, dict[str, Any]] = {"model": {}, "training": {}}
    for name, value in settings.items():
        if name not in known:
            raise UsageError(
                f"--set {name}: {type(experiment.model).__name__} and Training have no such field"
                + _nearest(name, known, "; fields are ")
            )
        part = known[name]
        hint = typing.get_type_hints(type(parts[part]))[name]
        changes[part][name] = _checked(name, value, hint)
    told = ", ".join(f"{name} = {value}" for name, value in settings.items())
    other = replace(
        experiment,
        name=f"{experiment.name}, {told}" if told else experiment.name,
        model=replace(experiment.model, **changes["model"]),
        training=replace(experiment.training, **changes["training"]),
    )
    if other.start is not None and other.start.paper != "pretraining":
        return other  # an earlier phase of the same method
    return started(replace(other, start=None), profile)


def _checked(name: str, value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
    else:
        options = (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind is bool and isinstance(value, bool):
            return value
        if isinstance(kind, type) and isinstance(value, kind) and not isinstance(value, bool):
            return value
    expected = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise UsageError(f"--set {name}={value!r}: expected {expected}")


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else otherwise + ", ".join(known)
