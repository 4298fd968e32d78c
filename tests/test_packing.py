"""Packed words against PyTorch's packing and a loop over captions."""

import pytest
import torch
from examples import captions
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from reidlib.errors import DataError
from reidlib.models.parts.packing import pack, reversed_words, row_lengths


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 3))
def test_packing_keeps_every_word_in_its_place(lengths, copies):
    texts = [captions(lengths), captions(lengths[::-1], seed=1)]
    packed = pack(texts, copies)
    rows = [
        (row[:length], copy)
        for copy in range(copies)
        for t, n in texts
        for row, length in zip(t, n, strict=True)
    ]
    assert len(packed.slots) == len(rows)
    assert len(packed.tokens) == sum(len(words) for words, _ in rows)
    for slots, (words, copy) in zip(packed.slots, rows, strict=True):
        n = len(words)
        assert packed.tokens[slots[:n]].tolist() == words.tolist()
        assert (slots[n:] == slots[0]).all()
        assert (packed.copy[slots] == copy).all()


def test_pack_equals_torch():
    texts = [captions([4, 1, 6, 4]), captions([2, 3, 1], seed=1)]
    packed = pack(texts)
    rows = [row[:n] for t, lengths in texts for row, n in zip(t, lengths, strict=True)]
    lengths = torch.cat([lengths for _, lengths in texts])
    padded = pad_sequence(rows, batch_first=True)
    expected = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == expected.batch_sizes.tolist()
    assert torch.equal(lengths[packed.order], lengths[expected.sorted_indices])
    assert row_lengths(packed.batch_sizes).tolist() == lengths[packed.order].tolist()
    starts = packed.batch_sizes.cumsum(0) - packed.batch_sizes
    for row, place in zip(rows, packed.back.tolist(), strict=True):
        words = [int(packed.tokens[starts[t] + place]) for t in range(len(row))]
        assert words == row.tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_reversed_words_read_each_row_backwards(lengths):
    packed = pack([captions(lengths)])
    turned = packed.tokens[reversed_words(packed.batch_sizes)]
    for n, slots in zip(lengths, packed.slots, strict=True):
        assert turned[slots[:n]].tolist() == packed.tokens[slots[:n]].tolist()[::-1]


def test_a_row_without_words_is_an_error():
    with pytest.raises(DataError, match="without words"):
        pack([(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 0]))])
