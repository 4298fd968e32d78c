"""ViTAA*: losses by hand, branches and text features against loops."""

import math

import pytest
import torch
from examples import captions, images, masks
from torch import nn
from torchvision.models.resnet import BasicBlock

from reidlib.errors import UsageError
from reidlib.models.compared import vitaa
from reidlib.models.parts.backbones import resnet50

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def vitaa_model():
    return vitaa.ViTAA(vitaa.ViTAAConfig(**NARROW, V=12, H=10, P=16))


def test_vitaa_alignment_by_hand():
    S = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    # A row, or a column, has one positive at .6 and one negative at .4: 2 log 2.
    loss = vitaa.align_loss(S, torch.eye(2) > 0)
    assert loss.item() == pytest.approx(4 * 2 * math.log(2) / 2)
    S = torch.tensor([[0.7, 0.3], [0.5, 0.6]])
    terms = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-4))
    terms += math.log(1 + math.exp(4)) + math.log(2)
    assert vitaa.align_loss(S, torch.eye(2) > 0).item() == pytest.approx(terms, rel=1e-5)
    both = vitaa.align_loss(torch.stack((S, S)), torch.eye(2) > 0)  # mean over parts
    assert both.item() == pytest.approx(terms, rel=1e-5)


def test_vitaa_reciprocal_neighbors():
    S = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.7, 0.6], [0.5, 0.95, 0.3]])
    # Best text of images 0, 1, 2: 0, 1, 1; best image of texts 0, 1, 2: 0, 2, 1.
    expected = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 0]]) > 0
    assert torch.equal(vitaa.reciprocal(S, 1), expected)
    assert torch.equal(vitaa.reciprocal(torch.stack((S, S.T)), 1)[1], expected.T)
    assert vitaa.reciprocal(S, 8).all()


def test_vitaa_masks():
    target = masks(2)
    uniform = torch.zeros(2, 5, 6, 64, 32)
    assert vitaa.mask_loss(uniform, target).item() == pytest.approx(5 * math.log(6), rel=1e-5)
    sure = torch.zeros(2, 5, 6, 64, 32)
    for part in range(5):  # branch `part` says its own label where it is, and background elsewhere
        own = target == part + 1
        sure[:, part, 0][~own] = 50.0
        sure[:, part, part + 1][own] = 50.0
    assert vitaa.mask_loss(sure, target).item() < 1e-5
    assert vitaa.mask_loss(sure[:, :, :, ::2, ::2], target[:, ::2, ::2]).item() < 1e-5
    small = torch.zeros(2, 4, 2, dtype=torch.uint8)
    assert vitaa.mask_loss(uniform, small).item() == pytest.approx(5 * math.log(6), rel=1e-5)


def test_vitaa_branches_equal_separate_basic_blocks():
    torch.manual_seed(0)
    side_by_side = vitaa.branches(6, 4, K=3).eval()
    x = torch.randn(2, 6, 5, 3)
    out = side_by_side(x).unflatten(1, (3, 4))
    for k in range(3):
        own = slice(4 * k, 4 * k + 4)
        shortcut = nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4))
        blocks = nn.Sequential(BasicBlock(6, 4, 1, shortcut), BasicBlock(4, 4)).eval()
        shortcut[0].weight.data = side_by_side[0].shortcut[0].weight[own]
        for ours, theirs in zip(side_by_side, blocks, strict=True):
            theirs.conv1.weight.data = ours.conv1.weight[own]
            theirs.conv2.weight.data = ours.conv2.weight[own]
        torch.testing.assert_close(out[:, k], blocks(x))
    std = side_by_side[1].conv2.weight.std().item()
    assert std == pytest.approx(math.sqrt(2 / (4 * 9)), rel=0.15)


def test_vitaa_at_paper_size():
    with torch.device("meta"):
        model = vitaa.ViTAA(vitaa.ViTAAConfig(ids=12_003, vocabulary=12_000))
        codes = model.encode_images(torch.empty(2, 3, 384, 128))
    assert codes.f_g.shape == (2, 256)
    assert codes.f_l.shape == (2, 5, 256)
    assert codes.masks.shape == (2, 5, 6, 48, 16)
    assert model.lstm.hidden_size == 512
    assert not any("layer4" in name for name in model.state_dict())


def test_vitaa_text_features_equal_a_loop():
    torch.manual_seed(0)
    model = vitaa_model().double().eval()
    tokens, lengths = captions([4, 6])
    codes = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        e = model.lstm(model.W_e(tokens[i, :n]))[0]
        torch.testing.assert_close(codes.f_g[i], model.textual_fc(e.max(0).values))
        for k in range(5):
            s = torch.sigmoid(e @ model.W_p.weight[k])
            attribute = model.attribute_fc((s[:, None] * e).max(0).values)
            torch.testing.assert_close(codes.f_l[i, k], attribute)


def test_vitaa_loss_needs_codes_of_the_training_mode():
    model = vitaa_model().eval()
    codes = model.encode_images(images())
    assert codes.masks is None
    with pytest.raises(UsageError, match="training mode"):
        model.loss(codes, model.encode_text(*captions([4, 6, 3, 5])), LABELS, masks())


def test_vitaa_starts_from_a_backbone_without_its_last_stage():
    torch.manual_seed(1)
    start = {f"backbone.{k}": v for k, v in resnet50(0.0625, (1, 1, 1, 1)).state_dict().items()}
    model = vitaa_model()
    before = model.visual_fc.weight.clone()
    model.load_start({**start, "classifier.weight": torch.zeros(3, 3)})
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, start[f"backbone.{name}"])
    assert torch.equal(model.visual_fc.weight, before)
    del start["backbone.layer1.0.conv1.weight"]
    with pytest.raises(RuntimeError, match=r"layer1.0.conv1"):
        model.load_start(start)
