"""SSAN's experiments: rows and cells, what runs share, resume, and data that is not there."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors
from tiny_runs import reseal

from reidlib.data.batches.masks import mask_paths
from reidlib.data.batches.pairs import pairs, prepare, text_of
from reidlib.data.formats.cuhk_pedes import DOMAINS, TRANSFER
from reidlib.errors import DataError, TrainingError
from reidlib.experiment import Experiment
from reidlib.models import ssan
from reidlib.models.compared import cmpm, dual_path, mia, scan, vitaa
from reidlib.papers import driver, text_to_image
from reidlib.papers import ssan as paper
from reidlib.papers.driver import prepared
from reidlib.papers.ssan import rows
from reidlib.papers.tables import load_tables
from reidlib.run.plan import key_of, plan, planned_for
from reidlib.run.pool import run_missing
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.train import Compute
from reidlib.world.write import write

TABLES = load_tables("ssan")
SIZE = (64, 32)


def cells(profile: str, number: int):
    table = TABLES[number]
    for row in table.rows:
        for metric in table.metrics:
            yield row, metric, driver.cell("ssan", profile, number, row.slug, metric.column)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session on worlds of its own, in the folders that real data would have."""
    data = tmp_path_factory.mktemp("data")
    write("cuhk-pedes", data, ids=(24, 4, 12), size=SIZE)
    write("icfg-pedes", data, ids=(12, 6), size=SIZE)
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=data)


def first(experiments: list[Experiment], config: type, dataset: str = "") -> Experiment:
    return next(
        e for e in experiments if isinstance(e.model, config) and dataset in ("", e.dataset)
    )


# ------------------------------------------------------------------ rows and cells


@pytest.mark.parametrize("profile", ["smoke", "bench", "paper"])
@pytest.mark.parametrize("number", TABLES)
def test_own_cells_are_measured_and_cited_ones_are_not(profile, number):
    for row, metric, cell in cells(profile, number):
        assert (cell is not None) == (row.origin == "own"), (row.slug, metric.column)
        if cell:
            assert cell.metric in ("Top-1", "Top-5", "Top-10")
            assert cell.metric.removeprefix("Top-") in metric.metric


def test_the_demo_measures_the_rows_of_the_main_claims_on_cuhk_pedes():
    measured = [(row, metric) for row, metric, cell in cells("demo", 1) if cell is not None]
    assert {row.slug for row, _ in measured} == {"baseline", "pfl", "ssan"}
    assert {metric.dataset for _, metric in measured} == {"cuhk-pedes"}


def test_rows_of_several_tables_share_a_training():
    def key(table: int, row: str, column: str) -> str:
        return driver.cell("ssan", "smoke", table, row, column).experiments[0].key("data")

    cuhk, icfg = "CUHK-PEDES Rank-1", "ICFG-PEDES Rank-1"
    assert key(1, "ssan", cuhk) == key(3, "ssan-resnet", "Rank-1")
    assert key(1, "baseline", cuhk) == key(3, "baseline-resnet", "Rank-1")
    assert key(1, "pfl", cuhk) == key(2, "pfl", "Part") == key(2, "pfl", "Global+Part")
    assert key(2, "scan", "Part") == key(3, "scan-resnet", "Rank-10")
    assert key(1, "ssan", icfg) == key(4, "ssan", "Rank-5")
    assert key(1, "ssan", cuhk) != key(1, "ssan", icfg)
    assert key(3, "ssan-vgg", "Rank-1") != key(3, "ssan-resnet", "Rank-1")
    assert len({key(5, "so-ssan", metric.column) for metric in TABLES[5].metrics}) == 1


def test_distinct_trainings():
    """Table I: 6 on two sets. Then Table II: 2, III: 1, IV: 5, V: 3, Figure 7: 3 on two sets."""
    experiments = driver.experiments("ssan", "smoke")
    assert len(experiments) == 12 + 2 + 1 + 5 + 3 + 6
    assert Counter(e.dataset for e in experiments) == {
        "cuhk-pedes": 6 + 2 + 1 + 3,
        "icfg-pedes": 6 + 5 + 3,
        TRANSFER: 3,
    }
    assert len(driver.experiments("ssan", "smoke", seeds=3)) == 3 * len(experiments)


def test_table_2_ranks_one_model_in_two_ways():
    for row in ("scan", "pfl", "vitaa-star"):
        assert driver.cell("ssan", "smoke", 2, row, "Part").evaluation == "Sl"
        assert driver.cell("ssan", "smoke", 2, row, "Global+Part").evaluation == "Sg+Sl"


def test_table_5_tests_a_training_on_four_domains():
    found = {
        metric.dataset: driver.cell("ssan", "smoke", 5, "so-ssan", metric.column).evaluation
        for metric in TABLES[5].metrics
    }
    assert found == {name: f"{name}: Sg+Sl+Sn" for name in DOMAINS if name != "cuhk-pedes-ssm"}


