"""What notebook 02 shows of SSAN: words and parts, Figure 7, domains, and states without runs."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from reidlib.data.formats.cuhk_pedes import TRANSFER
from reidlib.data.language.words import tokenize
from reidlib.experiment import Stage, Training
from reidlib.explore import common
from reidlib.explore import ssan as explore
from reidlib.explore.ssan import FIXED, MOVING, Thing, WordParts, mentions
from reidlib.models.ssan import word_attention
from reidlib.papers import driver, ssan
from reidlib.papers.ssan.rows import FIGURE_7
from reidlib.papers.text_to_image import encode_images, rank
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.run.store import write_history

pytest.importorskip("matplotlib")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("papermill")

from pages import page_of_notebook  # noqa: E402


@pytest.fixture(scope="module")
def session(tmp_path_factory, tiny_world) -> Session:
    """CUHK-PEDES is there, ICFG-PEDES is not."""
    return Session.create("smoke", results=tmp_path_factory.mktemp("results"), data=tiny_world)


@pytest.fixture(scope="module")
def trained(session) -> explore.Trained:
    """An SSAN with the weights that it starts a training with."""
    experiment = explore.experiment(session, "cuhk-pedes")
    dataset = session.dataset("cuhk-pedes")
    data = ssan.prepare(experiment, dataset, session.cache, "cpu")
    model = ssan.build(experiment, data).eval()
    return explore.Trained(model, data, encode_images(model, data.test))


# ------------------------------------------------------------------ words and parts


@pytest.mark.parametrize(
    ("sentence", "thing", "found"),
    [
        ("A man in a t-shirt over a long-sleeved shirt.", FIXED[2], [4, 8]),
        ("She wears dress shoes, a dress and a sundress.", FIXED[3], [5]),
        ("He has a shopping bag in his left hand and a bag.", MOVING[1], [4]),
        ("A bag slung over her shoulder, a handbag on the shoulder", MOVING[0], [1, 7]),
        ("A bag in his hand is over his shoulder.", MOVING[0], []),
        ("Baggy jeans, no hat.", Thing("bag", "bag"), []),
        ("", FIXED[0], []),
    ],
)
def test_mentions_are_whole_words_in_their_phrase(sentence, thing, found):
    assert mentions(tokenize(sentence), thing) == found


def test_the_first_sentence_that_names_all_is_found():
    captions = ["A hat.", "A shirt and a hat.", "A hat and a shirt."]
    assert explore.first_with(captions, [FIXED[0], FIXED[2]]) == 1
    assert explore.first_with(captions, [FIXED[5]]) is None


def test_word_parts_are_those_of_the_model_for_each_word(trained):
    split = trained.data.test
    found = explore.word_parts(trained, range(len(split.captions)))
    for sentence in found[:20]:
        length = int(split.text.lengths[sentence.caption])
        tokens = torch.as_tensor(split.text.tokens[sentence.caption, :length])
        assert sentence.words == tokenize(split.captions[sentence.caption])
        assert sentence.parts.shape == (length, 6)
        assert sentence.known == (tokens != 1).tolist()
        with torch.inference_mode():  # alone, not in a batch
            alone = word_attention(trained.model, tokens[None], torch.tensor([length]))[0]
        np.testing.assert_allclose(sentence.parts, alone, atol=1e-6)
    assert any(not all(sentence.known) for sentence in found)


def test_a_sentence_without_a_word_is_one_unknown_word():
    assert explore.read("... !", 1) == ["?"]
    assert explore.read("A man with a hat", 3) == ["a", "man", "with"]


def sentences(people: int = 1) -> list[WordParts]:
    """Of each person, one with a bag over the shoulder and one with a bag in the hand."""
    parts = np.full((9, 6), 0.5)
    parts[2] = (0.1, 0.2, 0.9, 0.8, 0.2, 0.1)  # shirt
    over, held = parts.copy(), parts.copy()
    over[4] = (0, 1, 1, 0, 0, 0)  # bag
    held[4] = (0, 0, 0, 1, 1, 0)
    made = []
    for pid in range(people):
        for place, rows in (("over his shoulder", over), ("in his hand", held)):
            words = f"a red shirt a bag {place} he".split()
            made.append(WordParts(len(made), pid, words, [True] * 9, rows))
    return made


def test_part_table_has_the_means_over_mentions():
    table = explore.part_table(sentences(), [*FIXED, *MOVING]).set_index("words")
    shirt, shoulder, hand = (
        table.loc[name] for name in ("shirt, t-shirt", "bag over the shoulder", "bag in the hand")
    )
    assert shirt["mentions"] == 2 and shirt["part 3"] == 0.9 and shirt["two highest"] == "3, 4"
    assert shirt["high in the paper"] == "2, 3"
    assert shoulder["mentions"] == 1 and shoulder["two highest"] == "2, 3"
    assert (shoulder["center"], hand["center"]) == (2.5, 4.5)
    assert shirt["people"] == 1
    assert table.loc["hair", "mentions"] == 0 and np.isnan(table.loc["hair", "part 1"])
    assert table.loc["all words", "mentions"] == 18


def test_bag_moves_says_how_far():
    assert explore.bag_moves(sentences() * 9).startswith("Fewer than two people with a bag")
    told = explore.bag_moves(sentences(people=9))
    assert "moves by +2.00 stripes (95 % interval +2.00 to +2.00, 9 people" in told


def test_bag_moves_counts_people_not_sentences():
    """Repeating what is said of each person does not make the interval narrower."""
    rng = np.random.default_rng(0)
    varied = []
    for sentence in sentences(people=12):
        parts = np.clip(sentence.parts + rng.normal(0, 0.2, (9, 6)), 0.01, 1)
        varied.append(dataclasses.replace(sentence, parts=parts))
    assert explore.bag_moves(varied) == explore.bag_moves(varied * 5)


def test_examples_frame_the_words_they_were_searched_for(trained):
    for what, example in explore.examples(trained).items():
        if example is not None:
            sentence, marked = example
            assert marked and all(sentence.words[n] for n in marked), what
            picture = explore.picture_of(trained, sentence.caption)
            assert picture.dtype == np.uint8 and picture.shape == (64, 32, 3)
    assert set(explore.examples(trained)) == {
        "a hat, a shirt, trousers and shoes", "a bag over the shoulder", "a bag in the hand"
    }  # fmt: skip


def test_search_and_retrieval_rank_by_the_sum_of_the_three_cosines(trained):
    split = trained.data.test
    (found,) = explore.retrievals(trained, [3], k=4)
    ranks = rank(trained.model, split)["Sg+Sl+Sn"]
    if found.correct.count(True):
        assert ranks[3] == found.correct.index(True) + 1
    else:
        assert ranks[3] > 4
    rows, values = explore.search(trained, split.captions[3], k=4)
    assert rows.tolist() == found.rows.tolist()
    np.testing.assert_allclose(values, found.scores, atol=1e-5)
    assert (np.diff(values) <= 0).all()


# ------------------------------------------------------------------ what papers share


def test_examples_are_spread_by_place():
    assert common.spread(3, 11) == [0, 5, 10]
    assert common.spread(5, 2) == [0, 1]


def test_best_matches_are_the_highest_scores():
    rows, values = common.best_matches(torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.3]]), 2)
    assert rows.tolist() == [[1, 2], [0, 2]]
    np.testing.assert_allclose(values, [[0.9, 0.5], [0.3, 0.3]])


def test_missing_datasets_are_left_out_and_named(session, capsys):
    found = common.available(session, ["cuhk-pedes", "icfg-pedes"])
    assert list(found) == ["cuhk-pedes"]
    assert "icfg-pedes is left out: " in capsys.readouterr().out


def test_an_experiment_that_was_not_trained_has_no_model(session):
    assert common.finished(session, explore.experiment(session, "cuhk-pedes")) is None
    assert explore.load_trained(session, "cuhk-pedes") is None


def test_a_profile_may_leave_a_dataset_out(session, monkeypatch):
    monkeypatch.setattr(driver, "cell", lambda *_: None)
    assert explore.experiment(session, "icfg-pedes") is None
    assert explore.load_trained(session, "icfg-pedes") is None


# ------------------------------------------------------------------ data, settings


def test_tables_of_the_data_count_what_is_there(session):
    found = common.available(session, ["cuhk-pedes", TRANSFER])
    counts = explore.count_table(found)
    assert counts["people"].tolist() == [12, 3, 6]
    assert counts["published images"].tolist() == [34_054, 3_078, 3_074]
    domains = explore.domain_table(found)
    frames = found["cuhk-pedes"].splits.values()
    assert len(domains) == 5 and domains["images"].sum() == sum(map(len, frames))
    assert domains["people"].sum() == 21
    lengths = explore.sentence_lengths(found["cuhk-pedes"])
    assert len(lengths) == counts["sentences"].sum() and 12 < np.mean(lengths) < 40


def test_schedule_counts_epochs():
    stages = (Stage("one", (0.1, 0.1)), Stage("two", (0.1, 0.01)))
    training = Training(stages=stages, batch_size=2, image_size=(4, 2))
    assert common.learning_rates(training) == (
        "one: 2 epochs at 0.1; two: 1 epoch at 0.1, 1 epoch at 0.01"
    )


# ------------------------------------------------------------------ Figure 7


def plant(session: Session, experiment, evaluation: str, hits: list[bool]) -> None:
    """A finished run with these first ranks."""
    store, key = session.store, key_of(session, experiment)
    ranks = np.where(hits, 1, 5).astype(np.int32)
    folder = store.folder(key)
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    write_history(folder / "history.jsonl", [{"epoch": 0, "loss": 1.0}])
    metrics = {"evaluations": {evaluation: {"Top-1": 100 * float(np.mean(hits))}}}
    store.finish(
        key,
        weights=b"w",
        ranks={evaluation: ranks},
        people={evaluation: np.arange(len(hits))},
        provenance={},
        metrics=metrics,
    )


@pytest.fixture(scope="module")
def margins(tmp_path_factory, tiny_world) -> dict[str, explore.MarginSweep]:
    """Adaptive is better than 0.1, as good as 0.15, and 0.2 was not run; no ICFG-PEDES."""
    folder = tmp_path_factory.mktemp("margins")
    session = Session.create("smoke", results=folder, data=tiny_world)
    names = ("adaptive", "0.1", "0.15", "0.2")
    cells = {n: driver.cell("ssan", "smoke", FIGURE_7, "cuhk-pedes", n) for n in names}
    hits = {"adaptive": [True] * 40, "0.1": [True, False] * 20, "0.15": [True] * 40}
    for name, values in hits.items():
        (experiment,) = cells[name].experiments
        plant(session, experiment, cells[name].evaluation, values)
    return explore.margins(session)


def test_margins_are_measured_against_the_adaptive_one(margins):
    sweep = margins["CUHK-PEDES"]
    assert sweep.margins == ["0.1", "0.15", "0.2"]
    assert sweep.adaptive == 100 and sweep.fixed == [50, 100, None]
    worse, same, missing = sweep.differences
    assert worse.value == 50 and 30 < worse.low < 50 < worse.high < 70
    assert (same.value, same.low, same.high) == (0, 0, 0) and missing is None
    absent = margins["ICFG-PEDES"]
    assert absent.adaptive is None and absent.fixed == [None] * 3
    assert explore.margin_summary(margins) == (
        "CUHK-PEDES: 1 undecided (leans reproduced), 1 undecided; ICFG-PEDES: not run."
    )


def test_margin_table_says_what_was_not_run(margins):
    table = explore.margin_table(margins)
    assert table["adaptive is better"].tolist() == (
        ["undecided (leans reproduced)", "undecided", "not run"] + ["not run"] * 3
    )
    assert table.loc[0, "adaptive − fixed"] == 50 and pd.isna(table.loc[2, "95 % from"])


# ------------------------------------------------------------------ the notebook without runs


def test_the_notebook_runs_through_where_data_and_runs_are_missing(session, tmp_path):
    page = page_of_notebook(session, "ssan", tmp_path)
    assert re.search(r"\b0 of \d+ runs are in the store", page)
    for text in (
        "icfg-pedes is left out",
        "SSAN on CUHK-PEDES has not been trained here in this profile yet.",
        "CUHK-PEDES: not run; ICFG-PEDES: not run.",
        "SSAN has not been trained here in this profile yet.",
        "python -m reidlib run --profile smoke --papers ssan --row ssan --dataset cuhk-pedes",
        "There are no weights to look into, see above.",
    ):
        assert text in page, text
