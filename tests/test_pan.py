"""PAN's sampler and branches against numbers worked out by hand and against plain loops."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.models.compared.pan import PAN, PANConfig, losses, resample

NARROW = {"ids": 5, "width": 0.0625, "depths": (1, 1, 1, 1), "grid": 6}
BASE = Stage("base", (1e-2,))
ALIGNMENT = Stage("alignment", (1e-2,), freeze_backbone=True)


def model(**changes):
    torch.manual_seed(0)
    return PAN(PANConfig(**{**NARROW, **changes}))


def batch(B=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(B, 3, 64, 32, generator=generator)
    return SimpleNamespace(images=images, labels=torch.arange(B) % 3)


def theta(*numbers):
    return torch.tensor(numbers).float().view(1, 2, 3)


def test_resampling_by_hand():
    row = torch.tensor([[[[0.0, 1.0, 2.0, 3.0, 4.0]] * 3]])  # (1, 1, 3, 5): columns at -1 ... 1
    identity = theta(1, 0, 0, 0, 1, 0)
    torch.testing.assert_close(resample(row, identity), row)
    # Half the width: the outer columns are at -0.5 and 0.5, those of 1 and 3.
    half = resample(row, theta(0.5, 0, 0, 0, 1, 0))
    torch.testing.assert_close(half[0, 0, 1], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))
    # One column to the right is half of the way from the center to the edge; outside is 0.
    moved = resample(row, theta(1, 0, 0.5, 0, 1, 0))
    torch.testing.assert_close(moved[0, 0, 1], torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0]))
    mirrored = resample(row, theta(-1, 0, 0, 0, 1, 0))
    torch.testing.assert_close(mirrored, row.flip(3))


def test_resampling_is_the_naive_one():
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 3, 6, 4, generator=generator)
    A = torch.randn(2, 2, 3, generator=generator) / 2
    found = resample(maps, A)
    h, w = 6, 4
    for n in range(2):
        for i in range(h):
            for j in range(w):
                at = torch.tensor([2 * j / (w - 1) - 1, 2 * i / (h - 1) - 1, 1])
                x, y = A[n] @ at
                col, row = (x + 1) * (w - 1) / 2, (y + 1) * (h - 1) / 2
                value = torch.zeros(3)
                for r in range(h):
                    for c in range(w):
                        weight = (1 - (row - r).abs()).clamp_min(0) * (
                            1 - (col - c).abs()
                        ).clamp_min(0)
                        value += weight * maps[n, :, r, c]
                torch.testing.assert_close(found[n, :, i, j], value, rtol=1e-4, atol=1e-4)


def test_at_the_start_every_image_is_zoomed_alike():
    net = model().eval()
    map1, map3, _ = net.base_maps(batch().images)
    expected = torch.tensor([[0.8, 0, 0], [0, 0.8, 0]]).expand(4, 2, 3)
    torch.testing.assert_close(net.transformation(map3), expected)
    assert map1.shape == (4, 32, 16, 8) and map3.shape == (4, 64, 4, 2)


def test_at_the_identity_both_branches_are_one_network():
    """With zoom 1 and the same weights, aligning changes nothing."""
    net = model(zoom=1.0)
    net.load_start(net.state_dict())
    net.eval()
    images = batch().images
    map1, map3, map4 = net.base_maps(images)
    torch.testing.assert_close(map4, net.backbone(images))
    torch.testing.assert_close(net.aligned(map1, map3), map4.mean((2, 3)), rtol=1e-4, atol=1e-5)
    embedding = net.embed(images)
    half = embedding.shape[1] // 2
    torch.testing.assert_close(embedding[:, :half], embedding[:, half:], rtol=1e-4, atol=1e-5)


def test_all_branches_begin_with_the_pretrained_weights():
    pretrained = model().backbone
    with torch.no_grad():
        for parameter in pretrained.parameters():
            parameter.fill_(0.5)
    state = {f"backbone.{name}": tensor for name, tensor in pretrained.state_dict().items()}
    for norm in ("bn", "gn"):
        net = model(norm=norm)
        net.load_start(state | {"heads.weight": torch.ones(3)})
        for part in (net.backbone, net.grid_layer4, net.align):
            assert all((p == 0.5).all() for p in part.parameters())
        assert (net.theta.weight == 0).all()


def test_each_stage_trains_its_branch():
    base = ("backbone.", "classifier.")
    for stage, mine in ((BASE, base), (ALIGNMENT, ("grid", "theta", "align"))):
        net = model()
        sum(losses(net, batch(), stage).values()).backward()
        trained = {name for name, p in net.named_parameters() if p.grad is not None}
        assert trained == {name for name, _ in net.named_parameters() if name.startswith(mine)}
    with pytest.raises(UsageError, match="'warm-up'"):
        losses(model(), batch(), Stage("warm-up", (1e-2,)))


def test_embedding_adds_the_mirror_image():
    net = model().eval()
    images = batch().images
    a, b = (net._features(view) for view in (images, images.flip(3)))
    for half, (one, two) in zip(net.embed(images).chunk(2, 1), zip(a, b, strict=True), strict=True):
        summed = one / one.norm(dim=1, keepdim=True) + two / two.norm(dim=1, keepdim=True)
        torch.testing.assert_close(half, F.normalize(summed) / 2)
        torch.testing.assert_close(half.norm(dim=1), torch.full((4,), 0.5))
    torch.testing.assert_close(net.embed(images), net.embed(images.flip(3)))


def test_learning_rates_of_their_own():
    net = model(branch_lr=0.01)
    factors = {
        name: [f for prefix, f in net.lr_factors.items() if name.startswith(prefix)]
        for name, _ in net.named_parameters()
    }
    assert factors["theta.weight"] == factors["theta.bias"] == [1e-5]
    assert factors["align.layer2.0.conv1.weight"] == [0.01]
    assert factors["grid_layer4.0.bn1.weight"] == [0.01]
    assert factors["align_classifier.weight"] == factors["backbone.conv1.weight"] == []


def test_group_norm():
    net = model(norm="gn")
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    for stage in (BASE, ALIGNMENT):
        assert torch.isfinite(sum(losses(net, batch(), stage).values()))


def test_positions_are_not_rounded_with_the_maps():
    """A grid in bf16 would be off by up to a twentieth of a pixel of a large map."""
    torch.manual_seed(0)
    maps, theta = torch.randn(2, 3, 56, 56), torch.tensor([[[0.7, 0, 0.1], [0, 0.6, -0.2]]] * 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = resample(maps.bfloat16(), theta)
    expected = resample(maps.bfloat16().float(), theta).bfloat16()
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected)
