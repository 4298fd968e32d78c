"""Captions as padded index arrays."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.language.encoding import EncodedText, encode_captions
from reidlib.data.language.tagger import SHIPPED_NAME, Tagger, shipped_tagger
from reidlib.data.language.words import UNK, Vocabulary, tokenize

CAPTION = (
    "The man is wearing a black and white striped shirt, a pair of blue jeans and white sneakers. "
    "He carries a red backpack on his back"
)

shipped = lru_cache(maxsize=1)(shipped_tagger)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return shipped()


def test_encode_by_hand(tagger: Tagger) -> None:
    vocabulary = Vocabulary(("man", "a", "black", "hat", "red", "bag"))
    encoded = encode_captions(["A man, black hat.", "a unheard red bag"], vocabulary, tagger)
    assert encoded.tokens.tolist() == [[3, 2, 4, 5], [3, UNK, 6, 7]]
    assert encoded.lengths.tolist() == [4, 4]
    assert encoded.phrases.tolist() == [[2, 0, 0], [4, 5, 0], [UNK, 6, 7]]
    assert encoded.phrase_lengths.tolist() == [1, 2, 3]
    assert encoded.phrase_offsets.tolist() == [0, 2, 3]
    assert encoded.warnings == ()
    assert encoded.tagger == SHIPPED_NAME
    assert len(encoded) == 2


def test_encode_odd_captions(tagger: Tagger) -> None:
    vocabulary = Vocabulary.build([CAPTION], min_count=1)
    odd = [
        "",
        "walks away",
        "<b>\U0001f600</b>",
        "red hat " * 250,
        "A <i>red</i> backpack \U0001f600",
    ]
    encoded = encode_captions(odd, vocabulary, tagger, max_tokens=100)
    assert encoded.lengths.tolist() == [1, 2, 1, 100, 3]
    assert encoded.tokens.shape == (5, 100)
    assert encoded.tokens[0, 0] == encoded.tokens[2, 0] == UNK
    counts = np.diff(encoded.phrase_offsets)
    assert counts.tolist() == [1, 1, 1, 50, 1]  # no phrase of the 100 words is left out
    assert encoded.phrase_lengths[:3].tolist() == [1, 2, 1]  # whole sentences
    assert len(encoded.warnings) == 2
    assert encoded.warnings[0].startswith("caption 0 ")
    assert encoded.warnings[1].startswith("caption 2 ")
    assert encode_captions([], vocabulary, tagger).tokens.shape[0] == 0


def test_encode_limits_and_kinds(tagger: Tagger) -> None:
    vocabulary = Vocabulary.build([CAPTION], min_count=1)
    full = encode_captions([CAPTION], vocabulary, tagger)
    words = tokenize(CAPTION)
    assert full.tokens[0].tolist() == vocabulary.encode(words)
    assert full.phrase_offsets.tolist() == [0, 6]
    cut = encode_captions([CAPTION], vocabulary, tagger, max_tokens=10)
    assert cut.tokens[0].tolist() == vocabulary.encode(words[:10])
    assert cut.phrase_offsets.tolist() == [0, 2]
    joined = encode_captions([CAPTION], vocabulary, tagger, kinds=("pp",))
    backpack = vocabulary.encode(["red", "backpack", "on", "his", "back"])
    assert joined.phrases.tolist() == [backpack]
    with pytest.raises(ValueError, match="max_tokens"):
        encode_captions([CAPTION], vocabulary, tagger, max_tokens=0)


def test_the_tagger_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch, tagger: Tagger) -> None:
    other = replace(tagger, name="another")
    monkeypatch.setattr("reidlib.data.language.encoding.load_tagger", lambda: other)
    vocabulary = Vocabulary.build([CAPTION], 1)
    assert encode_captions([CAPTION], vocabulary).tagger == "another"
    assert encode_captions([CAPTION], vocabulary, tagger).tagger == SHIPPED_NAME


def check(encoded: EncodedText, count: int, vocabulary: Vocabulary) -> None:
    assert encoded.tokens.shape[0] == len(encoded.lengths) == len(encoded) == count
    assert len(encoded.phrase_offsets) == count + 1
    assert encoded.phrase_offsets[0] == 0
    assert encoded.phrase_offsets[-1] == len(encoded.phrases) == len(encoded.phrase_lengths)
    assert (np.diff(encoded.phrase_offsets) >= 1).all()
    for matrix, lengths in (
        (encoded.tokens, encoded.lengths),
        (encoded.phrases, encoded.phrase_lengths),
    ):
        assert matrix.dtype == lengths.dtype == np.int64
        assert (lengths >= 1).all()
        assert ((matrix > 0) == (np.arange(matrix.shape[1]) < lengths[:, None])).all()
        assert matrix.max(initial=0) < len(vocabulary)
        assert matrix.shape[1] == lengths.max(initial=1)


some_captions = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from((*tokenize(CAPTION), ",", ".", "zebra")), max_size=40).map(
            " ".join
        ),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(some_captions, st.integers(1, 30), st.randoms(use_true_random=False))
def test_encoded_text_is_sound(texts, max_tokens, random) -> None:
    vocabulary = Vocabulary.build([CAPTION, *texts])
    encoded = encode_captions(texts, vocabulary, shipped(), max_tokens)
    check(encoded, len(texts), vocabulary)
    assert encoded.lengths.max(initial=1) <= max_tokens
    index = [random.randrange(len(texts)) for _ in range(5)] if texts else []
    taken = encoded.take(np.array(index, dtype=np.int64))
    check(taken, len(index), vocabulary)
    again = encode_captions([texts[i] for i in index], vocabulary, shipped(), max_tokens)
    for name in ("tokens", "lengths", "phrases", "phrase_lengths", "phrase_offsets"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(again, name))
