"""Noun phrases of tagged captions."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.language.phrases import noun_phrases, phrase_spans

TAGS = "NN NNS JJ CC DT IN PRP$ VBZ CD , MEASURE RB TO PDT POS"
TAGGED = [
    ("the", "DT"), ("man", "NN"), ("wears", "VBZ"), ("black", "JJ"), ("and", "CC"),
    ("white", "JJ"), ("striped", "VBN"), ("shirt", "NN"), (",", ","), ("jeans", "NNS"),
    ("and", "CC"), ("a", "DT"), ("pair", "NN"), ("of", "IN"), ("two", "CD"),
    ("red", "JJ"), ("tennis", "NN"), ("shoes", "NNS"), ("with", "IN"), ("his", "PRP$"),
    ("bag", "NN"), (".", "."), ("he", "PRP"), ("is", "VBZ"), ("tall", "JJ"),
]  # fmt: skip


def test_noun_phrases_by_hand() -> None:
    assert noun_phrases(TAGGED) == [
        ["man"],
        ["black", "and", "white", "striped", "shirt"],
        ["jeans"],
        ["two", "red", "tennis", "shoes"],
        ["bag"],
    ]
    assert phrase_spans(TAGGED) == [(1, 2), (3, 8), (9, 10), (14, 18), (20, 21)]


def test_phrases_of_the_other_kinds_by_hand() -> None:
    assert phrase_spans(TAGGED, ("jnp",)) == [(3, 8), (14, 18)]
    assert phrase_spans(TAGGED, ("pp",)) == [(14, 21)]
    assert phrase_spans(TAGGED, ("pp", "jnp")) == [(3, 8), (14, 18), (14, 21)]
    assert phrase_spans(TAGGED, ()) == []
    assert noun_phrases([("walks", "VBZ"), ("away", "RB")], ("np", "jnp", "pp")) == []
    assert noun_phrases([]) == []


def test_punctuation_separates_bare_nouns() -> None:
    nouns = [("shirt", "NN"), (",", ","), ("jeans", "NNS"), ("and", "CC"), ("shoes", "NNS")]
    assert noun_phrases(nouns) == [["shirt"], ["jeans"], ["shoes"]]


tags = st.sampled_from(TAGS.split())


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["bag", "pair", "of", "red"]), tags), max_size=30))
def test_phrase_spans_are_sound(tagged: list[tuple[str, str]]) -> None:
    for kind in ("np", "jnp", "pp"):
        end = 0
        for start, stop in phrase_spans(tagged, (kind,)):
            assert end <= start < stop <= len(tagged)
            assert (",", ",") not in tagged[start:stop]
            assert tagged[start][1] not in ("DT", "PRP$", "IN", "CC")
            end = stop
