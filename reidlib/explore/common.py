"""What looking at the trained models of several papers has in common."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from reidlib.data.batches.images import read_rgb
from reidlib.data.batches.pairs import Text, TextImageData, TextImageSplit, to_text
from reidlib.data.dataset import Dataset
from reidlib.data.formats import market1501
from reidlib.data.language.encoding import encode_captions
from reidlib.data.language.tagger import load_tagger
from reidlib.data.language.words import Vocabulary
from reidlib.errors import DataError
from reidlib.experiment import Experiment, Training
from reidlib.metrics.first_match import top_matches
from reidlib.papers import driver
from reidlib.papers.claims import leans, verdict
from reidlib.papers.driver import Cell
from reidlib.papers.image_to_image import Searched
from reidlib.papers.intervals import Difference, compare, samples
from reidlib.papers.pretraining import STARTS
from reidlib.papers.tables import Measurement
from reidlib.run.plan import key_of
from reidlib.run.session import Session


@dataclass(frozen=True)
class Retrieval:
    """A test caption and the images that fit it best, best first."""

    sentence: str
    rows: np.ndarray  # int64 (k,): of the split's images
    correct: list[bool]  # which show the person that is described
    scores: np.ndarray  # float (k,)


class Ranked(NamedTuple):
    """A gallery image in the order of distances to a query.

    `verdict`: "correct", "wrong", "junk" (a bad box) or "same camera" (the query's person as its
    own camera saw it); the last two are not part of the ranking and have no `rank`.
    """

    row: int
    verdict: str
    rank: int | None
    distance: float


def spread(number: int, of: int) -> list[int]:
    """`number` positions spread evenly over `of`: examples chosen by place, not by outcome."""
    return np.linspace(0, of - 1, min(number, of)).round().astype(int).tolist()


def pictures(dataset: Dataset, rows: Sequence[int], split: str = "test") -> list[np.ndarray]:
    """Images of a split as they are on disk, uint8 (h, w, 3)."""
    paths = dataset.splits[split]["path"]
    return [np.asarray(read_rgb(dataset.images / paths[int(row)])) for row in rows]


def trained_on(session: Session, paper: str, names: Iterable[str]) -> list[str]:
    """Those of the datasets that the profile trains a paper's rows on."""
    there = {experiment.dataset for experiment in driver.experiments(paper, session.profile)}
    return [name for name in names if name in there]


def available(session: Session, names: Sequence[str]) -> dict[str, Dataset]:
    """Those of the datasets that are there; says which are not (some of the real ones may be
    missing; the procedural world has all).
    """
    found = {}
    for name in names:
        try:
            found[name] = session.dataset(name, progress=True)
        except DataError as error:
            print(f"{name} is left out: {error}")
    return found


def finished(
    session: Session, experiment: Experiment, device: str = "cpu"
) -> tuple[nn.Module, Any] | None:
    """A finished run's model, in evaluation mode, and its data, both on `device`; None if the
    experiment has not been trained here yet.
    """
    run = session.store.load_trained(key_of(session, experiment))
    if run is None:
        return None
    dataset = session.dataset(experiment.dataset)
    paper = driver.get_paper(experiment.paper)
    data = paper.prepare(experiment, dataset, session.cache, device)
    return driver.load_trained(experiment, data, run.weights).to(device), data


def as_text(data: TextImageData, sentence: str, kinds: Sequence[str] = ("np",)) -> Text:
    """Any sentence in the words of the training captions, as a set of one caption."""
    return to_text(encode_captions([sentence], data.vocabulary, load_tagger(), kinds=kinds))


def words_of(vocabulary: Vocabulary, indices: Sequence[int]) -> str:
    """Indices as words again; an unknown word is a question mark."""
    return " ".join("?" if i < 2 else vocabulary.words[i - 2] for i in indices)


