"""Attention Driven re-ID end to end: rows and runs, its pretraining, tables that are computed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import differently_started
from safetensors.torch import load_file, save
from tiny_runs import reseal

from reidlib.data.formats import keypoints
from reidlib.data.register import FORMATS
from reidlib.errors import DataError
from reidlib.experiment import Experiment
from reidlib.explore import attention_driven as explore
from reidlib.explore import encoded
from reidlib.models.attention_driven import EVALUATIONS, PARTS
from reidlib.papers import attention_driven, driver
from reidlib.papers.attention_driven import method
from reidlib.papers.image_to_image import search_by_image
from reidlib.papers.intervals import query_scores
from reidlib.papers.tables import Measurement, load_tables
from reidlib.report.results import collect
from reidlib.run.plan import planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.run.store import Run
from reidlib.world.write import write

PAPER = "attention_driven"
TABLES = load_tables(PAPER)
TRAINED = range(3, 12)
SIZE = (48, 24)
WORLDS = {"market1501": (6, 4), "dukemtmc-reid": (6, 4), "cuhk03": (6, 4), "strangers": (12, 4)}
MARKET, DUKE = "market1501", "dukemtmc-reid"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with everything the paper trains on. Shared: copy before changing."""
    root = tmp_path_factory.mktemp("world")
    for name, ids in WORLDS.items():
        write(name, root, seed=3, ids=ids, size=SIZE)
    return root


@pytest.fixture(scope="module")
def session(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=world)


def of(profile: str, table: int, row: str, column: str) -> Experiment:
    return driver.cell(PAPER, profile, table, row, column).experiments[0]


def trained(session: Session, experiment: Experiment) -> Run:
    return run_one(session, planned_for(session, experiment))


# ------------------------------------------------------------------ rows and runs


@pytest.mark.parametrize("profile", ["smoke", "study", "bench", "paper"])
def test_every_own_row_of_tables_3_to_11_is_measured_and_no_other(profile: str) -> None:
    for number, table in TABLES.items():
        for row in table.rows:
            for metric in table.metrics:
                cell = driver.cell(PAPER, profile, number, row.slug, metric.column)
                assert (cell is not None) == (row.origin == "own" and number in TRAINED)
    starts = 2 * 2 if profile == "study" else 0  # two rows from two other starts
    assert len(driver.experiments(PAPER, profile)) == 24 + 40 + 12 + 2 + starts


def test_demo_trains_the_ablation_of_table_6() -> None:
    found = driver.experiments(PAPER, "demo")
    assert {e.dataset for e in found} == {MARKET}
    measured = {(table, row) for table, row, _ in driver.places(PAPER, "demo")}
    ablation = ("baseline", "aligned", "intra", "inter", "intra-inter")
    assert {(6, row) for row in ablation} <= measured and len(found) == len(ablation)
    assert {(7, row.slug) for row in TABLES[7].rows} <= measured  # no training of its own


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_rows_with_the_same_setting_share_their_training(profile: str) -> None:
    def same(*places: tuple[int, str, str]) -> None:
        assert len({of(profile, *place) for place in places}) == 1

    same((6, "intra-inter", "Market R1"), (8, "decomposed", "R20"),
         (10, "lambda-0.5", "Market mAP"), (11, "beta-5h-48", "Market R5"),
         (7, "head", "With R1"))  # fmt: skip
    same((6, "inter", "Market mAP"), (9, "inter-attention", "R1"), (7, "global", "Without mAP"))
    same((6, "aligned", "Market R1"), (9, "concatenation", "R5"))
    same((3, "ours", "R1"), (6, "intra-inter-tuned", "Market R1"))
    same((4, "ours", "mAP"), (6, "intra-inter-tuned", "Duke R1"))
    same((5, "ours", "CUHK03-D R10"), (6, "intra-inter-tuned", "CUHK03-D R1"))


def test_settings_of_the_rows() -> None:
    def model(*place: object) -> object:
        return of("paper", *place).model

    weights = [model(10, row.slug, "Duke R1").lambda_ for row in TABLES[10].rows]
    assert weights == [n / 10 for n in range(11)]
    assert [model(11, row.slug, "Duke R1").beta for row in TABLES[11].rows] == list(range(7))
    for column, weight in (("Market R1", 0.1), ("Duke R1", 0.1), ("CUHK03-L R1", 0.2)):
        tuned = model(6, "intra-inter-tuned", column)
        assert (tuned.lambda_, tuned.beta) == (weight, 3)
        assert replace(tuned, lambda_=0.5, beta=5.0) == model(6, "intra-inter", column)
    switches = {
        row.slug: [getattr(model(6, row.slug, "Market R1"), name)
                   for name in ("aligned", "intra", "fusion")]
        for row in TABLES[6].rows[:5]
    }  # fmt: skip
    assert switches == {
        "baseline": [False, False, "concatenation"],
        "aligned": [True, False, "concatenation"],
        "intra": [True, True, "concatenation"],
        "inter": [True, False, "inter"],
        "intra-inter": [True, True, "inter"],
    }
    assert not model(8, "not-decomposed", "R1").decomposed
    assert model(9, "fc-fusion", "R1").fusion == "fc" and not model(9, "fc-fusion", "R1").intra


