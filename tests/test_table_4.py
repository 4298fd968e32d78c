"""IMG-Net's Table 4: four image-only methods with BN and GN, from rows to finished runs."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from reidlib.experiment import Experiment, Stage, Training
from reidlib.explore import imgnet as explore
from reidlib.metrics.ranking import rank_features
from reidlib.models.imgnet import IMGNetConfig
from reidlib.models.pretraining import PretrainingConfig
from reidlib.papers import driver, imgnet
from reidlib.papers.imgnet import rows, table_4
from reidlib.papers.imgnet.table_4 import BATCH_SIZES, NAMES, with_batches
from reidlib.papers.tables import load_tables
from reidlib.run.plan import plan_experiments
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.world.write import write

METHODS = tuple(NAMES)


def cell(profile: str, method: str, column: str) -> driver.Measured:
    return table_4.cells(profile)[4, method, column]


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("profile", ["smoke", "study", "bench", "paper"])
def test_all_sixteen_cells_are_measured_by_eight_trainings(profile):
    cells = {p: c for p, c in table_4.cells(profile).items() if p[0] == 4}
    table = load_tables("imgnet")[4]
    assert set(cells) == {(4, row.slug, m.column) for row in table.rows for m in table.metrics}
    assert len({(c.experiment.name, c.experiment.key("")) for c in cells.values()}) == 8
    assert {c.metric for c in cells.values()} == {"Top-1", "mAP (trapezoid)"}
    assert {c.experiment.dataset for c in cells.values()} == {"dukemtmc-reid"}


@pytest.mark.parametrize("profile", ["smoke", "demo", "study", "bench", "paper"])
def test_the_norm_is_all_that_tells_two_columns_of_a_row_apart(profile):
    for method in table_4.SIZES[profile].rows:
        bn, gn = (cell(profile, method, f"{norm}-mAP").experiment for norm in ("BN", "GN"))
        assert (bn.model.norm, gn.model.norm) == ("bn", "gn")
        assert replace(gn.model, norm="bn") == bn.model
        assert bn.training == gn.training
        assert (bn.start is None) == (gn.start is None)
        if bn.start is not None:
            assert (bn.start.model.norm, gn.start.model.norm) == ("bn", "gn")
            assert replace(gn.start.model, norm="bn") == bn.start.model
            assert bn.start.training == gn.start.training


def test_the_demo_leaves_table_4_out():
    assert not [e for e in driver.experiments("imgnet", "demo") if e.dataset == "dukemtmc-reid"]
    assert not any(place[0] == table_4.BATCH_SIZES for place in driver.places("imgnet", "demo"))


def test_the_paper_profile_trains_as_the_authors_do():
    stages = {
        m: {s.name: s for s in cell("paper", m, "BN-mAP").experiment.training.stages}
        for m in METHODS
    }
    # SVDNet: step 0 and seven iterations; the rate falls after the third.
    assert len(stages["svdnet"]) == 15
    assert [stages["svdnet"][f"restraint {t}"].lrs[0] for t in (1, 3, 4, 7)] == [
        1e-3, 1e-3, 1e-4, 1e-4,
    ]  # fmt: skip
    assert {n for m in stages.values() for n, s in m.items() if s.freeze_backbone} == {
        "alignment",
        "part classifier",
    }
    assert list(stages["pcb"]) == ["PCB", "part classifier", "RPP"]
    sizes = {m: cell("paper", m, "GN-mAP").experiment.training.image_size for m in METHODS}
    assert sizes == {"pan": (224, 224), "svdnet": (224, 224), "pcb": (384, 128), "snr": (256, 128)}
    defaults = {m: cell("paper", m, "BN-mAP").experiment.model for m in METHODS}
    assert all(c == type(c)(ids=1) for c in defaults.values())


def test_svdnet_keeps_statistics_only_where_there_are_any(monkeypatch):
    def kept() -> bool:
        return cell("smoke", "svdnet", "BN-mAP").experiment.model.frozen_statistics

    assert kept()
    usual = table_4.SIZES["smoke"]
    random = replace(usual, training={**usual.training, "pretrained": ""})
    monkeypatch.setitem(table_4.SIZES, "smoke", random)
    assert not kept()


def test_batches_of_another_size_show_as_many_images_at_proportional_rates():
    places = [p for p in table_4.cells("study") if p[0] == BATCH_SIZES]
    assert [p[1:] for p in places] == [
        (f"pcb-{norm}", str(size)) for norm in ("bn", "gn") for size in (4, 8, 16, 32)
    ]
    usual = cell("study", "pcb", "GN-mAP").experiment
    assert table_4.cells("study")[BATCH_SIZES, "pcb-gn", "32"].experiment == usual
    small = table_4.cells("study")[BATCH_SIZES, "pcb-gn", "4"].experiment
    assert (small.model, small.start) == (usual.model, usual.start)
    mine, theirs = small.training, usual.training
    assert mine.batch_size * mine.steps == theirs.batch_size * theirs.steps
    for a, b in zip(mine.stages, theirs.stages, strict=True):
        assert a.lrs == tuple(lr / 8 for lr in b.lrs)
    assert with_batches(usual, 32) is usual


def test_what_came_with_this_table_leaves_older_keys_alone():
    """Finished runs of other rows and of their pretrainings must not be lost."""
    training = Training((Stage("all", (1e-3, 1e-4)),), 32, (96, 32), pretrained="strangers")
    full = IMGNetConfig(ids=1, vocabulary=2, width=0.125, channel=False)
    start = PretrainingConfig(width=0.125)
    row = Experiment("imgnet", "row", "cuhk-pedes", full, training, seed=0, recipe=2)
    pretraining = Experiment("pretraining", "start", "strangers", start, training, 0, recipe=1)
    assert row.key("data", "start") == "860cac356b53736d"
    assert pretraining.key("data") == "a4b93f7d89803335"


@pytest.mark.parametrize("profile", ["smoke", "demo", "study", "bench", "paper"])
def test_rows_by_sentences_stay_what_they_are(profile):
    cells = imgnet.cells(profile)
    by_sentences = {place: c for place, c in cells.items() if place[0] not in (4, BATCH_SIZES)}
    assert by_sentences == rows.cells(profile)


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session in which all eight trainings have finished."""
    root = tmp_path_factory.mktemp("duke")
    write("dukemtmc-reid", root, seed=3, ids=(8, 3), size=(48, 24))
    session = Session.create("smoke", results=root / "results", data=root)
    experiments = [
        cell("smoke", m, f"{norm}-mAP").experiment for m in METHODS for norm in ("BN", "GN")
    ]
    for planned in plan_experiments(session, experiments):
        assert planned.problem == ""
        run_one(session, planned)
    return session


