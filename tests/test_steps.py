"""The steps of notebooks: a row trained with other settings, beside the row as published."""

import pytest

from reidlib.errors import UsageError
from reidlib.papers import tinker
from reidlib.report import steps
from reidlib.run.plan import key_of

ROW = "vgg-ch0-sp0-gs1-ls0-gp0-gn"


def test_a_row_with_other_settings_is_trained_and_stands_beside_the_published_one(finished):
    session, _ = finished
    before = {path.name for path in (session.folder / "runs").iterdir()}
    shown = str(steps.changed(session, "imgnet", ROW, margin=0.4, steps=1))
    (published,) = tinker.trainings_of("imgnet", "smoke", ROW)
    other = tinker.with_settings(published, {"margin": 0.4, "steps": 1}, "smoke")
    keys = [key_of(session, each) for each in (published, other)]
    # The published one was there; one more was trained.
    assert keys[0] in before and keys[1] not in before
    for experiment, key in zip((published, other), keys, strict=True):
        run = session.store.load(key)
        assert experiment.name in shown
        assert f"{run.metrics['evaluations']['GS']['Top-1']:.2f}" in shown
    record = session.store.load(keys[1]).experiment
    assert record["model"]["margin"] == 0.4 and record["training"]["steps"] == 1
    # Asked again, nothing is trained.
    assert str(steps.changed(session, "imgnet", ROW, margin=0.4, steps=1)) == shown


def test_no_settings_change_nothing_and_wrong_ones_are_answered(finished):
    session, _ = finished
    before = sorted((session.folder / "runs").iterdir())
    assert "Nothing is changed yet" in str(steps.changed(session, "imgnet", ROW))
    with pytest.raises(UsageError, match="did you mean margin"):
        steps.changed(session, "imgnet", ROW, margn=0.4)
    with pytest.raises(UsageError, match="trains no such row"):
        steps.changed(session, "imgnet", "vgg", margin=0.4)
    assert sorted((session.folder / "runs").iterdir()) == before