def test_table_7_ranks_by_single_features() -> None:
    for row, feature in (("head", "head"), ("up-leg", "upper legs"), ("global", "global")):
        cell = driver.cell(PAPER, "smoke", 7, row, "Without mAP")
        assert (cell.evaluation, cell.metric) == (f"single query, {feature}", "mAP (trapezoid)")
    whole = driver.cell(PAPER, "smoke", 7, "global-part", "With R1")
    assert (whole.evaluation, whole.metric) == ("single query", "Top-1")
    assert driver.cell(PAPER, "smoke", 5, "ours", "CUHK03-L R5").evaluation == "single shot"


def test_the_paper_profile_is_section_4_1() -> None:
    experiment = of("paper", 6, "intra-inter", "Market R1")
    training, model, start = experiment.training, experiment.model, experiment.start
    assert (training.image_size, training.batch_size) == ((384, 192), 32)
    assert (training.optimizer, training.steps) == ("sgd", None)
    assert training.stages[0].lrs == (1e-2,) * 40 + (1e-3,) * 40 + (1e-4,) * 20
    assert (model.width, model.units, model.dropout) == (1.0, (3, 3, 3, 3), 0.5)
    assert (model.E_g, model.E_p) == (256, 128)
    assert (start.dataset, start.model.labels) == ("imagefolder", "classes")
    assert start.training.stages[0].lrs == (1e-2,) * 3 + (1e-3,) * 3 + (1e-4,) * 3
    assert (start.training.batch_size, start.training.image_size) == (32, (384, 192))


@pytest.mark.parametrize("profile", ["smoke", "demo", "study"])
def test_all_rows_of_small_profiles_start_from_one_pretraining(profile: str) -> None:
    cells = [driver.cell(PAPER, profile, *place, 2) for place in driver.places(PAPER, profile)
             if place[0] in TRAINED]  # fmt: skip
    found = [experiment for cell in cells for experiment in cell.experiments]
    assert len({e.start for e in found}) == 1
    start = found[0].start
    assert (start.dataset, start.seed, start.training.pretrained) == ("strangers", 0, "")
    assert all(e.training.pretrained == "strangers" for e in found)
    assert all(e.needs == ("keypoints",) for e in found)


def test_every_training_has_a_cost() -> None:
    costs = {driver.cost(e) for e in driver.experiments(PAPER, "smoke")}
    assert min(costs) > 0
    full = of("paper", 6, "baseline", "Market R1")
    assert driver.cost(full) == pytest.approx(3 * 2.012e9, rel=1e-3)  # of the base, Table 12


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize(
    ("place", "protocols"),
    [
        ((6, "intra-inter", "Market R1"), {"single query"}),
        ((6, "baseline", "CUHK03-D R1"), {"single shot", "all shots"}),
    ],
)
def test_a_run_holds_what_its_cells_ask_for(
    session: Session, place: tuple, protocols: set[str]
) -> None:
    run = trained(session, of("smoke", *place))
    evaluations = run.metrics["evaluations"]
    names = {method.evaluation_name(p, feature) for p in protocols for feature in EVALUATIONS}
    assert set(evaluations) == names and len(names) == 7 * len(protocols)
    for name, found in evaluations.items():
        assert {"Top-1", "Top-5", "Top-10", "Top-20"} <= set(found)
        for metric in ("Top-1", "Top-20", "mAP (trapezoid)"):
            if metric in found:
                values = query_scores(Measurement(run, name, metric))
                assert values.shape == (run.metrics["queries"],)
                assert 100 * np.nanmean(values) == pytest.approx(found[metric])
                assert 0 < run.metrics["chance"][name][metric] <= 100
    # Features differ, and so do rankings by them.
    assert len({str(found) for found in evaluations.values()}) > len(protocols)
    assert len(run.history) == 1 and run.history[0]["images"] == 16


