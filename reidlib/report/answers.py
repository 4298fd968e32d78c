"""What a search found as a figure, and why: the attention of a model to a query and a hit."""

from collections.abc import Callable

import numpy as np

from reidlib.explore import attention_driven, fgsam, gla, imgnet, ssan
from reidlib.explore.common import pictures
from reidlib.explore.search import Answer, Engine, in_words
from reidlib.models.attention_driven import AttentionDriven
from reidlib.models.fgsam import FGSAM
from reidlib.models.gla import GLA
from reidlib.models.imgnet import IMGNet
from reidlib.models.ssan import SSAN
from reidlib.report import Html, escape, figures

ASKED_FOR = "a white shirt, blue jeans, black shoes"  # where the query has no words of its own


def shown(engine: Engine, answer: Answer, caption: str) -> Html:
    """What a search found, framed by whom it shows; or why it found nothing."""
    data, told = engine.data.dataset, " ".join(in_words(answer))
    if not answer.hits:
        return Html(f"<p>{escape(f'{caption} “{answer.query}” {told}')}</p>")
    found = pictures(data, [hit.row for hit in answer.hits], engine.split)
    scores = [hit.score for hit in answer.hits]
    if not engine.by_sentence:
        (query,) = pictures(data, [int(answer.query)], "query")
        verdicts = [hit.verdict for hit in answer.hits]
        return figures.image_search(
            query, found, verdicts, scores=scores, caption=f"{caption} {told}"
        )
    if not answer.judged:
        labels = [f"{score:.3f}" for score in scores]
        return figures.contact_sheet(found, labels, caption=f"{caption} “{answer.query}” {told}")
    (meant,) = pictures(data, answer.meant[:1])
    return figures.gallery(
        str(answer.query),
        found,
        [hit.verdict == "correct" for hit in answer.hits],
        scores=scores,
        meant=meant,
        first=answer.first,
        caption=caption,
    )


def why(engine: Engine, answer: Answer, row: int) -> Html:
    """What the model attends to in a query and in the gallery's picture of this row.

    Words and stripes (SSAN), the phrases and stripes that pass the threshold (IMG-Net), heat maps
    of phrases (GLA), of blocks (Attention Driven) and of parts (FGSAM); or why there is no such
    attention in this row of the table.
    """
    draw = _DRAWN.get(type(engine.model))
    if draw is None:
        name = type(engine.model).__name__
        return _without(f"{name} has no attention that is drawn here.")
    return draw(engine, answer, row)


def _without(text: str) -> Html:
    return Html(f"<p>{escape(text)}</p>")


def _pictures(engine: Engine, answer: Answer, row: int) -> list[np.ndarray]:
    """The query, if it is a picture, and the hit."""
    data = engine.data.dataset
    hit = pictures(data, [row], engine.split)
    return hit if engine.by_sentence else [*pictures(data, [int(answer.query)], "query"), *hit]


_PAIR = ["the query", "the picture"]


def _ssan(engine: Engine, answer: Answer, row: int) -> Html:
    if not engine.model.cfg.pfl:
        return _without("This row of SSAN has no part features: no word is sent to a stripe.")
    trained = ssan.Trained(engine.model, engine.data, engine.gallery)
    found = ssan.pair(trained, str(answer.query), row)
    shares = ", ".join(f"{share:+.2f}" for share in found.shares)
    return figures.word_parts(
        _pictures(engine, answer, row)[0],
        found.words,
        found.parts,
        known=found.known,
        caption="How much of each word goes to each stripe (Eq 8): 0 is nothing, 1 is all. What "
        f"the stripes add to the similarity S_l = {found.shares.sum():.2f} of this picture, from "
        f"the top: {shares}.",
    )


def _imgnet(engine: Engine, answer: Answer, row: int) -> Html:
    trained = imgnet.Trained(engine.model, engine.data, engine.gallery)
    found = imgnet.pair(trained, str(answer.query), row)
    used = engine.row.evaluation.split("+")
    without = [what for name, what in (("LS", "stripes"), ("GP", "phrases")) if name not in used]
    note = f" This row ranks without its {' and '.join(without)}." if without else ""
    return figures.stripes_and_phrases(
        _pictures(engine, answer, row)[0],
        found.stripes,
        found.stripes_pass,
        found.phrases,
        found.weights,
        found.phrases_pass,
        caption="How well the stripes fit the sentence (Eq 11) and the phrases the picture "
        "(Eq 13). The dashed line is the mean weight: what does not reach it is left out "
        f"(Eq 12, 14).{note}",
    )


def _gla(engine: Engine, answer: Answer, row: int) -> Html:
    if not engine.model.cfg.L_rec:
        return _without("This row of GLA has no local association: no phrase points to a place.")
    trained = gla.Trained(
        engine.model,
        engine.data,
        engine.gallery if engine.query is None else engine.query,
        engine.gallery,
    )
    if engine.by_sentence:
        asked = [(str(answer.query), row, "gallery")]
        about = "the phrases of the sentence"
    else:
        asked = [(ASKED_FOR, int(answer.query), "query"), (ASKED_FOR, row, "gallery")]
        about = "three phrases in the query, then in the picture that was found"
    maps = [
        [(phrase, heat) for _, phrase, heat in gla.look_for(trained, sentence, [image], split)]
        for sentence, image, split in asked
    ]
    return figures.phrase_maps(
        _pictures(engine, answer, row),
        maps,
        columns=1,
        caption=f"The attention to {about}, as multiples of the mean weight.",
    )


def _attention_driven(engine: Engine, answer: Answer, row: int) -> Html:
    if not engine.model.cfg.intra:
        return _without("This row has no intra-attention: no place is weighed.")
    trained = attention_driven.Trained(engine.model, engine.data, engine.query, engine.gallery)
    asked = ((int(answer.query), "query"), (row, "gallery"))
    masks = [attention_driven.masks(trained, [image], split).whole for image, split in asked]
    bodies = [attention_driven.cut_out(trained, [image], split)[0][0] for image, split in asked]
    return figures.attention_grid(
        bodies,
        {
            block: np.concatenate(found)
            for block, *found in zip(attention_driven.BLOCKS, *masks, strict=True)
        },
        _PAIR,
        columns=2,
        caption="Intra-attention to the whole body, mean over channels.",
    )


def _fgsam(engine: Engine, answer: Answer, row: int) -> Html:
    if not engine.model.cfg.pose:
        return _without("This row has no pose resolve net: it knows of no parts.")
    trained = fgsam.Trained(engine.model, engine.data, engine.query, engine.gallery)
    of_query = fgsam.part_maps(trained, [int(answer.query)], "query")
    of_hit = fgsam.part_maps(trained, [row], "gallery")
    return figures.attention_grid(
        _pictures(engine, answer, row),
        {part: np.concatenate((of_query[part], of_hit[part])) for part in of_query},
        _PAIR,
        columns=1,
        caption="The maps of the six parts.",
    )


_DRAWN: dict[type, Callable[[Engine, Answer, int], Html]] = {
    SSAN: _ssan,
    IMGNet: _imgnet,
    GLA: _gla,
    AttentionDriven: _attention_driven,
    FGSAM: _fgsam,
}