def test_the_paper_profile_has_the_published_settings():
    own = driver.cell("ssan", "paper", 1, "ssan", "CUHK-PEDES Rank-1").experiments[0]
    config, training = own.model, own.training
    assert (config.K, config.V, config.M, config.M_, config.N) == (6, 512, 1024, 512, 512)
    assert (config.alpha1, config.beta, config.last_stride, config.reading) == (
        0.2,
        0.1,
        2,
        "official",
    )
    assert training.image_size == (384, 128) and training.batch_size == 64
    assert training.epochs == 60 and training.backbone_lr_factor == 0.1
    assert training.pretrained == "imagenet"
    (stage,) = training.stages
    assert [stage.lrs[epoch] for epoch in (0, 19, 20, 39, 40, 59)] == [
        1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5,
    ]  # fmt: skip
    experiments = driver.experiments("ssan", "paper")
    by_method = {
        config: first(experiments, config, "icfg-pedes").training
        for config in (mia.MIAConfig, dual_path.DualPathConfig, vitaa.ViTAAConfig)
    }
    assert [t.epochs for t in by_method.values()] == [30, 241, 80]
    assert by_method[mia.MIAConfig].stages[0].freeze_backbone
    assert by_method[dual_path.DualPathConfig].optimizer == "sgd"
    warm_up = [2.8e-5, 4.6e-5, 6.4e-5, 8.2e-5]
    rates = by_method[vitaa.ViTAAConfig].stages[0].lrs
    assert rates == (*warm_up, *[1e-4] * 35, *[1e-5] * 30, *[1e-6] * 11)


def test_the_regularizer_of_cmpm_is_its_authors_in_the_paper_profile_alone():
    for profile in ("smoke", "demo", "bench", "paper"):
        for e in driver.experiments("ssan", profile):
            if isinstance(e.model, cmpm.CMPMConfig):
                own = profile == "paper"
                assert e.model.weight_decay == (4e-5 if own else 0.0)
                assert (e.training.image_size == (224, 224)) == own
                assert e.training.weight_decay == 0.0


def test_full_size_networks_of_the_bench_are_the_papers_own():
    for experiment in driver.experiments("ssan", "bench"):
        published = rows._config(rows.SIZES["paper"], _method_of(experiment), "ResNet-50")
        ours = replace(experiment.model, **{"fixed_epochs": 5} if _is_ssan(experiment) else {})
        if isinstance(ours, cmpm.CMPMConfig):  # the authors' own, in the profile paper only
            ours = replace(ours, weight_decay=published.weight_decay)
        if getattr(ours, "backbone", "") == "vgg16_bn" or getattr(ours, "alpha2", None):
            continue
        assert ours == published, experiment.name


def _is_ssan(experiment: Experiment) -> bool:
    return isinstance(experiment.model, ssan.SSANConfig)


def _method_of(experiment: Experiment) -> str:
    if not _is_ssan(experiment):
        return {
            "SCANConfig": "scan",
            "MIAConfig": "mia",
            "DualPathConfig": "dual-path",
            "CMPMConfig": "cmpm-cmpc",
            "ViTAAConfig": "vitaa-star",
        }[type(experiment.model).__name__]
    wanted = {name: getattr(experiment.model, name) for name in ("pfl", "prl", "cr")}
    variant = next(name for name, values in ssan.VARIANTS.items() if values == wanted)
    return variant.replace("+", "-")


def test_figure_7_differs_in_the_margin_alone():
    places = [place for place in driver.places("ssan", "smoke") if place[0] == rows.FIGURE_7]
    assert {dataset for _, dataset, _ in places} == {"cuhk-pedes", "icfg-pedes"}
    for dataset in ("cuhk-pedes", "icfg-pedes"):
        margins = {p[2]: driver.cell("ssan", "smoke", *p) for p in places if p[1] == dataset}
        assert list(margins) == ["adaptive", "0.1", "0.15", "0.2"]
        adaptive = margins["adaptive"].experiments[0]
        table_1 = driver.cell("ssan", "smoke", 1, "ssan", "CUHK-PEDES Rank-1").experiments[0]
        assert (adaptive.key("x") == table_1.key("x")) == (dataset == "cuhk-pedes")
        for name, cell in margins.items():
            fixed = cell.experiments[0]
            assert replace(fixed.model, alpha2=None) == adaptive.model
            assert fixed.training == adaptive.training
            assert fixed.model.alpha2 == (None if name == "adaptive" else float(name))


def test_methods_with_the_same_settings_have_keys_of_their_own():
    experiments = driver.experiments("ssan", "smoke")
    assert len({e.key("data") for e in experiments}) == len(experiments)
    assert all(e.settings()["model"]["class"] == type(e.model).__name__ for e in experiments)


