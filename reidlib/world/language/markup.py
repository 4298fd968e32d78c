"""Markup in which captions are composed: English with tags and noun phrases.

A markup string is plain text in which

- ``[black jacket]`` marks a noun phrase (without its article),
- ``word/TAG`` gives a Penn tag where the lexicon's would be wrong ("left/NN"),
- ``a`` becomes "an" where the next word asks for it, and "'s" joins the word before it.

So a sentence and what is known about it come from one source and cannot drift apart.
"""

import re
from dataclasses import dataclass

from reidlib.world.language.lexicon import TAG_OF

_PIECE = re.compile(r"[\[\],.]|[^\s\[\],.]+")
_MARKS = (",", ".")


@dataclass(frozen=True)
class Caption:
    """A caption and its known analysis.

    tokens are those of `reidlib.data.language.words.tokenize(text)`; tags their Penn tags;
    phrases half-open token spans of the noun phrases, in order.
    """

    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    phrases: tuple[tuple[int, int], ...]


def count_words(markup: str) -> int:
    """Number of tokens of a markup string."""
    return sum(piece not in "[],." for piece in _PIECE.findall(markup))


def realize(markup: str, capitals: bool = True, final_stop: bool = True) -> Caption:
    """The caption of a markup string that holds whole sentences.

    Without `capitals` sentences start in lower case, without `final_stop` the last full stop is
    left out. Raises KeyError for a word that the lexicon does not know.
    """
    tokens: list[str] = []
    tags: list[str] = []
    phrases: list[tuple[int, int]] = []
    text: list[str] = []
    start, sentence_start = 0, True
    pieces = _PIECE.findall(markup)
    if not final_stop and pieces[-1] == ".":
        pieces.pop()
    for position, piece in enumerate(pieces):
        if piece == "[":
            start = len(tokens)
        elif piece == "]":
            phrases.append((start, len(tokens)))
        elif piece in _MARKS:
            text.append(piece)
            sentence_start = piece == "."
        else:
            word, _, tag = piece.partition("/")
            tag = tag or TAG_OF[word]
            if word == "a" and _needs_an(pieces[position + 1 :]):
                word = "an"
            if text and not word.startswith("'"):
                text.append(" ")
            text.append(word.capitalize() if sentence_start and capitals else word)
            tokens.append(word)
            tags.append(tag)
            sentence_start = False
    return Caption("".join(text), tuple(tokens), tuple(tags), tuple(phrases))


def _needs_an(following: list[str]) -> bool:
    """Whether the next word starts with a vowel, as all words of the lexicon are spoken."""
    word = next(piece for piece in following if piece not in ("[", "]"))
    return word[0] in "aeiou"
