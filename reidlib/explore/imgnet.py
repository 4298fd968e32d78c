"""Looking at a trained IMG-Net: searching a gallery by a sentence, attention maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reidlib.data.batches.pairs import TextImageData, text_of
from reidlib.experiment import Experiment
from reidlib.explore import common
from reidlib.models.imgnet import (
    EVALUATIONS,
    ImageCodes,
    IMGNet,
    TextCodes,
    attention_maps,
    similarities,
)
from reidlib.models.parts.codes import fuse
from reidlib.papers import driver
from reidlib.papers.text_to_image import encode_images
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
