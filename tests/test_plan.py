"""Which runs the tables need, under which keys."""

from collections import Counter
from types import SimpleNamespace

import pytest

from reidlib.arguments import PAPERS
from reidlib.errors import StoreError, UsageError
from reidlib.papers import driver
from reidlib.papers.driver import CONTRACT, get_paper
from reidlib.papers.tables import load_tables
from reidlib.run.plan import describe, find, key_of, minutes, plan, with_all_before
from reidlib.run.session import Session


def test_smoke_plans_all_distinct_trainings(data, tmp_path):
    def planned(seeds: int = 1):
        found = plan(Session.create("smoke", results=tmp_path, data=data, seeds=seeds), ["imgnet"])
        assert len(found) == len({p.key for p in found})
        return Counter(p.experiment.dataset for p in found)

    # Of Table 4 eight, and six more with batches of other sizes. One pretraining for each backbone:
    # VGG-16, ResNet-50 with BN and with GN; whatever the seed.
    assert planned() == {"cuhk-pedes": 74, "dukemtmc-reid": 14, "strangers": 3}
    assert planned(seeds=3) == {"cuhk-pedes": 3 * 74, "dukemtmc-reid": 3 * 14, "strangers": 3}


@pytest.mark.parametrize("profile", ["smoke", "study", "bench", "paper"])
def test_every_own_row_is_planned(profile):
    for number, table in load_tables("imgnet").items():
        for row in table.rows:
            for metric in table.metrics:
                cell = driver.cell("imgnet", profile, number, row.slug, metric.column)
                assert (cell is not None) == (row.origin == "own"), row.slug


def test_demo_plans_what_the_main_claims_compare():
    names = [e.name for e in driver.experiments("imgnet", "demo")]
    assert sum("channel+spatial, GS+LS+GP, GN" in n and "fused" in n for n in names) == 1
    assert sum("channel+spatial, GS+LS+GP, BN" in n and "fused" in n for n in names) == 1
    assert len(names) == 3
    for row in load_tables("imgnet")[3].rows:
        cell = driver.cell("imgnet", "demo", 3, row.slug, "Top-1")
        assert (cell is not None) == row.slug.startswith("vgg")
    assert driver.cell("imgnet", "demo", 7, "imgnet-vgg", "Top-1", 3).experiments[2].seed == 2


def test_paper_profile_is_the_papers_own_schedule_and_size():
    experiment = driver.cell("imgnet", "paper", 3, "vgg-test-all", "Top-1").experiments[0]
    training = experiment.training
    assert training.image_size == (384, 128)
    assert training.batch_size == 32 and training.pretrained == "imagenet"
    first, second = training.stages
    assert first.lrs == (1e-3,) * 10 and first.freeze_backbone
    assert second.lrs == (2e-4,) * 15 + (2e-4 / 10,) * 5 and not second.freeze_backbone
    config = experiment.model
    assert (config.P, config.E, config.k, config.width, config.depths) == (1024, 300, 6, 1.0, None)


def test_find_by_the_beginning_of_a_key(finished):
    session, planned = finished
    assert find(plan(session, ["imgnet"]), planned[0].key[:10]) == planned[0]
    with pytest.raises(StoreError, match="fits 0 of the planned runs"):
        find(plan(session, ["imgnet"]), "")
    with pytest.raises(StoreError, match="fits 0"):
        find(plan(session, ["imgnet"]), "no such key")


def test_unknown_paper():
    with pytest.raises(UsageError, match=r"unknown paper 'resnet': expected .*imgnet"):
        get_paper("resnet")
    for name in PAPERS:
        assert all(hasattr(get_paper(name), attribute) for attribute in CONTRACT)


def test_a_plan_of_the_procedural_world_draws_nothing(tmp_path, monkeypatch):
    """Keys are those that the drawn world has; `describe` says that nothing was drawn."""
    monkeypatch.setattr("reidlib.run.session.project_root", lambda: tmp_path)
    session = Session.create("bench", results=tmp_path / "results")
    planned = plan(session, ["gla"])
    text = describe(session, planned)
    assert not (tmp_path / "data").exists()
    assert f"{3 * 27 + 1} runs, 0 done" in text and "Nothing was drawn" in text


def test_keys_of_a_plan_are_those_of_the_drawn_world(tmp_path, monkeypatch):
    monkeypatch.setattr("reidlib.run.session.project_root", lambda: tmp_path)
    session = Session.create("smoke", results=tmp_path / "results")
    experiment = driver.cell("gla", "smoke", 5, "basel", "top-1").experiments[0]
    before = key_of(session, experiment)
    dataset = session.dataset("cuhk01")
    start = key_of(session, experiment.start)
    assert experiment.key(driver.fingerprint(experiment, dataset), start) == before


class Machine:
    """Stands for a session whose store holds some runs that took a time in proportion to their
    cost, each method at a speed of its own."""

    data = None

    def __init__(self, done: set[str]) -> None:
        self.done, self.store = done, self

    def load(self, key: str):
        if key not in self.done:
            return None
        took = truth(self.planned[key])
        return SimpleNamespace(provenance={"wall_s": took}, metrics={"seconds": took})


def truth(p) -> float:
    """Seconds that a run takes."""
    training = p.experiment.training
    speed = 1e8 * (1 + len(type(p.experiment.model).__name__))
    images = training.steps * training.batch_size * training.epochs
    return driver.cost(p.experiment) * images / speed


def test_minutes_come_from_runs_of_the_same_kind(data, tmp_path):
    planned = plan(Session.create("smoke", results=tmp_path, data=data), ["imgnet"])
    planned = [p for p in planned if not p.problem]
    machine = Machine({p.key for p in planned[::5]})
    machine.planned = {p.key: p for p in planned}
    told = minutes(machine, planned)
    for p in planned:  # what is finished is told as it was, the rest by it
        assert told[p.key] == pytest.approx(truth(p) / 60)
    assert minutes(Machine(set()), planned) == dict.fromkeys(told)


def test_all_that_comes_before_a_run_is_planned_before_it(tmp_path, monkeypatch):
    """Chains of starts, and what is joined: once each, and before whoever needs it."""
    monkeypatch.setattr("reidlib.run.session.project_root", lambda: tmp_path)
    session = Session.create("smoke", results=tmp_path / "results")
    planned = plan(session, ["fgsam"])
    place = {p.key: number for number, p in enumerate(planned)}
    assert len(place) == len(planned)
    assert all(place[key] < place[p.key] for p in planned for key in p.before)
    final = next(p for p in planned if p.experiment.name == "Base + Pose + LRAM + FTL")
    chain = with_all_before(planned, final)
    assert [p.paper for p in chain] == ["pretraining", "fgsam", "pose_pretraining", "fgsam",
                                        "fgsam"]  # fmt: skip
    assert chain[-1] == final and chain[3].key == final.start
    assert chain[3].joins == (chain[2].key,) and chain[3].start == chain[1].key
    assert key_of(session, final.experiment) == final.key
    assert not (tmp_path / "data").exists()
