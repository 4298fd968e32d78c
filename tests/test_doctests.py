"""The examples of the public functions of metrics and losses run as they are printed."""

import doctest
import importlib
import inspect

import pytest

MODULES = (
    "reidlib.losses",
    "reidlib.metrics.first_match",
    "reidlib.metrics.measures",
    "reidlib.metrics.ranking",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(name)
    public = [
        thing
        for title, thing in vars(module).items()
        if not title.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == name
    ]
    assert public
    assert [thing.__name__ for thing in public if "Example:" not in thing.__doc__] == []
