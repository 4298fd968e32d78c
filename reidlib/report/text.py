"""Sentences as a report shows them."""

from collections.abc import Sequence

from reidlib.data.language.phrases import phrase_spans
from reidlib.data.language.tagger import Tagger, load_tagger
from reidlib.data.language.words import tokenize
from reidlib.report import Html, escape


def marked_phrases(captions: Sequence[str], tagger: Tagger | None = None) -> Html:
    """Sentences, tokenized, with their noun phrases underlined, and which tagger found them."""
    tagger = load_tagger() if tagger is None else tagger
    items = []
    for caption in captions:
        tagged = tagger.tag(tokenize(caption, punctuation=True))
        words = [escape(word) for word, _ in tagged]
        for start, end in phrase_spans(tagged):
            words[start] = "<u>" + words[start]
            words[end - 1] += "</u>"
        items.append(f"<li>{' '.join(words).replace(' ,', ',').replace(' .', '.')}</li>")
    return Html(
        f'<ul class="sentences">{"".join(items)}</ul>'
        f"<p><small>Noun phrases found by: {escape(tagger.name)}.</small></p>"
    )
