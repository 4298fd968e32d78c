"""Image sets with attributes of persons: what a batch knows of whom it shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reidlib.data.batches.attributed import batches_of_persons, load_attributes, prepare
from reidlib.data.formats.attributes import DUKE, MARKET, UNLABELED
from reidlib.data.formats.peta import ATTRIBUTES
from reidlib.data.load import load
from reidlib.errors import DataError
from reidlib.world.write import write

SIZE = (32, 16)
WORLDS = {"market1501": (6, 4), "dukemtmc-reid": (6, 4), "peta": (30,)}
EXPECTED = {"market1501": MARKET.attributes, "dukemtmc-reid": DUKE.attributes, "peta": ATTRIBUTES}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("attributed")
    for name, ids in WORLDS.items():
        write(name, root, seed=3, ids=ids, size=SIZE)
    return root


@pytest.mark.parametrize("name", WORLDS)
def test_every_image_has_the_attributes_of_its_person(
    name: str, world: Path, tmp_path: Path
) -> None:
    dataset = load(world, name)
    data = prepare(dataset, image_size=SIZE, cache_dir=tmp_path, device="cpu")
    table = load_attributes(dataset)
    assert data.table.attributes == EXPECTED[name]
    of_person = dict(zip(table.pids.tolist(), table.labels, strict=True))
    for split, known in ((data.train, data.known), (data.query, data.query_known)):
        assert known.shape == (len(split.frame), len(EXPECTED[name]))
        for pid, row in zip(split.pids, known.numpy(), strict=True):
            np.testing.assert_array_equal(row, of_person[pid])
    assert data.ids == dataset.splits["train"]["pid"].nunique() and data.multi_query is None
    for batch in batches_of_persons(
        data, torch.Generator().manual_seed(1), persons=3, each=4, flip=True, crop_pad=1,
        device="cpu", batches=4,
    ):  # fmt: skip
        assert len(batch) == 12 and batch.images.shape == (12, 3, *SIZE)
        assert len(batch.labels.unique()) == 3
        pids = np.unique(dataset.splits["train"]["pid"])[batch.labels]
        np.testing.assert_array_equal(batch.known, [of_person[pid] for pid in pids])


def test_without_attributes_no_file_has_to_be_there(world: Path, tmp_path: Path) -> None:
    dataset = load(world, "market1501")
    file = dataset.root / MARKET.file
    content = file.read_bytes()
    file.unlink()
    try:
        data = prepare(dataset, image_size=SIZE, cache_dir=tmp_path, device="cpu", labeled=False)
        assert data.table is None and data.known.shape == (len(data.train.frame), 0)
        with pytest.raises(DataError, match=r"market_attribute\.mat"):
            prepare(dataset, image_size=SIZE, cache_dir=tmp_path, device="cpu")
    finally:
        file.write_bytes(content)


def test_distractors_have_no_attributes(world: Path) -> None:
    dataset = load(world, "market1501")
    labels = load_attributes(dataset).of(dataset.splits["gallery"]["pid"].to_numpy())
    nobody = dataset.splits["gallery"]["pid"].to_numpy() <= 0
    assert (labels[nobody] == UNLABELED).all() and (labels[~nobody] != UNLABELED).any()
