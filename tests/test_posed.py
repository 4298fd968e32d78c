"""Image sets with poses, made ready for training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reidlib.data.batches import posed
from reidlib.data.batches.posed import PosedData, shuffled_batches, take
from reidlib.data.formats import market1501
from reidlib.world.write import write

SIZE = (32, 16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PosedData:
    root = tmp_path_factory.mktemp("posed")
    write("market1501", root, seed=3, ids=(5, 4), size=(64, 32))
    return posed.prepare(
        market1501.load(root), image_size=SIZE, cache_dir=root / "cache", device="cpu"
    )


def test_prepared_data(data: PosedData) -> None:
    assert data.ids == 5 and len(data.labels) == len(data.train.frame)
    assert data.nobody["gallery"] > data.nobody["query"] >= 0
    gallery = data.gallery.boxes(True, 5.0)
    distractors = data.gallery.pids == market1501.DISTRACTOR
    assert gallery.strips[distractors].all() and not gallery.strips[data.gallery.pids > 0].all()
    fixed = data.gallery.boxes(False, 5.0)
    assert not fixed.strips.any() and torch.equal(fixed.boxes[0], fixed.boxes[-1])


def test_overlap_is_in_48ths_of_the_body(data: PosedData) -> None:
    none, five = (data.train.boxes(True, beta) for beta in (0.0, 5.0))
    usable = ~(none.strips | five.strips)
    inside = ((five.boxes > -0.24) & (five.boxes < 1.24)).all(1).all(1).numpy() & usable
    H = (none.boxes[inside, 0, 3] - none.boxes[inside, 0, 1]).double()
    grown = (five.boxes[inside, 2, 3] - none.boxes[inside, 2, 3]).double()
    assert inside.any()
    np.testing.assert_allclose(grown, 5 / 48 * H, atol=1e-5)


def test_take_without_randomness(data: PosedData) -> None:
    boxes = data.train.boxes(False, 0.0).boxes
    rows = torch.tensor([3, 0, 3])
    whole, parts = take(data.train, boxes, rows)
    images = data.train.images.batch(rows)
    torch.testing.assert_close(whole, images, atol=1e-5, rtol=1e-4)
    assert parts.shape == (3, 4, 3, 8, 16)


def test_mirrored_with_their_boxes(data: PosedData) -> None:
    """Every batch is made of the plain cuts, each as it is or mirrored."""
    boxes = data.train.boxes(True, 5.0).boxes
    rows = torch.arange(12)
    plain, plain_parts = take(data.train, boxes, rows)
    generator = torch.Generator().manual_seed(0)
    whole, parts = take(data.train, boxes, rows, flip=True, generator=generator)
    mirrored = 0
    for i in range(12):
        flip = not torch.allclose(whole[i], plain[i], atol=1e-4)
        mirrored += flip
        expected = (
            (plain[i].flip(2), plain_parts[i].flip(3)) if flip else (plain[i], plain_parts[i])
        )
        torch.testing.assert_close(whole[i], expected[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(parts[i], expected[1], atol=1e-4, rtol=1e-4)
    assert 0 < mirrored < 12


def test_an_epoch_of_batches(data: PosedData) -> None:
    boxes, N = data.train.boxes(True, 5.0).boxes, len(data.labels)

    def epoch(seed: int, **settings: object) -> list[posed.PartBatch]:
        generator = torch.Generator().manual_seed(seed)
        found = shuffled_batches(
            data.train,
            boxes,
            data.labels,
            generator,
            batch_size=8,
            flip=True,
            crop_pad=2,
            **settings,
        )
        return list(found)

    batches = epoch(0)
    assert len(batches) == N // 8 and all(len(batch) == 8 for batch in batches)
    counts = torch.cat([batch.labels for batch in batches]).bincount(minlength=5)
    assert (counts <= data.labels.bincount()).all()
    again, other = epoch(0), epoch(1)
    assert torch.equal(batches[0].whole, again[0].whole)
    assert not torch.equal(batches[0].whole, other[0].whole)
    for number in (3, 2 * (N // 8) + 1):
        assert len(epoch(0, batches=number)) == number
    (whole,) = list(
        shuffled_batches(
            data.train, boxes, data.labels, torch.Generator(), batch_size=10**6, flip=False,
            crop_pad=0,
        )
    )  # fmt: skip
    assert sorted(whole.labels.tolist()) == sorted(data.labels.tolist())


def test_missing_key_points_are_seen_before_images_are_decoded(tmp_path: Path) -> None:
    from reidlib.errors import DataError

    write("market1501", tmp_path, ids=(2, 2), size=(64, 32))
    dataset = market1501.load(tmp_path)
    next((dataset.root / "keypoints" / "query").iterdir()).unlink()
    with pytest.raises(DataError, match="key point files of query"):
        posed.prepare(dataset, image_size=SIZE, cache_dir=tmp_path / "cache", device="cpu")
    assert not (tmp_path / "cache").exists()
