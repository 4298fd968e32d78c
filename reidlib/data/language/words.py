"""Captions to words: tokens and the vocabulary.

Words are cut by NLTK's Treebank rules, which need no downloaded data as long as the text is not
split into sentences first. Captions of crowd workers hold typing errors, markup and emoji, so what
is not a word is dropped before and after.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from unicodedata import normalize

PAD = 0
UNK = 1
MARKS = (",", ".")  # between words, for taggers and chunkers

_TAG = re.compile(r"</?[a-z!][^<>]*>", re.IGNORECASE)
_LONG_REFERENCE = re.compile("&#x?[0-9a-f]{8,};?", re.IGNORECASE)  # no character has such a number
# A character followed by the emoji variation selector or a keycap mark is drawn as a picture, also
# when it is a digit or letter on its own.
_EMOJI = re.compile("[^\\s]\ufe0f\u20e3?|[0-9#*]\u20e3")
# Symbols that compatibility normalization would otherwise turn into letters ("TM", circled M, ...).
_SYMBOL = re.compile("[\u2100-\u214f\u2460-\u24ff\u3200-\u33ff\U0001f100-\U0001f2ff]")
_APOSTROPHE = re.compile("[\u2018\u2019\u02bc\u0060\u00b4]")
_COMMA = re.compile("[,;:()\u2013\u2014]+")
_STOP = re.compile("[.!?]+")
_NOT_WORD = re.compile(r"[^\w'\-,.]+|_+")
_CLITIC = re.compile(r"'(?:s|re|ve|ll|m|d)|n't")


def tokenize(text: str, punctuation: bool = False) -> list[str]:
    """Lower-case words of a caption, in order.

    With `punctuation`, "," and "." stand between them where a clause or a sentence ends: taggers
    and chunkers need these, models do not get them.

    HTML tags and entities, emoji and punctuation are dropped; hyphens inside words stay
    ("t-shirt"), and so do the clitics that the Treebank rules cut off ("man", "'s"). A missing
    space behind a full stop or a slash between two words separates them ("red/white").
    """
    text = html.unescape(_LONG_REFERENCE.sub(" ", text))
    text = _TAG.sub(" ", _without_comments(text))
    text = _SYMBOL.sub(" ", _EMOJI.sub(" ", text))
    text = _APOSTROPHE.sub("'", normalize("NFKC", text)).lower()
    mark = (" , ", " . ") if punctuation else (" ", " ")
    text = _NOT_WORD.sub(" ", _STOP.sub(mark[1], _COMMA.sub(mark[0], text)))
    return [token for word in text.split() for token in _treebank(word)]


def _without_comments(text: str) -> str:
    """Text without "<!-- ... -->", in a time that grows with its length and no faster.

    What is left in place of a comment is no tag, and ends one.
    """
    parts, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return " < ".join([*parts, text[at:]])


@lru_cache(maxsize=100_000)
def _treebank(word: str) -> tuple[str, ...]:
    """Treebank tokens of one word without the quotes and hyphens around it.

    Without punctuation the Treebank rules never look beyond a blank, so that a caption can be cut
    word by word; a word is met thousands of times, and NLTK takes 50 microseconds for it.
    """
    from nltk.tokenize import word_tokenize  # see phrases.py

    tokens = word_tokenize(word, preserve_line=True)
    trimmed = (token if _CLITIC.fullmatch(token) else token.strip("'-`") for token in tokens)
    return tuple(token for token in trimmed if token)


@dataclass(frozen=True)
class Vocabulary:
    """Words with an index each: 0 is padding, 1 the unknown word, then `words` in order."""

    words: tuple[str, ...]

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 2) -> "Vocabulary":
        """Words that occur at least `min_count` times, frequent ones first, ties by alphabet.

        Call it with the captions of the training split only. IMG-Net, section 4: words that
        appear less than twice are dropped.
        """
        return cls.of(map(tokenize, captions), min_count)

    @classmethod
    def of(cls, tokens: Iterable[Sequence[str]], min_count: int = 2) -> "Vocabulary":
        """`build` for captions that are cut into words already; marks of punctuation are none."""
        counts: Counter[str] = Counter()
        for words in tokens:
            counts.update(word for word in words if word not in MARKS)
        kept = [(-count, word) for word, count in counts.items() if count >= min_count]
        return cls(tuple(word for _, word in sorted(kept)))

    @cached_property
    def index(self) -> dict[str, int]:
        """Word to index (2 and up)."""
        return {word: position for position, word in enumerate(self.words, start=2)}

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Indices of `tokens`; a word that is not in the vocabulary becomes `UNK`."""
        index = self.index
        return [index.get(token, UNK) for token in tokens]

    def __len__(self) -> int:
        """Number of indices, padding and unknown included: the rows of an embedding table."""
        return len(self.words) + 2
