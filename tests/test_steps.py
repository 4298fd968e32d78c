"""The steps of notebooks: rows with other settings beside the published ones, sizes as tables."""

import re

import pytest
import torch

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


def test_weights_of_networks_stand_side_by_side() -> None:
    counts = {"small": {"W_l": 1_000, "total": 1_000}, "large": {"W_l": 7, "LSTM": 8, "total": 15}}
    html = str(steps.parameters(counts, "Weights."))
    assert html.index("W<sub>l</sub>") < html.index(">LSTM<") < html.index(">total<")
    cells = re.findall(r"<td[^>]*>(?:<span[^>]*>)?([^<]+)", html)
    assert [cell.strip() for cell in cells] == ["1,000", "7", "–", "8", "1,000", "15"]


def test_shapes_of_tensors() -> None:
    html = str(steps.shapes({"theta^g": torch.empty(4, 3, device="meta")}, "Shapes."))
    assert "θ<sup>g</sup>" in html and ">4 × 3<" in html
