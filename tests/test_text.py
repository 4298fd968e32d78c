"""Words, tags, noun phrases and encoded captions."""

import json
import shutil
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import nltk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import word_tokenize

from reidlib.data.language.encoding import EncodedText, encode_captions
from reidlib.data.language.phrases import noun_phrases, phrase_spans
from reidlib.data.language.tagger import (
    PRETRAINED,
    PRETRAINED_NAME,
    SHIPPED_FILES,
    SHIPPED_NAME,
    Tagger,
    load_tagger,
    shipped_tagger,
)
from reidlib.data.language.words import PAD, UNK, Vocabulary, tokenize
from reidlib.errors import DataError
from reidlib.world.language.captions import Caption
from reidlib.world.language.train_tagger import WORLD_SEEDS, captions, tagged_tokens, train

UNSEEN_SEED = 4242  # no world the tagger was trained on
CAPTION = (
    "The man is wearing a black and white striped shirt, a pair of blue jeans and white sneakers. "
    "He carries a red backpack on his back"
)


shipped = lru_cache(maxsize=1)(shipped_tagger)


CLITICS = "the man's red cannot isn't he'll t-shirt don't it's we've gonna"
TAGS = "NN NNS JJ CC DT IN PRP$ VBZ CD , MEASURE RB TO PDT POS"


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return shipped()


@pytest.fixture(scope="module")
def unseen() -> list[Caption]:
    return list(captions(UNSEEN_SEED, 110))


def spoken(tagger: Tagger, text: str) -> list[tuple[str, str]]:
    return tagger.tag(tokenize(text, punctuation=True))


# ---- words


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


# ---- phrases

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


# ---- tagger


def test_shipped_tagger_on_an_unseen_world(tagger: Tagger, unseen: list[Caption]) -> None:
    """>= 97 % of the tags right; F1 of the phrases >= 0.95; both through the text alone."""
    assert UNSEEN_SEED not in WORLD_SEEDS
    assert len(unseen) >= 300
    right = total = hits = found = known = 0
    for caption in unseen:
        tagged = spoken(tagger, caption.text)
        words = [pair for pair in tagged if pair[0] not in (",", ".")]
        assert tuple(word for word, _ in words) == caption.tokens
        right += sum(tag == true for (_, tag), true in zip(words, caption.tags, strict=True))
        total += len(words)
        position = np.cumsum([0] + [pair[0] not in (",", ".") for pair in tagged])
        spans = {(position[start], position[stop]) for start, stop in phrase_spans(tagged)}
        truth = set(caption.phrases)
        hits += len(spans & truth)
        found += len(spans)
        known += len(truth)
    assert total > 7000
    assert right / total >= 0.97
    assert 2 * hits / (found + known) >= 0.95


def test_tagging_is_no_table_of_words(unseen: list[Caption]) -> None:
    """The worlds hold words whose tag depends on what stands around them."""
    seen: dict[str, set[str]] = {}
    for caption in unseen:
        for token, tag in zip(caption.tokens, caption.tags, strict=True):
            seen.setdefault(token, set()).add(tag)
    assert {"back", "on"} <= {token for token, tags in seen.items() if len(tags) > 1}


def test_shipped_tagger_without_punctuation(tagger: Tagger, unseen: list[Caption]) -> None:
    pairs = [
        (tag, true)
        for caption in unseen
        for (_, tag), true in zip(tagger.tag(caption.tokens), caption.tags, strict=True)
    ]
    assert sum(tag == true for tag, true in pairs) / len(pairs) >= 0.97


def test_shipped_tagger_on_sentences_of_another_hand(tagger: Tagger) -> None:
    """Words and turns that the caption grammar does not have."""
    examples = {
        "A lady with wavy auburn hair wears a burgundy cardigan, a floral skirt and silver pumps": [
            ["lady"],
            ["wavy", "auburn", "hair"],
            ["burgundy", "cardigan"],
            ["floral", "skirt"],
            ["silver", "pumps"],
        ],
        "the guy is pushing a stroller and he has a gray vest on": [
            ["guy"],
            ["stroller"],
            ["gray", "vest"],
        ],
        "An asian student, carrying a large briefcase, is dressed in baggy camouflage sweatpants": [
            ["asian", "student"],
            ["large", "briefcase"],
            ["baggy", "camouflage", "sweatpants"],
        ],
        "She was wearing turquoise socks that match her blouse": [
            ["turquoise", "socks"],
            ["blouse"],
        ],
    }
    hits = found = known = 0
    for text, phrases in examples.items():
        extracted = noun_phrases(spoken(tagger, text))
        hits += sum(phrase in phrases for phrase in extracted)
        found += len(extracted)
        known += len(phrases)
    assert 2 * hits / (found + known) >= 0.85


