"""Matched pairs of images and captions, made from a world on disk."""

from pathlib import Path

import pytest
import torch

from reidlib.data.batches.pairs import TextImageData, pairs, prepare, text_of
from reidlib.data.formats import cuhk_pedes
from reidlib.data.language.words import tokenize


@pytest.fixture(scope="module")
def data(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> TextImageData:
    cache = tmp_path_factory.mktemp("cache")
    return prepare(cuhk_pedes.load(tiny_world), image_size=(64, 32), cache_dir=str(cache))


def test_splits_of_a_world(data: TextImageData) -> None:
    assert list(data.tests) == ["test"]
    assert data.ids == data.train.frame["label"].nunique() == 12
    assert len(data.train.captions) == len(data.train.image_of) == len(data.train.text)
    frame = data.train.frame.iloc[data.train.image_of.numpy()]
    assert frame["label"].tolist() == data.train.labels.tolist()
    assert all(
        caption in captions
        for caption, captions in zip(data.train.captions, frame["captions"], strict=True)
    )


def test_a_batch_holds_the_captions_with_their_images(data: TextImageData) -> None:
    chosen, others = torch.tensor([5, 0, 3]), torch.tensor([1, 2, 4])
    batch = pairs(
        data.train,
        chosen,
        torch.Generator().manual_seed(0),
        flip=False,
        crop_pad=0,
        device="cpu",
        weak=others,
    )
    assert len(batch) == 3
    assert torch.equal(batch.image_ids, data.train.image_of[chosen])
    assert torch.equal(batch.labels, data.train.labels[chosen])
    assert torch.equal(batch.images, data.train.images.batch(batch.image_ids))
    for text, rows in ((batch.text, chosen), (batch.weak, others)):
        assert all(torch.equal(a, b) for a, b in zip(text, text_of(data.train, rows), strict=True))
        words = [data.vocabulary.words[i - 2] for i in text.tokens[0, : text.lengths[0]] if i > 1]
        assert set(words) <= set(tokenize(data.train.captions[int(rows[0])]))


def test_flips_and_crops_come_from_the_generator(data: TextImageData) -> None:
    chosen = torch.arange(12)

    def images(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return pairs(data.train, chosen, generator, flip=True, crop_pad=4, device="cpu").images

    assert torch.equal(images(0), images(0))
    assert not torch.equal(images(0), images(1))
