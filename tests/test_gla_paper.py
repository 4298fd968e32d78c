"""The paper GLA end to end: rows and runs, training on all its datasets, claims on mAP."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import reseal

from reidlib.data.batches.borrowed_captions import EXCERPT, join_captions
from reidlib.data.batches.tuples import ImageSplit, batches_of_tuples, prepare, tuples_of
from reidlib.data.load import load
from reidlib.errors import DataError
from reidlib.explore import gla as explore
from reidlib.metrics.first_match import NO_MATCH
from reidlib.metrics.measures import Ranking, SingleShot
from reidlib.metrics.ranking import rank_features
from reidlib.models.gla import METHODS
from reidlib.papers import driver, gla
from reidlib.papers.claims import judge, load_claims
from reidlib.papers.gla.method import phi
from reidlib.papers.image_to_image import encode, search, search_by_image
from reidlib.papers.intervals import query_scores
from reidlib.papers.tables import Measurement, load_tables
from reidlib.report.results import collect
from reidlib.run.plan import key_of, plan, planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.world.write import write

TABLES = load_tables("gla")
IDS = {"market1501": (6, 4), "cuhk-sysu": (6, 4), "cuhk03": (6, 4), "cuhk01": (9,)}
SIZE = (48, 24)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """A data folder with everything the paper trains on. Shared: copy before changing."""
    root = tmp_path_factory.mktemp("gla") / "data"
    shutil.copytree(tiny_world, root)
    for name, ids in IDS.items():
        write(name, root, seed=3, ids=ids, size=SIZE)
    return root


@pytest.fixture(scope="module")
def session(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=world)


# ------------------------------------------------------------------ rows and runs


def cells(profile: str, table: int, seeds: int = 1) -> dict:
    return {
        (row.slug, metric.column): driver.cell(
            "gla", profile, table, row.slug, metric.column, seeds
        )
        for row in TABLES[table].rows
        for metric in TABLES[table].metrics
    }


@pytest.mark.parametrize("profile", ["smoke", "study", "bench", "paper"])
def test_every_own_row_of_tables_2_to_6_is_measured_and_no_other(profile: str) -> None:
    for number, table in TABLES.items():
        for (slug, _), cell in cells(profile, number).items():
            assert (cell is not None) == (table.row(slug).origin == "own")
    assert driver.cell("gla", profile, 1, "basel", "L_I") is None
    others = 4 if profile == "study" else 0  # from other starts
    assert len(driver.experiments("gla", profile)) == 27 + others
    assert len(driver.experiments("gla", profile, seeds=3)) == 3 * (27 + others)


def test_the_demo_trains_the_rows_that_the_main_claims_compare() -> None:
    experiments = driver.experiments("gla", "demo")
    methods = {e.name.partition(", ")[2] for e in experiments}
    assert methods == {"basel.", "basel. + GDA", "basel. + LRA", "proposed"}
    assert {e.dataset for e in experiments} == {"market1501"}
    # Other tables' cells of the same trainings come with them.
    assert driver.cell("gla", "demo", 3, "lambda-t-0.1", "Market mAP") is not None


def test_rows_with_the_same_setting_share_their_training() -> None:
    two, three, six = (cells("study", number) for number in (2, 3, 6))
    for column in ("Market mAP", "SYSU mAP"):
        shared = two["basel-gda", column].experiments
        assert shared == three["lambda-t-0.1", column].experiments
    for row in ("basel", "proposed"):
        one, several = (six[row, f"Market {kind}-query mAP"] for kind in ("single", "multi"))
        assert two[row, "Market mAP"] == one
        assert one.experiments == several.experiments
        assert (one.evaluation, several.evaluation) == ("single query", "multi-query")
        assert one.metric == several.metric == "mAP (trapezoid)"
        assert six[row, "CUHK03 labeled top-5"].metric == "Top-5"


def test_methods_and_weights_of_the_rows() -> None:
    for (row, column), cell in cells("paper", 2).items():
        (experiment,) = cell.experiments
        switches = {name: getattr(experiment.model, name) for name in METHODS["proposed"]}
        printed = TABLES[2].row(row).values["Method"].replace("^", "").replace("+", " + ")
        method = " ".join(printed.split()).split(" [")[0]
        assert switches == METHODS[method], column
    weights = {slug: c.experiments[0].model.lambda_T for (slug, _), c in cells("paper", 3).items()}
    assert list(weights.values()) == [0, 0.05, 0.1, 0.5, 1]
    assert cells("paper", 4)["ours", "top-1"].evaluation == "text to image"


def test_seeds_have_their_own_random_split() -> None:
    def datasets(table: int, row: str, column: str, seeds: int) -> list[str]:
        found = driver.cell("gla", "paper", table, row, column, seeds).experiments
        assert [e.seed for e in found] == list(range(seeds))
        return [e.dataset for e in found]

    assert datasets(5, "basel", "top-1", 12)[:2] == ["cuhk01", "cuhk01-split-1"]
    assert datasets(5, "basel", "top-1", 12)[9:] == ["cuhk01-split-9", "cuhk01", "cuhk01-split-1"]
    name = "cuhk03-classic-detected"
    assert datasets(6, "basel", "CUHK03 detected top-1", 2) == [name, f"{name}-split-1"]
    assert datasets(2, "basel", "SYSU mAP", 2) == ["cuhk-sysu", "cuhk-sysu"]


def test_the_paper_profile_is_section_3_4() -> None:
    (experiment,) = driver.cell("gla", "paper", 2, "proposed", "Market mAP").experiments
    training, model = experiment.training, experiment.model
    assert (training.image_size, training.batch_size) == ((256, 128), 64)
    assert (training.optimizer, training.pretrained, training.steps) == ("sgd", "imagenet", None)
    (stage,) = training.stages
    assert stage.lrs == (1e-2,) * 20 + (1e-3,) * 20
    assert (model.d, model.last_stride, model.width, model.depths) == (256, 1, 1.0, None)
    assert (model.lambda_T, model.lambda_dis, model.lambda_rec) == (0.1, 1, 1)


def test_language_costs() -> None:
    costs = {
        row: driver.cost(driver.cell("gla", "study", 2, row, "Market mAP").experiments[0])
        for row in ("basel", "basel-gda", "basel-lra", "proposed")
    }
    assert costs["basel"] < costs["basel-gda"] < costs["proposed"]
    assert costs["basel"] < costs["basel-lra"] < costs["proposed"]


# ------------------------------------------------------------------ data


def test_tuples_of_market(world: Path, tmp_path: Path) -> None:
    dataset = load(world, "market1501")
    data = prepare(dataset, image_size=SIZE, cache_dir=tmp_path, device="cpu")
    plain = prepare(dataset, image_size=SIZE, cache_dir=tmp_path, device="cpu", descriptions=False)
    assert plain.tuples.text is None and plain.vocabulary is None and plain.captions == []
    settings = {"persons": 4, "each": 2, "flip": True, "crop_pad": 2, "device": "cpu", "batches": 5}
    epochs = [
        list(batches_of_tuples(d.tuples, torch.Generator().manual_seed(1), **settings))
        for d in (data, plain)
    ]
    for batch, without in zip(*epochs, strict=True):
        assert len(batch) == 8 and torch.equal(batch.images, without.images)
        assert len(batch.labels.unique()) == 4
        assert len(batch.text.lengths) == 8 and len(without.text.lengths) == 0
    # Every description that may go with an image is about its person.
    offsets, captions = data.tuples.choices
    of_image = np.repeat(dataset.splits["train"]["pid"].to_numpy(), np.diff(offsets))
    joined = join_captions(dataset).captions
    assert data.captions == joined["caption"].tolist()
    np.testing.assert_array_equal(of_image, joined["pid"].to_numpy()[captions])
    wanted = set(zip(data.query.pids, data.query.camids, strict=True))
    shown = set(zip(data.multi_query.pids, data.multi_query.camids, strict=True))
    assert shown <= wanted
    assert len(data.multi_query.frame) < len(dataset.splits["multi_query"])


def test_tuples_of_captioned_pairs(world: Path, tmp_path: Path) -> None:
    (experiment,) = driver.cell("gla", "smoke", 4, "ours", "top-1").experiments
    data = gla.prepare(experiment, load(world, "cuhk-pedes"), tmp_path, "cpu")
    tuples = tuples_of(data.train)
    assert len(tuples.labels) == len(data.train.frame)
    for image in range(len(tuples.labels)):
        mine = tuples.choices.captions[slice(*tuples.choices.offsets[image : image + 2])]
        assert (data.train.image_of[mine] == image).all() and len(mine) >= 2


# ------------------------------------------------------------------ runs

KINDS = {
    "market1501": (2, "proposed", "Market mAP"),
    "cuhk-sysu": (2, "basel-rank2", "SYSU mAP"),
    "cuhk-pedes": (4, "ours", "top-1"),
    "cuhk01": (5, "proposed", "top-1"),
    "cuhk03-classic-labeled": (6, "proposed", "CUHK03 labeled top-1"),
}


@pytest.mark.parametrize("dataset", ["cuhk03-classic-labeled", "market1501"])
def test_chance_is_of_what_is_ranked(dataset: str) -> None:
    """All of a query's camera is junk on CUHK03, and of its person alone on Market-1501."""
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(1, 11), 6)  # three images in either camera
    frame = pd.DataFrame({"pid": pids, "camid": np.tile([1, 1, 1, 2, 2, 2], 10)})
    split = ImageSplit(frame, None)
    data = SimpleNamespace(dataset=SimpleNamespace(name=dataset), query=split, gallery=split)
    found = []
    for _ in range(60):
        features = torch.from_numpy(rng.standard_normal((2, 60, 8)))
        found.append(search(*features, data))
    (name,) = found[0].ranks
    for metric in ("Top-1", "mAP (trapezoid)"):
        mean = np.mean([each.evaluations[name][metric] for each in found])
        assert found[0].chance[name][metric] == pytest.approx(mean, abs=1)
    ranked = 30 if dataset.startswith("cuhk03") else 57
    assert found[0].chance[name]["Top-1"] == pytest.approx(100 * 3 / ranked)


