"""A bi-directional LSTM over packed words that gives a state for every word, and maxima over them.

PyTorch's own LSTM walks the two directions one after the other on the CPU, and its backward pass
adds a gradient of the size of the weights at every step. The one here takes both directions in one
batched product per step and gathers the gradients of the weights in one product at the end. On
CUDA, cuDNN does the work.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from reidlib.devices import in_fp32
from reidlib.models.parts.packing import reversed_words


def word_states(lstm: nn.LSTM, x: Tensor, batch_sizes: Tensor) -> Tensor:
    """States of every word, forward and backward direction: float (2, words, H).

    lstm: one layer, bi-directional, with or without bias. x: float (words, V), embedded words in
    packed order. batch_sizes: int64 (steps,) on the CPU.
    """
    if x.device.type != "cpu":
        with in_fp32(x):  # under autocast cuDNN would compute in fp16, whatever was asked for
            states = lstm(PackedSequence(x.float(), batch_sizes))[0].data
        return states.unflatten(1, (2, -1)).transpose(0, 1)
    with torch.autocast("cpu", enabled=False):
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        turn = reversed_words(batch_sizes)
        ahead, back = (
            F.linear(
                x,
                getattr(lstm, f"weight_ih_l0{side}"),
                getattr(lstm, f"bias_ih_l0{side}") + getattr(lstm, f"bias_hh_l0{side}")
                if lstm.bias
                else None,
            )
            for side in ("", "_reverse")
        )
        gates = torch.stack((ahead, back.index_select(0, turn)))
        weight = torch.stack((lstm.weight_hh_l0, lstm.weight_hh_l0_reverse))
        h = _Recurrence.apply(gates, weight, batch_sizes)
        return torch.stack((h[0], h[1].index_select(0, turn)))


def row_maxima(e: Tensor, slots: Tensor) -> Tensor:
    """Maximum over each row's words: e (words, C), slots int64 (R, n) of `Packed` -> (R, C)."""
    with torch.no_grad():  # find the words first, so that only the maxima are kept
        word = slots.gather(1, e[slots].max(1).indices)
    return e.gather(0, word)


def attended_row_maxima(e: Tensor, s: Tensor, slots: Tensor) -> Tensor:
    """Maximum over the words of each row of s_i^k e_i (SSAN, Eq 9 and 11), for K attentions.

    e (words, C), s (words, K), slots int64 (R, n) of `Packed` -> (R, K, C).
    """
    with torch.no_grad():  # (`max` finds them in half the time that `argmax` takes)
        products = e[slots][:, :, None] * s[slots][:, :, :, None]  # (R, n, K, C)
        word = slots.gather(1, products.max(1).indices.flatten(1)).view(len(slots), s.shape[1], -1)
    R, K, C = word.shape
    e_max = e.gather(0, word.view(R * K, C)).view(R, K, C)
    # Each s is the factor of many maxima: their gradients are not to be summed in half precision.
    s = s.to(torch.promote_types(s.dtype, torch.float32))
    s_max = s.gather(0, word.transpose(1, 2).reshape(R * C, K)).view(R, C, K)
    return e_max * s_max.transpose(1, 2)


class _Recurrence(torch.autograd.Function):
    """States (2, words, H) of an LSTM in two directions, each in its own packed order.

    x (2, words, 4H): the words' part of the gates, in PyTorch's order i, f, g, o; weight
    (2, 4H, H): the recurrent weights; sizes (steps,): rows still running at each step.

        i, f, o = sigmoid;  g = tanh;  c' = f c + i g;  h' = o tanh(c')
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
        H, steps = weight.shape[2], sizes.tolist()
        gates = torch.empty_like(x)
        h, c, squashed = (x.new_empty(2, x.shape[1], H) for _ in range(3))
        state = cell = x.new_zeros(2, steps[0], H)
        across = weight.transpose(1, 2)
        pieces = zip(*(v.split(steps, 1) for v in (x, gates, h, c, squashed)), steps, strict=True)
        for x_t, gates_t, h_t, c_t, squashed_t, rows in pieces:
            torch.baddbmm(x_t, state[:, :rows], across, out=gates_t)
            gates_t[..., : 2 * H].sigmoid_()
            i, f, g, o = gates_t.chunk(4, 2)
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cell[:, :rows], out=c_t).addcmul_(i, g)
            torch.tanh(c_t, out=squashed_t)
            torch.mul(o, squashed_t, out=h_t)
            state, cell = h_t, c_t
        ctx.save_for_backward(weight, sizes, gates, h, c, squashed)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, sizes, gates, h, c, squashed = ctx.saved_tensors
        steps = sizes.tolist()
        i, f, g, o = gates.chunk(4, 2)
        # A gate's gradient is that of the cell, or of the state for o, times a factor that is
        # known beforehand; the factors take the place of the gradients they are turned into.
        out = torch.empty_like(gates)
        for piece, factor in zip(
            out.chunk(4, 2),
            (g * i * (1 - i), _before(c, steps) * f * (1 - f), i * (1 - g * g), squashed * o),
            strict=True,
        ):
            piece.copy_(factor)
        out.chunk(4, 2)[3].mul_(1 - o)
        to_cell = o * (1 - squashed * squashed)
        flow, cell = (torch.zeros_like(h[:, : steps[0]]) for _ in range(2))
        pieces = zip(*(v.split(steps, 1) for v in (grad, out, to_cell, f)), steps, strict=True)
        for grad_t, out_t, to_cell_t, f_t, rows in reversed(list(pieces)):
            state = flow[:, :rows].add_(grad_t)
            cell_t = cell[:, :rows].addcmul_(state, to_cell_t)
            out_t.unflatten(2, (4, -1))[:, :, :3].mul_(cell_t[:, :, None])
            out_t.chunk(4, 2)[3].mul_(state)
            cell_t.mul_(f_t)
            torch.bmm(out_t, weight, out=state)
        return out, out.transpose(1, 2) @ _before(h, steps), None


def _before(states: Tensor, steps: Sequence[int]) -> Tensor:
    """For every word, the state (2, words, H) before it; 0 before a row's first word."""
    pieces = [s[:, :rows] for s, rows in zip(states.split(steps, 1), steps[1:], strict=False)]
    return torch.cat([torch.zeros_like(states[:, : steps[0]]), *pieces], 1)