def test_degenerate_poses_are_counted(session: Session) -> None:
    aligned = trained(session, of("smoke", 6, "aligned", "Market R1")).provenance
    dataset = session.dataset(MARKET)
    for split in method.SPLITS:
        assert aligned["images"][split] == len(dataset.splits[split])
        assert aligned["nobody"][split] <= aligned["strips"][split] <= aligned["images"][split]
    # Distractors of the gallery show nobody.
    distractors = int((dataset.splits["gallery"]["pid"] == 0).sum())
    assert aligned["strips"]["gallery"] >= distractors > 0
    fixed = trained(session, of("smoke", 6, "baseline", "Market R1")).provenance
    assert set(fixed["strips"].values()) == {0}
    table = explore.strips_table(session).set_index(["dataset", "part"])
    row = table.loc[("Market-1501", "gallery")]
    assert row["fixed strips"] == aligned["strips"]["gallery"]


def test_a_run_ranks_by_the_features_of_its_network(session: Session) -> None:
    """Against a loop over images, one after the other, and the ranking of other papers."""
    experiment = of("smoke", 6, "inter", "Market R1")
    run = trained(session, experiment)
    data = method.prepare(experiment, session.dataset(MARKET), session.cache, "cpu")
    model = driver.load_trained(experiment, data, run.weights)
    one = method.embeddings(model, data.query)
    boxes = method.boxes_of(model, data.query)
    with torch.no_grad():
        for row in (0, 3):
            whole, parts = method.take(data.query, boxes, torch.tensor([row]))
            alone = model.embeddings(model.encode(whole, parts))
            for name in EVALUATIONS:
                torch.testing.assert_close(alone[name][0], one[name][row], atol=1e-5, rtol=1e-4)
    assert torch.allclose(one["head"].norm(dim=1), torch.tensor(1.0))
    again = attention_driven.evaluate(model, data, driver.Compute("cpu"))
    assert again.evaluations == run.metrics["evaluations"]


def test_rows_start_from_the_same_numbers(session: Session) -> None:
    """The base is the pretraining's in every row; what two rows have beside it is alike."""
    rows = ("baseline", "aligned", "intra", "inter", "intra-inter", "intra-inter-tuned")
    places = [
        *((6, row, "Market R1") for row in rows),
        (8, "not-decomposed", "R1"),
        (9, "fc-fusion", "R1"),
    ]
    data = None
    models = []
    for place in places:
        experiment = of("smoke", *place)
        start = trained(session, experiment.start)
        if data is None:
            data = method.prepare(experiment, session.dataset(MARKET), session.cache, "cpu")
        models.append(driver.initialized(experiment, data, [start.weights]))
    assert differently_started(*models) == set()
    state = load_file(start.weights)
    for model in models:
        base = {f"backbone.{name}": value for name, value in model.backbone.state_dict().items()}
        assert base.keys() == {name for name in state if name.startswith("backbone.")}
        assert all(torch.equal(value, state[name]) for name, value in base.items())


def test_claims_of_the_ablation_can_be_judged(session: Session) -> None:
    for row in ("baseline", "aligned"):
        trained(session, of("smoke", 6, row, "Market R1"))
    results = {result.claim.id: result for result in collect(session, PAPER).claims}
    found = results["alignment-market"]
    assert found.ci_low <= found.difference <= found.ci_high
    assert "cite" in results["state-of-the-art-market"].reason
    assert "is not finished" in results["best-beta-market"].reason


def test_tables_2_and_12_are_computed(session: Session) -> None:
    tables = collect(session, PAPER).tables
    statuses = {cell.status for number in (2, 12) for cell in tables[number]}
    assert statuses == {"measured"}
    market = session.dataset(MARKET)
    assert tables[2].cells["market-1501", "Train IDs"].measured == 6
    assert tables[2].cells["market-1501", "Test IDs"].measured == 4
    images = len(market.splits["train"]) + len(market.splits["gallery"])
    assert tables[2].cells["market-1501", "Images"].measured == images
    assert round(tables[12].cells["full-model", "PN (million)"].measured, 1) == 10.4
    assert tables[12].cells["full-model", "FLOPs"].measured == pytest.approx(2.69e9, rel=2e-3)


def test_counts_are_whole_and_networks_are_not_called_synthetic(session: Session) -> None:
    pytest.importorskip("matplotlib")
    from reidlib.report.tables import published_table

    filled = collect(session, PAPER).tables
    counts, sizes = (published_table(filled[n], synthetic=True).html for n in (2, 12))
    train = int(filled[2].cells["dukemtmc-reid", "Images"].measured)
    assert f">{train}<" in counts and f"{train}.00" not in counts
    assert ">synthetic data<" in counts and "synthetic data" not in sizes
    assert sizes.count("2.69e") == 2  # printed and computed


