"""What notebook 05 shows of FGSAM: maps, parts, attributes, Figure 5, states without runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from reidlib.data.formats.attributes import DUKE, MARKET, NAMES, UNLABELED
from reidlib.explore import common
from reidlib.explore import fgsam as explore
from reidlib.models.fgsam import PART_OF
from reidlib.models.pose_resolve import PARTS, part_channels
from reidlib.papers import fgsam, pose_pretraining
from reidlib.papers.image_to_image import encode
from reidlib.run.plan import plan_experiments, planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.train import Compute
from reidlib.world.write import write

pytest.importorskip("matplotlib")
pytest.importorskip("nbformat")
pytest.importorskip("papermill")

from pages import page_of_notebook


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Market-1501, PETA and COCO; DukeMTMC-reID is missing."""
    root = tmp_path_factory.mktemp("fgsam") / "data"
    for name, ids in (("market1501", (6, 4)), ("peta", (30,)), ("coco-keypoints", (16, 6))):
        write(name, root, seed=3, ids=ids, size=(48, 24))
    return root


@pytest.fixture(scope="module")
def session(tmp_path_factory, world) -> Session:
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=world)


@pytest.fixture(scope="module")
def trained(session) -> explore.Trained:
    """The final model with random weights, in which the channel parse blocks differ a little."""
    experiment = explore.final(session)
    data = fgsam.prepare(experiment, session.dataset("market1501"), session.cache, "cpu")
    torch.manual_seed(0)
    model = fgsam.build(experiment, data).eval()
    query, gallery = (encode(model.embed, split) for split in (data.query, data.gallery))
    return explore.Trained(model, data, query, gallery)


# ------------------------------------------------------------------ joints, limbs, parts


def test_pose_maps_are_the_highest_of_all(trained) -> None:
    rows = [0, 2, 3]
    found = explore.pose_maps(trained, rows)
    with torch.inference_mode():
        H, C = trained.model.pose(trained.data.query.images.batch(torch.tensor(rows)))[-1]
    for n in range(3):
        joints = np.maximum(H[n, :18].numpy().max(0), 0)  # the background is no joint
        np.testing.assert_allclose(found["joints"][n], joints, atol=1e-6)
        strength = np.hypot(C[n, 0::2].numpy(), C[n, 1::2].numpy()).max(0)
        np.testing.assert_allclose(found["limbs"][n], strength, atol=1e-6)
    assert (found["joints"] >= 0).all() and found["limbs"].shape == (3, 8, 4)


def test_part_maps_are_of_the_channels_of_the_part(trained) -> None:
    found = explore.part_maps(trained, [1, 4])
    assert tuple(found) == PARTS
    with torch.inference_mode():
        pose = trained.model.pose(trained.data.query.images.batch(torch.tensor([1, 4])))[-1]
    maps = torch.cat(pose, 1).numpy()
    for part in PARTS:
        expected = np.sqrt((maps[:, list(part_channels(part))] ** 2).mean(1))
        np.testing.assert_allclose(found[part], expected, rtol=1e-4, atol=1e-6)


def test_weights_of_the_channel_parse_blocks(trained) -> None:
    """Weighing what comes out of the last stage's convolutions gives the maps of the last stage."""
    table = explore.block_table(trained, images=5).set_index("part")
    assert list(table.index) == [*PARTS, "background"] and table["channels"].tolist()[:2] == [
        15,
        17,
    ]
    kept = {}

    def keep(module, inputs, output):
        kept["weights"] = module.weights(inputs[0])[..., 0, 0]

    handle = trained.model.pose.parse_H[-1].register_forward_hook(keep)
    with torch.inference_mode():
        trained.model.pose(trained.data.query.images.batch(torch.arange(5)))
    handle.remove()
    background = float(kept["weights"][:, 18].mean())
    assert table.loc["background", "mean weight"] == pytest.approx(background, abs=1e-5)
    assert (table["lowest"] <= table["mean weight"]).all()
    assert (table["mean weight"] <= table["highest"]).all()


def test_key_points_are_scored_before_and_after(world, trained, tmp_path) -> None:
    """After: what is found with the final model's own net, channel parse blocks included."""
    session = Session.create("smoke", results=tmp_path, data=world)
    (pose,) = explore.final(session).start.joins
    run = run_one(session, planned_for(session, pose))
    table = explore.key_point_table(session, trained).set_index("key point")
    before, after = (table[column] for column in table.columns)
    assert before["all"] == run.metrics["evaluations"]["held out"]["PCK"]
    data = pose_pretraining.prepare(pose, session.dataset(pose.dataset), session.cache, "cpu")
    again = pose_pretraining.evaluate(trained.model.pose, data, Compute("cpu"))
    assert after["all"] == again.evaluations["held out"]["PCK"]
    assert list(explore.key_point_table(session, None).columns) == ["key point", before.name]


