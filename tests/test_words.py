"""Words and vocabularies."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import word_tokenize

from reidlib.data.language.words import PAD, UNK, Vocabulary, tokenize

OLD_TAG = re.compile(r"<!--.*?-->|</?[a-z!][^<>]*>", re.IGNORECASE | re.DOTALL)
CLITICS = "the man's red cannot isn't he'll t-shirt don't it's we've gonna"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man, with BLUE jeans.", ["a", "man", "with", "blue", "jeans"]),
        ("red/white t-shirt -- nice!", ["red", "white", "t-shirt", "nice"]),
        ("He wears shoes.She has a bag", ["he", "wears", "shoes", "she", "has", "a", "bag"]),
        ("the man's bag isn't red", ["the", "man", "'s", "bag", "is", "n't", "red"]),
        ("the man\u2019s bag", ["the", "man", "'s", "bag"]),
        ("<b>A</b> woman<br/>in <span class='x'>red</span>", ["a", "woman", "in", "red"]),
        ("black &amp; white&nbsp;shirt &lt;i&gt;", ["black", "white", "shirt"]),
        (
            "happy \U0001f600 man \u2764\ufe0f 1\ufe0f\u20e3 \U0001f468\u200d\U0001f469",
            ["happy", "man"],
        ),
        ("5 < 6 > 2 bags", ["5", "6", "2", "bags"]),
        ('a "quoted" `word` (here)', ["a", "quoted", "word", "here"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("", []),
        (" \t\n.,;!? <br> \U0001f600", []),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_tokenize_with_punctuation() -> None:
    text = "A man (tall), walking; he's 'here'... Really?!"
    assert tokenize(text, punctuation=True) == (
        ["a", "man", ",", "tall", ",", "walking", ",", "he", "'s", "here", ".", "really", "."]
    )


@given(st.text(max_size=200))
def test_tokens_are_words_and_stay_what_they_are(text: str) -> None:
    tokens = tokenize(text)
    for token in tokens:
        assert token == token.lower().strip()
        assert any(character.isalnum() for character in token)
        assert not any(character.isspace() or character in ".,<>" for character in token)
    assert tokenize(" ".join(tokens)) == tokens
    marked = tokenize(text, punctuation=True)
    assert [token for token in marked if token not in (",", ".")] == tokens


@given(st.lists(st.sampled_from(CLITICS.split())))
def test_words_are_cut_as_nltk_cuts_the_sentence(words: list[str]) -> None:
    text = " ".join(words)
    assert tokenize(text) == word_tokenize(text, preserve_line=True)


def test_vocabulary() -> None:
    vocabulary = Vocabulary.build(["A red hat.", "a blue hat", "the red HAT <b>", "once"])
    assert vocabulary.words == ("hat", "a", "red")
    assert len(vocabulary) == 5
    assert vocabulary.encode(["red", "hat", "once", "never", "a"]) == [4, 2, UNK, UNK, 3]
    assert Vocabulary.build(["a b", "b"], min_count=1).words == ("b", "a")
    assert (PAD, UNK) == (0, 1)


# What is dropped of markup, and how long that takes at most.


@given(st.text(alphabet="<!->ab/ \ufe0f", max_size=40))
def test_comments_and_tags_go_as_one_expression_would_take_them(text: str) -> None:
    """The expression says what is meant, and takes quadratic time."""
    assert tokenize(text) == tokenize(OLD_TAG.sub(" ", text).replace("<", " "))


@pytest.mark.parametrize(
    "text",
    ["<!--" * 250_000, "<!-- a -->" * 50_000, "<a" * 300_000, "&#" + "9" * 900_000,
     "&#x" + "f" * 900_000 + ";", "&amp;" * 100_000],
    ids=["open comments", "comments", "open tags", "number", "hexadecimal", "entities"],
)  # fmt: skip
def test_a_megabyte_of_markup_takes_a_moment(text: str) -> None:
    started = time.process_time()
    tokenize(text)
    assert time.process_time() - started < 5.0
