"""SNR's restitution and losses against numbers worked out by hand and against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reidlib.experiment import Stage
from reidlib.models.compared.snr import (
    SNR,
    SNRConfig,
    SNRModule,
    dual_causality_loss,
    hardest_triplet_loss,
    losses,
)
from reidlib.models.parts.norms import GroupNorm

NARROW = {"ids": 5, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 0, 1, 1])


def model(**changes):
    torch.manual_seed(0)
    return SNR(SNRConfig(**{**NARROW, **changes}))


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 64, 32, generator=generator)
    return SimpleNamespace(images=images, labels=LABELS)


def test_restitution_is_an_identity():
    """F~+ and F~- together hold F~ and all that was removed: F~+ + F~- = F~ + F."""
    torch.manual_seed(0)
    module = SNRModule(8, 2)
    nn.init.normal_(module.IN.weight)
    nn.init.normal_(module.IN.bias)
    x = torch.randn(2, 8, 5, 3) * 3 + 1
    normalized, plus, minus = module(x)
    torch.testing.assert_close(plus + minus, normalized + x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("open_gate", [True, False])
def test_an_open_gate_restores_the_map_and_a_closed_one_leaves_it_normalized(open_gate):
    module = SNRModule(4, 2)
    with torch.no_grad():
        module.gate[2].weight.zero_()
        module.gate[2].bias.fill_(50.0 if open_gate else -50.0)
    x = torch.randn(2, 4, 5, 3) * 3 + 1
    normalized, plus, minus = module(x)
    torch.testing.assert_close(normalized.mean((2, 3)), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(plus, x if open_gate else normalized)
    torch.testing.assert_close(minus, normalized if open_gate else x)


def test_a_module_by_hand():
    module = SNRModule(1, 1)
    with torch.no_grad():
        module.gate[2].weight.zero_()
        module.gate[2].bias.fill_(math.log(3))  # sigmoid: 3/4
    x = torch.tensor([[[[2.0, 6.0]]]])  # mean 4, standard deviation 2: F~ = -1, 1; R = 3, 5
    normalized, plus, minus = module(x)
    torch.testing.assert_close(normalized.flatten(), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(plus.flatten(), torch.tensor([1.25, 4.75]), atol=1e-4, rtol=0)
    torch.testing.assert_close(minus.flatten(), torch.tensor([-0.25, 2.25]), atol=1e-4, rtol=0)


def test_dual_causality_by_hand():
    east, north = [1.0, 0.0], [0.0, 1.0]
    # Perfect in F~+: d is 0 within a person and 1/2 between; no help in F~ and F~-: all alike.
    plus = torch.tensor([east, east, north, north])
    alike = torch.tensor([east] * 4)
    softplus = lambda x: math.log(1 + math.exp(x))  # noqa: E731
    found = dual_causality_loss(alike, plus, alike, LABELS)
    # L+: softplus(0 - 0) + softplus(0 - 1/2); L-: nothing differs, 2 softplus(0)
    assert found == pytest.approx(3 * math.log(2) + softplus(-0.5), abs=1e-6)
    # Where F~ is perfect, and F~- loses it, L- is softplus(0 - 0) + softplus(0 - 1/2).
    found = dual_causality_loss(plus, plus, alike, LABELS)
    assert found == pytest.approx(3 * math.log(2) + softplus(-0.5), abs=1e-6)
    # The wrong way round is dearer.
    found = dual_causality_loss(alike, alike, plus, LABELS)
    assert found == pytest.approx(3 * math.log(2) + softplus(0.5), abs=1e-6)


def test_dual_causality_is_the_naive_one():
    generator = torch.Generator().manual_seed(4)
    maps = torch.randn(3, 6, 8, generator=generator)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])

    def d(x, i, j):
        return 0.5 - torch.dot(x[i], x[j]) / (2 * x[i].norm() * x[j].norm())

    terms = {"positive": [], "negative": []}
    normal, plus, minus = maps
    for i in range(6):
        for j in range(6):
            if i == j:
                continue
            a, b, c = d(plus, i, j), d(normal, i, j), d(minus, i, j)
            if labels[i] == labels[j]:
                terms["positive"].append(F.softplus(a - b) + F.softplus(b - c))
            else:
                terms["negative"].append(F.softplus(b - a) + F.softplus(c - b))
    expected = sum(torch.stack(t).mean() for t in terms.values())
    torch.testing.assert_close(dual_causality_loss(*maps, labels), expected)


def test_triplets_by_hand():
    f = torch.tensor([[0.0], [1.0], [1.2], [4.0]])
    # Farthest of one's own and nearest of others: (1, 1.2), (1, .2), (2.8, .2), (2.8, 3)
    hinges = [0.3 + 1 - 1.2, 0.3 + 1 - 0.2, 0.3 + 2.8 - 0.2, 0.3 + 2.8 - 3]
    expected = sum(max(0, h) for h in hinges) / 4
    assert hardest_triplet_loss(f, LABELS, 0.3) == pytest.approx(expected, abs=1e-5)
    assert hardest_triplet_loss(f, torch.zeros(4, dtype=torch.int64), 0.3) == 0  # one person


def test_triplets_of_equal_embeddings_have_a_gradient():
    f = torch.ones(4, 3, requires_grad=True)
    hardest_triplet_loss(f, LABELS, 0.3).backward()
    assert torch.isfinite(f.grad).all()


def test_losses_of_a_batch():
    net = model(lambdas=(0.0, 0.0, 0.0, 1.0))
    found = losses(net, batch(), Stage("all", (1e-3,)))
    assert list(found) == ["id", "triplet", "SNR 1", "SNR 2", "SNR 3", "SNR 4"]
    assert found["SNR 1"] == 0 and found["SNR 4"] > 0
    sum(found.values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_maps_and_embedding():
    net = model().eval()
    images = batch().images
    maps = net.stages(images)
    assert [tuple(m.plus.shape[1:]) for m in maps] == [
        (32, 16, 8),
        (32, 8, 4),
        (64, 4, 2),
        (128, 4, 2),
    ]
    torch.testing.assert_close(net.embed(images), maps[3].plus.mean((2, 3)))


def test_group_norm_leaves_instance_norm():
    net = model(norm="gn")
    kinds = [type(part) for part in net.modules()]
    assert nn.BatchNorm2d not in kinds and GroupNorm in kinds
    assert kinds.count(nn.InstanceNorm2d) == 4