def run_of(session: Session, method: str, norm: str):
    experiment = cell("smoke", method, f"{norm}-mAP").experiment
    planned = plan_experiments(session, [experiment])
    assert len(planned) == 2  # a pretraining, then the method
    return experiment, [session.store.load_trained(p.key) for p in planned]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_runs_go_through_their_stages_and_measure_their_cells(session, method, norm):
    experiment, (_, run) = run_of(session, method, norm)
    assert [h["stage"] for h in run.history] == [s.name for s in experiment.training.stages]
    measured = run.metrics["evaluations"]["single query"]
    for column in (f"{norm}-Rank-1", f"{norm}-mAP"):
        assert 0 < measured[cell("smoke", method, column).metric] <= 100


@pytest.mark.parametrize("method", METHODS)
def test_no_batch_statistics_are_left_in_gn(session, method):
    """Neither in the pretraining nor behind it; with BN there are some in both."""
    for norm in ("BN", "GN"):
        for run in run_of(session, method, norm)[1]:
            found = [name for name in load_file(run.weights) if "running_mean" in name]
            assert bool(found) == (norm == "BN")


@pytest.mark.parametrize("method", METHODS)
def test_trainings_begin_with_the_pretrained_weights(session, method):
    experiment, (pretraining, _) = run_of(session, method, "GN")
    dataset = session.dataset("dukemtmc-reid")
    data = imgnet.prepare(experiment, dataset, session.cache, "cpu")
    model = driver.initialized(experiment, data, [pretraining.weights])
    start = load_file(pretraining.weights)
    assert any(isinstance(part, nn.GroupNorm) for part in model.backbone.modules())
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, start[f"backbone.{name}"]), name


def test_a_finished_run_ranks_as_its_embeddings_do(session):
    experiment, (_, run) = run_of(session, "pcb", "BN")
    data = imgnet.prepare(experiment, session.dataset("dukemtmc-reid"), session.cache, "cpu")
    model = driver.load_trained(experiment, data, run.weights)
    with torch.inference_mode():
        query, gallery = (
            model.embed(split.images.batch(torch.arange(len(split.frame))))
            for split in (data.query, data.gallery)
        )
    ids = data.query.pids, data.gallery.pids, data.query.camids, data.gallery.camids
    ranking = rank_features(query, gallery, *ids, metric="cosine", exclude="person")
    assert ranking.metrics()["Top-1"] == run.metrics["evaluations"]["single query"]["Top-1"]
    assert bool(model.refined)


def test_a_batch_of_snr_holds_four_images_of_each_person(session):
    dataset = session.dataset("dukemtmc-reid")
    for method, each in (("snr", 4), ("pan", None)):
        experiment = cell("smoke", method, "BN-mAP").experiment
        data = imgnet.prepare(experiment, dataset, session.cache, "cpu")
        generator = torch.Generator().manual_seed(0)
        found = list(imgnet.batches(experiment, None, data, generator, "cpu"))
        assert found
        for batch in found:
            assert batch.images.shape == (32, 3, 64, 32)
            counts = batch.labels.unique(return_counts=True)[1]
            assert each is None or counts.tolist() == [each] * 8


def test_the_curve_of_batch_sizes_has_what_is_finished(session):
    """Only the rows of the table are: of the curve that is its last point."""
    found = explore.batch_sizes(session)
    assert (found.sizes, found.trainings, found.planned) == ((4, 8, 16, 32), 2, 8)
    for norm in ("BN", "GN"):
        run = run_of(session, "pcb", norm)[1][1]
        top_1 = run.metrics["evaluations"]["single query"]["Top-1"]
        assert found.mean[norm] == [None, None, None, top_1]
        assert found.std[norm] == [None] * 4  # one training does not scatter
    assert explore.of_table_4(session).model.norm == "gn"
    demo = Session.create("demo", results=session.results)
    assert explore.batch_sizes(demo).sizes == ()
    assert explore.of_table_4(demo) is None
