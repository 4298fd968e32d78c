"""Looking at a trained IMG-Net: searching a gallery by a sentence, attention maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reidlib.data.encode import encode_captions
from reidlib.data.images import read_rgb
from reidlib.data.tagger import load_tagger
from reidlib.data.text_image import TextImageData, text_of, to_text
from reidlib.evaluate import top_matches
from reidlib.experiment import Experiment
from reidlib.models.imgnet import (
    ImageCodes,
    IMGNet,
    TextCodes,
    attention_maps,
    fuse,
    similarity_blocks,
)
from reidlib.papers.imgnet import cell, encode, load_model, prepare_data
from reidlib.runner import key_of
from reidlib.session import Session
from reidlib.train import Compute

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
    texts: TextCodes


def full_experiment(session: Session, backbone: str = "VGG-16") -> Experiment:
    """The paper's full model: channel and spatial attention, all three granularities, GN."""
    table, row = FULL[backbone]
    return cell(session.profile_name, table, row, "Top-1", 1).experiments[0]


def load_trained(session: Session, experiment: Experiment) -> Trained | None:
    """The model of a finished run, on the CPU; None if it has not been trained yet."""
    run = session.store.load(key_of(session, experiment))
    if run is None:
        return None
    dataset = session.dataset(experiment.dataset)
    data = prepare_data(experiment, dataset, session.cache, "cpu")
    model = load_model(experiment, data, run.folder / "model.safetensors")
    return Trained(model, data, *encode(model, data.test, Compute("cpu")))


def scores(trained: Trained, texts: TextCodes) -> Tensor:
    """Eq 18 of captions and all test images: float (captions, images)."""
    out = torch.empty(len(texts.TS), len(trained.images.VG))
    for block, similarities in similarity_blocks(trained.images, texts):
        out[block] = fuse(similarities)
    return out


def search(trained: Trained, sentence: str, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The `k` test images that fit a sentence best: rows of the test split, and their scores."""
    text = encode_captions([sentence], trained.data.vocabulary, load_tagger())
    with torch.inference_mode():
        found = scores(trained, trained.model.encode_text(*to_text(text)))
    rows = top_matches(found, k)[0]
    return np.asarray(rows), found[0, rows].numpy()


def retrievals(
    trained: Trained, captions: Sequence[int], k: int = 5
) -> list[tuple[str, np.ndarray, list[bool], np.ndarray]]:
    """For test captions by number: sentence, rows of the best images, which are right, scores."""
    split = trained.data.test
    index = torch.as_tensor(list(captions))
    with torch.inference_mode():
        found = scores(trained, trained.model.encode_text(*text_of(split, index)))
    best = np.asarray(top_matches(found, k))
    out = []
    for n, caption in enumerate(captions):
        correct = split.image_pids[best[n]] == split.caption_pids[caption]
        out.append((split.captions[caption], best[n], correct.tolist(), found[n, best[n]].numpy()))
    return out


def spread(number: int, of: int) -> list[int]:
    """`number` positions spread evenly over `of`: examples chosen by place, not by outcome."""
    return np.linspace(0, of - 1, min(number, of)).round().astype(int).tolist()


def pictures(data: TextImageData, rows: Sequence[int], split: str = "test") -> list[np.ndarray]:
    """Images of a split as they are on disk, uint8 (h, w, 3)."""
    paths = getattr(data, split).frame["path"]
    return [np.asarray(read_rgb(data.dataset.images / paths[int(row)])) for row in rows]


def attention(trained: Trained, rows: Sequence[int]) -> np.ndarray:
    """Mask A of Eq 4, averaged over channels, for test images: float (N, h, w)."""
    pixels = trained.data.test.images.batch(torch.as_tensor(list(rows)))
    return attention_maps(trained.model, pixels).numpy()
