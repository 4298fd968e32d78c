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

_through_sigmoid = torch.ops.aten.sigmoid_backward  # gradient, output -> gradient of the input
_through_tanh = torch.ops.aten.tanh_backward


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
        weight = torch.stack((lstm.weight_hh_l0, lstm.weight_hh_l0_reverse))
        return _Recurrence.apply(ahead, back, weight, turn, batch_sizes)


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
    """States (2, words, H) of every word by an LSTM in two directions.

    ahead, back (words, 4H): the words' part of the gates, in PyTorch's order i, f, g, o; weight
    (2, 4H, H): the recurrent weights; turn (words,): where each row's words stand in reverse order,
    which is how the second direction reads them; sizes (steps,): rows still running at each step.

        i, f, o = sigmoid;  g = tanh;  c' = f c + i g;  h' = o tanh(c')

    Rows are turned in here, so that neither way costs a copy more than the gates need anyway: to
    turn twice is to turn back.
    """

    @staticmethod
    def forward(
        ctx, ahead: Tensor, back: Tensor, weight: Tensor, turn: Tensor, sizes: Tensor
    ) -> Tensor:
        H, steps = weight.shape[2], sizes.tolist()
        gates = torch.stack((ahead, back.index_select(0, turn)))
        h, c, squashed = (gates.new_empty(2, len(ahead), H) for _ in range(3))
        state = cell = gates.new_zeros(2, steps[0], H)
        across = weight.transpose(1, 2)
        pieces = zip(*(v.split(steps, 1) for v in (gates, h, c, squashed)), steps, strict=True)
        for gates_t, h_t, c_t, squashed_t, rows in pieces:
            gates_t.baddbmm_(state[:, :rows], across)
            gates_t[..., : 2 * H].sigmoid_()
            i, f, g, o = gates_t.chunk(4, 2)
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cell[:, :rows], out=c_t).addcmul_(i, g)
            torch.tanh(c_t, out=squashed_t)
            torch.mul(o, squashed_t, out=h_t)
            state, cell = h_t, c_t
        ctx.save_for_backward(weight, turn, sizes, gates, h, c, squashed)
        return _turned(h, turn)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, turn, sizes, gates, h, c, squashed = ctx.saved_tensors
        H, steps, grad = weight.shape[2], sizes.tolist(), _turned(grad, turn)
        out, before = torch.empty_like(gates), _before(c, steps)
        flow, cell = (torch.zeros_like(h[:, : steps[0]]) for _ in range(2))
        # Everything of one step at once, while it is in the cache: the words of all steps are not.
        pieces = zip(
            *(v.split(steps, 1) for v in (grad, out, gates, before, squashed)), steps, strict=True
        )
        for grad_t, out_t, gates_t, before_t, squashed_t, rows in reversed(list(pieces)):
            i, f, g, o = gates_t.chunk(4, 2)
            to_i, to_f, to_g, to_o = out_t.chunk(4, 2)
            state = flow[:, :rows].add_(grad_t)
            cell_t = cell[:, :rows].add_(_through_tanh(state * o, squashed_t))
            torch.mul(cell_t, g, out=to_i)
            torch.mul(cell_t, before_t, out=to_f)
            torch.mul(cell_t, i, out=to_g)
            torch.mul(state, squashed_t, out=to_o)
            to_if = out_t[..., : 2 * H]
            _through_sigmoid(to_if, gates_t[..., : 2 * H], grad_input=to_if)
            _through_tanh(to_g, g, grad_input=to_g)
            _through_sigmoid(to_o, o, grad_input=to_o)
            cell_t.mul_(f)
            torch.bmm(out_t, weight, out=state)
        to_weight = out.transpose(1, 2) @ _before(h, steps)
        return out[0], out[1].index_select(0, turn), to_weight, None, None


def _turned(states: Tensor, turn: Tensor) -> Tensor:
    """(2, words, n) with the second direction's words in reverse order."""
    made = torch.empty_like(states, memory_format=torch.contiguous_format)
    made[0] = states[0]
    torch.index_select(states[1], 0, turn, out=made[1])
    return made


def _before(states: Tensor, steps: Sequence[int]) -> Tensor:
    """For every word, the state (2, words, H) before it; 0 before a row's first word."""
    pieces = [s[:, :rows] for s, rows in zip(states.split(steps, 1), steps[1:], strict=False)]
    return torch.cat([torch.zeros_like(states[:, : steps[0]]), *pieces], 1)