@pytest.mark.parametrize("name", KINDS)
def test_a_run_holds_what_its_cells_ask_for(session: Session, name: str) -> None:
    cell = driver.cell("gla", "smoke", *KINDS[name])
    run = run_one(session, planned_for(session, cell.experiments[0]))
    evaluations = run.metrics["evaluations"]
    value = evaluations[cell.evaluation][cell.metric]
    assert 0 <= value <= 100
    values = query_scores(Measurement(run, cell.evaluation, cell.metric))
    assert values.shape == (run.metrics["queries"],)
    assert 100 * np.nanmean(values) == pytest.approx(value)
    for evaluation, found in evaluations.items():
        if evaluation != "single shot":
            ranks = run.ranks(evaluation)
            assert ranks.dtype == np.int32 and ranks.shape == values.shape and ranks.min() >= 1
        for metric in ("Top-1", "Top-5", "mAP (step)", "mAP (trapezoid)"):
            if metric in found:
                scores = query_scores(Measurement(run, evaluation, metric))
                assert 100 * np.nanmean(scores) == pytest.approx(found[metric])
    expected = {
        "market1501": {"single query", "multi-query"},
        "cuhk-sysu": {"single query"},
        "cuhk-pedes": {"text to image"},
    }
    assert set(evaluations) == expected.get(name, {"single shot", "all shots"})
    terms = {"L_I", "L_T", "L_rank"} if name == "cuhk-sysu" else {"L_I", "L_T", "L_dis", "L_rec"}
    assert terms < set(run.history[0])
    assert run.provenance["vocabulary"] > 20 and "tagger" in run.provenance
    assert len(run.history) == 1 and run.history[0]["images"] == 16


