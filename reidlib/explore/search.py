"""Searching a gallery by a sentence or by a picture, with any row of a paper's tables that has been
trained here.

    (row, *_) = search.rows(session, "ssan")
    found = search.engine(session, row)  # the gallery is encoded once
    answer = search.by_sentence(found, "A woman in a red jacket and blue jeans.")
    for hit in answer.hits: ...

Papers that search by pictures take `by_image(found, 3)` instead, the number of a query.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.data.batches.pairs import TextImageData
from reidlib.data.batches.tuples import KINDS
from reidlib.data.dataset import Dataset
from reidlib.data.language.words import Vocabulary, tokenize
from reidlib.errors import DataError, UsageError
from reidlib.experiment import Experiment
from reidlib.explore import common, encoded
from reidlib.metrics.first_match import first_match_ranks
from reidlib.models.gla import GLA, text_to_image_scores
from reidlib.models.parts.codes import fuse
from reidlib.papers import driver
from reidlib.papers.image_to_image import SINGLE_QUERY, SINGLE_SHOT, encode
from reidlib.papers.text_to_image import encode_images, evaluations_of
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.train import Compute

SIMILARITY, RELEVANCE, DISTANCE = "similarity", "relevance s(I, T)", "distance"
_BY_IMAGE = ("gla", "attention_driven", "fgsam")  # papers that search by pictures


@dataclass(frozen=True)
class Row:
    """A row of a paper's table as a training, and what of it ranks the gallery."""

    paper: str
    table: int
    slug: str
    experiment: Experiment
    evaluation: str

    @property
    def dataset(self) -> str:
        return self.experiment.dataset

    @property
    def feature(self) -> str:
        """The feature that the evaluation compares, where a network has several."""
        return self.evaluation.partition(", ")[2]


@dataclass(frozen=True, eq=False)
class Engine:
    """A model with its data and an encoded gallery.

    gallery: codes or embeddings of all pictures that are searched, one a row. query: embeddings
    float (Q, ...) of the pictures that are searched for; None where sentences are the queries.
    """

    row: Row
    model: nn.Module
    data: Any
    gallery: Any
    query: Tensor | None = None

    @property
    def by_sentence(self) -> bool:
        return self.query is None

    @property
    def split(self) -> str:
        """The split whose pictures are searched."""
        return "test" if self.by_sentence else "gallery"

    @property
    def size(self) -> int:
        """Number of pictures that are searched."""
        return len(self.data.dataset.splits[self.split])

    @cached_property
    def captions(self) -> dict[str, list[int]]:
        """Numbers of the test captions by what they say, see `_same`."""
        found: dict[str, list[int]] = {}
        for number, caption in enumerate(self.data.test.captions):
            found.setdefault(_same(caption), []).append(number)
        return found


class Hit(NamedTuple):
    """A picture that was found, by its row in the gallery.

    `verdict`: "correct", "wrong", "junk" or "same camera" as in `common.Ranked`; "" where nobody
    knows who is meant. What is not counted has no `rank`. `score`: see `Answer.measure`.
    """

    row: int
    verdict: str
    rank: int | None
    score: float


@dataclass(frozen=True)
class Answer:
    """What a search found, best first; no hits where `message` says why there are none.

    query: the sentence, or the number of the query picture. measure: what the scores are, a
    similarity (higher is better) or a distance. unknown: words that the model has never read, with
    the nearest ones that it has. meant: rows of the pictures that the sentence was written for; of
    a sentence of one's own there are none. first: rank of the first correct picture among all that
    count, None where nobody is meant or nobody correct is there.
    """

    query: str | int
    measure: str
    hits: tuple[Hit, ...] = ()
    message: str = ""
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    meant: tuple[int, ...] = ()
    first: int | None = None
    counted: int = 0  # pictures that the query is ranked among
    note: str = ""  # how this search differs from the one that the table reports

    @property
    def judged(self) -> bool:
        """Whether it is known who is meant."""
        return any(hit.verdict for hit in self.hits)


# ------------------------------------------------------------------ what can be searched with


def rows(session: Session, paper: str) -> list[Row]:
    """Rows of the paper's tables whose training, of any seed, is finished here with its weights: in
    the order of the tables, each training with each of its evaluations once."""
    found: dict[tuple[str, str], Row] = {}
    for place in driver.places(paper, session.profile):
        first = driver.cell(paper, session.profile, *place)
        training = first.experiments[0].key(""), first.evaluation
        if training not in found and (row := row_of(session, paper, place)) is not None:
            found[training] = row
    return list(found.values())


