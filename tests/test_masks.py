"""Part masks: written with the images, found, cached, and augmented as the images are."""

import os
import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reidlib.data.batches import images
from reidlib.data.batches.images import DeviceImages, draw, read_resized
from reidlib.data.batches.masks import (
    LABELS,
    DeviceMasks,
    mask_cache,
    mask_name,
    mask_paths,
    read_mask,
)
from reidlib.data.dataset import Dataset
from reidlib.data.formats import cuhk_pedes, icfg_pedes, rstpreid
from reidlib.errors import DataError
from reidlib.models.compared.vitaa import PARTS
from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import make_shot
from reidlib.world.write import write, writer_of

SIZE = (24, 12)
FORMS = {"cuhk-pedes": cuhk_pedes, "icfg-pedes": icfg_pedes, "rstpreid": rstpreid}
IDS = {"cuhk-pedes": (12, 3, 6), "icfg-pedes": (3, 2), "rstpreid": (2, 1, 1)}
SEED, WORLD_SIZE = 7, (64, 32)  # those of the tiny world

captioned = pytest.mark.parametrize("name", FORMS)


@pytest.fixture(scope="module")
def worlds(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data folder for each of the datasets that come with masks."""
    root = tmp_path_factory.mktemp("masks")
    for name in ("icfg-pedes", "rstpreid"):
        write(name, root, seed=SEED, ids=IDS[name], size=WORLD_SIZE)
    return {"cuhk-pedes": tiny_world, "icfg-pedes": root, "rstpreid": root}


@pytest.fixture
def own(tiny_world: Path, tmp_path: Path) -> Dataset:
    """The tiny world, for a test to break."""
    shutil.copytree(tiny_world, tmp_path / "data")
    return cuhk_pedes.load(tmp_path / "data")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Nine masks of random labels and different sizes."""
    random = np.random.default_rng(1)
    paths = []
    for i in range(9):
        paths.append(tmp_path / "masks" / f"{i}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        labels = random.integers(0, len(LABELS), (30 + i, 14 + i), dtype=np.uint8)
        Image.fromarray(labels).save(paths[-1])
    return paths


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_mask(path, SIZE)
    assert str(path) in str(caught.value) and "0 background, 1 head" in str(caught.value)
    return str(caught.value)


def test_labels_are_those_of_the_model_that_uses_them() -> None:
    assert LABELS[1:] == PARTS


# --- the writers


@captioned
def test_written_masks_are_the_renderings_masks(worlds: dict[str, Path], name: str) -> None:
    dataset = FORMS[name].load(worlds[name])
    plan = writer_of(name).plan(SEED, ids=IDS[name])
    found = set()
    for split in dataset.splits:
        planned = [image for image in plan if image.split == split]
        paths = mask_paths(dataset, split)
        assert len(paths) == len(planned) == len(dataset.image_paths(split))
        for image, path in zip(planned, paths, strict=True):
            assert path == dataset.root / "masks" / Path(image.path).with_suffix(".png")
            shot = make_shot(SEED, image.person, image.number, image.family, image.camid)
            with Image.open(path) as file:
                assert (file.format, file.mode, file.size) == ("PNG", "L", WORLD_SIZE[::-1])
                mask = np.asarray(file)
            assert (mask == render(shot, WORLD_SIZE).mask).all()
            assert (read_mask(path, WORLD_SIZE) == mask).all()
            found.update(np.unique(mask).tolist())
    assert found == set(range(len(LABELS)))
    written = {p for p in (dataset.root / "masks").rglob("*") if p.is_file()}
    assert written == {path for split in dataset.splits for path in mask_paths(dataset, split)}


def test_masks_have_the_size_of_their_images(tmp_path: Path) -> None:
    dataset = cuhk_pedes.load(write("cuhk-pedes", tmp_path, ids=(3, 1, 1)).parent)
    sizes = set()
    for split in dataset.splits:
        pairs = zip(dataset.image_paths(split), mask_paths(dataset, split), strict=True)
        for image_path, mask_path in pairs:
            with Image.open(image_path) as image, Image.open(mask_path) as mask:
                assert image.size == mask.size
                sizes.add(mask.size)
    assert len(sizes) > 1


@captioned
def test_no_two_images_of_a_full_plan_share_a_mask(name: str) -> None:
    plan = writer_of(name).plan(0, scale=1.0)
    assert len({mask_name(image.path) for image in plan}) == len(plan)


def test_masks_lie_on_the_person(worlds: dict[str, Path]) -> None:
    """Heads are above trunks, trunks above legs, legs above shoes; the world draws nobody prone."""
    dataset = cuhk_pedes.load(worlds["cuhk-pedes"])
    heights = []
    for path in mask_paths(dataset, "train"):
        mask = read_mask(path, WORLD_SIZE)
        rows = [np.nonzero(mask == label)[0] for label in (1, 2, 3, 4)]
        if all(len(row) for row in rows):
            heights.append([row.mean() for row in rows])
    assert len(heights) > 10 and (np.diff(heights, axis=1) > 0).all()


# --- finding them


def message(dataset: Dataset, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        mask_paths(dataset, split)
    return str(caught.value)


def test_missing_masks_are_counted_and_explained(own: Dataset) -> None:
    paths = mask_paths(own, "train")
    for path in (paths[3], paths[5]):
        path.unlink()
    text = message(own)
    folder = own.root / "masks"
    assert f"2 of {len(paths)} part masks of train are missing below {folder};" in text
    first = f"{paths[3].relative_to(folder).as_posix()}, for imgs/{own.splits['train']['path'][3]}"
    assert f"the first: {first}\n" in text
    assert "CUHK-PEDES/masks/<same path as below imgs/>.png" in text
    assert "8-bit" in text and "single channel" in text and "human parser" in text
    for label, meaning in enumerate(LABELS):
        assert f"{label} {meaning}" in text
    assert len(mask_paths(own, "test")) == len(own.splits["test"])


def test_without_masks_the_dataset_loads_and_the_folder_is_named(own: Dataset) -> None:
    shutil.rmtree(own.root / "masks")
    again = cuhk_pedes.load(own.root.parent)
    number = len(own.splits["test"])
    text = message(again, "test")
    assert f"{number} of {number}" in text and "there is no such folder" in text
    (own.root / "masks").touch()
    assert f"{number} of {number}" in message(again, "test")


def test_images_that_differ_in_their_suffix_only(own: Dataset) -> None:
    frame = own.splits["train"].copy()
    first = frame.loc[0, "path"]
    other = str(Path(first).with_suffix(".bmp"))
    frame.loc[1, "path"] = other
    text = message(replace(own, splits={"train": frame}))
    assert first in text and other in text and str(own.root / "masks" / mask_name(first)) in text


def test_names() -> None:
    assert mask_name("Market/0001_c1s1_000151_01.jpg") == "Market/0001_c1s1_000151_01.png"
    assert mask_name("0001.v2.jpg") == "0001.v2.png"
    assert mask_name("cam_a/000_45.bmp") == "cam_a/000_45.png"


# --- reading them


@given(
    stored=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_resizing_takes_the_pixel_at_the_center(
    tmp_path_factory: pytest.TempPathFactory,
    stored: tuple[int, int],
    size: tuple[int, int],
    seed: int,
) -> None:
    """Pixel i of m has its center at (i + 1/2) n / m of the n stored ones."""
    labels = np.random.default_rng(seed).integers(0, len(LABELS), stored, dtype=np.uint8)
    path = tmp_path_factory.mktemp("resize") / "mask.png"
    Image.fromarray(labels).save(path)
    mask = read_mask(path, size)
    assert mask.dtype == np.uint8 and mask.shape == size
    centers = [(2 * np.arange(m) + 1) * n for n, m in zip(stored, size, strict=True)]  # times 2 m
    rows, columns = (center // (2 * m) for center, m in zip(centers, size, strict=True))
    # A center between two pixels may go to either.
    inside = [center % (2 * m) > 0 for center, m in zip(centers, size, strict=True)]
    clear = np.outer(*inside)
    assert (mask == labels[np.ix_(rows, columns)])[clear].all()


@pytest.mark.parametrize("size", [(32, 16), (288, 144)])
def test_masks_stay_on_their_images_when_resized(tmp_path: Path, size: tuple[int, int]) -> None:
    """A square that is both mask and picture keeps one center, whichever way it is resized."""
    square = np.zeros((96, 48), np.uint8)
    square[30:63, 9:39] = 1
    Image.fromarray(square).save(tmp_path / "mask.png")
    Image.fromarray(encoded(square[None] * 200)[0]).save(tmp_path / "image.png")
    centers = []
    for values in (
        read_mask(tmp_path / "mask.png", size),
        read_resized(tmp_path / "image.png", size)[..., 0] / 200,
    ):
        at = np.indices(size).reshape(2, -1)
        centers.append(at @ values.ravel() / values.sum())
    assert np.abs(centers[0] - centers[1]).max() < 0.02  # one stored pixel is a third of a pixel


def test_palette_files_are_read_by_index(tmp_path: Path) -> None:
    labels = np.arange(30, dtype=np.uint8).reshape(6, 5) % 6
    file = Image.fromarray(labels, mode="P")
    file.putpalette([value for color in range(6) for value in (255 - color, 40 * color, 9)])
    file.save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png", (6, 5)) == labels).all()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    labels = np.arange(30 * 15).reshape(30, 15) % 6
    for mode in ("RGB", "RGBA", "LA", "1"):
        Image.fromarray(labels.astype(np.uint8)).convert(mode).save(path)
        assert f"mode '{mode}'" in error_of(path) and "single channel" in error_of(path)
    Image.fromarray(labels.astype(np.uint16)).save(path)
    assert "mode 'I" in error_of(path) and "8-bit" in error_of(path)
    for wrong in (6, 255):
        changed = labels.astype(np.uint8)
        changed[2, 3] = wrong  # is seen although resizing might drop it
        Image.fromarray(changed).save(path)
        assert f"has label {wrong};" in error_of(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        assert "cannot be read" in error_of(path)
    path.unlink()
    assert "no such file" in error_of(path)


# --- the cache


@pytest.mark.parametrize("jobs", [1, 3])
def test_cache_holds_the_masks(files: list[Path], tmp_path: Path, jobs: int) -> None:
    cache = mask_cache(files, SIZE, tmp_path / "new" / "cache", jobs)
    assert cache.dtype == np.uint8 and cache.shape == (9, *SIZE)
    for path, mask in zip(files, cache, strict=True):
        assert (mask == read_mask(path, SIZE)).all()
    assert len(np.unique(cache)) == len(LABELS)


def test_same_cache_for_any_number_of_jobs(files: list[Path], tmp_path: Path) -> None:
    content = []
    for jobs in (1, 2, 4):
        mask_cache(files, SIZE, tmp_path / str(jobs), jobs)
        content.append({p.name: p.read_bytes() for p in (tmp_path / str(jobs)).glob("masks-*")})
    assert content[0] == content[1] == content[2] and len(content[0]) == 3  # cache, digest, lock


def test_cache_is_made_once_and_follows_changed_files(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mask_cache(files, SIZE, tmp_path / "cache").copy()

    def never(*_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(images, "_decoded", never)
        assert (mask_cache(files, SIZE, tmp_path / "cache", 2) == before).all()
    Image.fromarray(np.full((30, 14), 5, np.uint8)).save(files[4])
    after = mask_cache(files, SIZE, tmp_path / "cache")
    assert (after[4] == 5).all() and (after[5] == before[5]).all()
    assert len(list((tmp_path / "cache").glob("masks-*.npy"))) == 1  # the outdated one is gone


def test_masks_and_images_of_the_same_files_are_apart(files: list[Path], tmp_path: Path) -> None:
    pixels = images.image_cache(files, SIZE, tmp_path)
    masks = mask_cache(files, SIZE, tmp_path)
    assert pixels.shape == (*masks.shape, 3)
    assert (images.image_cache(files, SIZE, tmp_path) == pixels).all()


def test_wrong_mask_stops_the_cache(files: list[Path], tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("RGB", (14, 30)).save(buffer, "PNG")
    files[6].write_bytes(buffer.getvalue())
    for jobs in (1, 2):
        with pytest.raises(DataError, match=re.escape(str(files[6]))):
            mask_cache(files, SIZE, tmp_path / "cache", jobs)
    assert [path.suffix for path in (tmp_path / "cache").glob("masks-*")] == [".lock"]
    os.unlink(files[6])
    with pytest.raises(DataError, match=re.escape(str(files[6]))):
        mask_cache(files, SIZE, tmp_path / "cache")
    with pytest.raises(DataError, match="no masks"):
        mask_cache([], SIZE, tmp_path / "cache")


# --- batches


def encoded(masks: np.ndarray) -> np.ndarray:
    """Images (N, h, w, 3) whose first color is the label."""
    return np.repeat(masks[..., None], 3, axis=3)


def labels_of(batch: torch.Tensor) -> torch.Tensor:
    """Labels from a normalized batch of `encoded` images."""
    return (batch[:, 0] * 255).round().to(torch.uint8)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 5])
def test_masks_move_with_their_images(flip: bool, pad: int) -> None:
    masks = np.random.default_rng(2).integers(0, len(LABELS), (10, *SIZE), dtype=np.uint8)
    pictures = DeviceImages(encoded(masks), "cpu", mean=(0, 0, 0), std=(1, 1, 1))
    stored = DeviceMasks(masks, "cpu")
    index = torch.tensor([4, 0, 9, 4, 7, 1, 2, 3])
    for seed in range(5):
        choices = draw(len(index), flip, pad, torch.Generator().manual_seed(seed))
        found = stored.apply(index, *choices, pad)
        assert found.dtype == torch.uint8 and found.shape == (len(index), *SIZE)
        assert torch.equal(found, labels_of(pictures.apply(index, *choices, pad)))
        same = torch.equal(found, torch.from_numpy(masks)[index])
        assert same == (not flip and pad == 0)  # something was done to them


def test_padding_is_background() -> None:
    masks = DeviceMasks(np.full((2, 6, 4), 3, np.uint8), "cpu")
    top_left, bottom_right = torch.tensor([0, 4]), torch.tensor([0, 4])
    found = masks.apply(torch.tensor([0, 1]), None, top_left, bottom_right, 2)
    expected = torch.full((2, 6, 4), 3, dtype=torch.uint8)
    expected[0, :2], expected[0, :, :2] = 0, 0
    expected[1, -2:], expected[1, :, -2:] = 0, 0
    assert torch.equal(found, expected)
    found = masks.apply(torch.tensor([1]), torch.tensor([True]))
    assert torch.equal(found, torch.full((1, 6, 4), 3, dtype=torch.uint8))


def test_pipeline_of_a_world(tiny_world: Path, tmp_path: Path) -> None:
    """From the files of a dataset to a batch, against OpenCV's flip and a crop by hand."""
    dataset = cuhk_pedes.load(tiny_world)
    paths = mask_paths(dataset, "test")
    masks = DeviceMasks(mask_cache(paths, WORLD_SIZE, tmp_path), "cpu")
    assert len(masks) == len(paths)
    index = torch.arange(len(paths))
    flips, tops, lefts = draw(len(paths), True, 3, torch.Generator().manual_seed(0))
    batch = masks.apply(index, flips, tops, lefts, 3)
    for row, path in enumerate(paths):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask = np.pad(cv2.flip(mask, 1) if flips[row] else mask, 3)
        mask = mask[tops[row] : tops[row] + 64, lefts[row] : lefts[row] + 32]
        assert (batch[row].numpy() == mask).all()


def test_wrong_array() -> None:
    with pytest.raises(DataError, match=r"N, h, w\)"):
        DeviceMasks(np.zeros((2, 6, 4, 1), np.uint8), "cpu")
    with pytest.raises(DataError, match="uint8"):
        DeviceMasks(np.zeros((2, 6, 4), np.int64), "cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("share", [0.6, 0.0])
def test_cuda_equals_cpu(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device, and (share 0) streamed from the host."""
    monkeypatch.setattr(images, "_DEVICE_SHARE", share)
    masks = np.random.default_rng(3).integers(0, len(LABELS), (10, *SIZE), dtype=np.uint8)
    index = torch.tensor([3, 1, 9, 3])
    choices = draw(4, True, 3, torch.Generator().manual_seed(2))
    batches = [DeviceMasks(masks, device).apply(index, *choices, 3) for device in ("cpu", "cuda")]
    assert batches[1].device.type == "cuda" and torch.equal(batches[0], batches[1].cpu())