def test_the_same_seed_gives_the_same_bits(session: Session, world: Path, tmp_path: Path) -> None:
    cell = driver.cell("gla", "smoke", *KINDS["market1501"])
    runs = [
        run_one(s, planned_for(s, cell.experiments[0]))
        for s in (session, Session.create("smoke", results=tmp_path, data=world))
    ]
    assert runs[0].metrics["evaluations"] == runs[1].metrics["evaluations"]
    one, two = (load_file(run.folder / "model.safetensors") for run in runs)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    for evaluation in ("single query", "multi-query"):
        values = [run.scores(evaluation, "mAP (trapezoid)") for run in runs]
        np.testing.assert_array_equal(*values)


def test_claims_on_map_get_an_interval(session: Session) -> None:
    for row in ("basel", "basel-lra", "proposed"):
        (experiment,) = driver.cell("gla", "smoke", 2, row, "Market mAP").experiments
        run_one(session, planned_for(session, experiment))
    results = {result.claim.id: result for result in collect(session, "gla").claims}
    for name in ("lra-market", "gda-complements-lra-market", "language-over-baseline-market"):
        result = results[name]
        assert result.verdict in ("reproduced", "contradicted", "undecided")
        assert result.ci_low <= result.difference <= result.ci_high
        assert result.queries == len(session.dataset("market1501").splits["query"])
    lra, basel = (
        driver.cell("gla", "smoke", 2, row, "Market mAP").experiments[0]
        for row in ("basel-lra", "basel")
    )
    values = [
        session.store.load(key_of(session, e)).metrics["evaluations"]["single query"][
            "mAP (trapezoid)"
        ]
        for e in (lra, basel)
    ]
    assert results["lra-market"].difference == pytest.approx(values[0] - values[1])
    assert "is not finished" in results["gda-market"].reason


