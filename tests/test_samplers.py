"""reidlib.data.batches.samplers: what is in a batch, in an epoch, and that a seed decides it."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.batches.samplers import (
    Choices,
    caption_choices,
    identity_batches,
    shuffled,
    tuple_batches,
)
from reidlib.errors import DataError, UsageError
from reidlib.models.gla import sample_pairs


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 20), st.integers(1, 7), st.integers(0, 100))
def test_shuffled(number, batch_size, seed):
    epoch = [batch.tolist() for batch in shuffled(number, generator(seed), batch_size)]
    assert [len(batch) for batch in epoch] == [batch_size] * (number // batch_size)
    drawn = [item for batch in epoch for item in batch]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(number))
    again = [batch.tolist() for batch in shuffled(number, generator(seed), batch_size)]
    assert again == epoch


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(1, 7), min_size=2, max_size=9),
    persons=st.integers(1, 9),
    images=st.integers(1, 5),
    batches=st.sampled_from([None, 1, 12]),
    seed=st.integers(0, 1000),
)
def test_identity_batches(counts, persons, images, batches, seed):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    arguments = {"persons": persons, "images": images, "batches": batches}
    if persons > len(counts):
        with pytest.raises(DataError, match=f"{persons} persons .* has {len(counts)}"):
            next(identity_batches(labels, generator(), **arguments))
        return
    epoch = list(identity_batches(labels, generator(seed), **arguments))
    assert len(epoch) == (batches or max(1, len(labels) // (persons * images)))
    people_dealt, images_dealt = [], []
    for batch in epoch:
        assert batch.shape == (persons * images,)
        assert batch.dtype == torch.int64
        people = labels[batch].view(persons, images)
        assert (people == people[:, :1]).all()
        assert len(set(people[:, 0].tolist())) == persons
        for person, mine in zip(people[:, 0], batch.view(persons, images), strict=True):
            assert len(set(mine.tolist())) == min(images, counts[person])
        people_dealt += people[:, 0].tolist()
        images_dealt += batch.tolist()
    # Nobody comes a second time before everybody has come once, and so on.
    dealt = Counter(people_dealt)
    assert max(dealt.values()) - min(dealt[p] for p in range(len(counts))) <= 1
    dealt = Counter(images_dealt)
    for person, count in enumerate(counts):
        if count >= images:
            times = [dealt[i] for i in (labels == person).nonzero()[:, 0].tolist()]
            assert max(times) - min(times) <= 1


def test_identity_batches_depend_on_the_seed_alone():
    labels = torch.arange(60) % 12
    epochs = [
        torch.cat(list(identity_batches(labels, generator(seed), persons=4, images=2)))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[2])
    with pytest.raises(UsageError, match="at least 1"):
        next(identity_batches(labels, generator(), persons=0, images=2))


def test_gla_batch_has_the_pairs_of_the_paper():
    """32 persons with two tuples: 128 positive and 384 negative pairs, 2 and 6 for each image."""
    labels = torch.arange(40).repeat_interleave(4)
    choices = Choices(np.arange(0, 161 * 2, 2), np.arange(320))
    epoch = list(tuple_batches(labels, choices, generator(1)))
    assert len(epoch) == 160 // 64
    for images, captions in epoch:
        assert images.shape == captions.shape == (64,)
        assert len(set(images.tolist())) == 64
        assert torch.equal(captions // 2, images)  # a caption of that very image
        batch_labels = labels[images]
        assert (batch_labels.bincount(minlength=40) == 2).sum() == 32
        positive, negative = sample_pairs(batch_labels, generator=generator(2))
        same = batch_labels[:, None] == batch_labels
        assert torch.equal(positive, same)
        assert not (negative & same).any()
        assert (positive.sum(1) == 2).all()
        assert (negative.sum(1) == 6).all()
        assert positive.sum() == 128
        assert negative.sum() == 384
    drawn = torch.cat([captions for _, captions in epoch]) % 2
    assert 0 < drawn.float().mean() < 1  # both captions of an image have their turn


def test_captions_are_borrowed_from_the_same_camera_first():
    pids = np.array([5, 5, 5, 5, 9, 9])
    camids = np.array([1, 1, 2, 3, 1, 1])
    image_of = np.array([2, 0, 4, 0])
    choices = caption_choices(image_of, pids, camids)
    split = np.split(choices.captions, choices.offsets[1:-1])
    assert [mine.tolist() for mine in split] == [
        [1, 3],  # its own
        [1, 3],  # same person, same camera
        [0],
        [0, 1, 3],  # nothing in its camera: all of the person
        [2],
        [2],
    ]
    anywhere = caption_choices(image_of, pids)
    assert anywhere.captions[anywhere.offsets[1] : anywhere.offsets[2]].tolist() == [0, 1, 3]
    with pytest.raises(DataError, match=r"1 persons have no caption at all, among them \[9\]"):
        caption_choices(np.array([0]), pids, camids)
    with pytest.raises(UsageError, match="6 images of 3"):
        next(tuple_batches(torch.zeros(3).long(), choices, generator(), persons=1))


def test_captions_of_one_image_are_its_own():
    """As in CUHK-PEDES: every image is described, some twice."""
    rng = np.random.default_rng(0)
    image_of = np.repeat(np.arange(50), rng.integers(1, 4, 50))
    choices = caption_choices(image_of, rng.integers(0, 5, 50), rng.integers(0, 3, 50))
    assert np.array_equal(choices.captions, np.arange(len(image_of)))
    assert np.array_equal(np.diff(choices.offsets), np.bincount(image_of))
