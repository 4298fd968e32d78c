"""Captions as padded index arrays: what the text branches of the models take in."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reidlib.data.language.phrases import phrase_spans
from reidlib.data.language.tagger import Tagger, load_tagger
from reidlib.data.language.words import MARKS, UNK, Vocabulary, tokenize


@dataclass(frozen=True, eq=False)
class EncodedText:
    """N captions and their P noun phrases as vocabulary indices; 0 pads on the right.

    tokens int64 (N, L); lengths int64 (N,), each >= 1; phrases int64 (P, Lp); phrase_lengths
    int64 (P,), each >= 1; phrase_offsets int64 (N + 1,): caption i has the phrases
    ``phrase_offsets[i]`` up to ``phrase_offsets[i + 1]``, at least one. `warnings` has one sentence
    per caption that could not be used as it is; `tagger` is the name of the tagger that was used.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    phrases: np.ndarray
    phrase_lengths: np.ndarray
    phrase_offsets: np.ndarray
    warnings: tuple[str, ...] = ()
    tagger: str = ""

    def __len__(self) -> int:
        """Number of captions."""
        return len(self.lengths)

    def take(self, index: np.ndarray) -> "EncodedText":
        """The captions at `index` int (M,), in that order, padded no longer than they need."""
        index = np.asarray(index, dtype=np.int64)
        starts = self.phrase_offsets[index]
        counts = self.phrase_offsets[index + 1] - starts
        offsets = _offsets(counts)
        rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        lengths, phrase_lengths = self.lengths[index], self.phrase_lengths[rows]
        return EncodedText(
            tokens=self.tokens[index, : lengths.max(initial=1)],
            lengths=lengths,
            phrases=self.phrases[rows, : phrase_lengths.max(initial=1)],
            phrase_lengths=phrase_lengths,
            phrase_offsets=offsets,
            tagger=self.tagger,
        )


def encode_captions(
    captions: Sequence[str],
    vocabulary: Vocabulary,
    tagger: Tagger | None = None,
    max_tokens: int = 100,
    kinds: Sequence[str] = ("np",),
    words_of: Sequence[Sequence[str]] | None = None,
) -> EncodedText:
    """Words and noun phrases of every caption as indices.

    Only the first `max_tokens` words are kept, and all of their phrases. A caption without a word
    becomes a single unknown word and is named in `warnings`; one without a noun phrase has the
    whole sentence as its only phrase. kinds: see `reidlib.data.language.phrases`. words_of: the
    words of every caption where they are not to be cut by `tokenize`; they may hold "," and ".".
    """
    if words_of is not None and len(words_of) != len(captions):
        raise ValueError(f"{len(captions)} captions, but the words of {len(words_of)}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be >= 1, got {max_tokens}")
    tagger = load_tagger() if tagger is None else tagger
    words, lengths = array("q"), array("q")
    phrase_words, phrase_lengths, counts = array("q"), array("q"), array("q")
    warnings = []
    for number, caption in enumerate(captions):
        cut = tokenize(caption, punctuation=True) if words_of is None else words_of[number]
        marked = list(_first_words(cut, max_tokens))
        ids = vocabulary.encode([token for token in marked if token not in MARKS])
        if not ids:
            warnings.append(f"caption {number} holds no word ({caption[:40]!r}): read as unknown")
            ids, spans = [UNK], []
        else:
            spans = _word_spans(marked, phrase_spans(tagger.tag(marked), kinds))
        spans = spans or [(0, len(ids))]
        words.extend(ids)
        lengths.append(len(ids))
        counts.append(len(spans))
        for start, end in spans:
            phrase_words.extend(ids[start:end])
            phrase_lengths.append(end - start)
    sizes, phrase_sizes = _int64(lengths), _int64(phrase_lengths)
    return EncodedText(
        tokens=_pad(_int64(words), sizes),
        lengths=sizes,
        phrases=_pad(_int64(phrase_words), phrase_sizes),
        phrase_lengths=phrase_sizes,
        phrase_offsets=_offsets(_int64(counts)),
        warnings=tuple(warnings),
        tagger=tagger.name,
    )


def _first_words(tokens: Sequence[str], limit: int) -> Iterator[str]:
    """Tokens up to and with the word number `limit`; punctuation does not count."""
    count = 0
    for token in tokens:
        count += token not in MARKS
        if count > limit:
            return
        yield token


def _word_spans(tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans over tokens with punctuation as spans over the words alone."""
    before = [0]
    for token in tokens:
        before.append(before[-1] + (token not in MARKS))
    return [(before[start], before[end]) for start, end in spans]


def _int64(values: array) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _offsets(counts: np.ndarray) -> np.ndarray:
    """int64 (n + 1,): where each of n consecutive groups starts, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _pad(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenated rows int64 (sum of lengths,) as a matrix (n, longest), padded with 0."""
    padded = np.zeros((len(lengths), lengths.max(initial=1)), dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded
