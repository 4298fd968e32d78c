"""The part-of-speech tagger: NLTK's pretrained one where its data is present, else our own.

Both are NLTK's averaged perceptron with Penn Treebank tags. Ours was trained by
`python -m reidlib.world.language.train_tagger` on captions of the synthetic world and lies beside
this module as JSON, so that noun phrases can be extracted without any download.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from reidlib.errors import DataError

if TYPE_CHECKING:  # see phrases.py
    from nltk.tag.perceptron import PerceptronTagger

PRETRAINED = "averaged_perceptron_tagger_eng"
PRETRAINED_NAME = f"nltk {PRETRAINED}"
SHIPPED_NAME = "reidlib tagger (trained on synthetic captions)"
SHIPPED_FILES = ("weights.json", "tagdict.json", "classes.json")


@dataclass(frozen=True)
class Tagger:
    """A perceptron tagger and the name under which reports mention it."""

    name: str
    perceptron: "PerceptronTagger"

    def tag(self, tokens: Sequence[str]) -> list[tuple[str, str]]:
        """(token, Penn tag) for every token of a caption."""
        return self.perceptron.tag(tokens)


def load_tagger() -> Tagger:
    """NLTK's pretrained tagger if `nltk.data` finds it, else the shipped one.

    Nothing is downloaded and nothing unpickled. Raises DataError if NLTK's data is there but
    cannot be read.
    """
    import nltk.data
    from nltk.tag.perceptron import PerceptronTagger

    try:
        folder = nltk.data.find(f"taggers/{PRETRAINED}/")
    except LookupError:
        return shipped_tagger()
    try:
        return Tagger(PRETRAINED_NAME, PerceptronTagger())
    except (LookupError, OSError, TypeError, ValueError) as error:
        expected = ", ".join(f"{PRETRAINED}.{name}" for name in SHIPPED_FILES)
        raise DataError(f"{folder}: expected NLTK's tagger ({expected}): {error}") from error


def shipped_tagger() -> Tagger:
    """The tagger that comes with the package."""
    from nltk.tag.perceptron import PerceptronTagger

    folder = files("reidlib.data.language") / "tagger_json"
    try:
        weights, tagdict, classes = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in SHIPPED_FILES
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: expected the shipped tagger ({', '.join(SHIPPED_FILES)}): {error}"
        ) from error
    perceptron = PerceptronTagger(load=False)
    perceptron.model.weights = weights
    perceptron.tagdict = tagdict
    perceptron.classes = perceptron.model.classes = set(classes)
    return Tagger(SHIPPED_NAME, perceptron)
