"""Words of captions that hold markup: what is dropped, and how long that takes at most."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.language.words import tokenize

OLD_TAG = re.compile(r"<!--.*?-->|</?[a-z!][^<>]*>", re.IGNORECASE | re.DOTALL)


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