def test_shipped_files_are_small_json() -> None:
    folder = Path(str(files("reidlib.data.language") / "tagger_json"))
    assert {path.name for path in folder.iterdir()} == set(SHIPPED_FILES)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 700_000
    weights, tagdict, classes = (json.loads((folder / name).read_text()) for name in SHIPPED_FILES)
    assert set(tagdict.values()) <= set(classes)
    assert all(set(by_tag) <= set(classes) for by_tag in weights.values())


def test_training_is_deterministic() -> None:
    first, second = (json.dumps(train(people=6, iterations=2)) for _ in range(2))
    assert first == second
    weights, tagdict, classes = json.loads(first)
    assert weights
    assert tagdict["wearing"] == "VBG"
    assert "NNS" in classes


def test_training_sentences_hold_the_known_tags(unseen: list[Caption]) -> None:
    caption = unseen[0]
    assert tagged_tokens(caption, False) == list(zip(caption.tokens, caption.tags, strict=True))
    marked = tagged_tokens(caption)
    assert [pair for pair in marked if pair[0] not in (",", ".")] == tagged_tokens(caption, False)
    assert all(tag == word for word, tag in marked if word in (",", "."))


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty NLTK data folder that is the only one."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    return tmp_path


def place_pretrained(root: Path) -> Path:
    """The shipped tagger under the names of NLTK's package."""
    folder = root / "taggers" / PRETRAINED
    folder.mkdir(parents=True)
    for name in SHIPPED_FILES:
        shutil.copy(
            str(files("reidlib.data.language") / "tagger_json" / name),
            folder / f"{PRETRAINED}.{name}",
        )
    return folder


def test_without_nltk_data_the_shipped_tagger_is_used(nltk_data: Path) -> None:
    assert load_tagger().name == SHIPPED_NAME
    assert encode_captions([CAPTION], Vocabulary.build([CAPTION], 1)).tagger == SHIPPED_NAME


def test_nltk_data_is_preferred(nltk_data: Path) -> None:
    folder = place_pretrained(nltk_data)
    tagdict = folder / f"{PRETRAINED}.tagdict.json"
    tagdict.write_text(json.dumps(json.loads(tagdict.read_text()) | {"blorb": "FW"}))
    tagger = load_tagger()
    assert tagger.name == PRETRAINED_NAME
    assert tagger.tag(["a", "blorb"])[1] == ("blorb", "FW")  # really that data
    assert encode_captions([CAPTION], Vocabulary.build([CAPTION], 1)).tagger == PRETRAINED_NAME


def test_damaged_nltk_data_is_one_clear_error(nltk_data: Path) -> None:
    folder = place_pretrained(nltk_data)
    (folder / f"{PRETRAINED}.weights.json").write_text("{")
    with pytest.raises(DataError, match=PRETRAINED):
        load_tagger()
    (folder / f"{PRETRAINED}.weights.json").unlink()
    with pytest.raises(DataError, match=PRETRAINED):
        load_tagger()


# ---- encoded captions


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
    encoded = encode_captions(odd, vocabulary, tagger, max_tokens=100, max_phrases=16)
    assert encoded.lengths.tolist() == [1, 2, 1, 100, 3]
    assert encoded.tokens.shape == (5, 100)
    assert encoded.tokens[0, 0] == encoded.tokens[2, 0] == UNK
    counts = np.diff(encoded.phrase_offsets)
    assert counts.tolist() == [1, 1, 1, 16, 1]
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
    cut = encode_captions([CAPTION], vocabulary, tagger, max_tokens=10, max_phrases=2)
    assert cut.tokens[0].tolist() == vocabulary.encode(words[:10])
    assert cut.phrase_offsets.tolist() == [0, 2]
    joined = encode_captions([CAPTION], vocabulary, tagger, kinds=("pp",))
    backpack = vocabulary.encode(["red", "backpack", "on", "his", "back"])
    assert joined.phrases.tolist() == [backpack]
    with pytest.raises(ValueError, match="max_tokens"):
        encode_captions([CAPTION], vocabulary, tagger, max_tokens=0)


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
@given(some_captions, st.integers(1, 30), st.integers(1, 4), st.randoms(use_true_random=False))
def test_encoded_text_is_sound(texts, max_tokens, max_phrases, random) -> None:
    vocabulary = Vocabulary.build([CAPTION, *texts])
    encoded = encode_captions(texts, vocabulary, shipped(), max_tokens, max_phrases)
    check(encoded, len(texts), vocabulary)
    assert encoded.lengths.max(initial=1) <= max_tokens
    assert np.diff(encoded.phrase_offsets).max(initial=1) <= max_phrases
    index = [random.randrange(len(texts)) for _ in range(5)] if texts else []
    taken = encoded.take(np.array(index, dtype=np.int64))
    check(taken, len(index), vocabulary)
    again = encode_captions(
        [texts[i] for i in index], vocabulary, shipped(), max_tokens, max_phrases
    )
    for name in ("tokens", "lengths", "phrases", "phrase_lengths", "phrase_offsets"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(again, name))
