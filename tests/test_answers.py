"""Answers as figures, and why a picture was found: the attention behind each is the model's."""

import re

import numpy as np
import pytest
import torch
from engines import BY_IMAGE, BY_SENTENCE

pytest.importorskip("matplotlib")

from reidlib.explore import common, fgsam, gla, imgnet, search, ssan
from reidlib.report import answers

SENTENCE = "A woman with a red jacket, blue jeans and white shoes."


@pytest.mark.parametrize("name", [*BY_SENTENCE, *BY_IMAGE])
def test_every_answer_can_be_shown_and_asked_why(engines, name):
    engine = engines(name)
    if engine.by_sentence:
        found = [
            search.by_sentence(engine, text, 3)
            for text in (SENTENCE, engine.data.test.captions[0], "")
        ]
    else:
        found = [search.by_image(engine, number, 3) for number in (0, 4)]
    for answer in found:
        shown = str(answers.shown(engine, answer, "A caption."))
        pictures = len(answer.hits) + bool(answer.hits) * (not engine.by_sentence)
        assert shown.count("<img") == pictures + bool(answer.meant)
        assert "A caption." in shown
        if answer.hits:
            why = str(answers.why(engine, answer, answer.hits[0].row))
            without = name in ("ssan baseline", "fgsam base")
            assert ("<img" in why) != without and ("no " in why or not without)


def test_the_words_of_a_sentence_go_to_the_stripes_they_go_to(engines):
    engine = engines("ssan")
    trained = ssan.Trained(engine.model, engine.data, engine.gallery)
    number = 3
    sentence = engine.data.test.captions[number]
    found = ssan.pair(trained, sentence, 5)
    (alone,) = ssan.word_parts(trained, [number])
    assert found.words == alone.words and found.known == alone.known
    np.testing.assert_allclose(found.parts, alone.parts, atol=1e-6)
    # What the stripes add is all of S_l.
    method = search.driver.module_of(engine.model.cfg)
    text = common.as_text(engine.data, sentence)
    with torch.inference_mode():
        texts = engine.model.encode_text(text.tokens, text.lengths)
        S_l = method.similarities(engine.gallery, texts, engine.model.cfg)["Sl"][0, 5]
    assert found.shares.sum() == pytest.approx(float(S_l), abs=1e-5)


def test_stripes_and_phrases_pass_as_in_the_paper(engines):
    """Eq 11 to 14 with loops."""
    engine = engines("imgnet")
    trained = imgnet.Trained(engine.model, engine.data, engine.gallery)
    found = imgnet.pair(trained, SENTENCE, 2)
    text = common.as_text(engine.data, SENTENCE)
    with torch.inference_mode():
        texts = engine.model.encode_text(*text)

    def cosine(a, b):
        a, b = a.double().numpy(), b.double().numpy()
        return (a @ b) / np.sqrt((a @ a) * (b @ b))

    stripes = [np.exp(cosine(m, texts.TS[0])) for m in engine.gallery.MV[2]]
    phrases = [np.exp(cosine(m, engine.gallery.VG[2])) for m in texts.MP]
    np.testing.assert_allclose(found.stripes, np.array(stripes) / sum(stripes), atol=1e-5)
    np.testing.assert_allclose(found.weights, np.array(phrases) / sum(phrases), atol=1e-5)
    for weights, passes in (
        (found.stripes, found.stripes_pass),
        (found.weights, found.phrases_pass),
    ):
        assert passes.any()
        clear = np.abs(weights - 1 / len(weights)) > 1e-5
        assert (passes == (weights >= 1 / len(weights)))[clear].all()
    assert len(found.phrases) == len(phrases) and any("jacket" in p for p in found.phrases)


def test_phrases_are_looked_for_in_the_query_as_in_the_gallery(engines):
    """A query's own picture as a gallery's: the same picture has the same maps."""
    engine = engines("gla")
    trained = gla.Trained(engine.model, engine.data, engine.query, engine.gallery)
    of_query = gla.look_for(trained, "a white shirt and blue jeans", [1], "query")
    of_gallery = gla.look_for(trained, "a white shirt and blue jeans", [1])
    assert [m.phrase for m in of_query] == [m.phrase for m in of_gallery]
    assert not np.allclose(of_query[0].heat, of_gallery[0].heat)
    heat = gla.look_for(trained, "a white shirt and blue jeans", [0, 1], "query")
    mine = [m.heat for m in heat if m.image == 1]
    np.testing.assert_allclose(mine[0], of_query[0].heat, atol=1e-6)


def test_part_maps_are_of_the_split_that_is_asked_for(engines):
    engine = engines("fgsam")
    trained = fgsam.Trained(engine.model, engine.data, engine.query, engine.gallery)
    of_query, of_gallery = (fgsam.part_maps(trained, [0], s) for s in ("query", "gallery"))
    assert of_query.keys() == of_gallery.keys()
    assert any(not np.allclose(of_query[part], of_gallery[part]) for part in of_query)


def test_what_does_not_pass_is_said_to_be_left_out(engines):
    engine = engines("imgnet")
    answer = search.by_sentence(engine, SENTENCE)
    row = answer.hits[0].row
    found = imgnet.pair(imgnet.Trained(engine.model, engine.data, engine.gallery), SENTENCE, row)
    why = str(answers.why(engine, answer, row))
    alt = re.search(r'alt="([^"]*)"', why)[1]
    left = (~found.stripes_pass).sum() + (~found.phrases_pass).sum()
    assert alt.count("(left out)") == left
