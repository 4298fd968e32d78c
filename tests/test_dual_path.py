"""Dual Path: text network, window and losses against numbers by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from examples import captions, images
from torch import nn

from reidlib.errors import DataError
from reidlib.models.compared import dual_path
from reidlib.models.parts.codes import GlobalCodes

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def dual_path_model():
    return dual_path.DualPath(dual_path.DualPathConfig(**NARROW, V=12, text_units=(2, 2, 1, 1)))


def test_first_stage_is_identity_only():
    model = dual_path_model().train()
    losses = model(images(), *captions([4, 6, 3, 5]), LABELS, ranking=False)
    assert list(losses) == ["id_v", "id_t"]
    assert set(model(images(), *captions([4, 6, 3, 5]), LABELS)) > {"id_v", "id_t"}


def test_dual_path_text_network():
    cfg = dual_path.DualPathConfig(ids=11_003, vocabulary=7263)
    with torch.device("meta"):
        model = dual_path.DualPath(cfg)
        assert model.text_cnn(torch.empty(2, 300, 56)).shape == (2, 2048, 14)

    def unit(inputs, middle, outputs, project):
        weights = inputs * middle + 2 * middle * middle + middle * outputs
        weights += 2 * (2 * middle + outputs)  # batch normalization
        return weights + (inputs * outputs + 2 * outputs if project else 0)

    expected = (
        unit(300, 128, 256, True)
        + 2 * unit(256, 64, 256, False)
        + unit(256, 512, 512, True)
        + 3 * unit(512, 128, 512, False)
        + unit(512, 1024, 1024, True)
        + 5 * unit(1024, 256, 1024, False)
        + unit(1024, 2048, 2048, True)
    )
    assert sum(p.numel() for p in model.text_cnn.parameters()) == expected
    assert model.W_share.weight.shape == (11_003, 2048)
    assert model.cfg.dropout == 0.8


def test_dual_path_looks_back_only():
    torch.manual_seed(0)
    unit = dual_path.TextUnit(4, 3, 4).double().eval()
    x = torch.randn(1, 4, 7, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 3] += 1
    moved = (unit(x) != unit(changed)).any(1)[0]
    assert moved.tolist() == [False, False, False, True, True, False, False]


def test_dual_path_places_captions_in_the_window():
    tokens, lengths = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([2, 3])
    placed = dual_path.place_in_window(tokens, lengths, window=6)
    assert placed.tolist() == [[0, 0, 5, 6, 0, 0], [0, 7, 8, 9, 0, 0]]
    torch.manual_seed(0)
    starts = set()
    for _ in range(100):
        random = dual_path.place_in_window(tokens, lengths, window=4, at_random=True)
        assert [[t for t in row if t] for row in random.tolist()] == [[5, 6], [7, 8, 9]]
        starts.add(tuple((random != 0).int().argmax(1).tolist()))
    assert starts == {(i, j) for i in range(3) for j in range(2)}
    assert dual_path.place_in_window(tokens, lengths, window=2).tolist() == [[5, 6], [7, 8]]
    with pytest.raises(DataError, match="without words"):
        dual_path.place_in_window(tokens, torch.tensor([0, 3]))


def test_dual_path_epoch_is_one_of_images():
    """5 images of 3 people with 2, 1, 3, 1 and 2 captions: each image once, with any caption of its
    person."""
    image_of = torch.tensor([4, 0, 2, 1, 2, 0, 3, 2, 4])
    people = torch.tensor([0, 0, 1, 2, 1])
    split = SimpleNamespace(image_of=image_of, labels=people[image_of])
    pairs = set()
    for seed in range(60):
        (batch,) = dual_path.draw(None, split, torch.Generator().manual_seed(seed), 5)
        own, text = batch
        assert sorted(image_of[own].tolist()) == [0, 1, 2, 3, 4]
        assert torch.equal(split.labels[own], split.labels[text])
        pairs |= set(zip(image_of[own].tolist(), text.tolist(), strict=True))
    expected = {(i, c) for i in range(5) for c in range(9) if people[i] == split.labels[c]}
    assert pairs == expected


def test_dual_path_reads_the_caption_that_goes_along():
    torch.manual_seed(0)
    model = dual_path_model().eval()
    words, other = captions([4, 6, 3, 5]), captions([5, 3, 4, 6], seed=1)
    batch = SimpleNamespace(images=images(), text=words, weak=other, labels=LABELS)
    stage = SimpleNamespace(name="stage 1")
    torch.manual_seed(0)
    terms = dual_path.losses(model, batch, stage)
    torch.manual_seed(0)
    expected = model(images(), *other, LABELS, ranking=False)
    assert all(torch.equal(terms[name], expected[name]) for name in expected)


def test_dual_path_ranking_loss_by_hand():
    S = torch.tensor([[0.5, 0.2], [0.1, 0.4]])
    # images: 1 - .5 + .2, 1 - .4 + .1; texts: 1 - .5 + .1, 1 - .4 + .2
    loss = dual_path.random_ranking_loss(S, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((0.7 + 0.7 + 0.6 + 0.8) / 2)
    assert dual_path.random_ranking_loss(S, torch.tensor([2, 2])).item() == 0.0


def test_dual_path_weights_of_the_second_stage():
    torch.manual_seed(0)
    model = dual_path_model().eval()
    P = model.W_share.in_features
    nn.init.zeros_(model.W_share.weight)
    nn.init.zeros_(model.W_share.bias)
    v, t = torch.zeros(2, P), torch.zeros(2, P)
    v[0, 0] = v[1, 1] = t[0, 0] = t[1, 1] = 1.0
    v[:, 2] = -5.0  # the ReLU takes it away
    terms = model.loss(GlobalCodes(v), GlobalCodes(t), torch.tensor([0, 1]))
    assert terms["id_v"].item() == pytest.approx(math.log(4))
    assert terms["id_t"].item() == pytest.approx(0.5 * math.log(4))
    assert terms["rank"].item() == 0.0
    terms = model.loss(GlobalCodes(v), GlobalCodes(t.flip(0)), torch.tensor([0, 1]))
    assert terms["rank"].item() == pytest.approx(2 * (2 + 2))
