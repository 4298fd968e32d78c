"""Captions as one packed sequence of words: what all recurrent text encoders read.

All captions of a training step, their phrases, and all copies of them that differ in their
embedding only, are read in one pass over their words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from reidlib.devices import send
from reidlib.errors import DataError


@dataclass(frozen=True, eq=False)
class Packed:
    """The words of R rows (captions, phrases, or copies of them) in the order of a packed sequence.

    tokens int64 (words,) and copy int64 (words,), the copy that a word belongs to: on the tokens'
    device. batch_sizes int64 (steps,), rows still running at each step, and order int64 (R,), the
    rows from long to short: on the CPU, as packing wants them.
    """

    tokens: Tensor
    copy: Tensor
    batch_sizes: Tensor
    order: Tensor

    @cached_property
    def back(self) -> Tensor:
        """Where each row stands in `order`: int64 (R,), on the CPU."""
        return self.order.argsort()

    @cached_property
    def slots(self) -> Tensor:
        """Where each row's words stand in the packed order: int64 (R, steps), beside the tokens.

        Behind a row's last word its first word is repeated, so that a maximum over a row needs no
        mask.
        """
        sizes, rows = self.batch_sizes, torch.arange(len(self.order))
        starts = torch.where(rows < sizes[:, None], (sizes.cumsum(0) - sizes)[:, None], 0)
        return send((starts + rows).T[self.back], self.tokens.device)


def pack(texts: Sequence[tuple[Tensor, Tensor]], copies: int = 1) -> Packed:
    """Several sets of captions or phrases, each as often as `copies` says, as one packed sequence.

    texts: pairs of tokens int64 (B, L), padded on the right, and lengths int64 (B,) on the CPU.
    Rows: all captions of the first set, of the second, and so on; then the same again as the
    second copy. Raises DataError for a row without words.
    """
    lengths = torch.cat([lengths for _, lengths in texts]).cpu()
    if lengths.min() < 1:
        raise DataError("a caption or phrase without words: expected at least one token in each")
    starts, size = [], 0
    for tokens, _ in texts:
        starts.append(size + torch.arange(len(tokens)) * tokens.shape[1])
        size += tokens.numel()
    start, rows = torch.cat(starts), len(lengths)
    lengths, order = lengths.repeat(copies).sort(descending=True, stable=True)
    step = torch.arange(int(lengths[0]))[:, None]
    real = step < lengths  # (steps, rows)
    address = (start[order % rows] + step)[real]
    copy = (order // rows).expand(real.shape)[real]
    device = texts[0][0].device
    flat = torch.cat([tokens.flatten() for tokens, _ in texts])
    return Packed(flat[send(address, device)], send(copy, device), real.sum(1), order)


def row_lengths(batch_sizes: Tensor) -> Tensor:
    """Words of each row in packed order, int64 (R,), from the rows still running at each step."""
    return (torch.arange(int(batch_sizes[0]))[:, None] < batch_sizes).sum(1)


def reversed_words(batch_sizes: Tensor) -> Tensor:
    """Where in the packed data each row's words stand in reverse order: int64 (words,)."""
    starts = batch_sizes.cumsum(0) - batch_sizes
    step = torch.arange(len(batch_sizes)).repeat_interleave(batch_sizes)
    row = torch.arange(len(step)) - starts[step]
    return starts[row_lengths(batch_sizes)[row] - 1 - step] + row
