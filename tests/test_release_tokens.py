"""The words that come with captions: read only by trainings that ask for them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reidlib.data.batches.pairs import prepare
from reidlib.data.dataset import Dataset
from reidlib.data.extras import check, extras_fingerprint
from reidlib.data.formats import cuhk_pedes, market1501, release_tokens, rstpreid
from reidlib.data.language.words import UNK, Vocabulary, tokenize
from reidlib.errors import DataError
from reidlib.papers import driver, tinker
from reidlib.papers.gla import method as gla
from reidlib.run.plan import plan_experiments
from reidlib.run.session import Session
from reidlib.world.write import write


@pytest.fixture
def root(tiny_world: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_world, tmp_path / "data")
    return tmp_path / "data"


def edit(root: Path, change) -> None:
    """Rewrite the annotation after `change` of its entries."""
    path = root / "CUHK-PEDES" / "reid_raw.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def pedes(root: Path, name: str = "cuhk-pedes") -> Dataset:
    """CUHK-PEDES as if it were the release."""
    return replace(cuhk_pedes.load(root, name), synthetic=None, cache=root.parent / "digests")


def made(root: Path, **settings: bool):
    cache = root.parent / "cache"
    return prepare(pedes(root), image_size=(32, 16), cache_dir=cache, **settings)


def row(**settings) -> driver.Experiment:
    (experiment,) = tinker.trainings_of("ssan", "smoke", "baseline", "cuhk-pedes")
    return tinker.with_settings(experiment, settings, "smoke")


def released(entries: list[dict]) -> None:
    """Tokens as the release has them: words without hyphens."""
    for entry in entries:
        words = [tokenize(caption) for caption in entry["captions"]]
        entry["processed_tokens"] = [[w.replace("-", "") for w in row] for row in words]


def test_round_trip_of_the_tokens_that_were_written(root: Path) -> None:
    """The world writes what our own rules make of its captions: both ways give the same."""
    tokens, dataset = release_tokens.load(pedes(root)), pedes(root)
    assert list(tokens) == ["train", "val", "test"]
    for split, frame in dataset.splits.items():
        assert tokens[split] == [tokenize(text) for row in frame["captions"] for text in row]
    own, theirs = made(root), made(root, release_tokens=True)
    assert own.vocabulary == theirs.vocabulary
    for one, other in ((own.train, theirs.train), (own.test, theirs.test)):
        assert np.array_equal(one.text.tokens, other.text.tokens)
        assert np.array_equal(one.text.lengths, other.text.lengths)


def test_words_of_the_release_are_learned_and_tested(root: Path) -> None:
    edit(root, released)
    captions = [text for row in pedes(root).splits["train"]["captions"] for text in row]
    hyphens = {w for text in captions for w in tokenize(text) if "-" in w}
    hyphens &= set(Vocabulary.build(captions).words)
    assert hyphens  # the world says t-shirt, too
    own, theirs = made(root), made(root, release_tokens=True)
    assert hyphens <= set(own.vocabulary.words)
    assert {w.replace("-", "") for w in hyphens} <= set(theirs.vocabulary.words)
    assert not any("-" in word for word in theirs.vocabulary.words)
    for data in (own, theirs):  # whatever was cached before
        assert np.array_equal(made(root).train.text.tokens, own.train.text.tokens)
        words = {word for word, n in data.vocabulary.index.items() if n in data.test.text.tokens}
        assert len(words) > 10
    entries = json.loads((root / "CUHK-PEDES" / "reid_raw.json").read_text())
    said = [row for e in entries if e["split"] == "test" for row in e["processed_tokens"]]
    for number, words in enumerate(said):
        ids = [theirs.vocabulary.index.get(word, UNK) for word in words]
        assert theirs.test.text.tokens[number, : len(ids)].tolist() == ids


def test_nothing_of_them_is_read_unless_it_was_asked_for(root: Path) -> None:
    edit(root, lambda entries: [entry.pop("processed_tokens") for entry in entries])
    assert len(made(root).vocabulary) > 10
    with pytest.raises(DataError, match="entry 0"):
        made(root, release_tokens=True)


def test_what_was_cached_for_some_tokens_is_not_taken_for_others(root: Path) -> None:
    first = made(root, release_tokens=True).test.text.tokens

    def swap(entries: list[dict]) -> None:
        (entry,) = [e for e in entries if e["split"] == "test"][:1]
        entry["processed_tokens"][0] = entry["processed_tokens"][0][::-1]

    edit(root, swap)
    again = made(root, release_tokens=True).test.text.tokens
    assert not np.array_equal(first[0], again[0]) and np.array_equal(first[1:], again[1:])


def test_marks_between_tokens_are_no_words(root: Path) -> None:
    before = made(root, release_tokens=True)

    def mark(entries: list[dict]) -> None:
        for entry in entries:
            entry["processed_tokens"] = [[*row, ","] for row in entry["processed_tokens"]]

    edit(root, mark)
    after = made(root, release_tokens=True)
    assert after.vocabulary == before.vocabulary
    assert np.array_equal(after.test.text.tokens, before.test.text.tokens)


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (None, "one for each caption"), ([["a"]], "2 lists of words"), ("a b", "2 lists of words"),
        ([["a"], "b"], "lists of strings"), ([["a"], [1]], "lists of strings"),
        ([["a"], ["a" * 9] * 100_000], "at most"),
    ],
)  # fmt: skip
def test_other_tokens_are_refused_by_name(root: Path, tokens, why: str) -> None:
    numbers = []

    def spoil(entries: list[dict]) -> None:
        numbers.append(next(n for n, entry in enumerate(entries) if len(entry["captions"]) == 2))
        entries[numbers[0]]["processed_tokens"] = tokens

    edit(root, spoil)
    with pytest.raises(DataError, match=f"reid_raw.json: entry {numbers[0]} .*{why}"):
        release_tokens.load(pedes(root))
    with pytest.raises(DataError, match=re.escape("reid_raw.json")):
        check("tokens", pedes(root))


def test_an_image_without_a_caption_and_half_a_character(root: Path) -> None:
    lost: list[int] = []

    def spoil(entries: list[dict]) -> None:
        lost.append(len(entries[0]["captions"]) + len(entries[2]["captions"]))
        entries[0] |= {"captions": [], "processed_tokens": []}
        entries[1]["processed_tokens"][0] = ["a", "\ud800"]
        del entries[2]["captions"], entries[2]["processed_tokens"]

    edit(root, spoil)
    path = root / "CUHK-PEDES" / "SYNTHETIC.json"
    described = json.loads(path.read_text())
    described["counts"]["train"]["captions"] -= lost[0]
    path.write_text(json.dumps(described))
    assert release_tokens.load(pedes(root))["train"][:2] == [[], ["a", "\ufffd"]]
    assert made(root, release_tokens=True).train.text.lengths[0] == 1  # one unknown word


def test_domains_take_their_own(root: Path) -> None:
    """An entry of another domain may be wrong."""
    sources = {split: set(frame["source"]) for split, frame in pedes(root).splits.items()}
    domain = next(
        name
        for name, folders in cuhk_pedes.DOMAINS.items()
        if sources["train"] & set(folders) and sources["test"] & set(folders)
    )
    others = set(pedes(root).splits["train"]["path"]) - set(
        pedes(root, domain).splits["train"]["path"]
    )

    def spoil(entries: list[dict]) -> None:
        for entry in entries:
            if entry["file_path"] in others:
                del entry["processed_tokens"]

    edit(root, spoil)
    dataset = pedes(root, domain)
    expected = [tokenize(text) for row in dataset.splits["test"]["captions"] for text in row]
    assert release_tokens.load(dataset)["test"] == expected
    with pytest.raises(DataError, match="one for each caption"):
        release_tokens.load(pedes(root))


def test_datasets_without_tokens_are_refused(tmp_path: Path) -> None:
    write("rstpreid", tmp_path, seed=3, ids=(2, 1, 1), size=(32, 16))
    write("market1501", tmp_path, seed=3, ids=(2, 2), size=(32, 16))
    with pytest.raises(DataError, match=r"data_captions.json: entry 0 .*processed_tokens"):
        release_tokens.load(rstpreid.load(tmp_path))
    with pytest.raises(DataError, match="no captions of its own"):
        release_tokens.load(market1501.load(tmp_path))


def test_the_switch_makes_runs_of_its_own_and_off_it_changes_none(root: Path) -> None:
    plain, switched = row(), row(release_tokens=True)
    assert plain.key("x") == tinker.with_settings(plain, {"release_tokens": False}, "smoke").key(
        "x"
    )
    assert switched.key("x") != plain.key("x") and switched.reads == ("tokens",)
    assert plain.reads == () and switched.start == plain.start
    assert extras_fingerprint(("tokens",), pedes(root)) == ""  # the annotation's own stands for it


def test_a_missing_token_is_said_before_anything_is_trained(root: Path, monkeypatch) -> None:
    counts = json.loads((root / "CUHK-PEDES" / "SYNTHETIC.json").read_text())["counts"]
    (root / "CUHK-PEDES" / "SYNTHETIC.json").unlink()
    expected = {name: cuhk_pedes.Counts(**given) for name, given in counts.items()}
    form = replace(cuhk_pedes.FORMAT, expected=expected)
    monkeypatch.setattr(cuhk_pedes, "FORMAT", form)
    edit(root, lambda entries: entries[5].pop("processed_tokens"))
    session = Session.create("smoke", root.parent / "results", root)
    plain, switched = plan_experiments(session, [row(), row(release_tokens=True)])[-2:]
    assert plain.problem == "" and "entry 5" in switched.problem
    # Of data that is drawn, the training itself says it.
    other = replace(row(), dataset="market1501", training=switched.experiment.training)
    write("market1501", root, seed=3, ids=(2, 2), size=(32, 16))
    from reidlib.train import Compute

    with pytest.raises(DataError, match="no captions of its own"):
        driver.train_and_evaluate(
            other, market1501.load(root), cache_dir=root, compute=Compute("cpu", 1)
        )


def test_gla_reads_them_where_it_searches_by_sentences(root: Path) -> None:
    edit(root, released)
    measured = driver.places("gla", "smoke")
    found = [driver.cell("gla", "smoke", *place).experiments[0] for place in measured]
    experiment = next(e for e in found if e.dataset == "cuhk-pedes")
    experiment = tinker.with_settings(experiment, {"release_tokens": True}, "smoke")
    data = gla.prepare(experiment, pedes(root), root.parent / "cache", "cpu")
    assert not any("-" in word for word in data.vocabulary.words)
