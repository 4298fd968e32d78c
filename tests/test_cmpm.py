"""CMPM and CMPC: losses by hand, and the text network against a loop."""

import math

import pytest
import torch
from examples import captions, images

from reidlib.models.compared import cmpm

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def cmpm_model(**changes):
    return cmpm.CMPM(cmpm.CMPMConfig(**NARROW, V=12, H=10, P=16, **changes))


def test_cmpm_of_orthonormal_pairs():
    eye, labels = torch.eye(2), torch.tensor([0, 1])
    assert cmpm.cmpm_loss(eye, eye, labels).item() == pytest.approx(8.74376, abs=1e-4)
    assert cmpm.cmpm_loss(10 * eye, 10 * eye, labels).item() == pytest.approx(0.00067, abs=1e-5)


def test_cmpm_shares_the_match_among_captions_of_one_person():
    """Two of three people are the same: q is 1/2 each (the sum, not the l2 norm, divides)."""
    x = 10 * torch.eye(3)
    x[1] = x[0]
    loss = cmpm.cmpm_loss(x, x, torch.tensor([7, 7, 2]))
    assert loss.item() == pytest.approx(0.0, abs=2e-3)


def test_cmpc_by_hand():
    x, z, W = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 2.0]]), 5 * torch.eye(2)
    # x on z: (0, 1): log(1 + 1/e); z on x: (1, 1): log 2
    loss = cmpm.cmpc_loss(x, z, W, torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)) + math.log(2))


def test_cmpm_backward_lstm_reads_the_words_in_reverse():
    torch.manual_seed(0)
    model = cmpm_model(joint_norm=False).double().eval()
    tokens, lengths = captions([4, 6])
    codes = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        states = model.lstm(model.W_e(tokens[i, :n]))[0]  # (n, 2 H), both directions over time
        torch.testing.assert_close(codes.f_g[i], model.joint_text(states.max(0).values))


def test_weight_decay_is_of_convolutions_and_joint_layers_alone():
    """As the authors' regularizer, whose gradient is the decay times the weight."""
    plain, model = cmpm_model(), cmpm_model(weight_decay=4e-5)
    model.load_state_dict(plain.state_dict())
    terms = model.eval()(images(), *captions([4, 6, 3, 5]), LABELS)
    assert list(terms) == ["cmpm", "cmpc", "l2"]
    terms["l2"].backward()
    decayed = {name for name, p in model.named_parameters() if p.grad is not None}
    shapes = dict(model.named_parameters())
    convolutions = {n for n, p in shapes.items() if n.startswith("backbone.") and p.ndim == 4}
    assert decayed == convolutions | {"joint_image.0.weight", "joint_text.0.weight"}
    total = 0.0
    for name in decayed:
        weight = shapes[name]
        torch.testing.assert_close(weight.grad, 4e-5 * weight.detach())
        total += sum(value**2 for value in weight.flatten().tolist())
    assert terms["l2"].item() == pytest.approx(2e-5 * total, rel=1e-5)


def test_cmpm_terms():
    for cmpm_on, cmpc_on in ((True, False), (False, True)):
        model = cmpm_model(cmpm=cmpm_on, cmpc=cmpc_on)
        terms = model(images(), *captions([4, 6, 3, 5]), LABELS)
        assert list(terms) == ["cmpm"] * cmpm_on + ["cmpc"] * cmpc_on
