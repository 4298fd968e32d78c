"""A row with other settings: found, checked, a run of its own."""

from dataclasses import replace

import pytest
import torch

from reidlib.errors import UsageError
from reidlib.papers import driver
from reidlib.papers.driver import module_of
from reidlib.papers.tinker import parse_settings, trainings_of, with_settings


def test_a_changed_row_is_an_experiment_of_its_own():
    published = trainings_of("ssan", "demo", "ssan", "cuhk-pedes")
    (experiment,) = published
    changed = with_settings(experiment, {"alpha1": 0.3, "batch_size": 16}, "demo")
    assert changed.model.alpha1 == 0.3 and changed.training.batch_size == 16
    assert changed.key("x") != experiment.key("x")
    assert "alpha1 = 0.3" in changed.name
    assert with_settings(experiment, {"alpha1": experiment.model.alpha1}, "demo").key(
        "x"
    ) == experiment.key("x")


def test_rows_are_found_on_all_their_datasets_or_on_one():
    found = {experiment.dataset for experiment in trainings_of("ssan", "smoke", "ssan")}
    assert found == {"cuhk-pedes", "icfg-pedes"}
    with pytest.raises(UsageError, match=r"row ssan is trained on cuhk-pedes, icfg-pedes"):
        trainings_of("ssan", "smoke", "ssan", "market1501")


@pytest.mark.parametrize("settings, why", [
    ({"alpha_1": 0.3}, "no such field; did you mean .*alpha1"),
    ({"alpha1": "much"}, "expected float"),
    ({"pfl": 1}, "expected bool"),
    ({"batch_size": 0.5}, "expected int"),
    ({"ids": 3}, "no such field"),
])  # fmt: skip
def test_mistakes_are_answered_with_what_is_meant(settings, why):
    (experiment,) = trainings_of("ssan", "demo", "ssan", "cuhk-pedes")
    with pytest.raises(UsageError, match=why):
        with_settings(experiment, settings, "demo")


def test_an_unknown_row_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"trains no such row; did you mean baseline"):
        trainings_of("ssan", "demo", "basline")


def test_settings_are_written_as_in_python():
    assert parse_settings(["alpha1=0.3", "cr=True", "steps = None", "optimizer=sgd"]) == {
        "alpha1": 0.3,
        "cr": True,
        "steps": None,
        "optimizer": "sgd",
    }
    for wrong in ("alpha1", "=3", "alpha1="):
        with pytest.raises(UsageError, match="expected FIELD=VALUE"):
            parse_settings([wrong])


def test_seeds_of_a_changed_row_keep_the_change():
    (experiment,) = trainings_of("ssan", "demo", "ssan", "cuhk-pedes")
    changed = with_settings(experiment, {"alpha1": 0.3}, "demo")
    assert driver.with_seed(changed, 2).model.alpha1 == 0.3


def test_a_backbone_of_another_shape_starts_from_a_pretraining_of_its_own():
    (experiment,) = trainings_of("ssan", "demo", "ssan", "cuhk-pedes")
    wider = with_settings(experiment, {"width": 0.125}, "demo")
    assert wider.start.model.width == 0.125 != experiment.start.model.width
    assert with_settings(experiment, {"alpha1": 0.3}, "demo").start == experiment.start
    assert with_settings(experiment, {"pretrained": ""}, "demo").start is None


def test_rows_from_other_starts_are_no_rows():
    starts = {e.start.model.labels for e in trainings_of("gla", "study", "proposed", "market1501")}
    assert starts == {"kinds"}


def test_neighbors_are_averaged_where_it_is_asked_for():
    """What GLA's notes say of its map: small profiles leave it as it is, and `--set pool=2` does
    not."""
    (plain,) = trainings_of("gla", "study", "proposed", "market1501")
    averaged = with_settings(plain, parse_settings(["pool=2"]), "study")
    assert (plain.model.pool, averaged.model.pool) == (1, 2)
    assert averaged.key("x") != plain.key("x") and averaged.start == plain.start
    model = module_of(averaged.model).GLA(replace(averaged.model, ids=3, vocabulary=5))
    found = {}
    for pool in (1, 2):
        model.cfg = replace(model.cfg, pool=pool)
        Psi, owner = torch.rand(2, averaged.model.d, 4, 2), torch.tensor([0, 1, 1])
        found[pool] = model.attend(Psi, torch.rand(3, averaged.model.d), owner)[0].shape
    assert found == {1: (3, 4, 2), 2: (3, 2, 1)}