def best_matches(scores: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of float (captions, images), the `k` best images of each caption and their scores, (., k)."""
    rows = np.asarray(top_matches(scores, k))
    return rows, scores.gather(1, torch.from_numpy(rows)).numpy()


def retrievals(
    split: TextImageSplit, captions: Sequence[int], scores: Tensor, k: int = 5
) -> list[Retrieval]:
    """What captions of a split find by their scores, float (captions, images of the split)."""
    rows, values = best_matches(scores, k)
    correct = split.image_pids[rows] == split.caption_pids[list(captions)][:, None]
    return [
        Retrieval(split.captions[n], *found)
        for n, *found in zip(captions, rows, correct.tolist(), values, strict=True)
    ]


def image_retrievals(
    data: Searched, query: Tensor, gallery: Tensor, queries: Sequence[int], k: int = 8
) -> list[list[Ranked]]:
    """The gallery images nearest to each query, until `k` of them are part of its ranking.

    Those that the protocol leaves out stand where they would be.

    query, gallery: embeddings float (Q, d) and (N, d) of all images of `data`; queries: rows.
    """
    found = zip(queries, distances(query, gallery, queries), strict=True)
    return [in_order(values, verdicts(data, row), k) for row, values in found]


def distances(query: Tensor, gallery: Tensor, queries: Sequence[int]) -> np.ndarray:
    """Euclidean distances float64 (., N) of some queries, by their rows, to the whole gallery."""
    features = query[torch.as_tensor(list(queries))]
    return torch.cdist(features.double(), gallery.double()).cpu().numpy()


def in_order(distances: np.ndarray, verdicts: np.ndarray, k: int) -> list[Ranked]:
    """Gallery images in the order of their distances to a query, until `k` of them count.

    distances float (N,), verdicts str (N,); equal distances keep gallery order.
    """
    order = np.argsort(distances, kind="stable")
    ranks = np.isin(verdicts[order], ("correct", "wrong")).cumsum()
    shown = int(np.searchsorted(ranks, k)) + 1  # with the k-th that counts
    found, before = [], 0
    for image, rank in zip(order[:shown].tolist(), ranks.tolist(), strict=False):
        place = rank if rank > before else None
        found.append(Ranked(image, str(verdicts[image]), place, float(distances[image])))
        before = rank
    return found


def verdicts(data: Searched, row: int) -> np.ndarray:
    """What every gallery image is to a query, by its row: str (N,), see `Ranked`."""
    query, gallery = data.query, data.gallery
    same_person = gallery.pids == query.pids[row]
    left_out = gallery.camids == query.camids[row]
    if not data.dataset.name.startswith("cuhk03-classic"):  # there everything of the own view is
        left_out = left_out & same_person
    found = np.where(same_person, "correct", "wrong")
    found = np.where(left_out, "same camera", found)
    return np.where(gallery.pids == market1501.JUNK, "junk", found)


def learning_rates(training: Training) -> str:
    """The learning rates of a training, in words."""
    stages = [
        (
            stage.name,
            ", ".join(_epochs(len(list(run)), lr) for lr, run in groupby(stage.lrs)),
        )
        for stage in training.stages
    ]
    return "; ".join(f"{name}: {rates}" if len(stages) > 1 else rates for name, rates in stages)


def _epochs(number: int, lr: float) -> str:
    return f"{number} epoch{'s' * (number != 1)} at {lr:g}"


# ---------------------------------------------------------------- several trainings of a row


def measurements(session: Session, cell: Cell) -> list[Measurement]:
    """One measurement per seed; without a run where it, or its data, is not there."""
    found = []
    for experiment in cell.experiments:
        run = None
        with contextlib.suppress(DataError):
            run = session.store.load(key_of(session, experiment))
        found.append(Measurement(run, cell.evaluation, cell.metric))
    return found


def values_of(found: Sequence[Measurement]) -> list[float]:
    """Of the trainings that are finished, in percent."""
    return [value for m in found if (value := m.result()) is not None]


def mean_of(found: Sequence[Measurement]) -> float | None:
    values = values_of(found)
    return float(np.mean(values)) if values else None


def difference(higher: Sequence[Measurement], lower: Sequence[Measurement]) -> Difference | None:
    """`higher` minus `lower`, with its interval; None where trainings are missing."""
    return compare(samples(higher), samples(lower))


def in_words(found: Difference) -> str:
    """The verdict on a difference, and where nothing is decided which way it leans."""
    lean = leans(found)
    return verdict(found) + (f" (leans {lean})" if lean else "")


def starts(session: Session, paper: str) -> pd.DataFrame | None:
    """How much the start of the backbone decides: the rows that a profile trains from several
    starts, the mean of their trainings (lowest to highest), and the last row minus the first.

    None if the profile compares no starts, or none of it has been run.
    """
    places = [place for place in driver.places(paper, session.profile) if place[0] == STARTS]
    found: dict[str, dict[str, list[Measurement]]] = {}
    for _, row, start in places:
        cell = driver.cell(paper, session.profile, STARTS, row, start, session.seeds)
        found.setdefault(start, {})[f"{row}, {cell.metric}"] = measurements(session, cell)
    lines = []
    for start, rows in found.items():
        first, *_, last = rows.values()
        change = difference(last, first)
        line: dict[str, Any] = {"start": start}
        for row, measured in rows.items():
            values = values_of(measured)
            line[row] = (
                f"{np.mean(values):.1f} ({min(values):.1f} … {max(values):.1f})" if values else None
            )
        line |= {
            "last − first": change and change.value,
            "95 % from": change and change.low,
            "95 % to": change and change.high,
            "last is better": in_words(change) if change else "not run",
        }
        lines.append(line)
    if all(line["last − first"] is None for line in lines):
        return None
    return pd.DataFrame(lines)
