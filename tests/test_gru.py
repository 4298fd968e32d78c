"""The GRU of last states against PyTorch's."""

import pytest
import torch
from examples import captions
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from reidlib.models.parts.gru import last_states
from reidlib.models.parts.packing import pack


@pytest.mark.parametrize("lengths", [[4, 1, 6, 4], [1, 1], [7]])
def test_last_states_equal_torch_with_gradients(lengths):
    torch.manual_seed(0)
    gru = nn.GRU(5, 7, bidirectional=True).double()
    packed = pack([captions(lengths), captions([2, 3], seed=1)])
    x = torch.randn(len(packed.tokens), 5, dtype=torch.double, requires_grad=True)
    ours = last_states(gru, x, packed)
    _, h = gru(PackedSequence(x, packed.batch_sizes, packed.order, packed.back))
    theirs = torch.cat((h[0], h[1]), 1)
    torch.testing.assert_close(ours, theirs)
    weights, inputs = torch.randn_like(ours), [x, *gru.parameters()]
    gradients = torch.autograd.grad((ours * weights).sum(), inputs)
    expected = torch.autograd.grad((theirs * weights).sum(), inputs)
    torch.testing.assert_close(gradients, expected)


def test_single_words_only():
    gru = nn.GRU(5, 7, bidirectional=True)
    packed = pack([(torch.tensor([[3], [4]]), torch.ones(2, dtype=torch.int64))])
    last_states(gru, torch.randn(2, 5), packed).sum().backward()
    assert gru.weight_hh_l0.grad.abs().max() == 0  # the first state is 0
    assert gru.weight_ih_l0.grad.abs().max() > 0
