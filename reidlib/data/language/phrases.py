"""Noun phrases of a tagged caption, with an NLTK chunk grammar.

Three kinds are cut out:

- ``np``, noun phrases as IMG-Net takes them (section 4: "obtained with the Natural Language
  ToolKit by syntactic analysis, word segmentation, and part-of-speech tagging"): a number,
  adjectives (also coordinated ones, "black and white") and nouns;
- ``jnp`` and ``pp``, the two kinds of GLA (section 3.3): noun phrases with an adjective, and
  several nouns joined by prepositions ("black bag on his shoulder").

Neither paper prints its grammar, so these rules are ours. A phrase never starts with a determiner
or a possessive pronoun, and the nouns of "a pair of" and "in front of" are no phrases of their own.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # NLTK imports SciPy's statistics, seconds that only new captions need
    from nltk.chunk import RegexpParser

KINDS = ("np", "jnp", "pp")

_NOUNS = r"<NN.*>+"
_ADJECTIVES = r"<JJ.*>+(<CC><JJ.*>+)*"
_PLAIN = rf"<CD>?({_ADJECTIVES})?{_NOUNS}"
_JOINED = rf"(<IN|TO><PDT>?<DT|PRP\$>?(<MEASURE><IN>)?{_PLAIN})"
_GRAMMARS = {
    "np": f"np: {{{_PLAIN}}}",
    "jnp": f"jnp: {{<CD>?{_ADJECTIVES}{_NOUNS}}}",
    "pp": f"pp: {{{_PLAIN}{_JOINED}{_JOINED}?}}",  # two or three; longer chains are sentences
}
# Tags that occur in the grammar; any other tag ends every chunk.
_INSIDE = {
    "np": ("CC", "CD", "JJ", "NN"),
    "jnp": ("CC", "CD", "JJ", "NN"),
    "pp": ("CC", "CD", "JJ", "NN", "IN", "TO", "PDT", "DT", "PRP$", "MEASURE"),
}
# Nouns that before "of" only measure or make up a preposition.
_MEASURES = "pair pairs couple set kind sort type piece bit lot front"
# Taggers trained on newspapers take many of these for nouns or verbs in a lower-case caption.
_ADJECTIVE_WORDS = (
    "black white gray grey red pink purple blue navy green brown beige yellow tan khaki maroon "
    "teal turquoise violet striped checkered checked plaid patterned sleeved sleeveless colored "
    "dark light short long"
)
_BEFORE_OF = frozenset(_MEASURES.split())
_ALWAYS_ADJECTIVE = frozenset(_ADJECTIVE_WORDS.split())


def phrase_spans(
    tagged: Sequence[tuple[str, str]], kinds: Sequence[str] = ("np",)
) -> list[tuple[int, int]]:
    """Half-open token spans of the phrases of the given kinds, sorted, without repetition.

    tagged: (word, Penn tag) pairs; "," and "." may stand between the words and end a phrase.
    Spans of one kind do not overlap; those of different kinds may.
    """
    tags = _chunk_tags(tagged)
    spans = set()
    for kind in kinds:
        inside = _INSIDE[kind]
        start = 0
        while start < len(tags):
            end = start
            while end < len(tags) and tags[end] in inside:
                end += 1
            if end > start:
                for first, last in _chunk(kind, tuple(tags[start:end])):
                    spans.add((start + first, start + last))
            start = end + 1
    return sorted(spans)


def noun_phrases(
    tagged: Sequence[tuple[str, str]], kinds: Sequence[str] = ("np",)
) -> list[list[str]]:
    """The words of the phrases that `phrase_spans` finds, in order; empty if there are none."""
    return [[word for word, _ in tagged[a:b]] for a, b in phrase_spans(tagged, kinds)]


def _chunk_tags(tagged: Sequence[tuple[str, str]]) -> list[str]:
    """Tags as the grammar wants them: coarse, some repaired, nouns of measure with their own."""
    tags = []
    for position, (word, tag) in enumerate(tagged):
        following = tagged[position + 1][0] if position + 1 < len(tagged) else ""
        if word in _BEFORE_OF and following == "of":
            tags.append("MEASURE")
        elif tag.startswith("JJ") or (word in _ALWAYS_ADJECTIVE and tag[:2] in ("NN", "VB", "RB")):
            tags.append("JJ")
        elif tag.startswith("NN"):
            tags.append("NN")
        else:
            tags.append(tag)
    return tags


@lru_cache(maxsize=3)
def _parser(kind: str) -> "RegexpParser":
    """The compiled grammar of a kind of phrase."""
    from nltk.chunk import RegexpParser

    return RegexpParser(_GRAMMARS[kind])


@lru_cache(maxsize=100_000)
def _chunk(kind: str, tags: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Spans of the phrases in a run of tags.

    NLTK's chunker takes half a millisecond per caption; the runs between two words that cannot be
    part of a phrase repeat all the time, so that almost none has to be parsed.
    """
    tree = _parser(kind).parse(list(enumerate(tags)))
    leaves = [chunk.leaves() for chunk in tree.subtrees(lambda t: t.label() == kind)]
    return tuple((leaf[0][0], leaf[-1][0] + 1) for leaf in leaves)
