"""PCB's parts and their refinement against numbers worked out by hand and against plain loops."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.models.compared.pcb import PCB, PCBConfig, losses, weighted_parts

NARROW = {"ids": 5, "width": 0.0625, "depths": (1, 1, 1, 1), "p": 3, "r": 16}
FIRST, SECOND, THIRD = (
    Stage("PCB", (1e-2,)),
    Stage("part classifier", (1e-2,), freeze_backbone=True),
    Stage("RPP", (1e-2,)),
)


def model(**changes):
    torch.manual_seed(0)
    return PCB(PCBConfig(**{**NARROW, **changes}))


def batch(B=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(B, 3, 96, 32, generator=generator)
    return SimpleNamespace(images=images, labels=torch.arange(B) % 3)


def test_stripes_by_hand():
    net = model(p=2)
    X = torch.arange(8.0).view(1, 1, 4, 2)  # rows 0 1 / 2 3 / 4 5 / 6 7
    torch.testing.assert_close(net.stripes(X), torch.tensor([[[1.5, 5.5]]]))


def test_weighted_parts_by_hand():
    X = torch.tensor([[[[1.0], [2.0]], [[10.0], [20.0]]]])  # two channels, two places
    P = torch.tensor([[[[0.75], [0.5]], [[0.25], [0.5]]]])  # 2 parts: places (.75, .5), (.25, .5)
    # 2 / 2 * (0.75 * 1 + 0.5 * 2) = 1.75; (0.25 * 1 + 0.5 * 2) = 1.25; ten times that
    expected = torch.tensor([[[1.75, 1.25], [17.5, 12.5]]])
    torch.testing.assert_close(weighted_parts(X, P), expected)


def test_certain_places_give_uniform_stripes():
    net = model()
    X = torch.randn(2, 128, 6, 2)
    P = torch.zeros(2, 3, 6, 2)
    for i in range(3):
        P[:, i, 2 * i : 2 * i + 2] = 1
    torch.testing.assert_close(weighted_parts(X, P), net.stripes(X))


def test_part_classifier_by_hand():
    """Channels in pairs; the mean of a map is taken away; then a softmax over the parts."""
    net = model(p=2, r=64, dropout=0.0).eval()
    X = torch.zeros(1, 128, 2, 1)
    X[0, :2, 0, 0] = torch.tensor([1.0, 3.0])  # the pair's average is 2, 0 at the other place
    with torch.no_grad():
        net.part_classifier.weight.zero_()
        net.part_classifier.weight[0, 0] = 1.0
        net.part_classifier.bias.copy_(torch.tensor([0.0, 0.5]))
    # 2 and 0, less their mean: 1 and -1; logits (1, .5) and (-1, .5).
    first = torch.tensor([1.0, 0.5]).softmax(0)
    second = torch.tensor([-1.0, 0.5]).softmax(0)
    found = net.part_probabilities(X)
    torch.testing.assert_close(found[0, :, :, 0], torch.stack([first, second], 1))
    assert first[0] == pytest.approx(0.622459, abs=1e-6)


def test_refined_parts_are_the_naive_ones():
    net = model().eval()
    X = torch.randn(2, 128, 6, 2)
    P = net.part_probabilities(X)
    torch.testing.assert_close(P.sum(1), torch.ones(2, 6, 2))
    found = net.refined_parts(X)
    for n in range(2):
        for i in range(3):
            g = sum(P[n, i, y, x] * X[n, :, y, x] for y in range(6) for x in range(2))
            torch.testing.assert_close(found[n, :, i], g * 3 / 12, rtol=1e-4, atol=1e-5)


def test_each_stage_trains_what_it_should():
    net = model().train()
    shared = ("backbone.", "reduce", "classifiers.")

    def trained(stage):
        net.zero_grad(set_to_none=True)
        net.backbone.requires_grad_(not stage.freeze_backbone)  # as the training loop does
        found = losses(net, batch(), stage)
        assert list(found) == ["id part 1", "id part 2", "id part 3"]
        sum(found.values()).backward()
        return {name for name, p in net.named_parameters() if p.grad is not None}

    names = {name for name, _ in net.named_parameters()}
    assert trained(FIRST) == {name for name in names if name.startswith(shared)}
    before = net.reduce_norm.running_mean.clone()
    assert trained(SECOND) == {"part_classifier.weight", "part_classifier.bias"}
    assert torch.equal(net.reduce_norm.running_mean, before)
    net.train()
    assert trained(THIRD) == names
    assert not torch.equal(net.reduce_norm.running_mean, before)
    with pytest.raises(UsageError, match="'warm-up'"):
        losses(net, batch(), Stage("warm-up", (1e-2,)))


def test_embedding_has_parts_of_unit_length_and_remembers_that_they_are_refined():
    net = model()
    images = batch().images
    losses(net, batch(), FIRST)
    net.eval()
    stripes = net.stripes(net.backbone(images))
    parts = net.embed(images).unflatten(1, (3, 128))
    torch.testing.assert_close(parts[:, 1], F.normalize(stripes[:, :, 1]))
    net.train()
    losses(net, batch(), THIRD)
    loaded = model().eval()
    loaded.load_state_dict(net.state_dict())
    refined = loaded.refined_parts(loaded.backbone(images))
    parts = loaded.embed(images).unflatten(1, (3, 128))
    torch.testing.assert_close(parts[:, 1], F.normalize(refined[:, :, 1]))


def test_logits_share_the_reduction_but_not_the_classifiers():
    net = model().eval()
    g = torch.randn(2, 128, 1).expand(2, 128, 3)  # the same part three times
    with torch.no_grad():
        for i, classifier in enumerate(net.classifiers):
            classifier.weight.copy_(net.classifiers[0].weight)
            classifier.bias.fill_(i)
    logits = net.logits(g)
    torch.testing.assert_close(logits[:, 1], logits[:, 0] + 1)


def test_full_size_and_group_norm():
    with torch.device("meta"):
        net = PCB(PCBConfig(ids=702, norm="gn"))
        assert net.backbone(torch.empty(1, 3, 384, 128)).shape == (1, 2048, 24, 8)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert net.reduce_norm.num_groups == 32
    narrow = model(norm="gn")
    assert torch.isfinite(sum(losses(narrow, batch(), FIRST).values()))


def test_sizes_that_do_not_fit():
    with pytest.raises(UsageError, match="r = 100"):
        model(r=100)