def chosen(session: Session, found: list[Row], slug: str) -> Row:
    """Of the rows that were found the one with this slug, or with the same training; else the
    first one."""
    trainings = {
        experiment
        for place in driver.places(found[0].paper, session.profile)
        if place[1] == slug
        for experiment in driver.cell(
            found[0].paper, session.profile, *place, session.seeds
        ).experiments
    }
    return next((row for row in found if row.experiment in trainings), found[0])


def row_of(session: Session, paper: str, place: driver.Place) -> Row | None:
    """What a cell of a table can be searched with: its first training that is finished here with
    its weights; None where there is none, or where the cell is no search of one gallery."""
    table, slug, _ = place
    cell = driver.cell(paper, session.profile, *place, session.seeds)
    if cell is None or not isinstance(table, int) or not _searchable(paper, cell):
        return None
    for experiment in cell.experiments:
        if _is_trained(session, experiment):
            return Row(paper, table, slug, experiment, cell.evaluation)
    return None


def _searchable(paper: str, cell: driver.Cell) -> bool:
    """Not several queries pooled, and one gallery (that of a transfer is several)."""
    if cell.evaluation.startswith((SINGLE_QUERY, SINGLE_SHOT)):
        return paper in _BY_IMAGE
    return ": " not in cell.evaluation and "multi" not in cell.evaluation


def _is_trained(session: Session, experiment: Experiment) -> bool:
    with contextlib.suppress(DataError):  # some of the real datasets may not be there
        return session.store.load_trained(key_of(session, experiment)) is not None
    return False


@lru_cache(maxsize=2)
def engine(session: Session, row: Row) -> Engine:
    """A row's model, its gallery encoded; kept for the next search.

    Raises `DataError` if the row has not been trained here.
    """
    found = common.finished(session, row.experiment, Compute.choose(session.device).device)
    if found is None:
        raise DataError(f"{row.experiment.name}: has not been trained here, nothing to search with")
    model, data = found
    if isinstance(data, TextImageData):
        return engine_of(row, model, data)
    kept = encoded.of_finished(session, row.experiment, model, data, row.feature)
    return _by_image(row, model, data, *kept)


def engine_of(row: Row, model: nn.Module, data: Any) -> Engine:
    """Any model of a paper on its data as an engine: encodes the gallery."""
    model.eval()
    if not isinstance(data, TextImageData):
        return _by_image(row, model, data, *encoded.encode_searched(model, data, row.feature))
    if isinstance(model, GLA):
        psi_bar = encode(lambda images: model.encode_images(images).psi_bar, data.test)
        return Engine(row, model, data, psi_bar)
    return Engine(row, model, data, encode_images(model, data.test))


def _by_image(row: Row, model: nn.Module, data: Any, query: Tensor, gallery: Tensor) -> Engine:
    # In the precision that distances are computed in, so that no search has to convert them.
    return Engine(row, model, data, gallery.double(), query.double())


def untrained(
    paper: str, profile: str, place: driver.Place, find: Callable[[str], Dataset], cache: Path
) -> Engine:
    """A row whose network has learned nothing: enough to time a search, and to test one.

    find: gives the dataset of a name. Raises `UsageError` if the profile does not train the row.
    """
    cell = driver.cell(paper, profile, *place)
    if cell is None or not isinstance(place[0], int):
        raise UsageError(f"profile {profile} of {paper} trains no row {place}")
    (experiment,) = cell.experiments
    package = driver.get_paper(paper)
    data = package.prepare(experiment, find(experiment.dataset), cache, "cpu")
    torch.manual_seed(0)
    model = package.build(experiment, data)
    return engine_of(Row(paper, place[0], place[1], experiment, cell.evaluation), model, data)


# ------------------------------------------------------------------ searching