def test_every_claim_on_own_rows_can_be_judged() -> None:
    class Run:
        key, metrics = "fake", {}

        def ranks(self, evaluation: str) -> np.ndarray:
            return np.arange(1, 30)

        def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
            return np.linspace(0, 1, 29) if metric.startswith("mAP (") else None

        def people(self, evaluation: str) -> np.ndarray:
            return np.arange(29) // 2

    def measure(table: int, row: str, column: str) -> list[Measurement] | None:
        cell = driver.cell("gla", "study", table, row, column)
        return cell and [Measurement(Run(), cell.evaluation, cell.metric)]

    results = judge(load_claims("gla", TABLES), TABLES, measure, synthetic=True)
    for result in results:
        cited = any(
            TABLES[s.table].row(s.row).origin == "cited" for p in result.claim.pairs for s in p
        )
        assert (result.verdict == "not_run") == cited, result.claim.id
    assert sum(result.verdict == "undecided" for result in results) == 20


# ------------------------------------------------------------------ missing parts


@pytest.fixture
def undescribed(world: Path, tmp_path: Path) -> Session:
    """Market-1501 alone, without captions."""
    folder = "Market-1501-v15.09.15"
    shutil.copytree(world / folder, tmp_path / "data" / folder)
    (tmp_path / "data" / folder / EXCERPT).unlink()
    reseal(tmp_path / "data" / folder)
    return Session.create("smoke", results=tmp_path / "results", data=tmp_path / "data")


def test_the_baseline_needs_no_captions_and_the_others_say_so_at_once(
    undescribed: Session,
) -> None:
    dataset = undescribed.dataset("market1501")
    for row in ("basel-rank1", "basel-gda", "basel-lra", "proposed"):
        (experiment,) = driver.cell("gla", "smoke", 2, row, "Market mAP").experiments
        with pytest.raises(DataError, match=r"captions come from CUHK-PEDES.*reid_raw\.json"):
            driver.check(experiment, dataset)
    (basel,) = driver.cell("gla", "smoke", 2, "basel", "Market mAP").experiments
    driver.check(basel, dataset)
    run = run_one(undescribed, planned_for(undescribed, basel))
    assert run.metrics["evaluations"]["multi-query"]["mAP (trapezoid)"] > 0
    assert "tagger" not in run.provenance
    problems = {p.experiment.name: p.problem for p in plan(undescribed, ["gla"])}
    assert problems["market1501, basel."] == ""
    assert "captions come from CUHK-PEDES" in problems["market1501, proposed"]
    assert "CUHK01" in problems["cuhk01, basel."]


