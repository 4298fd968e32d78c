"""Which items make up a batch: any, or P persons with K images each.

All randomness comes from the generator that is passed in, so that an epoch is a function of its
seed. Positions are int64 tensors on the CPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidlib.errors import DataError, UsageError


class Choices(NamedTuple):
    """Captions that may go with each of N images: those of image i are
    ``captions[offsets[i]:offsets[i + 1]]``, int64, at least one; offsets int64 (N + 1,)."""

    offsets: np.ndarray
    captions: np.ndarray


def shuffled(number: int, generator: torch.Generator, batch_size: int) -> Iterator[Tensor]:
    """One epoch of batches of 0..number-1 in random order: int64 (batch_size,); the last incomplete
    batch is dropped."""
    order = torch.randperm(number, generator=generator)
    for start in range(0, number - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def identity_batches(
    labels: Tensor,
    generator: torch.Generator,
    *,
    persons: int,
    images: int,
    batches: int | None = None,
) -> Iterator[Tensor]:
    """One epoch of batches with `images` of each of `persons` persons: int64 (persons * images,).

    labels: int64 (N,), the person of each image. The images of a person are side by side in a
    batch. Persons come in random order, and all of them once before one comes again; the same
    holds for the images of a person over the epoch. No image is twice in a batch, unless a person
    has fewer than `images`; then all of its images are there, some of them again.
    batches: by default as many as hold N images, at least one.

    Raises DataError if there are fewer than `persons` persons.
    """
    if persons < 1 or images < 1 or (batches is not None and batches < 1):
        raise UsageError(
            f"persons {persons}, images {images} and batches {batches} must be at least 1"
        )
    order = labels.argsort(stable=True)
    people, counts = labels[order].unique_consecutive(return_counts=True)
    if len(people) < persons:
        raise DataError(
            f"a batch of {persons} persons cannot be drawn: the split has {len(people)}"
        )
    queues = [_Queue(mine, generator) for mine in order.split(counts.tolist())]
    queue_of_persons = _Queue(torch.arange(len(people)), generator)
    for _ in range(batches or max(1, len(labels) // (persons * images))):
        chosen = queue_of_persons.take(persons).tolist()
        yield torch.cat([queues[person].take(images) for person in chosen])


class _Queue:
    """Deals items in random order, and shuffles anew when they run out."""

    def __init__(self, items: Tensor, generator: torch.Generator) -> None:
        self.items, self.generator = items, generator
        self.left = items[:0]

    def take(self, count: int) -> Tensor:
        """The next `count` items, different ones; all and some again if there are fewer."""
        if len(self.items) < count:
            times = -(-count // len(self.items))
            return torch.cat([self._shuffled() for _ in range(times)])[:count]
        taken, self.left = self.left[:count], self.left[count:]
        missing = count - len(taken)
        if missing:
            shuffled = self._shuffled()
            just_dealt = torch.isin(shuffled, taken)  # these go to the end, for the next time
            shuffled = torch.cat((shuffled[~just_dealt], shuffled[just_dealt]))
            taken, self.left = torch.cat((taken, shuffled[:missing])), shuffled[missing:]
        return taken

    def _shuffled(self) -> Tensor:
        return self.items[torch.randperm(len(self.items), generator=self.generator)]


def tuple_batches(
    labels: Tensor,
    choices: Choices,
    generator: torch.Generator,
    *,
    persons: int = 32,
    tuples: int = 2,
    batches: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """GLA's batches: `tuples` of an image and a description for each of `persons` persons.

    labels: int64 (N,), the person of each image; `choices`: see `caption_choices`. Yields the
    positions of images and of their captions, both int64 (persons * tuples,), with a random one of
    the captions that may go with an image. The rest is as in `identity_batches`.
    Source: GLA section 3.4 (32 persons, two tuples of each).
    """
    offsets, captions = torch.from_numpy(choices.offsets), torch.from_numpy(choices.captions)
    if len(offsets) != len(labels) + 1:
        raise UsageError(f"captions are given for {len(offsets) - 1} images of {len(labels)}")
    first, count = offsets[:-1], offsets.diff()
    for images in identity_batches(
        labels, generator, persons=persons, images=tuples, batches=batches
    ):
        # A float64 below 1 times a small count, cut off, is a fair draw below the count.
        numbers = torch.rand(len(images), generator=generator, dtype=torch.float64)
        yield images, captions[first[images] + (numbers * count[images]).long()]


def caption_choices(
    image_of: np.ndarray, pids: np.ndarray, camids: np.ndarray | None = None
) -> Choices:
    """Captions for every image, borrowed where it has none of its own.

    image_of: int (captions,), the image that each caption describes; pids and camids: int (N,) of
    the images. An image without a caption takes those of the same person in the same camera, or,
    if there are none, those of the same person. In Market-1501 and CUHK03 only four images of a
    person are described (GLA section 4.1).

    Raises DataError for persons without any caption (names them).
    """
    image_of, pids = np.asarray(image_of), np.asarray(pids)
    camids = np.zeros(len(pids), np.int64) if camids is None else np.asarray(camids)
    _, in_camera = np.unique(np.stack([pids, camids]), axis=1, return_inverse=True)
    _, person = np.unique(pids, return_inverse=True)
    start = np.zeros(len(pids), np.int64)
    end = start.copy()
    captions: list[np.ndarray] = []
    dealt = 0
    # The captions sorted in three ways, one after the other; an image takes the first that has any.
    for key in (np.arange(len(pids)), in_camera.reshape(-1), person.reshape(-1)):
        order = np.argsort(key[image_of], kind="stable")
        sides = [np.searchsorted(key[image_of][order], key, side) for side in ("left", "right")]
        without = start == end
        start[without], end[without] = (dealt + side[without] for side in sides)
        captions.append(order)
        dealt += len(order)
    if (start == end).any():
        missing = np.unique(pids[start == end]).tolist()
        raise DataError(
            f"{len(missing)} persons have no caption at all, among them {missing[:5]}: expected "
            "at least one for each"
        )
    counts = end - start
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    rows = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], counts)
    return Choices(offsets, np.concatenate(captions)[rows])