# ------------------------------------------------------------------ training


def test_a_resumed_training_equals_an_uninterrupted_one(session, tmp_path):
    """The official margin depends on the epoch, which has to survive as well."""
    experiment = driver.cell("ssan", "smoke", 1, "ssan", "ICFG-PEDES Rank-1").experiments[0]
    experiment = replace(experiment, start=None)
    dataset = session.dataset("icfg-pedes")
    arguments = {"cache_dir": session.cache, "compute": Compute("cpu", threads=1)}

    class Stopped(Exception):
        pass

    def stop(record):
        if record["epoch"] == 0:
            raise Stopped

    whole = driver.train_and_evaluate(experiment, dataset, **arguments)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Stopped):
        driver.train_and_evaluate(
            experiment, dataset, **arguments, checkpoint=checkpoint, on_epoch=stop
        )
    resumed = driver.train_and_evaluate(experiment, dataset, **arguments, checkpoint=checkpoint)
    assert resumed.weights == whole.weights
    assert load_safetensors(whole.weights)["epoch"].item() == 1  # two epochs, counted from 0
    for name, ranks in whole.evaluated.ranks.items():
        assert np.array_equal(ranks, resumed.evaluated.ranks[name])
        assert len(whole.evaluated.people[name]) == len(ranks)


def test_ranks_come_in_blocks_but_are_those_of_all_captions_at_once(session):
    experiment = first(driver.experiments("ssan", "smoke"), scan.SCANConfig, "icfg-pedes")
    data = paper.prepare(experiment, session.dataset("icfg-pedes"), session.cache, "cpu")
    model = paper.build(experiment, data).eval()
    found = text_to_image.rank(model, data.test)
    images = text_to_image.encode_images(model, data.test)
    with torch.inference_mode():
        text = torch.from_numpy(data.test.text.tokens), torch.from_numpy(data.test.text.lengths)
        scores = scan.similarities(images, model.encode_text(*text))["Sg"]
    pids, gallery = data.test.caption_pids, data.test.image_pids
    for query in range(0, len(pids), 7):
        correct = scores[query][torch.from_numpy(gallery == pids[query])].max()
        wrong = scores[query][torch.from_numpy(gallery != pids[query])]
        assert found["Sg"][query] == 1 + int((wrong >= correct).sum())


def test_batches_of_vitaa_hold_four_pairs_a_person_and_their_masks(session):
    experiment = first(driver.experiments("ssan", "smoke"), vitaa.ViTAAConfig, "icfg-pedes")
    data = paper.prepare(experiment, session.dataset("icfg-pedes"), session.cache, "cpu")
    model = paper.build(experiment, data)
    batch = next(paper.batches(experiment, model, data, torch.Generator().manual_seed(0), "cpu"))
    assert Counter(Counter(batch.labels.tolist()).values()) == {4: 2}
    assert batch.masks.shape == (8, *experiment.training.image_size)
    assert set(batch.masks.unique().tolist()) >= {0, 1, 2, 3}


@pytest.mark.parametrize("method", ["ssan", "mia"])
def test_words_go_where_the_images_are(session, method):
    """The meta device stands for a GPU: it holds no numbers, but it has a name."""
    column, table = ("ICFG-PEDES Rank-1", 1) if method == "ssan" else ("Rank-1", 4)
    experiment = driver.cell("ssan", "smoke", table, method, column).experiments[0]
    data = paper.prepare(experiment, session.dataset("icfg-pedes"), session.cache, "meta")
    text = text_of(data.test, torch.arange(3))
    assert text.tokens.device.type == text.phrases.device.type == "meta"
    on_cpu = (text.lengths, text.phrase_lengths, text.phrase_offsets)
    assert all(x.device.type == "cpu" for x in on_cpu)
    weak = torch.flip(torch.arange(3), (0,))
    generator = torch.Generator().manual_seed(0)
    settings = {"flip": False, "crop_pad": 0, "device": "meta"}
    batch = pairs(data.train, torch.arange(3), generator, weak=weak, **settings)
    here = (batch.images, batch.labels, batch.text.tokens, batch.weak.tokens)
    assert all(x.device.type == "meta" for x in here)


def test_weak_captions_describe_another_image_of_the_person(session):
    experiment = driver.cell("ssan", "smoke", 1, "ssan", "ICFG-PEDES Rank-1").experiments[0]
    data = paper.prepare(experiment, session.dataset("icfg-pedes"), session.cache, "cpu")
    model = paper.build(experiment, data)
    for batch in paper.batches(experiment, model, data, torch.Generator().manual_seed(1), "cpu"):
        assert len(batch.weak.lengths) == len(batch) == experiment.training.batch_size
        same = [
            torch.equal(a[:n], b[:m]) and n == m
            for a, n, b, m in zip(
                batch.text.tokens,
                batch.text.lengths,
                batch.weak.tokens,
                batch.weak.lengths,
                strict=True,
            )
        ]
        assert not any(same)
    baseline = driver.cell("ssan", "smoke", 1, "baseline", "ICFG-PEDES Rank-1").experiments[0]
    model = paper.build(baseline, data)
    batch = next(paper.batches(baseline, model, data, torch.Generator().manual_seed(1), "cpu"))
    assert batch.weak is None and batch.masks is None


