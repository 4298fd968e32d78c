"""Strangers and class folders on disk, the labels of a picture, and the pretraining on them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors
from safetensors.torch import save_file
from torch import nn

from reidlib.data.formats import imagefolder, strangers
from reidlib.data.formats.strangers import named_labels
from reidlib.errors import DataError, UsageError
from reidlib.experiment import Experiment, Stage, Training, changed
from reidlib.models.compared.pcb import PCBConfig
from reidlib.models.imgnet import IMGNetConfig
from reidlib.models.parts.norms import GroupNorm
from reidlib.models.pretraining import (
    FiveBranches,
    Pretraining,
    PretrainingConfig,
    label_loss,
    network,
)
from reidlib.papers import driver, pretraining
from reidlib.papers.gla import cells as gla_cells
from reidlib.papers.pretraining import method, pretraining_of, started
from reidlib.run.plan import plan
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.train import Compute
from reidlib.world.drawing.render import Rendering, render
from reidlib.world.drawing.shot import make_shot
from reidlib.world.people.identity import COLORS, make_identity
from reidlib.world.write import write
from reidlib.world.writers import strangers as writer
from reidlib.world.writers.captioned_worlds import MSMT17_FIRST
from reidlib.world.writers.image_worlds import OWN_PEOPLE

CPU = Compute("cpu", threads=1)
IDS, SIZE, SEED = (16, 6), (48, 24), 5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data folder with strangers. Shared: copy before changing."""
    root = tmp_path_factory.mktemp("world")
    write("strangers", root, seed=SEED, ids=IDS, size=SIZE)
    return root


@pytest.fixture(scope="module")
def people(world):
    return strangers.load(world)


@pytest.fixture
def copied(world, tmp_path):
    shutil.copytree(world / strangers.FOLDER, tmp_path / strangers.FOLDER)
    return tmp_path


# ---------------------------------------------------------------- the world's strangers


def test_strangers_are_people_of_another_world_and_of_no_dataset():
    plan = writer.plan(SEED, ids=IDS)
    assert len(plan) == 2 * sum(IDS)
    # Two worlds have nobody in common; were it one world, numbers would keep them apart.
    assert min(picture.person for picture in plan) >= 1_000_000 + max(
        *OWN_PEOPLE.values(), MSMT17_FIRST
    )
    assert writer.world_of(SEED) != SEED
    assert writer.world_of(SEED) != writer.world_of(SEED + 1)


def test_strangers_do_not_change_with_their_number():
    """A person's pictures are the same in a larger set of strangers."""
    small, large = writer.plan(SEED, ids=(4, 2)), writer.plan(SEED, ids=(9, 2))
    assert small[:8] == large[:8]


def test_strangers_written_are_the_strangers_loaded(world, people):
    assert {name: len(frame) for name, frame in people.splits.items()} == {"train": 32, "val": 12}
    train, val = people.splits["train"], people.splits["val"]
    assert not set(train["pid"]) & set(val["pid"])
    assert people.synthetic["world_seed"] == SEED
    frame = train.set_index("path")
    for picture in writer.plan(SEED, ids=IDS)[:6]:
        shot = make_shot(writer.world_of(SEED), picture.person, picture.number, picture.family)
        drawn = render(shot, SIZE)
        expected = writer.what_is_seen(make_identity(shot.world_seed, shot.pid), shot, drawn)
        found = frame.loc[picture.path, list(writer.VALUES)].to_dict()
        found = {name: None if value != value else value for name, value in found.items()}
        assert found == expected
        saved = np.asarray(Image.open(people.images / picture.path), dtype=float)
        assert abs(saved - drawn.image).mean() < 8  # JPEG


def test_labels_have_their_values_in_order_and_kinds_have_no_colors(people):
    named = named_labels(people.splits["train"])
    assert named == writer.VALUES
    kinds = method.used_labels(people.splits["train"], "kinds")
    assert kinds and all(name.startswith("kind of ") for name in kinds)
    assert not {value for values in kinds.values() for value in values} & set(COLORS)
    both = method.used_labels(people.splits["train"], "kinds+colors")
    assert set(both) - set(kinds) == {"color of upper", "color of lower", "color of shoes"}