def test_of_data_that_is_not_there_table_2_says_nothing(world: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folder = "DukeMTMC-reID"
    (tmp_path / "data" / folder).symlink_to(world / folder)
    found = collect(Session.create("smoke", results=tmp_path, data=tmp_path / "data"), PAPER)
    cells = found.tables[2].cells
    assert cells["dukemtmc-reid", "Cams"].status == "measured"
    assert cells["market-1501", "Cams"].status == "not_run"


def test_what_is_not_drawn_yet_is_drawn_where_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("reidlib.run.session.project_root", lambda: tmp_path)
    session = Session.create("smoke", results=tmp_path)
    as_it_is, drawn = (collect(session, PAPER, draw=draw).tables[2] for draw in (False, True))
    assert {cell.status for cell in as_it_is} == {"not_run"}
    assert {cell.status for cell in drawn} == {"measured"}


def test_without_key_points_it_says_so_at_once(world: Path, tmp_path: Path) -> None:
    folder = FORMATS[DUKE].folder
    shutil.copytree(world / folder, tmp_path / folder)
    shutil.rmtree(tmp_path / folder / keypoints.FOLDER)
    reseal(tmp_path / folder)
    session = Session.create("smoke", results=tmp_path / "results", data=tmp_path)
    with pytest.raises(DataError, match=rf"{folder}.*key ?points"):
        driver.check(of("smoke", 4, "ours", "mAP"), session.dataset(DUKE))


# ------------------------------------------------------------------ what papers share


def test_a_search_by_given_embeddings_is_that_of_images(session: Session) -> None:
    from reidlib.papers import gla
    from reidlib.papers.gla.method import phi
    from reidlib.papers.image_to_image import encode, search

    (experiment,) = driver.cell("gla", "smoke", 2, "basel", "Market mAP").experiments
    data = gla.prepare(experiment, session.dataset(MARKET), session.cache, "cpu")
    model = gla.build(experiment, data)
    whole = search_by_image(phi(model), data)
    query, gallery = encode(phi(model), data.query), encode(phi(model), data.gallery)
    found = search(query, gallery, data)
    assert found.evaluations["single query"] == whole.evaluations["single query"]
    assert "multi-query" in whole.evaluations and "multi-query" not in found.evaluations
    more = search(query, gallery, data, ks=(1, 20))
    assert more.evaluations["single query"]["Top-1"] == found.evaluations["single query"]["Top-1"]
    assert {"Top-20"} < set(more.chance["single query"]) and "Top-5" not in more.scores


def test_other_pretrainings_keep_their_keys() -> None:
    """Keys as they were before the base of this paper could be pretrained."""
    known = {
        ("gla", "study", 2, "basel", "Market mAP"): "c148edb2baae2a56",
        ("ssan", "smoke", 1, "ssan", "CUHK-PEDES Rank-1"): "9d71c8d0184fdd62",
    }
    for place, key in known.items():
        (experiment,) = driver.cell(*place).experiments
        assert experiment.start.key("data") == key, place


# ------------------------------------------------------------------ looking at trained models


@pytest.fixture(scope="module")
def shown(session: Session) -> explore.Trained:
    experiment = explore.experiment(session, "intra-inter")
    trained(session, experiment)
    found = explore.load_trained(session, experiment)
    assert found is not None
    return found


def test_people_taken_apart(session: Session) -> None:
    data = explore.prepared(session, explore.experiment(session, "aligned"))
    for split in ("train", "gallery"):
        for row, person in enumerate(explore.taken_apart(data, range(4), split)):
            images = getattr(data, split)
            strips = images.boxes(True, 5.0).strips[row]
            assert person.image.shape == (*SIZE, 3)
            assert person.whole.shape == (64, 32, 3) and person.parts.shape == (4, 16, 32, 3)
            if person.joints is None:
                assert strips
            else:
                where = person.joints[:, :2] * SIZE[::-1]
                np.testing.assert_allclose(where, images.poses.joints[row], atol=1e-9)
    nobody = explore.without_pose(data)
    assert nobody and explore.taken_apart(data, nobody[:1], "gallery")[0].boxes[0].tolist() == [
        0, 0, 1, 1,
    ]  # fmt: skip


def test_pixels_are_those_of_the_picture(session: Session) -> None:
    data = explore.prepared(session, explore.experiment(session, "baseline"))
    rows = torch.tensor([0, 5])
    whole, _ = method.take(data.train, data.train.boxes(False, 0.0).boxes, rows)
    stored = data.train.images.batch(rows)
    assert np.abs(explore.pixels(whole).astype(int) - explore.pixels(stored)).max() <= 1


def test_masks_have_the_places_of_their_blocks(shown: explore.Trained) -> None:
    whole, parts = explore.masks(shown, [0, 2, 3])
    assert [m.shape for m in whole] == [(3, 8, 4), (3, 4, 2), (3, 4, 2)]
    assert [m.shape for m in parts] == [(3, 4, 4, 4), (3, 4, 2, 2), (3, 4, 2, 2)]
    assert all(m.min() > 0 and m.max() < 1 for m in (*whole, *parts))


def test_dead_attention_is_told_from_living(shown: explore.Trained) -> None:
    before = {name: value.clone() for name, value in shown.model.state_dict().items()}
    alive = explore.attention_table(shown.model, shown.data, 16)
    assert len(alive) == 6 and (alive["gradient, %"] > 0).all()
    assert (alive["over positions"] > 0).all()
    assert all(torch.equal(value, before[n]) for n, value in shown.model.state_dict().items())
    assert all(p.grad is None for p in shown.model.parameters())
    with torch.no_grad():  # fuse convolutions of zeros: 1/2 everywhere
        for paths in (shown.model.intra_whole, shown.model.intra_parts):
            for path in paths:
                path.fuse.weight.zero_()
    dead = explore.attention_table(shown.model, shown.data, 16)
    assert (dead["mean"] == 0.5).all() and (dead["over positions"] == 0).all()
    assert (dead["over images"] == 0).all()
    shown.model.load_state_dict(before)


def test_weights_of_parts(shown: explore.Trained) -> None:
    table = explore.part_weights(shown, batch=3)
    assert tuple(table["part"]) == PARTS
    E = method.encode(shown.model, shown.data.query).E
    with torch.no_grad():
        expected = shown.model.inter.mu(E)
    np.testing.assert_allclose(table["mean of mu"], expected.mean(0), atol=1e-6)


def test_searches_are_those_of_the_run(session: Session, shown: explore.Trained) -> None:
    run = trained(session, explore.experiment(session, "intra-inter"))
    queries = range(len(shown.data.query.frame))
    first = run.ranks("single query")
    for row, ranked in zip(queries, explore.image_retrievals(shown, queries, 10), strict=True):
        right = next((image.rank for image in ranked if image.verdict == "correct"), 11)
        assert right == min(first[row], 11)


def test_the_pictures_that_are_searched_are_encoded_once(
    session: Session, shown: explore.Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = explore.experiment(session, "intra-inter")
    expected = encoded.encode_searched(shown.model, shown.data)
    with monkeypatch.context() as patched:
        patched.setattr(encoded, "encode_searched", lambda *_: pytest.fail("encoded again"))
        found = encoded.of_finished(session, full, shown.model, shown.data)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    other = encoded.of_finished(session, full, shown.model, shown.data, "global")
    assert other[1].shape[1] < found[1].shape[1]  # a feature of its own, a file of its own
    kept = sorted(session.cache.glob("embeddings-*"))
    assert len(kept) == 2
    for content in (b"", b"not weights", kept[0].read_bytes()[:-9]):
        for path in kept:
            path.write_bytes(content)
        again = encoded.of_finished(session, full, shown.model, shown.data)
        assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    with monkeypatch.context() as patched:  # another source: encoded again, the old file is gone
        patched.setattr(encoded, "source_of", lambda _: {"digest": "another"})
        encoded.of_finished(session, full, shown.model, shown.data)
        assert len(set(session.cache.glob("embeddings-*")) - set(kept)) == 1
        assert len(list(session.cache.glob("embeddings-*"))) == 2
    kept = sorted(session.cache.glob("embeddings-*"))
    # A file of fewer pictures than there are is not taken for them.
    few = {"query": expected[0][:1].contiguous(), "gallery": expected[1]}
    for path in kept:
        path.write_bytes(save(few))
    again = encoded.of_finished(session, full, shown.model, shown.data)
    assert len(again[0]) == len(expected[0])


def test_a_model_as_its_training_begins(session: Session, shown: explore.Trained) -> None:
    experiment = explore.experiment(session, "intra-inter")
    model = explore.untrained(session, experiment, shown.data)
    state = load_file(trained(session, experiment.start).weights)
    assert torch.equal(model.backbone.conv1.weight, state["backbone.conv1.weight"])
    assert not torch.equal(model.inter.w, shown.model.inter.w)


def test_curves_of_tables(session: Session) -> None:
    filled = collect(session, PAPER).tables[10]
    found = explore.curve(filled, "paper", "Top-1")
    assert list(found) == ["Market R1", "Duke R1", "CUHK03-L R1", "CUHK03-D R1"]
    assert found["Market R1"][:2] == [83.64, 94.98]
