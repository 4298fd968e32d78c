"""SVDNet against matrices worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.models.compared.svdnet import (
    SVDNet,
    SVDNetConfig,
    decorrelated,
    losses,
    orthogonality,
    stage_names,
)

NARROW = {"ids": 5, "width": 0.0625, "depths": (1, 1, 1, 1), "d": 12}


def model(**changes):
    torch.manual_seed(0)
    return SVDNet(SVDNetConfig(**{**NARROW, **changes}))


def batch(B=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(B, 3, 32, 16, generator=generator)
    return SimpleNamespace(images=images, labels=torch.arange(B) % 3)


def test_orthogonality_by_hand():
    assert orthogonality(torch.eye(3)[:, :2]) == 1
    assert orthogonality(torch.ones(4, 5)) == pytest.approx(1 / 5)  # all columns equal
    # G = [[1, 1], [1, 2]]: 3 / 5; a column of the other sign makes no difference.
    W = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert orthogonality(W) == pytest.approx(0.6)
    assert orthogonality(W * torch.tensor([1.0, -1.0])) == pytest.approx(0.6)


def test_decorrelation_by_hand():
    # W = U diag(3, 1) V^T with U = I and V a turn by 45 degrees: W = [[a, -a], [b, b]] with
    # a = 3 / sqrt 2, b = 1 / sqrt 2. Both columns are nearest to (3, 0) or its opposite; the first
    # takes it, and for the second (0, 1) is left, whose side it is on.
    a, b = 3 / 2**0.5, 1 / 2**0.5
    W = torch.tensor([[a, -a], [b, b]])
    torch.testing.assert_close(decorrelated(W), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    turned = torch.tensor([[-a, a], [-b, -b]])
    torch.testing.assert_close(decorrelated(turned), torch.tensor([[-3.0, 0.0], [0.0, -1.0]]))
    # Scaled axes are what they are, order and signs included.
    axes = torch.tensor([[0.0, -2.0], [5.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(decorrelated(axes), axes)


def test_decorrelation_is_orthogonal_and_keeps_distances():
    W = torch.randn(20, 7, generator=torch.Generator().manual_seed(3)) + 1
    new = decorrelated(W)
    assert orthogonality(W) < 0.5
    assert orthogonality(new) == pytest.approx(1, abs=1e-5)
    x = torch.randn(9, 20)
    torch.testing.assert_close(torch.cdist(x @ W, x @ W), torch.cdist(x @ new, x @ new))
    assert ((new * W).sum(0) > 0).all()  # turned to the side of the old ones


def test_stages():
    assert stage_names(2) == (
        "step 0",
        "restraint 1",
        "relaxation 1",
        "restraint 2",
        "relaxation 2",
    )
    with pytest.raises(UsageError, match="'warm-up'"):
        losses(model(), batch(), Stage("warm-up", (1e-3,)))


def test_an_iteration_decorrelates_once_and_restraint_fixes_the_eigenlayer():
    net = model()
    before = net.W.clone()
    losses(net, batch(), Stage("step 0", (1e-3,)))["id"].backward()
    assert torch.equal(net.W, before)
    assert net.eigenlayer.weight.grad is not None
    net.zero_grad(set_to_none=True)
    losses(net, batch(), Stage("restraint 1", (1e-3,)))["id"].backward()
    torch.testing.assert_close(net.W, decorrelated(before))
    assert net.eigenlayer.weight.grad is None
    assert net.classifier.weight.grad is not None
    assert net.backbone.conv1.weight.grad.abs().sum() > 0
    with torch.no_grad():
        net.eigenlayer.weight.add_(torch.randn_like(net.eigenlayer.weight))
    trained = net.W.clone()
    losses(net, batch(), Stage("relaxation 1", (1e-3,)))["id"].backward()
    assert torch.equal(net.W, trained)  # the same iteration: nothing is replaced
    assert net.eigenlayer.weight.grad is not None


def test_a_resumed_training_does_not_decorrelate_again():
    net, resumed = model(), model()
    losses(net, batch(), Stage("restraint 1", (1e-3,)))
    with torch.no_grad():
        net.eigenlayer.weight.mul_(torch.rand_like(net.eigenlayer.weight))
    resumed.load_state_dict(net.state_dict())
    losses(resumed, batch(), Stage("relaxation 1", (1e-3,)))
    assert torch.equal(resumed.W, net.W)
    losses(resumed, batch(), Stage("restraint 2", (1e-3,)))
    torch.testing.assert_close(resumed.W, decorrelated(net.W))


def test_statistics_are_frozen_as_configured():
    for frozen in (True, False):
        net = model(frozen_statistics=frozen).train()
        losses(net, batch(), Stage("step 0", (1e-3,)))
        moved = net.backbone.bn1.running_mean.abs().sum() > 0
        assert bool(moved) is not frozen


def test_embedding_is_the_output_of_the_eigenlayer():
    net = model().eval()
    pooled = net.backbone(batch().images).mean((2, 3))
    torch.testing.assert_close(net.embed(batch().images), pooled @ net.W)
    assert net.embed(batch().images).shape == (4, 12)


def test_group_norm_and_sizes():
    net = model(norm="gn")
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    losses(net, batch(), Stage("step 0", (1e-3,)))
    with pytest.raises(UsageError, match="d must be 1 to 128"):
        model(d=257)