# ------------------------------------------------------------------ data that is not there


@pytest.fixture
def copy(session, tmp_path) -> Session:
    shutil.copytree(session.data, tmp_path / "data")
    return Session.create("smoke", results=tmp_path / "results", data=tmp_path / "data")


def test_missing_masks_fail_vitaa_alone_and_at_once(copy, capsys):
    shutil.rmtree(copy.data / "ICFG-PEDES" / "masks")
    reseal(copy.data / "ICFG-PEDES")
    planned = plan(copy, ["ssan"])
    problems = {p.experiment.dataset: p for p in planned if p.problem}
    assert list(problems) == ["icfg-pedes"]
    assert isinstance(problems["icfg-pedes"].experiment.model, vitaa.ViTAAConfig)
    some = [problems["icfg-pedes"], next(p for p in planned if not p.problem)]
    failures = run_missing(copy, some, bar=False)
    assert list(failures) == [some[0].key]
    assert "part masks" in failures[some[0].key] and "masks" in failures[some[0].key]
    assert copy.store.load(some[1].key) is not None
    assert capsys.readouterr().out.startswith("1 run(s) cannot be trained: icfg-pedes")
    with pytest.raises(DataError, match="part masks"):
        prepared(prepare, copy.dataset("icfg-pedes"), SIZE, copy.cache, "cpu", masks=True)


def test_changed_masks_are_refused(copy):
    """Generated data is what was drawn, masks included; what real masks do to keys is a test of
    `reidlib.data.extras`."""
    own = first(driver.experiments("ssan", "smoke"), vitaa.ViTAAConfig, "icfg-pedes")
    assert own.needs == ("masks",)
    mask = mask_paths(copy.dataset("icfg-pedes"), "train")[0]
    mask.write_bytes(mask.read_bytes() + b"\0")
    moved = shutil.move(copy.data, copy.data.with_name("moved"))  # nothing is remembered of it
    again = Session.create("smoke", copy.results, moved)
    with pytest.raises(DataError, match=r"1 of .* files are not what was written"):
        key_of(again, own)


def test_a_missing_dataset_leaves_the_rows_on_the_other(copy):
    shutil.rmtree(copy.data / "ICFG-PEDES")
    planned = plan(copy, ["ssan"])
    assert {p.experiment.dataset for p in planned if p.problem} == {"icfg-pedes"}
    assert all("ICFG-PEDES" in p.problem for p in planned if p.problem)


def test_no_dataset_at_all_is_an_error(tmp_path):
    session = Session.create("smoke", results=tmp_path / "results", data=tmp_path)
    with pytest.raises(DataError, match="CUHK-PEDES"):
        plan(session, ["ssan"])


def test_a_domain_absent_from_the_data_is_named(tmp_path):
    write("cuhk-pedes", tmp_path, ids=(24, 2, 3), size=SIZE)
    session = Session.create("smoke", results=tmp_path / "results", data=tmp_path)
    with pytest.raises(DataError, match=r"cuhk-pedes-cuhk03: the test split of .* no image"):
        session.dataset(TRANSFER)


def test_a_caption_without_a_known_word_stays_a_query(copy):
    annotation = copy.data / "ICFG-PEDES" / "ICFG-PEDES.json"
    entries = json.loads(annotation.read_text())
    test = [entry for entry in entries if entry["split"] == "test"]
    test[0]["captions"] = ["qwertz uiop"]
    test[1]["captions"] = ["..."]
    annotation.write_text(json.dumps(entries))
    reseal(copy.data / "ICFG-PEDES")
    experiment = driver.cell("ssan", "smoke", 1, "ssan", "ICFG-PEDES Rank-1").experiments[0]
    run = run_one(copy, planned_for(copy, experiment))
    ranks = run.ranks("Sg+Sl+Sn")
    assert len(ranks) == len(test) and (ranks >= 1).all()


def test_too_few_people_for_a_batch_say_so(copy):
    experiment = first(driver.experiments("ssan", "smoke"), vitaa.ViTAAConfig, "icfg-pedes")
    many = replace(experiment, training=replace(experiment.training, batch_size=400))
    with pytest.raises((DataError, TrainingError), match="100 persons cannot be drawn"):
        run_one(copy, planned_for(copy, many))
