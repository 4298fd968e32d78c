"""Group normalization in place of batch normalization, against sums written out."""

import pytest
import torch
from torch import nn

from reidlib.errors import UsageError
from reidlib.models.parts.backbones import resnet50
from reidlib.models.parts.norms import (
    GroupNorm,
    batch_to_group,
    freeze_statistics,
    group_count,
    load_backbone,
    use_norm,
    without_statistics,
)


@pytest.mark.parametrize(
    ("channels", "least", "expected"),
    [
        (64, 2, 32),  # the smallest of ResNet-50: two channels in a group
        (2048, 2, 32),
        (48, 2, 24),  # 32 does not divide it; 24 is its largest divisor below
        (40, 2, 20),
        (24, 2, 12),
        (8, 2, 4),  # never one channel a group
        (7, 2, 1),  # a prime
        (1, 2, 1),
        (256, 8, 32),
        (100, 8, 10),
        (5, 8, 1),
    ],
)
def test_group_count(channels, least, expected):
    found = group_count(channels, 32, least)
    assert found == expected
    assert channels % found == 0


def test_groups_of_vectors_hold_at_least_eight_numbers():
    assert [group_count(c, least=8) for c in (256, 1024, 3072, 16384)] == [32] * 4
    assert [group_count(c, least=8) for c in (64, 96, 32, 8, 1, 7)] == [8, 12, 4, 1, 1, 1]
    for channels in range(1, 600):
        groups = group_count(channels, least=8)
        assert channels % groups == 0
        assert groups == 1 or channels // groups >= 8


def test_every_channel_count_gets_whole_groups():
    for channels in range(1, 300):
        gn = batch_to_group(nn.BatchNorm2d(channels))
        assert gn(torch.randn(2, channels, 3, 2)).shape == (2, channels, 3, 2)
        assert channels < 4 or channels // gn.num_groups >= 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [48, 7, 64])
def test_group_norm_is_the_naive_one(channels, layout):
    bn = nn.BatchNorm2d(channels, eps=1e-3)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    x = torch.randn(3, channels, 4, 2)
    gn = batch_to_group(nn.Sequential(bn))[0]
    size = channels // gn.num_groups
    expected = torch.empty_like(x)
    for n in range(3):
        for c in range(channels):
            first = c // size * size
            group = x[n, first : first + size]
            unit = (x[n, c] - group.mean()) / (group.var(unbiased=False) + 1e-3).sqrt()
            expected[n, c] = unit * bn.weight[c] + bn.bias[c]
    found = gn(x.contiguous(memory_format=layout))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=layout)


def test_group_norm_of_either_layout_has_torchs_gradients():
    torchs, ours = nn.GroupNorm(4, 16), GroupNorm(4, 16)
    x, weights = torch.randn(2, 16, 6, 3), torch.randn(2, 16, 6, 3)
    found = []
    for gn, layout in (
        (torchs, torch.contiguous_format),
        (ours, torch.contiguous_format),
        (ours, torch.channels_last),
    ):
        maps = x.detach().contiguous(memory_format=layout).requires_grad_()
        gn.zero_grad()
        (gn(maps) * weights).sum().backward()
        found.append((maps.grad, gn.weight.grad, gn.bias.grad))
    for each in found[1:]:
        torch.testing.assert_close(each, found[0])


def test_affine_weights_are_kept_or_reset_and_statistics_are_gone():
    bn = nn.BatchNorm1d(64)
    nn.init.constant_(bn.weight, 3.0)
    nn.init.constant_(bn.bias, 2.0)
    bn.bias.requires_grad_(False)
    bn.running_mean.fill_(5.0)
    kept = batch_to_group(nn.Sequential(bn))[0]
    reset = batch_to_group(nn.Sequential(bn), keep_affine=False)[0]
    assert kept.num_groups == 8  # of vectors: eight numbers in each
    assert (kept.weight == 3).all() and (kept.bias == 2).all()
    assert kept.weight.requires_grad and not kept.bias.requires_grad
    assert (reset.weight == 1).all() and (reset.bias == 0).all()
    assert set(kept.state_dict()) == {"weight", "bias"}
    assert batch_to_group(nn.BatchNorm2d(8, affine=False)).weight is None


def test_a_backbone_has_no_batch_norm_left_and_its_state_loads():
    bn, gn = (resnet50(0.125, (1, 1, 1, 1)) for _ in range(2))
    names = set(dict(bn.named_parameters()))
    use_norm(gn, "gn")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in gn.modules())
    assert set(gn.state_dict()) == names
    gn.load_state_dict(without_statistics(bn.state_dict()))
    assert torch.equal(gn.conv1.weight, bn.conv1.weight)


def test_an_image_is_normalized_whatever_else_is_in_the_batch():
    gn = resnet50(0.125, (1, 1, 1, 1))
    use_norm(gn, "gn")
    x = torch.randn(4, 3, 32, 16)
    torch.testing.assert_close(gn(x)[:1], gn(x[:1]), rtol=1e-4, atol=1e-5)


def test_instance_norm_stays_and_bn_is_left_alone():
    both = nn.Sequential(nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8))
    use_norm(both, "bn")
    assert isinstance(both[1], nn.BatchNorm2d)
    use_norm(both, "gn")
    assert isinstance(both[0], nn.InstanceNorm2d) and isinstance(both[1], nn.GroupNorm)
    with pytest.raises(UsageError, match="'ln'"):
        use_norm(both, "ln")
    with pytest.raises(UsageError, match="0 groups"):
        use_norm(both, "gn", 0)


def test_frozen_statistics_do_not_move_but_weights_are_trained():
    bn = nn.BatchNorm2d(8).train()
    freeze_statistics(nn.Sequential(bn))
    x = torch.randn(4, 8, 3, 2) + 5
    torch.testing.assert_close(bn(x), x / (1 + bn.eps) ** 0.5)  # mean 0, variance 1 from the start
    assert (bn.running_mean == 0).all()
    bn(x).sum().backward()
    assert bn.weight.grad.abs().sum() > 0


def test_a_pretrained_backbone_loads_into_either():
    trained, bn, gn = (resnet50(0.0625, (1, 1, 1, 1)) for _ in range(3))
    use_norm(gn, "gn")
    state = {f"backbone.{name}": tensor for name, tensor in trained.state_dict().items()}
    state["heads.weight"] = torch.ones(1)
    for network in (bn, gn):
        load_backbone(network, state)
        assert torch.equal(network.layer4[0].conv3.weight, trained.layer4[0].conv3.weight)
    state = {f"backbone.{name}": tensor for name, tensor in gn.state_dict().items()}
    with pytest.raises(RuntimeError, match="running_mean"):
        load_backbone(bn, state)
