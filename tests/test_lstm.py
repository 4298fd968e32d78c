"""The LSTM of all words, and maxima over them, against PyTorch's."""

import pytest
import torch
from examples import captions
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from reidlib.models.parts.lstm import attended_row_maxima, row_maxima, word_states
from reidlib.models.parts.packing import pack


@pytest.mark.parametrize("bias", [False, True])
def test_lstm_equals_pytorchs(bias):
    torch.manual_seed(0)
    lstm = nn.LSTM(5, 7, bidirectional=True, bias=bias).double()
    packed = pack([captions([4, 1, 6]), captions([6, 2])], copies=2)
    x = torch.randn(len(packed.tokens), 5, dtype=torch.float64, requires_grad=True)
    ours = word_states(lstm, x, packed.batch_sizes)
    theirs = lstm(PackedSequence(x, packed.batch_sizes))[0].data.unflatten(1, (2, -1))
    theirs = theirs.transpose(0, 1)
    torch.testing.assert_close(ours, theirs)
    weights, inputs = torch.randn_like(ours), [x, *lstm.parameters()]
    gradients = torch.autograd.grad((ours * weights).sum(), inputs)
    expected = torch.autograd.grad((theirs * weights).sum(), inputs)
    torch.testing.assert_close(gradients, expected)


def test_maxima_of_rows_equal_a_loop():
    lengths = [3, 5, 1]
    packed = pack([captions(lengths)])
    e, s = torch.randn(9, 4), torch.rand(9, 2)
    maxima = row_maxima(e, packed.slots)
    attended = attended_row_maxima(e, s, packed.slots)
    for row, (n, slots) in enumerate(zip(lengths, packed.slots, strict=True)):
        words = slots[:n]
        assert torch.equal(maxima[row], e[words].max(0).values)
        for k in range(2):
            assert torch.equal(attended[row, k], (s[words, k : k + 1] * e[words]).max(0).values)


def test_gradient_of_the_attended_maximum():
    packed = pack([captions([3, 5])])
    torch.manual_seed(0)
    e = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    s = torch.rand(8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, s: attended_row_maxima(e, s, packed.slots), (e, s))