def seen(visible=1.0, **changes):
    """Labels of the first stranger in a picture in which everything is seen so much."""
    shot = make_shot(1, 8_000_000, 0, "market")
    identity = replace(make_identity(1, 8_000_000), **changes)
    parts = ("hair", "headwear", "scarf", "upper", "inner", "upper_pattern", "lower", "footwear")
    share = {name: visible for name in (*parts, *(f"carried:{c.kind}" for c in shot.carried))}
    drawn = Rendering(np.zeros((1, 1, 3)), np.zeros((18, 3)), np.zeros((1, 1)), (0,) * 4, share)
    return writer.what_is_seen(identity, shot, drawn), identity, shot


def test_labels_say_what_is_to_be_seen():
    labels, identity, shot = seen(headwear="cap", scarf_color="red")
    assert labels["kind of upper"] == identity.upper.kind
    assert labels["kind of legs"] == identity.lower.length
    assert labels["kind of headwear"] == "cap"
    assert labels["kind of scarf"] == "yes"
    assert labels["color of shoes"] == identity.footwear_color
    for thing in shot.carried:
        assert labels[f"kind of {thing.kind}"] == "yes"
    for name, value in labels.items():
        assert value is None or value in writer.VALUES[name], name


def test_what_is_hidden_has_no_label_and_what_is_not_there_is_said():
    labels, _, _ = seen(0.1, headwear="cap", scarf_color=None, hair_length="short")
    for hidden in ("upper", "sleeves", "pattern", "lower", "legs", "shoes", "hair", "headwear"):
        assert labels[f"kind of {hidden}"] is None, hidden
    assert labels["kind of scarf"] == "no"
    labels, _, _ = seen(0.1, headwear="none", hair_length="bald", hair_style="plain")
    assert labels["kind of headwear"] == "none"
    assert labels["kind of hair"] == "bald"


def test_view_is_the_same_in_a_mirror():
    """Pictures are mirrored in training: left and right must not be told apart."""
    assert writer.VALUES["kind of view"] == ("front", "back", "side")


# ---------------------------------------------------------------- broken strangers


def edit(root: Path, change) -> Path:
    path = root / strangers.FOLDER / strangers.ANNOTATION
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


def test_value_that_is_none_of_the_label(copied):
    def change(content):
        content["images"][3]["labels"]["kind of upper"] = "toga"

    with pytest.raises(DataError, match=r"labels\.json: images/000001_1\.jpg: expected"):
        strangers.load(edit(copied, change))


def test_annotation_of_another_form(copied):
    with pytest.raises(DataError, match=r"labels\.json: expected .*KeyError\('values'\)"):
        strangers.load(edit(copied, lambda content: content.pop("values")))


def test_annotation_that_is_no_json(copied):
    (copied / strangers.FOLDER / strangers.ANNOTATION).write_text("[1, 2")
    with pytest.raises(DataError, match=r"labels\.json: not valid JSON"):
        strangers.load(copied)


@pytest.mark.parametrize(("content", "state"), [(None, "are missing"), (b"", "have zero bytes")])
def test_image_that_is_missing_or_empty(copied, content, state):
    path = copied / strangers.FOLDER / "images" / "000002_0.jpg"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{state}(.|\n)*000002_0\.jpg"):
        strangers.load(copied)


def test_strangers_with_fewer_images_than_were_written(copied):
    with pytest.raises(DataError, match="strangers"):
        strangers.load(edit(copied, lambda content: content["images"].pop()))


def test_no_strangers(tmp_path):
    with pytest.raises(DataError, match="strangers not found"):
        strangers.load(tmp_path)


# ---------------------------------------------------------------- class folders


def picture(path: Path, shade: int = 0, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 255 - shade, 0)).save(path)


def test_class_folders_with_a_val_folder(tmp_path):
    for name, number in (("n02", 3), ("n01", 2)):
        for i in range(number):
            picture(tmp_path / "train" / name / f"{name}_{i}.JPEG")
    picture(tmp_path / "val" / "n02" / "a.png")
    (tmp_path / "train" / "n01" / "readme.txt").write_text("no image")
    found = imagefolder.load(tmp_path)
    train, val = found.splits["train"], found.splits["val"]
    assert train["class"].tolist() == ["n01"] * 2 + ["n02"] * 3
    assert train["label"].tolist() == [0, 0, 1, 1, 1]
    assert val["path"].tolist() == ["val/n02/a.png"]
    assert val["label"].tolist() == [1]
    assert named_labels(val) == {"class": ("n01", "n02")}
    assert all(path.is_file() for path in found.image_paths("train"))


