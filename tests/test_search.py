"""Searching a gallery: answers against naive loops, unknown words, rows that are there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engines import BY_IMAGE, BY_SENTENCE

from reidlib.data.language.words import Vocabulary
from reidlib.errors import DataError, UsageError
from reidlib.explore import search
from reidlib.models.gla import GLA
from reidlib.papers import driver, text_to_image
from reidlib.papers.gla.method import encode_pairs, text_to_image_scores

OWN = "A man with a black shirt and blue jeans who does not exist."


def alone(captions: list[str]) -> list[int]:
    """Numbers of captions that no other caption repeats."""
    return [n for n, c in enumerate(captions) if captions.count(c) == 1]


@pytest.mark.parametrize("name", BY_SENTENCE)
def test_a_test_sentence_is_answered_as_it_is_evaluated(engines, name):
    engine = engines(name)
    split = engine.data.test
    if isinstance(engine.model, GLA):
        found = text_to_image_scores(engine.model, *encode_pairs(engine.model, split))
        ranks = None
    else:
        ranks = text_to_image.rank(engine.model, split)[engine.row.evaluation]
    for number in alone(split.captions)[:6]:
        answer = search.by_sentence(engine, split.captions[number], k=7)
        if ranks is None:
            scores = found[number].numpy()
        else:
            scores = search.sentence_scores(engine, split.captions[number])[0].numpy()
        pid = split.caption_pids[number]
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
        best = max(s for s, p in zip(scores, split.image_pids, strict=True) if p == pid)
        first = 1 + sum(
            s >= best for s, p in zip(scores, split.image_pids, strict=True) if p != pid
        )
        assert [hit.rank for hit in answer.hits] == list(range(1, 8))
        shown = np.array([hit.score for hit in answer.hits])
        expected = np.sort(scores)[::-1][:7]
        if name == "gla by text":
            expected = 1 / (1 + np.exp(-expected))
            assert answer.measure == search.RELEVANCE
        np.testing.assert_allclose(shown, expected, atol=1e-5)
        if np.diff(np.sort(scores)).min() > 1e-6:  # captions may be read in batches of other widths
            assert [hit.row for hit in answer.hits] == order[:7]
            assert answer.first == first
        for hit in answer.hits:
            right = split.image_pids[hit.row] == pid
            assert hit.verdict == ("correct" if right else "wrong")
        assert answer.meant == (int(split.image_of[number]),)
        assert answer.judged and answer.counted == len(split.frame)
        if ranks is not None:
            assert answer.first == ranks[number]


def test_blanks_and_capitals_make_no_other_sentence_of_it(engines):
    engine = engines("ssan")
    sentence = engine.data.test.captions[0]
    assert search.by_sentence(engine, f"  {sentence.upper()}\n").judged


def test_a_sentence_about_two_people_means_both(engines):
    engine = engines("ssan")
    split = engine.data.test
    pids = split.caption_pids
    other = int(np.flatnonzero(pids != pids[0])[0])
    said = dict(engine.captions)
    try:
        engine.captions["a person"] = [0, other]
        answer = search.by_sentence(engine, "A person", k=engine.size)
    finally:
        engine.captions.clear()
        engine.captions.update(said)
    right = {split.image_pids[hit.row] for hit in answer.hits if hit.verdict == "correct"}
    assert right == {pids[0], pids[other]}
    assert answer.meant == (int(split.image_of[0]), int(split.image_of[other]))
    assert answer.first == min(h.rank for h in answer.hits if h.verdict == "correct")


def test_nobody_is_judged_by_a_sentence_of_one_s_own(engines):
    answer = search.by_sentence(engines("ssan"), OWN)
    assert len(answer.hits) == 8 and not answer.judged
    assert {hit.verdict for hit in answer.hits} == {""} and answer.first is None
    assert answer.meant == ()
    assert "Nobody knows who is meant" in search.in_words(answer)[-1]


@pytest.mark.parametrize("sentence", ["", "   ", "... !"])
def test_an_empty_sentence_finds_nothing_and_is_told_so(engines, sentence):
    answer = search.by_sentence(engines("imgnet"), sentence)
    assert answer.hits == () and not answer.unknown
    (told,) = search.in_words(answer)
    assert "sentence" in told and "say what the person looks like" in told


def test_words_nobody_knows_are_named_with_the_nearest_known(engines):
    engine = engines("imgnet")
    answer = search.by_sentence(engine, "xylophone zzz")
    assert answer.hits == () and set(answer.unknown) == {"xylophone", "zzz"}
    assert "None of these words" in answer.message
    answer = search.by_sentence(engine, "A man with a shirtt.")
    assert len(answer.hits) == 8
    assert answer.unknown["shirtt"][0] == "shirt"
    assert any("“shirtt” is not known: the nearest known: shirt" in t
               for t in search.in_words(answer))  # fmt: skip


def test_nearest_words_are_of_the_vocabulary():
    vocabulary = Vocabulary(("shirt", "skirt", "shoes"))
    found = search.nearest_words(["skrt", "shirt", "qqq", "skrt"], vocabulary, most=1)
    assert found == {"skrt": ("skirt",), "qqq": ()}


@pytest.mark.parametrize("name", BY_IMAGE)
def test_a_query_picture_is_answered_as_a_loop_would(engines, name):
    engine = engines(name)
    query, gallery = engine.data.query, engine.data.gallery
    junk = None
    for number in range(0, len(query.frame), 3):
        distances = [
            float(torch.dist(engine.query[number].double(), g.double())) for g in engine.gallery
        ]
        expected, rank, first = [], 0, None
        for row in sorted(range(len(distances)), key=lambda row: (distances[row], row)):
            same = gallery.pids[row] == query.pids[number]
            if gallery.pids[row] == -1:
                verdict, junk = "junk", True
            elif same and gallery.camids[row] == query.camids[number]:
                verdict = "same camera"
            else:
                verdict = "correct" if same else "wrong"
            counts = verdict in ("correct", "wrong")
            rank += counts
            if verdict == "correct" and first is None:
                first = rank
            if not expected or expected[-1][2] != 5 or expected[-1][2] is None:
                expected.append((row, verdict, rank if counts else None))
            if rank == 5 and counts:
                limit = len(expected)
                expected = expected[:limit]
                break
        answer = search.by_image(engine, number, k=5)
        assert [(h.row, h.verdict, h.rank) for h in answer.hits] == expected
        np.testing.assert_allclose(
            [h.score for h in answer.hits], [distances[row] for row, *_ in expected], atol=1e-9
        )
        assert answer.measure == search.DISTANCE
        full = search.by_image(engine, number, k=len(distances))
        ranks = [h.rank for h in full.hits if h.verdict == "correct"]
        assert answer.first == (min(ranks) if ranks else None)
        counted = sum(h.rank is not None for h in full.hits)
        assert answer.counted == counted
    assert junk or name != "gla"


def test_everything_of_the_own_view_is_left_out_on_cuhk03():
    """As `_verdict` of one image after the other had it."""
    from types import SimpleNamespace as Of

    from reidlib.explore import common

    def split(pids, camids):
        return Of(pids=np.array(pids), camids=np.array(camids))

    data = Of(
        dataset=Of(name="cuhk03-classic-labeled"),
        query=split([7], [1]),
        gallery=split([7, 7, 3, 3, -1], [1, 2, 1, 2, 2]),
    )
    expected = ["same camera", "correct", "same camera", "wrong", "junk"]
    assert common.verdicts(data, 0).tolist() == expected
    data.dataset.name = "market1501"
    assert common.verdicts(data, 0).tolist() == [*expected[:2], "wrong", "wrong", "junk"]


def test_equal_distances_keep_their_order_and_end_with_the_kth_that_counts():
    from reidlib.explore.common import in_order

    verdicts = np.array(["junk", "wrong", "correct", "wrong", "junk"])
    found = in_order(np.array([0.5, 0.5, 0.5, 0.1, 0.2]), verdicts, 2)
    assert [(f.row, f.rank) for f in found] == [(3, 1), (4, None), (0, None), (1, 2)]
    assert len(in_order(np.ones(5), verdicts, 9)) == 5


def test_where_the_table_draws_one_picture_a_person_the_answer_says_so(engines):
    engine = engines("gla")
    assert search.by_image(engine, 0).note == ""
    drawn = replace(engine, row=replace(engine.row, evaluation="single shot"))
    answer = search.by_image(drawn, 0)
    assert "draws one of each person" in search.in_words(answer)[-1]


def test_rows_are_those_that_are_finished_here(finished):
    session, planned = finished
    found = search.rows(session, "imgnet")
    keys = {p.experiment.key("") for p in planned}
    assert {row.experiment.key("") for row in found} == keys
    # One training is many cells of several tables; each of its evaluations is there once.
    assert len({(row.experiment.key(""), row.evaluation) for row in found}) == len(found)
    assert {row.evaluation for row in found} > {"GS", "GS+LS+GP"}
    assert search.rows(session, "ssan") == []
    row = next(r for r in found if r.evaluation == "GS+LS+GP")
    engine = search.engine(session, row)
    assert search.engine(session, row) is engine
    run = session.store.load(planned[0].key)
    number = alone(engine.data.test.captions)[0]
    answer = search.by_sentence(engine, engine.data.test.captions[number])
    assert answer.first == run.ranks("GS+LS+GP")[number]


def test_what_is_not_trained_is_no_engine(finished):
    session, _ = finished
    (experiment,) = driver.cell("ssan", "smoke", 1, "ssan", "CUHK-PEDES Rank-1").experiments
    with pytest.raises(DataError, match="has not been trained here"):
        search.engine(session, search.Row("ssan", 1, "ssan", experiment, "Sg+Sl+Sn"))


def test_a_row_that_the_profile_leaves_out_is_said(tmp_path):
    place = (1, "resnet-ch1-sp1-gs1-ls1-gp1-gn", "Top-1")
    with pytest.raises(UsageError, match="profile demo of imgnet trains no row"):
        search.untrained("imgnet", "demo", place, lambda name: None, tmp_path)
