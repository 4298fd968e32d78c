"""Looking at a trained IMG-Net: searching a gallery by a sentence, attention maps. Beside it, what
batches of several sizes come to with BN and with GN."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reidlib.data.batches.pairs import TextImageData, text_of
from reidlib.errors import DataError
from reidlib.experiment import Experiment
from reidlib.explore import common
from reidlib.models.imgnet import (
    EVALUATIONS,
    ImageCodes,
    IMGNet,
    TextCodes,
    attention_maps,
    kept_attention,
    similarities,
)
from reidlib.models.parts.codes import fuse
from reidlib.papers import driver
from reidlib.papers.imgnet.table_4 import BATCH_SIZES
from reidlib.papers.text_to_image import encode_images
from reidlib.run.plan import key_of
from reidlib.run.session import Session

FULL = {
    "VGG-16": (1, "vgg-ch1-sp1-gs1-ls1-gp1-gn"),
    "ResNet-50": (2, "resnet-ch1-sp1-gs1-ls1-gp1-gn"),
}


@dataclass(frozen=True)
class Trained:
    """A finished run's model with its data and the codes of the test images."""

    model: IMGNet
    data: TextImageData
    images: ImageCodes


def full_experiment(session: Session, backbone: str = "VGG-16") -> Experiment:
    """The paper's full model: channel and spatial attention, all three granularities, GN."""
    table, row = FULL[backbone]
    return driver.cell("imgnet", session.profile, table, row, "Top-1").experiments[0]


def load_trained(session: Session, experiment: Experiment) -> Trained | None:
    """The model of a finished run, on the CPU; None if it has not been trained yet."""
    found = common.finished(session, experiment)
    if found is None:
        return None
    model, data = found
    return Trained(model, data, encode_images(model, data.test))


def scores(trained: Trained, texts: TextCodes) -> Tensor:
    """Eq 18 of captions and all test images: float (captions, images)."""
    return fuse(similarities(trained.images, texts), EVALUATIONS["GS+LS+GP"])


def search(trained: Trained, sentence: str, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The `k` test images that fit a sentence best: rows of the test split, and their scores."""
    with torch.inference_mode():
        texts = trained.model.encode_text(*common.as_text(trained.data, sentence))
        rows, found = common.best_matches(scores(trained, texts), k)
    return rows[0], found[0]


def retrievals(trained: Trained, captions: Sequence[int], k: int = 5) -> list[common.Retrieval]:
    """What test captions, by their number, find."""
    split = trained.data.test
    with torch.inference_mode():
        texts = trained.model.encode_text(*text_of(split, torch.as_tensor(list(captions))))
        return common.retrievals(split, captions, scores(trained, texts), k)


def attention(trained: Trained, rows: Sequence[int]) -> np.ndarray:
    """Mask A of Eq 4, averaged over channels, for test images: float (N, h, w)."""
    pixels = trained.data.test.images.batch(torch.as_tensor(list(rows)))
    return attention_maps(trained.model, pixels).numpy()


class Pair(NamedTuple):
    """Which stripes of an image fit a sentence, and which phrases of the sentence the image.

    stripes: float (k,), alpha of Eq 11 from the top; weights: float (n,), alpha of Eq 13 of the
    `phrases`. Each sums to 1; only what reaches its mean, 1/k or 1/n, passes (Eq 12 and 14).
    """

    stripes: np.ndarray
    stripes_pass: np.ndarray  # bool (k,)
    phrases: list[str]
    weights: np.ndarray
    phrases_pass: np.ndarray  # bool (n,)


@torch.inference_mode()
def pair(trained: Trained, sentence: str, image: int) -> Pair:
    """Any sentence beside a test image, by its row."""
    model, vocabulary = trained.model, trained.data.vocabulary
    text, device = common.as_text(trained.data, sentence), trained.images.VG.device
    texts = model.encode_text(
        *text._replace(tokens=text.tokens.to(device), phrases=text.phrases.to(device))
    )
    stripes = _weights(trained.images.MV[image], texts.TS[0], model.cfg.tolerance)
    weights = _weights(texts.MP, trained.images.VG[image], model.cfg.tolerance)
    phrases = [
        common.words_of(vocabulary, phrase[:length])
        for phrase, length in zip(text.phrases.tolist(), text.phrase_lengths.tolist(), strict=True)
    ]
    return Pair(*stripes, phrases, *weights)


def _weights(M: Tensor, T: Tensor, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """alpha of the regions float (n, P) of one image or caption beside a vector (P,) of the other,
    and which of them pass the threshold."""
    cosines = F.cosine_similarity(M.float(), T.float()[None], dim=1, eps=1e-8)
    kept = kept_attention(cosines[None, :, None], 1 / len(M) - tolerance)[0, :, 0] > 0
    return cosines.softmax(0).cpu().numpy(), kept.cpu().numpy()


# ------------------------------------------------------------------ BN and GN


@dataclass(frozen=True)
class BatchSizes:
    """Top-1 in percent of the method that is trained in batches of several sizes, by norm ("BN",
    "GN") and then by size: mean and standard deviation of the finished trainings; None without."""

    sizes: tuple[int, ...]
    mean: dict[str, list[float | None]]
    std: dict[str, list[float | None]]
    trainings: int  # finished ones, in all
    planned: int


def batch_sizes(session: Session) -> BatchSizes:
    """What is finished of the trainings with several sizes of batches; no sizes where the profile
    has none."""
    mean: dict[str, list[float | None]] = {}
    std: dict[str, list[float | None]] = {}
    sizes: dict[int, None] = {}
    done = planned = 0
    for place in driver.places("imgnet", session.profile):
        if place[0] != BATCH_SIZES:
            continue
        norm = place[1].rpartition("-")[2].upper()
        sizes[int(place[2])] = None
        cell = driver.cell("imgnet", session.profile, *place, session.seeds)
        try:
            runs = [session.store.load(key_of(session, each)) for each in cell.experiments]
        except DataError:  # some of the real datasets may not be there
            runs = [None] * len(cell.experiments)
        found = [
            run.metrics["evaluations"][cell.evaluation][cell.metric]
            for run in runs
            if run is not None
        ]
        mean.setdefault(norm, []).append(statistics.fmean(found) if found else None)
        std.setdefault(norm, []).append(statistics.stdev(found) if len(found) > 1 else None)
        done, planned = done + len(found), planned + len(runs)
    return BatchSizes(tuple(sizes), mean, std, done, planned)


def of_table_4(session: Session, method: str = "pcb", norm: str = "GN") -> Experiment | None:
    """The training behind a row of Table 4; None where the profile leaves it out."""
    cell = driver.cell("imgnet", session.profile, 4, method, f"{norm}-Rank-1")
    return None if cell is None else cell.experiments[0]