def test_class_folders_alone_hold_out_every_25th_image(tmp_path):
    for i in range(51):
        picture(tmp_path / "cats" / f"{i:03d}.jpg")
    picture(tmp_path / "dogs" / "0.jpg")
    found = imagefolder.load(tmp_path)
    assert found.splits["val"]["path"].tolist() == ["cats/024.jpg", "cats/049.jpg"]
    assert len(found.splits["train"]) == 50
    assert found.fingerprint == imagefolder.load(tmp_path).fingerprint
    (tmp_path / "dogs" / "0.jpg").rename(tmp_path / "dogs" / "1.jpg")
    assert found.fingerprint != imagefolder.load(tmp_path).fingerprint


def test_flat_val_folder_is_not_used(tmp_path):
    """The release keeps its validation images in one folder, without their classes."""
    for name in ("a", "b"):
        for i in range(25):
            picture(tmp_path / "train" / name / f"{i:02d}.JPEG")
    picture(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    assert len(imagefolder.load(tmp_path).splits["val"]) == 2


def test_broken_class_folders(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        imagefolder.load(tmp_path / "nowhere")
    picture(tmp_path / "train" / "a" / "0.jpg")
    with pytest.raises(DataError, match="1 class folders, expected at least two"):
        imagefolder.load(tmp_path)
    (tmp_path / "train" / "b").mkdir()
    with pytest.raises(DataError, match="b: no image in this class folder"):
        imagefolder.load(tmp_path)
    (tmp_path / "train" / "b" / "0.jpg").touch()
    with pytest.raises(DataError, match=r"zero bytes(.|\n)*train/b/0\.jpg"):
        imagefolder.load(tmp_path)
    picture(tmp_path / "train" / "b" / "0.jpg")
    picture(tmp_path / "val" / "c" / "0.jpg")
    with pytest.raises(DataError, match=r"classes that train/ does not have: c"):
        imagefolder.load(tmp_path)


# ---------------------------------------------------------------- the network


def test_loss_is_the_mean_cross_entropy_over_labels_and_images():
    generator = torch.Generator().manual_seed(0)
    logits = tuple(torch.randn(3, n, generator=generator) for n in (4, 2))
    labels = torch.tensor([[3, 0], [1, -1], [-1, 1]])
    total = 0.0
    for i, row in enumerate(labels.tolist()):
        for scores, value in zip((logits[0][i], logits[1][i]), row, strict=True):
            if value >= 0:
                total -= math.log(math.exp(scores[value]) / sum(math.exp(s) for s in scores))
    assert label_loss(logits, labels).item() == pytest.approx(total / 6, rel=1e-5)


def test_every_label_has_outputs_of_its_own():
    torch.manual_seed(0)
    net = Pretraining(PretrainingConfig("vgg16_bn", 0.03125, (1, 1, 1, 1, 1), classes=(3, 2, 5)))
    images = torch.randn(2, 3, 32, 32)
    logits = net.eval().logits(images)
    assert [tuple(part.shape) for part in logits] == [(2, 3), (2, 2), (2, 5)]
    pooled = net.backbone(images).mean((2, 3))
    expected = pooled @ net.heads.weight[3:5].T + net.heads.bias[3:5]
    torch.testing.assert_close(logits[1], expected)


# ---------------------------------------------------------------- five branches


def five_branches(**changes) -> FiveBranches:
    torch.manual_seed(0)
    shape = {"width": 0.25, "depths": (1, 1, 1, 1), "E": (12, 6), "classes": (3, 2)}
    return network(PretrainingConfig("five branches", **{**shape, **changes}))


def test_five_branches_predict_from_the_picture_and_its_strips():
    """Against branches of their own, one after the other."""
    net = five_branches().eval()
    images = torch.randn(2, 3, 64, 32)
    parts = torch.stack([images[:, :, 16 * k : 16 * k + 16] for k in range(4)], 1)
    E_g, E = net.backbone(images, parts)[0]
    said = [E_g @ net.predict_g, *(E[:, k] @ net.predict_p[k] for k in range(4))]
    torch.testing.assert_close(net.branches(images), torch.stack(said))
    logits = net.logits(images)
    assert [tuple(part.shape) for part in logits] == [(2, 3), (2, 2)]
    torch.testing.assert_close(torch.cat(logits, 1), torch.stack(said).mean(0))


def test_loss_of_five_branches_is_half_the_sum_of_theirs():
    net = five_branches().eval()  # without dropout
    with torch.no_grad():
        net.predict_g.normal_()
        net.predict_p.normal_()
    images, labels = torch.randn(3, 3, 64, 32), torch.tensor([[2, 0], [1, -1], [-1, 1]])
    alone = [label_loss(each.split((3, 2), 1), labels) for each in net.branches(images)]
    found = net(images, labels)["cross-entropy"]
    torch.testing.assert_close(found, 0.5 * torch.stack(alone).sum())


def test_five_branches_drop_out_before_predictions_only():
    net = five_branches()
    net.backbone.eval()
    images, labels = torch.randn(2, 3, 64, 32), torch.tensor([[2, 0], [1, 1]])
    with torch.no_grad():
        net.predict_p.normal_()
    losses = {float(net(images, labels)["cross-entropy"].detach()) for _ in range(4)}
    assert len(losses) == 4
    assert torch.equal(net.backbone(images)[0].E, net.backbone(images)[0].E)


def test_sizes_of_features_belong_to_five_branches_alone():
    for wrong in ({"E": None}, {"backbone": "resnet50"}):
        with pytest.raises(UsageError, match="five branches, and they alone"):
            PretrainingConfig(**{"backbone": "five branches", "E": (12, 6), **wrong})
    plain = changed(PretrainingConfig("vgg16"))
    assert "E" not in plain  # keys of other pretrainings stay as they are


def test_a_learning_rate_that_is_divided_by_ten():
    from reidlib.papers.pretraining.rows import SIZES, _rates

    rates = _rates(SIZES["paper-imagefolder-five-branches"])
    assert rates == (0.01,) * 3 + (0.001,) * 3 + (0.0001,) * 3
    size = SIZES["study-strangers"]
    assert _rates(size) == (size.lr,) * size.epochs


def test_the_base_of_attention_driven_is_pretrained_on_class_folders(tmp_path):
    """From pictures in folders to the first step of a row."""
    from types import SimpleNamespace

    from reidlib.papers.attention_driven import cells

    for i in range(30):
        picture(tmp_path / "data" / "cats" / f"{i:02d}.png", shade=200 + i)
        picture(tmp_path / "data" / "dogs" / f"{i:02d}.png", shade=i)
    row = cells("smoke")[6, "intra-inter", "Market R1"].experiment
    row = replace(row, training=replace(row.training, pretrained="imagefolder"))
    planned = pretraining_of(row, "smoke")
    assert (planned.dataset, planned.model.labels) == ("imagefolder", "classes")
    longer = replace(planned.training, stages=(Stage("all", (1e-2,) * 5),), steps=3)
    result = driver.train_and_evaluate(
        replace(planned, training=longer), imagefolder.load(tmp_path / "data"),
        cache_dir=tmp_path, compute=CPU,
    )  # fmt: skip
    assert result.metrics["evaluations"][method.VAL]["class"] == 100.0
    weights = tmp_path / "weights.safetensors"
    state = load_safetensors(result.weights)
    save_file(state, weights)
    model = driver.initialized(replace(row, start=planned), SimpleNamespace(ids=5), [weights])
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[f"backbone.{name}"]), name


@pytest.mark.parametrize(
    "changes", [{"backbone": "alexnet"}, {"labels": "names"}, {"classes": ()}, {"classes": (3, 0)}]
)
def test_impossible_networks(changes):
    with pytest.raises(UsageError, match="pretraining: "):
        PretrainingConfig(**changes)


# ---------------------------------------------------------------- from an experiment to its start


def experiment(**changes):
    """Of a paper, in the smoke profile, with a backbone that starts from strangers."""
    from reidlib.papers.imgnet.rows import cells

    found = next(iter(cells("smoke").values())).experiment
    training = replace(found.training, pretrained="strangers", image_size=SIZE)
    return replace(found, training=training, **changes)


def test_contract():
    assert all(hasattr(pretraining, name) for name in driver.CONTRACT)
    assert pretraining.cells("smoke") == {}


def test_one_pretraining_for_all_that_have_its_backbone_and_picture_size():
    first = pretraining_of(experiment(), "smoke")
    assert first.dataset == "strangers"
    assert first.seed == 0
    assert first.training.pretrained == ""
    other = experiment(seed=3, paper="ssan")
    other = replace(other, model=replace(other.model, last_stride=2, gs=False, k=4),
                    training=replace(other.training, batch_size=5))  # fmt: skip
    assert pretraining_of(other, "smoke").key("data") == first.key("data")
    base = experiment()
    wide = replace(base, model=replace(base.model, width=0.25))
    large = replace(base, training=replace(base.training, image_size=(96, 32)))
    keys = {pretraining_of(e, "smoke").key("data") for e in (base, wide, large)}
    assert len(keys) == 3
    colors = pretraining_of(base, "smoke", labels="kinds+colors")
    assert colors.key("data") not in keys


def test_backbones_with_gn_have_a_pretraining_of_their_own_and_others_keep_theirs():
    def pretraining_with(norm):
        config = PCBConfig(ids=1, width=0.125, depths=(1, 1, 1, 1), norm=norm)
        return started(experiment(model=config), "smoke").start

    bn, gn = pretraining_with("bn"), pretraining_with("gn")
    assert bn.key("") != gn.key("") and gn.name.endswith("GN") and "GN" not in bn.name
    assert "norm" not in changed(bn.model)  # so that finished runs keep their keys
    for start, kind, other in (
        (bn, nn.BatchNorm2d, GroupNorm),
        (gn, GroupNorm, nn.BatchNorm2d),
    ):
        kinds = {type(part) for part in Pretraining(start.model).modules()}
        assert kind in kinds and other not in kinds
    # IMG-Net's norm is that of its heads.
    heads = IMGNetConfig(ids=1, vocabulary=2, width=0.125, norm="gn")
    assert started(experiment(model=heads), "smoke").start.model.norm == "bn"


def test_cost_of_a_pretraining_grows_with_its_pictures():
    small = pretraining_of(experiment(), "smoke")
    large = replace(small, training=replace(small.training, image_size=(96, 48)))
    assert driver.cost(large) > 3 * driver.cost(small) > 0


def test_what_does_not_start_from_a_pretraining_of_ours():
    scratch = experiment()
    scratch = replace(scratch, training=replace(scratch.training, pretrained="imagenet"))
    with pytest.raises(UsageError, match="no pretraining on 'imagenet'"):
        pretraining_of(scratch, "smoke")
    with pytest.raises(UsageError, match="profile paper has no pretraining on strangers"):
        pretraining_of(experiment(), "paper")


# ---------------------------------------------------------------- a whole pretraining


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    planned = pretraining_of(experiment(), "smoke")
    result = driver.train_and_evaluate(planned, people, cache_dir=cache, compute=CPU)
    return planned, result, cache


def test_pretraining_from_end_to_end(finished, people):
    planned, result, cache = finished
    assert len(result.history) == planned.training.epochs
    found = result.metrics["evaluations"][method.VAL]
    labels = method.used_labels(people.splits["train"], "kinds")
    assert set(found) <= {"mean", *labels}
    per_label = [value for name, value in found.items() if name != "mean"]
    assert found["mean"] == pytest.approx(sum(per_label) / len(per_label))
    assert result.evaluated.ranks == {}
    # Accuracies against a loop over the pictures.
    data = method.prepare(planned, people, cache, "cpu")
    model = method.build(planned, data)
    model.load_state_dict(load_safetensors(result.weights))
    model.eval()
    right, has = 0, 0
    frame = people.splits["val"]
    values = list(labels["kind of lower"])
    position = list(labels).index("kind of lower")
    with torch.no_grad():
        for i, value in enumerate(frame["kind of lower"]):
            if value == value:
                scores = model.logits(data.val.images.batch(torch.tensor([i])))[position]
                right += values[int(scores.argmax())] == value
                has += 1
    assert found["kind of lower"] == pytest.approx(100 * right / has)
    usual = frame["kind of lower"].value_counts().max()
    assert result.evaluated.chance[method.VAL]["kind of lower"] == pytest.approx(100 * usual / has)


def test_experiment_starts_from_the_pretrained_backbone(finished, tmp_path):
    from types import SimpleNamespace

    planned, result, _ = finished
    weights = tmp_path / "weights.safetensors"
    state = load_safetensors(result.weights)
    save_file(state, weights)
    starting = experiment(start=planned)
    sizes = SimpleNamespace(ids=5, vocabulary=["", "", "word"])
    model = driver.initialized(starting, sizes, [weights])
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[f"backbone.{name}"]), name
    scratch = driver.initialized(experiment(start=None), sizes)
    weight = next(m for m in scratch.backbone.modules() if isinstance(m, nn.Conv2d)).weight
    assert not torch.equal(weight, next(iter(model.backbone.parameters())))
    torch.testing.assert_close(scratch.W_ID.weight, model.W_ID.weight)  # the rest starts as ever


