"""An image-to-image dataset made ready for training with descriptions: GLA's tuples."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.borrowed_captions import join_captions
from reidlib.data.batches.images import DeviceImages, image_cache
from reidlib.data.batches.pairs import Text, TextImageSplit, encoded, to_text
from reidlib.data.batches.samplers import Choices, caption_choices, shuffled, tuple_batches
from reidlib.data.dataset import Dataset
from reidlib.data.language.encoding import EncodedText
from reidlib.data.language.tagger import load_tagger
from reidlib.data.language.words import Vocabulary
from reidlib.devices import send

KINDS = ("jnp", "pp")  # the noun phrases of GLA, see `reidlib.data.language.phrases`

_NO_TEXT = Text(*(torch.zeros(shape, dtype=torch.int64) for shape in ((0, 0), 0, (0, 0), 0, 1)))


@dataclass(frozen=True)
class ImageSplit:
    """Images of a split, and who is in them: `frame` has pid, camid and path."""

    frame: pd.DataFrame
    images: DeviceImages

    @property
    def pids(self) -> np.ndarray:
        return self.frame["pid"].to_numpy()

    @property
    def camids(self) -> np.ndarray:
        return self.frame["camid"].to_numpy()


@dataclass(frozen=True)
class Tuples:
    """What tuples of an image and a description are drawn from.

    `choices` are the captions in `text` that may go with each image. Without `text` no description
    is read; the images are drawn the same.
    """

    images: DeviceImages
    labels: Tensor  # int64 (N,): identity of each image, 0-based
    choices: Choices
    text: EncodedText | None


@dataclass(frozen=True)
class DescribedData:
    """Training tuples of an image-to-image dataset, and the images it is tested on.

    `multi_query` are the images of a query's person and camera that make up a multi-query; None
    for datasets without.
    """

    dataset: Dataset
    tuples: Tuples
    query: ImageSplit
    gallery: ImageSplit
    multi_query: ImageSplit | None
    ids: int  # identities in the training split
    captions: list[str]  # those that `tuples.text` holds
    vocabulary: Vocabulary | None
    tagger: str  # the part-of-speech tagger that found the noun phrases; "" without descriptions
    notes: tuple[str, ...]  # about the descriptions


@dataclass(frozen=True)
class TupleBatch:
    """B tuples; those of a person are side by side. `text` is empty where none is read."""

    images: Tensor  # float (B, 3, h, w), normalized
    labels: Tensor  # int64 (B,)
    text: Text

    def __len__(self) -> int:
        return len(self.labels)


def prepare(
    dataset: Dataset,
    *,
    image_size: tuple[int, int],
    cache_dir: str | Path,
    device: str = "cpu",
    descriptions: bool = True,
    max_tokens: int = 100,
) -> DescribedData:
    """Decode, join, encode and move a dataset to `device`; what takes long is in `cache_dir`.

    descriptions: whether to read the training images' captions; nothing of CUHK-PEDES needs to be
    there without. Query and gallery are never described.

    Raises `DataError` for images that cannot be read (names the file), and as `join_captions`.
    """
    cache_dir, jobs = Path(cache_dir), os.cpu_count() or 1
    train = dataset.splits["train"]
    joined = join_captions(dataset) if descriptions else None  # fails before anything is decoded

    def images(table: pd.DataFrame) -> DeviceImages:
        paths = [dataset.images / path for path in table["path"]]
        return DeviceImages(image_cache(paths, image_size, cache_dir, jobs=jobs), device)

    captions: list[str] = []
    text = vocabulary = None
    choices = Choices(np.arange(len(train) + 1), np.arange(len(train)))  # each image its own
    tagger = ""
    if joined is not None:
        captions = joined.captions["caption"].tolist()
        choices = joined.choices
        vocabulary = Vocabulary.build(captions)
        text = encoded(captions, vocabulary, load_tagger(), max_tokens, cache_dir, KINDS)
        tagger = load_tagger().name
    query, gallery = (dataset.splits[name] for name in ("query", "gallery"))
    multi_query = None
    if "multi_query" in dataset.splits:
        # Half of the hand-drawn boxes show persons that are not searched for.
        keys = query[["pid", "camid"]].drop_duplicates()
        wanted = dataset.splits["multi_query"].merge(keys, on=["pid", "camid"])
        multi_query = ImageSplit(wanted, images(wanted)) if len(wanted) else None
    return DescribedData(
        dataset=dataset,
        tuples=Tuples(images(train), torch.tensor(train["label"].to_numpy()), choices, text),
        query=ImageSplit(query, images(query)),
        gallery=ImageSplit(gallery, images(gallery)),
        multi_query=multi_query,
        ids=train["label"].nunique(),
        captions=captions,
        vocabulary=vocabulary,
        tagger=tagger,
        notes=joined.notes if joined is not None else (),
    )


def tuples_of(split: TextImageSplit) -> Tuples:
    """The tuples of a text-to-image split: each image with one of its own captions."""
    choices = caption_choices(split.image_of.numpy(), split.image_pids)
    labels = torch.tensor(split.frame["label"].to_numpy())
    return Tuples(split.images, labels, choices, split.text)


def batches_of_tuples(
    tuples: Tuples,
    generator: torch.Generator,
    *,
    persons: int,
    each: int,
    flip: bool,
    crop_pad: int,
    device: str,
    batches: int | None = None,
) -> Iterator[TupleBatch]:
    """One epoch of batches with `each` tuples of each of `persons` persons; see `tuple_batches`."""
    for rows, captions in tuple_batches(
        tuples.labels, tuples.choices, generator, persons=persons, tuples=each, batches=batches
    ):
        yield TupleBatch(
            images=tuples.images.batch(rows, flip=flip, crop_pad=crop_pad, generator=generator),
            labels=send(tuples.labels[rows], device),
            text=_NO_TEXT
            if tuples.text is None
            else to_text(tuples.text.take(captions.numpy()), device),
        )


def batches_of_images(
    tuples: Tuples,
    generator: torch.Generator,
    *,
    batch_size: int,
    flip: bool,
    crop_pad: int,
    device: str,
) -> Iterator[TupleBatch]:
    """One epoch of batches of any images, without text; the last incomplete batch is dropped."""
    for rows in shuffled(len(tuples.labels), generator, batch_size):
        yield TupleBatch(
            images=tuples.images.batch(rows, flip=flip, crop_pad=crop_pad, generator=generator),
            labels=send(tuples.labels[rows], device),
            text=_NO_TEXT,
        )