def test_imagenet_weights_are_asked_for_at_once(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (experiment,) = driver.cell("gla", "paper", 2, "basel", "Market mAP").experiments
    with pytest.raises(DataError, match=r"ImageNet weights of resnet50 .*resnet50-0676ba61\.pth"):
        driver.check(experiment, load(world, "market1501"))


# ------------------------------------------------------------------ values per query


def test_queries_without_a_match_add_nothing() -> None:
    ranking = Ranking(np.array([1, 4, 7], np.int32), np.array([0, 2, 2, 3]), gallery=9)
    scores = ranking.query_scores()
    np.testing.assert_equal(scores["Top-1"], [1, np.nan, 0])
    np.testing.assert_equal(scores["Top-10"], [1, np.nan, 1])
    assert ranking.first.tolist() == [1, NO_MATCH, 7]
    metrics = ranking.metrics()
    for name, values in scores.items():
        assert 100 * np.nanmean(values) == pytest.approx(metrics[name])
    shots = SingleShot(
        np.array([[1, 5, 2], [3, 5, 1]], np.int32), np.array([True, False, True]), gallery=4
    )
    np.testing.assert_equal(shots.query_scores()["Top-1"], [0.5, np.nan, 0.5])
    for name, value in shots.cmc().items():
        assert 100 * np.nanmean(shots.query_scores()[name]) == pytest.approx(value)


def test_a_query_without_hand_drawn_boxes_is_searched_for_alone(
    world: Path, tmp_path: Path
) -> None:
    dataset = load(world, "market1501")
    boxes = dataset.splits["multi_query"]
    first = dataset.splits["query"].iloc[0]
    its = (boxes["pid"] == first["pid"]) & (boxes["camid"] == first["camid"])
    assert its.any()
    fewer = replace(dataset, splits={**dataset.splits, "multi_query": boxes[~its]})
    (experiment,) = driver.cell("gla", "smoke", 2, "basel", "Market mAP").experiments
    data = gla.prepare(experiment, fewer, tmp_path, "cpu")
    model = gla.build(experiment, data)
    query, gallery = encode(phi(model), data.query), encode(phi(model), data.gallery)
    alone = rank_features(
        query, gallery, data.query.pids, data.gallery.pids, data.query.camids,
        data.gallery.camids, metric="euclidean",
    )  # fmt: skip
    ranks = search_by_image(phi(model), data).ranks
    assert ranks["single query"].tolist() == alone.first.tolist()
    assert ranks["multi-query"][0] == alone.first[0]


# ------------------------------------------------------------------ looking at trained models


def test_explore_text(session: Session) -> None:
    experiment = explore.experiment(session, *KINDS["cuhk-pedes"])
    run_one(session, planned_for(session, experiment))
    trained = explore.load_trained(session, experiment)
    test = trained.data.test
    found = explore.retrievals(trained, [0, 5], k=4)
    assert [r.sentence for r in found] == [test.captions[0], test.captions[5]]
    for number, retrieval in zip((0, 5), found, strict=True):
        assert len(retrieval.rows) == 4 and (np.diff(retrieval.scores) <= 0).all()
        right = test.image_pids[retrieval.rows] == test.caption_pids[number]
        assert retrieval.correct == right.tolist()
    rows, scores = explore.search(trained, test.captions[0], k=4)
    assert rows.tolist() == found[0].rows.tolist()
    np.testing.assert_allclose(scores, found[0].scores, atol=1e-5)
    maps = explore.phrase_maps(trained, [0, 3], most=2)
    assert {m.image for m in maps} == {0, 3} and len(maps) <= 4
    for image, phrase, heat in maps:
        caption = test.captions[int((test.image_of == image).nonzero()[0])]
        assert heat.shape == (64, 32) and (heat >= 0).all()
        assert all(word in caption.lower() for word in phrase.split() if word != "?")
    (one, two) = explore.look_for(trained, "a red bag", [1, 2])
    assert (one.image, two.image) == (1, 2) and one.phrase == two.phrase
    assert (one.heat != two.heat).any()


def test_explore_images(session: Session) -> None:
    experiment = explore.experiment(session, *KINDS["market1501"])
    run = run_one(session, planned_for(session, experiment))
    trained = explore.load_trained(session, experiment)
    query, gallery = trained.data.query, trained.data.gallery
    queries = list(range(len(query.frame)))
    for number, ranked in enumerate(explore.image_retrievals(trained, queries, k=10)):
        assert [r.rank for r in ranked if r.rank] == list(range(1, 11))
        assert (np.diff([r.distance for r in ranked]) >= 0).all()
        for r in ranked:
            own = gallery.pids[r.row] == query.pids[number]
            seen = own and gallery.camids[r.row] == query.camids[number]
            junk = gallery.pids[r.row] == -1
            expected = "junk" if junk else "same camera" if seen else "correct" if own else "wrong"
            assert r.verdict == expected and (r.rank is None) == (junk or seen)
        first = next((r.rank for r in ranked if r.verdict == "correct"), 11)
        assert first == min(run.ranks("single query")[number], 11)
    assert explore.phrase_maps(trained, [0, 1], most=1)[0].heat.shape == (64, 32)
    assert explore.load_trained(session, replace(experiment, seed=7)) is None