def test_pretraining_learns(people, tmp_path):
    """The loss on the training pictures falls well below that of guessing."""
    planned = pretraining_of(experiment(), "smoke")
    training = Training(
        (Stage("all", (1e-2,) * 12),), batch_size=16, image_size=(32, 16), flip=False
    )
    config = replace(planned.model, labels="kinds+colors")
    longer = replace(planned, training=training, model=config)
    result = driver.train_and_evaluate(longer, people, cache_dir=tmp_path, compute=CPU)
    losses = [epoch["loss"] for epoch in result.history]
    assert losses[-1] < 0.6 * losses[0]
    assert "color of upper" in result.metrics["evaluations"][method.VAL]


def test_pretraining_on_class_folders(tmp_path):
    for i in range(30):
        picture(tmp_path / "data" / "cats" / f"{i:02d}.png", shade=200 + i)
        picture(tmp_path / "data" / "dogs" / f"{i:02d}.png", shade=i)
    found = imagefolder.load(tmp_path / "data")
    model = PretrainingConfig("vgg16_bn", 0.03125, (1,) * 5, labels="classes")
    training = Training((Stage("all", (1e-2,) * 4),), batch_size=14, image_size=(32, 16))
    planned = Experiment("pretraining", "x", "imagefolder", model, training, 0, 1)
    result = driver.train_and_evaluate(planned, found, cache_dir=tmp_path, compute=CPU)
    assert result.metrics["evaluations"][method.VAL]["class"] == 100.0


