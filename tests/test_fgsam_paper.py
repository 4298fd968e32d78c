"""The paper FGSAM end to end: rows and phases, what starts from what, training and evaluation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reidlib.data.formats.attributes import DUKE, MARKET, UNLABELED, sizes
from reidlib.data.formats.peta import ATTRIBUTES as PETA
from reidlib.experiment import Experiment
from reidlib.models.fgsam import FGSAMConfig
from reidlib.papers import driver, fgsam
from reidlib.papers.fgsam.method import EACH, accuracies, recognized
from reidlib.papers.fgsam.rows import FIGURE_5, SWEEPS
from reidlib.papers.intervals import query_scores
from reidlib.papers.tables import Measurement, load_tables
from reidlib.run.plan import planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.world.write import write

TABLES = load_tables("fgsam")
PROFILES = ("smoke", "study", "bench", "paper")
WORLDS = {
    "market1501": (6, 4), "dukemtmc-reid": (6, 4), "peta": (30,), "coco-keypoints": (24, 8),
}  # fmt: skip


def cell(profile: str, table: int, row: str, column: str, seeds: int = 1) -> driver.Cell | None:
    return driver.cell("fgsam", profile, table, row, column, seeds)


def experiment(profile: str, table: int, row: str, column: str) -> Experiment:
    return cell(profile, table, row, column).experiments[0]


# ------------------------------------------------------------------ rows and phases


@pytest.mark.parametrize("profile", PROFILES)
def test_every_own_row_of_tables_2_to_5_is_measured_and_no_other(profile: str) -> None:
    for number, table in TABLES.items():
        for row in table.rows:
            for metric in table.metrics:
                found = cell(profile, number, row.slug, metric.column)
                assert (found is not None) == (row.origin == "own"), (number, row.slug)
                if found is not None:
                    assert found.experiments[0].dataset == metric.dataset
                    assert found.evaluation == "single query"
    assert len(driver.experiments("fgsam", profile)) == 22


def test_the_demo_measures_what_the_main_claims_compare() -> None:
    names = [e.name for e in driver.experiments("fgsam", "demo")]
    assert sorted(names) == sorted(
        ["Base", "Base + Pose", "Base + Pose + LRAM", "Base + Pose + LRAM + FTL"]
    )
    assert cell("demo", 2, "ours", "Market mAP") == cell("demo", 4, "base-pose-lram-ftl",
                                                         "Market mAP")  # fmt: skip
    assert cell("demo", 4, "base", "Duke mAP") is None
    assert cell("demo", 5, "ours-without-cpb", "mAP") is None
    assert not [place for place in driver.places("fgsam", "demo") if place[0] == FIGURE_5]


@pytest.mark.parametrize("profile", PROFILES)
def test_figure_5_varies_one_parameter_at_a_time(profile: str) -> None:
    final = experiment(profile, 4, "base-pose-lram-ftl", "Market mAP")
    usual = FGSAMConfig(ids=1)
    for parameter, values in SWEEPS.items():
        assert getattr(usual, parameter) in values
        for value in values:
            swept = experiment(profile, FIGURE_5, parameter, f"{value:g}, mAP")
            assert replace(swept.model, **{parameter: getattr(usual, parameter)}) == final.model
            assert getattr(swept.model, parameter) == value
            assert swept.start == final.start and swept.training == final.training
            assert cell(profile, FIGURE_5, parameter, f"{value:g}, Rank-1").metric == "Top-1"
    assert experiment(profile, FIGURE_5, "beta", "0.01, mAP") == final


def test_rows_that_say_the_same_are_one_training() -> None:
    final = experiment("study", 4, "base-pose-lram-ftl", "Market mAP")
    assert experiment("study", 2, "ours", "Market Rank-5") == final
    assert experiment("study", 5, "ours", "Rank-1") == final
    assert cell("study", 5, "ours", "mAP").metric == "mAP (trapezoid)"
    assert cell("study", 2, "ours", "Market Rank-10").metric == "Top-10"


@pytest.mark.parametrize("profile", ("smoke", "demo", "study"))
def test_a_phase_starts_from_the_one_before_and_shares_it(profile: str) -> None:
    base, joined, lram, final = (
        experiment(profile, 4, row, "Market mAP")
        for row in ("base", "base-pose", "base-pose-lram", "base-pose-lram-ftl")
    )
    assert base.start.paper == "pretraining" and base.joins == () and base.needs == ()
    assert joined.start == base and [j.paper for j in joined.joins] == ["pose_pretraining"]
    assert joined.needs == () and joined.model.attributes == ()
    second = final.start
    assert lram.start == second and final.joins == lram.joins == ()
    assert second.start == base and second.joins == joined.joins
    assert second.needs == final.needs == ("attributes",)
    assert not second.model.lram and second.model.attributes == sizes(MARKET.attributes)
    assert [e.training.pretrained for e in (base, joined, second, final)] == ["strangers", "", "",
                                                                               ""]  # fmt: skip
    (pose,) = joined.joins
    assert pose.model.width == joined.model.pose_width
    assert pose.training.image_size == joined.training.image_size


def test_costs_know_the_pose_resolve_net() -> None:
    base, joined, last = (
        driver.cost(experiment("study", 4, row, "Market mAP"))
        for row in ("base", "base-pose", "base-pose-lram-ftl")
    )
    assert 1.5 * base < joined == last


def test_without_channel_parse_blocks_from_the_second_phase_on() -> None:
    without = experiment("study", 5, "ours-without-cpb", "mAP")
    usual = experiment("study", 5, "ours", "mAP")
    assert not without.model.cpb and not without.start.model.cpb
    assert without.start.start == usual.start.start  # the baseline has none in any case
    assert replace(without.model, cpb=True) == usual.model


def test_seeds_of_phases_go_together_and_pretrainings_are_shared() -> None:
    (_, second) = cell("study", 3, "ours", "mAP", seeds=2).experiments
    while second.paper == "fgsam":
        assert second.seed == 1 and second.dataset == "peta-split-1"
        assert all(join.seed == 0 for join in second.joins)
        second = second.start
    assert second.seed == 0


def test_attributes_are_those_of_the_label_files() -> None:
    for table, row, column, known in (
        (4, "base-pose-lram-ftl", "Market mAP", MARKET.attributes),
        (4, "base-pose-lram", "Duke mAP", DUKE.attributes),
        (3, "ours", "mAP", PETA),
    ):
        assert experiment("paper", table, row, column).model.attributes == sizes(known)


def test_the_paper_profile_is_section_4_b() -> None:
    final = experiment("paper", 4, "base-pose-lram-ftl", "Market mAP")
    base = experiment("paper", 4, "base", "Market mAP")
    assert base.start is None and base.training.pretrained == "imagenet"
    lrs = [e.training.stages[0].lrs for e in (base, final.start, final)]
    assert [len(rates) for rates in lrs] == [150, 100, 400]
    assert [rates[0] for rates in lrs] == [1e-3, 1e-3, 1e-4]
    for rates, every in zip(lrs, (50, 50, 100), strict=True):
        assert all(
            rate == pytest.approx(rates[0] * 0.5 ** (epoch // every))
            for epoch, rate in enumerate(rates)
        )
    for e in (base, final.start, final):
        training = e.training
        assert (training.image_size, training.batch_size) == ((256, 128), 16 * EACH)
        assert (training.optimizer, training.flip, training.crop_pad) == ("adam", True, 0)
    model = final.model
    assert (model.width, model.pose_width, model.D) == (1.0, 1.0, 2048)
    assert (model.alpha, model.beta, model.gamma) == (0.5, 0.01, 2.0)
    assert final.start.joins[0].training.pretrained == "imagenet"


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    root = tmp_path_factory.mktemp("fgsam") / "data"
    for name, ids in WORLDS.items():
        write(name, root, seed=3, ids=ids, size=(48, 24))
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=root)


def from_random(e: Experiment) -> Experiment:
    """The same from random weights of the backbone; what is joined stays."""
    if e.paper != "fgsam":
        return e
    start = None if e.start is None or e.start.paper != "fgsam" else from_random(e.start)
    return replace(e, start=start, training=replace(e.training, pretrained=""))


def finished(session: Session, e: Experiment):
    """The run, after those that it starts from."""
    for earlier in e.before:
        finished(session, earlier)
    return run_one(session, planned_for(session, e))


def test_the_three_phases_one_after_the_other(session: Session) -> None:
    final = from_random(experiment("smoke", 4, "base-pose-lram-ftl", "Market mAP"))
    run = finished(session, final)
    runs = [run]
    while runs[-1].experiment["start"]:
        runs.append(session.store.load(runs[-1].experiment["start"]))
    assert [r.experiment["name"] for r in runs[::-1]] == [
        "Base", "Base + Pose + attributes", "Base + Pose + LRAM + FTL"
    ]  # fmt: skip
    (pose,) = runs[1].experiment["joins"]
    assert session.store.load(pose).experiment["paper"] == "pose_pretraining"
    assert "joins" not in runs[0].experiment and "joins" not in runs[2].experiment
    assert [sorted(n for n in r.history[0] if n.startswith("L_")) for r in runs] == [
        ["L_CEL", "L_CEL^ID", "L_FTL"], ["L_CEL", "L_CEL^ID"], ["L_CEL^ID"]
    ]  # fmt: skip
    # What a phase begins with is what the one before ended with.
    model = final.start
    data = fgsam.prepare(model, session.dataset("market1501"), session.cache, "cpu")
    weights = [runs[2].weights, session.store.load(pose).weights]
    begun = driver.initialized(model, data, weights).state_dict()
    base, net = map(load_file, weights)
    for name, value in base.items():
        assert not name.startswith("backbone.") or torch.equal(begun[name], value), name
    for name, value in net.items():
        assert torch.equal(begun[f"pose.{name}"], value), name


def test_a_final_model_is_tested_on_persons_and_attributes(session: Session) -> None:
    final = from_random(experiment("smoke", 4, "base-pose-lram-ftl", "Market mAP"))
    run = finished(session, final)
    found = run.metrics["evaluations"]
    assert set(found) == {"single query", "attributes"}
    for metric in ("Top-1", "mAP (trapezoid)"):
        values = query_scores(Measurement(run, "single query", metric))
        assert 100 * np.nanmean(values) == pytest.approx(found["single query"][metric])
    # Attributes by a loop over single queries.
    dataset = session.dataset("market1501")
    data = fgsam.prepare(final, dataset, session.cache, "cpu")
    model = driver.load_trained(final, data, run.weights)
    names = [name for name, _ in final.model.attributes]
    right = {name: [] for name in names}
    for row, known in enumerate(data.query_known.tolist()):
        with torch.inference_mode():
            image = data.query.images.batch(torch.tensor([row]))
            logits = model.attribute_logits(model.encode(image))
        for name, z, label in zip(names, logits, known, strict=True):
            if label != UNLABELED:
                right[name].append(int(z.argmax()) == label)
    for name in names:
        assert found["attributes"][name] == pytest.approx(100 * np.mean(right[name]))
        assert 0 < run.metrics["chance"]["attributes"][name] <= 100
    every = [found["attributes"][name] for name in names]
    assert found["attributes"]["mean"] == pytest.approx(np.mean(every))
    assert recognized(model, data, batch_size=3).shape == data.query_known.shape


@pytest.mark.parametrize(("table", "column"), [(4, "Duke mAP"), (3, "mAP")])
def test_the_other_data_sets(session: Session, table: int, column: str) -> None:
    row = "base-pose" if table == 4 else "ours"
    e = from_random(experiment("smoke", table, row, column))
    run = finished(session, e)
    assert 0 <= run.metrics["evaluations"]["single query"]["mAP (trapezoid)"] <= 100
    assert ("attributes" in run.metrics["evaluations"]) == (table == 3)
    assert run.experiment["dataset"] == e.dataset


def test_the_second_phase_is_tested_on_attributes_alone(session: Session) -> None:
    second = from_random(experiment("smoke", 4, "base-pose-lram", "Market mAP")).start
    run = finished(session, second)
    assert set(run.metrics["evaluations"]) == {"attributes"} and run.metrics["gallery"] == 0


def test_accuracies_leave_out_what_is_not_labeled() -> None:
    true = np.array([[0, 1, UNLABELED], [0, UNLABELED, UNLABELED], [1, 2, UNLABELED]])
    found = np.array([[0, 0, 1], [1, 0, 1], [1, 2, 1]])
    right, usual = accuracies(found, true)
    np.testing.assert_allclose(right, [200 / 3, 50, np.nan])
    np.testing.assert_allclose(usual, [200 / 3, 50, np.nan])
