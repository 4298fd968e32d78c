"""Looking at a trained GLA: where it looks for a phrase; searching by a sentence or an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidlib.data.described import KINDS, DescribedData, ImageSplit
from reidlib.data.images import DeviceImages
from reidlib.data.text import Vocabulary
from reidlib.data.text_image import Text, TextImageData, text_of, to_text
from reidlib.experiment import Experiment
from reidlib.models.gla import GLA, phrase_heat_maps, phrase_owner, text_to_image_scores
from reidlib.papers import exploring, gla
from reidlib.papers.gla import searching
from reidlib.session import Session

JUNK_PID = -1


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data, and the features of the test images.

    Of an image dataset: phi of queries and gallery. Of CUHK-PEDES `gallery` is psi_bar of the test
    images, and `query` theta^g of the test captions.
    """

    model: GLA
    data: DescribedData | TextImageData
    query: Tensor
    gallery: Tensor


class PhraseMap(NamedTuple):
    """A noun phrase and where the model looks for it in an image."""

    image: int  # row in the split
    phrase: str
    heat: np.ndarray  # float32 (height, width), of the size that the model takes


class Ranked(NamedTuple):
    """A gallery image in the order of distances to a query.

    `verdict`: "correct", "wrong", "junk" (a bad box) or "same camera" (the query's person as its
    own camera saw it); the last two are not part of the ranking and have no `rank`.
    """

    row: int
    verdict: str
    rank: int | None
    distance: float


def experiment(session: Session, table: int, row: str, column: str) -> Experiment:
    """The first seed's training behind a cell of the tables."""
    return gla.cell(session.profile_name, table, row, column, 1).experiments[0]


def load_trained(session: Session, experiment: Experiment) -> Trained | None:
    """The model of a finished run, on the CPU; None if it has not been trained yet."""
    found = exploring.finished(session, experiment)
    if found is None:
        return None
    model, data = found
    if isinstance(data, TextImageData):
        gallery, query = searching.encode_pairs(model, data.test)
    else:
        query, gallery = searching.encode(model, data.query), searching.encode(model, data.gallery)
    return Trained(model, data, query, gallery)


# ------------------------------------------------------------------ phrases


def phrase_maps(trained: Trained, images: Sequence[int], most: int = 3) -> list[PhraseMap]:
    """Attention to the phrases of each image's first description (Fig. 5), up to `most` each.

    images: rows of the test split of CUHK-PEDES, of the training split of other datasets (their
    test images are not described; some training images borrow the description of another one).
    """
    data = trained.data
    if isinstance(data, TextImageData):
        split, image_of = data.test.images, data.test.image_of.numpy()
        captions = [int(np.flatnonzero(image_of == image)[0]) for image in images]
        text = data.test.text
    else:
        split, choices, text = data.tuples.images, data.tuples.choices, data.tuples.text
        captions = [int(choices.captions[choices.offsets[image]]) for image in images]
    words = to_text(text.take(np.asarray(captions)))
    owner = phrase_owner(words.phrase_offsets)
    number = torch.arange(len(owner)) - words.phrase_offsets[owner]  # of a phrase in its caption
    kept = number < most
    phrases = words.phrases[kept], words.phrase_lengths[kept]
    return _heat_maps(trained, split, images, *phrases, owner[kept])


def look_for(trained: Trained, sentence: str, images: Sequence[int]) -> list[PhraseMap]:
    """Attention to every phrase of any sentence in each of some test images, by their rows: of
    CUHK-PEDES's test split, or of the gallery."""
    data = trained.data
    split = data.test.images if isinstance(data, TextImageData) else data.gallery.images
    text = exploring.as_text(data, sentence, KINDS)
    owner = torch.arange(len(images)).repeat_interleave(len(text.phrases))
    phrases = text.phrases.repeat(len(images), 1), text.phrase_lengths.repeat(len(images))
    return _heat_maps(trained, split, images, *phrases, owner)


def _heat_maps(
    trained: Trained,
    split: DeviceImages,
    images: Sequence[int],
    phrases: Tensor,
    lengths: Tensor,
    owner: Tensor,
) -> list[PhraseMap]:
    """phrases int64 (R, Lp), lengths and owner int64 (R,): the position in `images` of each."""
    pixels = split.batch(torch.as_tensor(list(images)))
    heat = phrase_heat_maps(trained.model, pixels, phrases, lengths, owner).numpy()
    return [
        PhraseMap(images[image], read(trained.data.vocabulary, phrase[:length]), values)
        for image, phrase, length, values in zip(
            owner.tolist(), phrases.tolist(), lengths.tolist(), heat, strict=True
        )
    ]


def read(vocabulary: Vocabulary, indices: Sequence[int]) -> str:
    """Indices as words again; an unknown word is a question mark."""
    return " ".join("?" if i < 2 else vocabulary.words[i - 2] for i in indices)


# ------------------------------------------------------------------ searching by a sentence


@torch.inference_mode()
def search(trained: Trained, sentence: str, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The `k` test images of CUHK-PEDES that fit a sentence best: their rows and scores."""
    rows, found = exploring.best_matches(
        _scores(trained, exploring.as_text(trained.data, sentence, KINDS)), k
    )
    return rows[0], found[0]


@torch.inference_mode()
def retrievals(trained: Trained, captions: Sequence[int], k: int = 5) -> list[exploring.Retrieval]:
    """What test captions of CUHK-PEDES, by their number, find (Fig. 6)."""
    split = trained.data.test
    text = text_of(split, torch.as_tensor(list(captions)))
    return exploring.retrievals(split, captions, _scores(trained, text), k)


def _scores(trained: Trained, text: Text) -> Tensor:
    theta_g = trained.model.encode_descriptions(text.tokens, text.lengths)
    return text_to_image_scores(trained.model, trained.gallery, theta_g)


# ------------------------------------------------------------------ searching by an image


def image_retrievals(trained: Trained, queries: Sequence[int], k: int = 8) -> list[list[Ranked]]:
    """The gallery images nearest to each query, until `k` of them are part of its ranking.

    Those that the protocol leaves out stand where they would be.
    """
    data = trained.data
    query, gallery = data.query, data.gallery
    same_view = data.dataset.name.startswith("cuhk03-classic")
    features = trained.query[torch.as_tensor(list(queries))]
    distances = torch.cdist(features.double(), trained.gallery.double())
    order = distances.argsort(dim=1, stable=True)
    found = []
    for row, nearest, values in zip(queries, order.tolist(), distances.tolist(), strict=True):
        ranked: list[Ranked] = []
        rank = 0
        for image in nearest:
            verdict = _verdict(query, gallery, row, image, same_view)
            place = None
            if verdict in ("correct", "wrong"):
                rank += 1
                place = rank
            ranked.append(Ranked(image, verdict, place, values[image]))
            if rank == k:
                break
        found.append(ranked)
    return found


def _verdict(query: ImageSplit, gallery: ImageSplit, row: int, image: int, same_view: bool) -> str:
    pid, own_camera = gallery.pids[image], gallery.camids[image] == query.camids[row]
    if pid == JUNK_PID:
        return "junk"
    if own_camera and (same_view or pid == query.pids[row]):
        return "same camera"
    return "correct" if pid == query.pids[row] else "wrong"