def test_labels_that_are_not_there(people, tmp_path):
    picture(tmp_path / "data" / "a" / "0.png")
    picture(tmp_path / "data" / "b" / "0.png")
    found = imagefolder.load(tmp_path / "data")
    planned = pretraining_of(experiment(), "smoke")
    with pytest.raises(DataError, match="has no labels of the set 'kinds'"):
        method.prepare(planned, found, tmp_path, "cpu")


def test_a_session_with_class_folders_pretrains_on_them(tmp_path):
    """Every run that would start from strangers starts from these pictures, under other keys."""
    for i in range(30):
        picture(tmp_path / "pictures" / "cats" / f"{i:02d}.png", shade=200 + i)
        picture(tmp_path / "pictures" / "dogs" / f"{i:02d}.png", shade=i)
    usual = Session.create("smoke", results=tmp_path / "results")
    session = replace(usual, imagefolder=tmp_path / "pictures")
    planned = plan(session, ["gla"])
    start, runs = planned[0], planned[1:]
    assert start.experiment.dataset == "imagefolder"
    assert {p.start for p in runs} == {start.key}
    assert {p.experiment.training.pretrained for p in runs} == {"imagefolder"}
    assert not {p.key for p in runs} & {p.key for p in plan(usual, ["gla"])}
    run = run_one(session, start)
    assert run.experiment["model"]["labels"] == "classes"
    assert run.provenance["source"]["loader"] == "reidlib.data.formats.imagefolder"
    assert set(run.metrics["evaluations"][method.VAL]) == {"mean", "class"}


def test_without_class_folders_the_option_is_named(tmp_path):
    session = Session.create("smoke", results=tmp_path)
    with pytest.raises(DataError, match="--imagefolder DIR"):
        session.dataset("imagefolder")


def test_rows_from_other_starts_differ_in_nothing_else():
    measured = {
        place: cell for place, cell in gla_cells("study").items() if place[0] == pretraining.STARTS
    }
    assert {place[1] for place in measured} == {"basel", "proposed"}
    for _, row, start in measured:
        usual = driver.cell("gla", "study", 2, row, "Market mAP").experiments[0]
        other = measured[pretraining.STARTS, row, start].experiment
        assert (other.key("", "") == usual.key("", "")) == (start != "random")
        if start == "random":
            assert other.start is None and other.training.pretrained == ""
            same = replace(other.training, pretrained="strangers")
            assert replace(other, training=same).key("") == usual.key("")
        else:
            assert other.start.model.labels == start
            assert replace(other.start.model, labels="kinds") == usual.start.model
