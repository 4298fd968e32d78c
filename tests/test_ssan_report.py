"""What notebook 02 shows of SSAN: words and parts, Figure 7, domains, and states without runs."""

import dataclasses
import re
from pathlib import Path

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

from reidlib.report import figures  # noqa: E402
from reidlib.report.html import Banner, write_page  # noqa: E402
from reidlib.report.notebook import run_notebook  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


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
        "one: 2 epochs at 0.1; two: 1 epochs at 0.1, 1 epochs at 0.01"
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


def figure_of_margins(margins: dict[str, explore.MarginSweep]):
    return figures.against_reference(
        ["0.1", "0.15", "0.2"],
        {name: sweep.fixed for name, sweep in margins.items()},
        {name: sweep.adaptive for name, sweep in margins.items()},
        {name: sweep.differences for name, sweep in margins.items()},
        xlabel="fixed margin",
        name="adaptive",
    )


def test_figure_7_in_words(margins):
    alt = re.search(r'alt="([^"]*)"', figure_of_margins(margins).html)[1]
    assert "CUHK-PEDES: 50.00 at 0.1, 100.00 at 0.15; adaptive 100.00" in alt
    assert "ICFG-PEDES: not run" in alt


def test_bars_cross_the_line_only_where_the_difference_may_be_zero(margins, monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "figure", lambda fig, *_: kept.append(fig))
    figure_of_margins(margins)
    axis = kept[0].axes[0]
    (bars,) = axis.containers[0].lines[2]
    (_, low), (_, high) = bars.get_segments()[0]
    difference = margins["CUHK-PEDES"].differences[0]
    assert low == pytest.approx(100 - difference.high) and high < 100
    assert high == pytest.approx(100 - difference.low)
    assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"] == [100]
    assert [text.get_text() for text in kept[0].axes[1].texts] == ["not run"]


# ------------------------------------------------------------------ figures of words and rows


def drawn(monkeypatch, count: int, **kwargs):
    """The figure of `count` words, word n with weight n / count in all stripes."""
    kept = []
    monkeypatch.setattr(
        figures, "figure", lambda fig, alt, caption: kept.append((fig, alt, caption))
    )
    words = [f"w{n}" for n in range(count)]
    parts = np.repeat(np.arange(count)[:, None] / count, 6, axis=1)
    image = np.zeros((96, 32, 3), np.uint8)
    figures.word_parts(image, words, parts, caption="A sentence.", **kwargs)
    return kept[0]


@pytest.mark.parametrize(("count", "lines", "longest"), [(1, 1, 1), (15, 1, 15), (16, 2, 8)])
def test_long_sentences_go_on_in_lines_of_about_one_length(monkeypatch, count, lines, longest):
    fig, _, _ = drawn(monkeypatch, count)
    heat = fig.axes[1::2]
    assert len(heat) == lines and len(fig.axes) == 2 * lines
    labels = [[label.get_text() for label in axis.get_xticklabels()] for axis in heat]
    assert [word for line in labels for word in line] == [f"w{n}" for n in range(count)]
    assert max(map(len, labels)) == longest
    # Every word keeps its own weights, and one color scale holds for all lines.
    shown = np.concatenate([axis.images[0].get_array()[0] for axis in heat])
    np.testing.assert_allclose(shown, np.arange(count) / count)
    assert {axis.images[0].get_clim() for axis in heat} == {(0, 1)}


def test_a_picture_stands_level_with_its_stripes(monkeypatch):
    fig, _, _ = drawn(monkeypatch, 4)
    fig.draw_without_rendering()
    picture, heat = (axis.get_window_extent() for axis in fig.axes)
    assert picture.y0 == pytest.approx(heat.y0) and picture.y1 == pytest.approx(heat.y1)
    ticks = fig.axes[0].get_yticklabels()
    assert [t.get_text() for t in ticks] == ["1", "2", "3", "4", "5", "6"]
    assert fig.axes[0].get_yticks()[0] < fig.axes[0].get_yticks()[5]  # down the picture
    bottom, top = fig.axes[0].get_ylim()
    assert bottom > top


def test_marked_and_unknown_words_can_be_told_without_color(monkeypatch):
    fig, alt, caption = drawn(monkeypatch, 3, known=[True, False, True], marked=[2])
    labels = fig.axes[1].get_xticklabels()
    assert [label.get_text() for label in labels] == ["w0", "[w1]", "w2"]
    assert [label.get_fontweight() for label in labels] == ["normal", "normal", "bold"]
    assert len(fig.axes[1].patches) == 1
    assert "From the top: w2: 0.67, 0.67" in alt and "“w0 w1 w2”" in alt
    assert caption.endswith("Words in brackets are not in the vocabulary.")
    assert drawn(monkeypatch, 3)[2] == "A sentence."


def test_words_and_weights_have_to_fit():
    with pytest.raises(ValueError, match="2 words and weights for 3"):
        figures.word_parts(np.zeros((6, 2, 3), np.uint8), ["a", "b"], np.zeros((3, 6)), caption="c")


def test_rows_of_pictures_keep_their_names(monkeypatch):
    image = np.zeros((8, 4, 3), np.uint8)
    html = figures.picture_rows({"one": [image] * 3, "two": [image]}, caption="Rows.")
    assert 'alt="Rows of example images: one (3), two (1)."' in html.html


# ------------------------------------------------------------------ the notebook without runs


def test_the_notebook_runs_through_where_data_and_runs_are_missing(session, tmp_path):
    done = run_notebook(
        ROOT / "notebooks" / ssan.ABOUT.notebook,
        tmp_path / "ssan.ipynb",
        {
            "profile": "smoke",
            "results": str(session.results),
            "data": str(session.data),
            "train_missing": False,
        },
        environment={"PYTHONPATH": str(ROOT)},
    )
    assert done.cells > 25
    banner = Banner(synthetic=True, profile="smoke", device="cpu", date="2030-01-02")
    assert write_page(done.path, tmp_path / "ssan.html", banner) == []
    page = (tmp_path / "ssan.html").read_text()
    assert re.search(r"\b0 of \d+ runs are in the store", page)
    for text in (
        "icfg-pedes is left out",
        "SSAN on CUHK-PEDES has not been trained here in this profile yet.",
        "CUHK-PEDES: not run; ICFG-PEDES: not run.",
        "SSAN has not been trained in this profile yet.",
    ):
        assert text in page, text
