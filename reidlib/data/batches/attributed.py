"""An image-to-image dataset made ready for training with attributes of persons."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from reidlib.data.batches.images import DeviceImages, image_cache
from reidlib.data.batches.samplers import identity_batches
from reidlib.data.batches.tuples import ImageSplit
from reidlib.data.dataset import Dataset
from reidlib.data.formats import attributes, peta
from reidlib.data.formats.attributes import AttributeTable
from reidlib.devices import send


@dataclass(frozen=True)
class AttributedData:
    """Training images of an image-to-image dataset, and the images it is tested on.

    `known` and `query_known` are the attributes of the training images and of the queries, int64
    (N, A), `UNLABELED` where nothing is known; A is 0 where none are read. `multi_query` is None:
    queries are single images.
    """

    dataset: Dataset
    train: ImageSplit
    labels: Tensor  # int64 (N,): identity of each training image, 0-based
    known: Tensor
    query: ImageSplit
    query_known: Tensor
    gallery: ImageSplit
    table: AttributeTable | None
    ids: int  # identities in the training split
    multi_query: None = None


@dataclass(frozen=True)
class AttributedBatch:
    """B images, float (B, 3, h, w), normalized, those of a person side by side; who is in them,
    int64 (B,), and the attributes of these persons, int64 (B, A)."""

    images: Tensor
    labels: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_attributes(dataset: Dataset) -> AttributeTable:
    """The attributes of a dataset's persons, from the files beside it or, of PETA, in it.

    Raises `DataError` as `attributes.load` and `peta.load_attributes`.
    """
    return (peta.load_attributes if dataset.name == peta.NAME else attributes.load)(dataset)


def prepare(
    dataset: Dataset,
    *,
    image_size: tuple[int, int],
    cache_dir: Path,
    device: str,
    labeled: bool = True,
) -> AttributedData:
    """Decode the images, read the attributes if they are to be `labeled`, and move all to `device`.

    Raises `DataError` for images that cannot be read (names the file), and as `load_attributes`.
    """
    table = load_attributes(dataset) if labeled else None  # fails before anything is decoded
    splits = {}
    for name in ("train", "query", "gallery"):
        pixels = image_cache(
            dataset.image_paths(name), image_size, Path(cache_dir), jobs=os.cpu_count() or 1
        )
        splits[name] = ImageSplit(dataset.splits[name], DeviceImages(pixels, device))

    def known(frame: pd.DataFrame) -> Tensor:
        if table is None:
            return torch.zeros(len(frame), 0, dtype=torch.int64)
        return torch.from_numpy(table.of(frame["pid"].to_numpy()))

    train = dataset.splits["train"]
    return AttributedData(
        dataset=dataset,
        labels=torch.tensor(train["label"].to_numpy()),
        known=known(train),
        query_known=known(dataset.splits["query"]),
        table=table,
        ids=train["label"].nunique(),
        **splits,
    )


def batches_of_persons(
    data: AttributedData,
    generator: torch.Generator,
    *,
    persons: int,
    each: int,
    flip: bool,
    crop_pad: int,
    device: str,
    batches: int | None = None,
) -> Iterator[AttributedBatch]:
    """One epoch of batches with `each` images of each of `persons` persons; see
    `samplers.identity_batches`."""
    for rows in identity_batches(
        data.labels, generator, persons=persons, images=each, batches=batches
    ):
        yield AttributedBatch(
            images=data.train.images.batch(rows, flip=flip, crop_pad=crop_pad, generator=generator),
            labels=send(data.labels[rows], device),
            known=send(data.known[rows], device),
        )