# ------------------------------------------------------------------ attributes


def test_table_1_says_what_is_learned_and_what_is_printed() -> None:
    table = explore.table_1().set_index("attribute")
    assert table["Market-1501"].tolist().count("✓") == 12 == len(MARKET.attributes)
    duke, peta = table["DukeMTMC-reID"], table["PETA"]
    assert duke["number"] == "10" == str(len(DUKE.attributes))
    assert duke["bag"] == "learned" and duke["age"] == "printed"  # the ticks are shifted
    assert peta["L.up"] == "printed" and peta["L.low"] == "learned" and peta["number"] == "13"
    assert list(table.index) == [*NAMES, "number"] and table.loc["boots", "branch"] == "lower leg"


def test_labels_are_counted_by_class(session) -> None:
    datasets = common.available(session, ["market1501", "peta", "coco-keypoints"])
    table, _ = explore.label_table(datasets)
    assert set(table["data set"]) == {"Market-1501", "PETA"}
    for shares in table["classes"]:
        numbers = [int(n) for n in re.findall(r"(\d+) %", shares)]
        assert abs(sum(numbers) - 100) <= len(numbers)
    assert set(table["branch"]) <= set(PARTS)


def test_what_is_seen_in_a_query_stands_beside_its_label(trained) -> None:
    rows = list(range(4))
    table = explore.seen_in(trained, rows)
    known = trained.data.query_known
    for a, attribute in enumerate(trained.data.table.attributes):
        for n in rows:
            text, label = table[f"query {n + 1}"].iloc[a], int(known[n, a])
            if label == UNLABELED:
                assert text.endswith("(not labeled)")
            elif "labeled" in text:
                assert text.endswith(f"(labeled: {attribute.classes[label]})")
                assert not text.startswith(f"{attribute.classes[label]} (")
            else:
                assert text == attribute.classes[label]
        assert table["branch"].iloc[a] == PART_OF[attribute.name]


def test_the_gallery_is_searched_by_the_seven_embeddings(trained) -> None:
    (ranked,) = explore.image_retrievals(trained, [1], k=3)
    distances = [found.distance for found in ranked]
    assert distances == sorted(distances) and distances[-1] <= 2
    assert sum(found.rank is not None for found in ranked) == 3


# ------------------------------------------------------------------ what a session has


def test_phases_are_in_the_order_in_which_they_are_trained(session) -> None:
    found = explore.phases(session)
    assert list(found)[1:] == ["Base", "pose resolve net on coco-keypoints",
                               "Base + Pose + attributes", "Base + Pose + LRAM + FTL"]  # fmt: skip
    table = explore.phase_table(session).set_index("phase")
    assert table["starts from"].tolist() == [
        "random weights", "strangers", "random weights",
        "Base; pose resolve net on coco-keypoints", "Base + Pose + attributes",
    ]  # fmt: skip
    planned = [p.key for p in plan_experiments(session, [explore.final(session)])]
    assert len(planned) == len(found) == 5


def test_profiles_show_the_datasets_that_they_train_on(session) -> None:
    assert explore.datasets_of(session) == list(explore.TITLES)
    demo = Session.create("demo", results=session.results)
    assert explore.datasets_of(demo) == ["market1501", "coco-keypoints"]
    assert explore.sweeps(demo) == {}


def test_without_runs_there_is_nothing_to_show(session) -> None:
    assert explore.load_trained(session) is None
    assert (
        explore.accuracy_table(session) is None and explore.key_point_table(session, None) is None
    )
    found = explore.sweeps(session)
    assert list(found) == ["alpha", "beta", "gamma"]
    for sweep in found.values():
        assert sweep.usual in sweep.values
        assert all(score is None for scores in sweep.scores.values() for score in scores)


def test_counts_and_persons(session) -> None:
    datasets = common.available(session, ["market1501", "peta", "coco-keypoints"])
    table = explore.count_table(datasets).set_index(["dataset", "part"])
    assert table.loc[("Market-1501", "train"), "published"] == "12,936 images, 751 persons"
    assert table.loc[("COCO, key points", "val"), "found"] == "6 images"
    rows = explore.person_rows(datasets, most=3)
    assert len(rows) == 3 and all(1 <= len(images) <= 3 for images in rows.values())


# ------------------------------------------------------------------ the notebook


def test_the_notebook_runs_through_where_data_and_runs_are_missing(session, tmp_path) -> None:
    page = page_of_notebook(session, "fgsam", tmp_path)
    assert re.search(r"\b0 of \d+ runs are in the store", page)
    for text in (
        "dukemtmc-reid is left out",
        "The final model on Market-1501 has not been trained in this profile yet.",
        "The pose resolve net has not been trained in this profile yet.",
        "25,956,971",
    ):
        assert text in page, text
