"""Part-of-speech taggers, with the noun phrases that rest on them."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import nltk
import numpy as np
import pytest

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
from reidlib.data.language.words import tokenize
from reidlib.errors import DataError
from reidlib.world.language.captions import Caption
from reidlib.world.language.train_tagger import WORLD_SEEDS, captions, tagged_tokens, train

UNSEEN_SEED = 4242  # no world the tagger was trained on


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return shipped_tagger()


@pytest.fixture(scope="module")
def unseen() -> list[Caption]:
    return list(captions(UNSEEN_SEED, 110))


def spoken(tagger: Tagger, text: str) -> list[tuple[str, str]]:
    return tagger.tag(tokenize(text, punctuation=True))


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


def test_nltk_data_is_preferred(nltk_data: Path) -> None:
    folder = place_pretrained(nltk_data)
    tagdict = folder / f"{PRETRAINED}.tagdict.json"
    tagdict.write_text(json.dumps(json.loads(tagdict.read_text()) | {"blorb": "FW"}))
    tagger = load_tagger()
    assert tagger.name == PRETRAINED_NAME
    assert tagger.tag(["a", "blorb"])[1] == ("blorb", "FW")  # really that data


def test_damaged_nltk_data_is_one_clear_error(nltk_data: Path) -> None:
    folder = place_pretrained(nltk_data)
    (folder / f"{PRETRAINED}.weights.json").write_text("{")
    with pytest.raises(DataError, match=PRETRAINED):
        load_tagger()
    (folder / f"{PRETRAINED}.weights.json").unlink()
    with pytest.raises(DataError, match=PRETRAINED):
        load_tagger()