def by_sentence(engine: Engine, sentence: str, k: int = 8) -> Answer:
    """The `k` pictures that fit a sentence best.

    A sentence without a word, or without one that the model knows, finds nothing and is told why.
    If it is one of the test split's, the person it is about is known, and the hits are judged.
    """
    measure = RELEVANCE if _is_relevance(engine.model) else SIMILARITY
    vocabulary = engine.data.vocabulary
    words = tokenize(sentence)
    unknown = nearest_words(words, vocabulary)
    if not words:
        what = "a sentence without a word" if sentence.strip() else "an empty sentence"
        message = f"This is {what}: say what the person looks like and wears."
        return Answer(sentence, measure, message=message)
    if all(word in unknown for word in words):
        message = "None of these words occurs in the training sentences: there is nothing to go by."
        return Answer(sentence, measure, message=message, unknown=unknown)
    scores = sentence_scores(engine, sentence)
    best, values = common.best_matches(scores, k)
    shown = torch.from_numpy(values[0])
    shown = (shown.sigmoid() if measure == RELEVANCE else shown).tolist()
    captions = engine.captions.get(_same(sentence), [])
    split = engine.data.test
    people = set(split.caption_pids[captions].tolist())
    correct = np.isin(split.image_pids, list(people))
    first = None
    if correct.any():
        first = int(first_match_ranks(scores, [1], correct.astype(np.int64))[0])
    verdicts = ("wrong", "correct")
    hits = tuple(
        Hit(row, verdicts[int(correct[row])] if people else "", rank, score)
        for rank, (row, score) in enumerate(zip(best[0].tolist(), shown, strict=True), start=1)
    )
    meant = tuple(dict.fromkeys(split.image_of[captions].tolist()))
    return Answer(sentence, measure, hits, "", unknown, meant, first, len(correct))


@torch.inference_mode()
def sentence_scores(engine: Engine, sentence: str) -> Tensor:
    """How well every picture of the gallery fits: float (1, pictures), on the CPU."""
    model, row = engine.model, engine.row
    text = common.as_text(engine.data, sentence, KINDS if isinstance(model, GLA) else ("np",))
    device = engine.data.test.images.device
    text = text._replace(tokens=text.tokens.to(device), phrases=text.phrases.to(device))
    if isinstance(model, GLA):
        theta_g = model.encode_descriptions(text.tokens, text.lengths)
        return text_to_image_scores(model, engine.gallery, theta_g).cpu()
    method = driver.module_of(model.cfg)
    texts = model.encode_text(*(text if method.PHRASES else text[:2]))
    weights = evaluations_of(model.cfg)[row.evaluation]
    return fuse(method.similarities(engine.gallery, texts, model.cfg), weights).cpu()


def _is_relevance(model: nn.Module) -> bool:
    return isinstance(model, GLA) and bool(model.cfg.L_dis)


def by_image(engine: Engine, query: int, k: int = 8) -> Answer:
    """The pictures nearest to a query, by its row, until `k` of them count.

    Those that the protocol leaves out stand where they would be.
    """
    data = engine.data
    distances = common.distances(engine.query, engine.gallery, [query])[0]
    verdicts = common.verdicts(data, query)
    hits = tuple(Hit(*found) for found in common.in_order(distances, verdicts, k))
    counted, correct = np.isin(verdicts, ("correct", "wrong")), verdicts == "correct"
    first = None
    if correct.any():  # a tie counts against the query, as in the evaluation
        best = distances[correct].min()
        first = 1 + int((distances[counted & ~correct] <= best).sum())
    note = ""
    if engine.row.evaluation.startswith(SINGLE_SHOT):
        note = "All pictures are searched; the table draws one of each person."
    return Answer(query, DISTANCE, hits, first=first, counted=int(counted.sum()), note=note)


# ------------------------------------------------------------------ words


def nearest_words(
    words: Iterable[str], vocabulary: Vocabulary, most: int = 3
) -> dict[str, tuple[str, ...]]:
    """Those of the words that are not in the vocabulary, each with the nearest ones that are."""
    return {
        word: tuple(difflib.get_close_matches(word, vocabulary.words, n=most, cutoff=0.6))
        for word in dict.fromkeys(words)
        if word not in vocabulary.index
    }


def in_words(answer: Answer) -> list[str]:
    """What there is to say about an answer, as sentences."""
    told = [answer.message] if answer.message else []
    for word, near in answer.unknown.items():
        like = f"the nearest known: {', '.join(near)}" if near else "and no known word is like it"
        told.append(f"“{word}” is not known: {like}.")
    if answer.judged and answer.first is None:
        told.append("No picture of this person is in the gallery.")
    elif answer.judged:
        told.append(
            f"The first correct picture has rank {answer.first} of {answer.counted:,} that count."
        )
    elif answer.hits:
        told.append(
            "Nobody knows who is meant by a sentence of your own: nothing is judged. Sentences of "
            "the test split are."
        )
    return [*told, answer.note] if answer.note else told


def _same(sentence: str) -> str:
    """Sentences that differ in blanks and capitals only are the same."""
    return " ".join(sentence.split()).casefold()
