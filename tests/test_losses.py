import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.errors import UsageError
from reidlib.losses import identity_loss, ranking_loss

S = torch.tensor([[0.6, 0.55, 0.5], [0.3, 0.6, 0.5], [0.2, 0.4, 0.9]])


def naive_ranking_loss(s, margin, negatives):
    total, size = 0.0, len(s)
    for i in range(size):
        rest = [j for j in range(size) if j != i]
        texts = [max(0, margin - s[i][i] + s[i][j]) for j in rest if negatives[i][j]]
        images = [max(0, margin - s[i][i] + s[j][i]) for j in rest if negatives[j][i]]
        for hinges in (texts, images):
            total += sum(hinges)
    return total


def test_ranking_loss_by_hand():
    assert ranking_loss(S, 0.2, reduction="sum").item() == pytest.approx(0.50)
    assert ranking_loss(S, 0.2).item() == pytest.approx(0.50 / 3)


def test_masked_pairs_are_no_negatives():
    negatives = torch.ones(3, 3, dtype=torch.bool)
    negatives[0, 1] = negatives[1, 0] = False  # takes the hinges .15 (row 0) and .15 (column 1)
    loss = ranking_loss(S, 0.2, negatives, reduction="sum")
    assert loss.item() == pytest.approx(0.20)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10_000))
def test_ranking_loss_equals_a_loop(size, seed):
    generator = torch.Generator().manual_seed(seed)
    s = torch.rand(size, size, generator=generator, dtype=torch.float64) * 2 - 1
    negatives = torch.rand(size, size, generator=generator) < 0.7
    loss = ranking_loss(s, 0.2, negatives, reduction="sum")
    expected = naive_ranking_loss(s.tolist(), 0.2, negatives.tolist())
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_ranking_loss_gradient():
    torch.manual_seed(0)
    s = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: ranking_loss(s, 0.2), s)


def test_satisfied_margins_and_single_pairs_cost_nothing():
    assert ranking_loss(torch.eye(4), 0.2).item() == 0
    assert ranking_loss(torch.tensor([[-1.0]]), 0.2).item() == 0


def test_ranking_loss_refuses_bad_input():
    with pytest.raises(UsageError, match="reduction"):
        ranking_loss(S, 0.2, reduction="median")
    with pytest.raises(UsageError, match="B x B"):
        ranking_loss(S[:2], 0.2)


def test_identity_loss_by_hand():
    uniform = torch.zeros(5, 751)
    assert identity_loss(uniform, torch.arange(5)).item() == pytest.approx(math.log(751))
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert identity_loss(logits, torch.tensor([1])).item() == pytest.approx(-math.log(0.75))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_ranking_loss_on_cuda():
    s = torch.rand(32, 32)
    torch.testing.assert_close(ranking_loss(s.cuda(), 0.2).cpu(), ranking_loss(s, 0.2))
