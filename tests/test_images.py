"""Reading images, the decoded cache, and batches that equal torchvision's per-image pipeline."""

import errno
import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from reidlib.data.batches import images as images_module
from reidlib.data.batches.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DeviceImages,
    draw,
    image_cache,
    read_resized,
)
from reidlib.errors import DataError

SIZE = (24, 12)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """A smooth random RGB picture, so that JPEG and resizing change it little."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    """Twelve image files of different sizes and formats."""
    paths = []
    for i in range(12):
        path = tmp_path / "imgs" / f"{i}.{('png', 'jpg', 'bmp')[i % 3]}"
        path.parent.mkdir(exist_ok=True)
        picture(20 + 3 * i, 10 + 2 * i, seed=i).save(path)
        paths.append(path)
    return paths


# --- the cache


@pytest.mark.parametrize("jobs", [1, 3])
def test_cache_holds_the_resized_images(folder: list[Path], tmp_path: Path, jobs: int) -> None:
    seen: list[tuple[int, int]] = []
    cache = image_cache(
        folder,
        SIZE,
        tmp_path / "new" / "cache",
        jobs,
        lambda done, total: seen.append((done, total)),
    )
    assert isinstance(cache, np.memmap) and cache.dtype == np.uint8
    assert cache.shape == (12, *SIZE, 3) and seen[-1] == (12, 12)
    for path, image in zip(folder, cache, strict=True):
        with Image.open(path) as file:
            expected = tv.resize(file.convert("RGB"), list(SIZE), InterpolationMode.BILINEAR)
        assert (image == np.asarray(expected)).all()


def test_cache_is_made_once_and_writing_does_not_reach_it(
    folder: list[Path], tmp_path: Path
) -> None:
    cache = image_cache(folder, SIZE, tmp_path / "cache")
    copy = cache.copy()
    cache[:] = 0
    del cache

    def never(done: int, total: int) -> None:
        raise AssertionError("decoded again")

    assert (image_cache(folder, SIZE, tmp_path / "cache", progress=never) == copy).all()


def test_cache_follows_changed_files(folder: list[Path], tmp_path: Path) -> None:
    before = image_cache(folder, SIZE, tmp_path / "cache").copy()
    picture(30, 15, seed=99).save(folder[3])
    after = image_cache(folder, SIZE, tmp_path / "cache")
    assert (after[3] != before[3]).any() and (after[4] == before[4]).all()
    seen: list[int] = []
    folder[3].touch()  # another time, the same picture
    image_cache(folder, SIZE, tmp_path / "cache", progress=lambda done, _: seen.append(done))
    assert seen == []
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1  # outdated ones are gone


def test_old_and_new_pixels_never_mix(folder: list[Path], tmp_path: Path) -> None:
    """Pictures replaced by black ones of the same size in bytes, and of the same time."""
    path = folder[2]  # a BMP: its size does not depend on what it shows
    image_cache(folder, SIZE, tmp_path / "cache")
    status = path.stat()
    with Image.open(path) as image:
        black = Image.new("RGB", image.size)
    black.save(path)
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not image_cache(folder, SIZE, tmp_path / "cache")[2].any()


def test_pictures_that_change_while_they_are_decoded(
    folder: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = images_module.read_resized

    def swapping(path: Path, size: tuple[int, int]) -> np.ndarray:
        picture(40, 20, seed=5).save(folder[11])
        return whole(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(images_module, "read_resized", swapping)
        with pytest.raises(DataError, match="changed while they were read"):
            image_cache(folder, SIZE, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert len(image_cache(folder, SIZE, tmp_path / "cache")) == 12


def test_caches_of_other_size_or_order_are_apart(folder: list[Path], tmp_path: Path) -> None:
    first = image_cache(folder, SIZE, tmp_path / "cache")
    backwards = image_cache(folder[::-1], SIZE, tmp_path / "cache")
    assert (first[::-1] == backwards).all()
    assert image_cache(folder, (16, 8), tmp_path / "cache").shape == (12, 16, 8, 3)
    assert image_cache(folder[:5], SIZE, tmp_path / "cache").shape == (5, *SIZE, 3)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4


def test_unreadable_image_stops_the_cache(folder: list[Path], tmp_path: Path) -> None:
    folder[7].write_bytes(folder[7].read_bytes()[:100])
    for jobs in (1, 2):
        with pytest.raises(DataError, match=folder[7].name):
            image_cache(folder, SIZE, tmp_path / "cache", jobs)
    assert [path.suffix for path in (tmp_path / "cache").glob("images-*")] == [".lock"]
    folder[7].unlink()
    with pytest.raises(DataError, match=folder[7].name):
        image_cache(folder, SIZE, tmp_path / "cache")


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one"):
        image_cache([], SIZE, tmp_path)


def test_damaged_cache_is_made_anew(folder: list[Path], tmp_path: Path) -> None:
    good = image_cache(folder, SIZE, tmp_path / "cache").copy()
    (file,) = (tmp_path / "cache").glob("*.npy")
    (seal,) = (tmp_path / "cache").glob("*.sha256")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1  # one bit of one pixel
    for damaged in (whole[:500], b"", b"\x93NUMPY", bytes(flipped), whole + b"more"):
        file.write_bytes(damaged)
        assert (image_cache(folder, SIZE, tmp_path / "cache") == good).all()
        assert file.read_bytes() == whole
    for damaged in ("", "0" * 64, "\xff"):
        seal.write_text(damaged, encoding="latin-1")
        assert (image_cache(folder, SIZE, tmp_path / "cache") == good).all()
    seal.unlink()
    assert (image_cache(folder, SIZE, tmp_path / "cache") == good).all()


def _cache_sum(paths: list[Path], cache_dir: Path, together: Any, queue: Any) -> None:
    together.wait(timeout=120)
    queue.put(int(image_cache(paths, SIZE, cache_dir).sum()))


def test_processes_that_build_the_same_cache(folder: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together, queue = context.Barrier(2), context.Queue()
    arguments = (folder, tmp_path / "cache", together, queue)
    other = context.Process(target=_cache_sum, args=arguments)
    other.start()
    _cache_sum(*arguments)
    sums = [queue.get(timeout=60) for _ in range(2)]
    other.join()
    assert other.exitcode == 0
    assert sums == [int(image_cache(folder, SIZE, tmp_path / "alone").sum())] * 2
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_full_disk(folder: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(images_module, "_decoded", full)
        with pytest.raises(DataError, match="no space left"):
            image_cache(folder, SIZE, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("images-*.[!l]*"))

    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DataError, match="MiB are free"):
        image_cache(folder, SIZE, tmp_path / "cache")


# --- batches


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (10, *SIZE, 3), dtype=np.uint8)


def reference(
    pixels: np.ndarray, index: int, flipped: bool, top: int, left: int, pad: int
) -> torch.Tensor:
    """One image by torchvision: flip, pad, crop, ToTensor, Normalize."""
    image = Image.fromarray(pixels[index])
    if flipped:
        image = tv.hflip(image)
    image = tv.crop(tv.pad(image, [pad]), top, left, *SIZE)
    return tv.normalize(tv.to_tensor(image), IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 5])
def test_batch_equals_torchvision(pixels: np.ndarray, flip: bool, pad: int) -> None:
    index = torch.tensor([4, 0, 9, 4, 7, 1, 2, 3])
    images = DeviceImages(pixels, "cpu")
    generator = torch.Generator().manual_seed(5)
    batch = images.batch(index, flip=flip, crop_pad=pad, generator=generator)
    flips, tops, lefts = draw(len(index), flip, pad, torch.Generator().manual_seed(5))
    assert batch.shape == (8, 3, *SIZE) and batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for row, i in enumerate(index.tolist()):
        expected = reference(
            pixels,
            i,
            bool(flips[row]) if flips is not None else False,
            int(tops[row]) if tops is not None else 0,
            int(lefts[row]) if lefts is not None else 0,
            pad,
        )
        torch.testing.assert_close(batch[row], expected, atol=1e-6, rtol=0)


def test_whole_pipeline_equals_torchvision(folder: list[Path], tmp_path: Path) -> None:
    images = DeviceImages(image_cache(folder, SIZE, tmp_path / "cache"), "cpu")
    batch = images.batch(torch.arange(12))
    for row, path in enumerate(folder):
        with Image.open(path) as file:
            resized = tv.resize(file.convert("RGB"), list(SIZE), InterpolationMode.BILINEAR)
        expected = tv.normalize(tv.to_tensor(resized), IMAGENET_MEAN, IMAGENET_STD)
        torch.testing.assert_close(batch[row], expected, atol=1e-6, rtol=0)


def test_normalization_of_every_value() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    batch = DeviceImages(values, "cpu", mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4)).batch(
        torch.zeros(1, dtype=torch.int64)
    )
    expected = tv.normalize(tv.to_tensor(values[0]), (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    torch.testing.assert_close(batch[0], expected, atol=1e-6, rtol=0)


def test_choices_depend_on_the_generator_alone(pixels: np.ndarray) -> None:
    images, index = DeviceImages(pixels, "cpu"), torch.arange(10)

    def batch(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return images.batch(index, flip=True, crop_pad=3, generator=generator)

    assert torch.equal(batch(1), batch(1)) and not torch.equal(batch(1), batch(2))
    generator = torch.Generator().manual_seed(1)
    state = generator.get_state()
    images.batch(index, generator=generator)
    assert torch.equal(generator.get_state(), state)


def test_choices_are_per_image_and_fair() -> None:
    flips, tops, lefts = draw(4000, True, 4, torch.Generator().manual_seed(0))
    assert 0.46 < flips.float().mean() < 0.54
    for offsets in (tops, lefts):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9 and counts.min() > 350 and counts.max() < 540
    assert abs(float(torch.corrcoef(torch.stack([tops, lefts]).float())[0, 1])) < 0.06


@given(number=st.integers(1, 6), pad=st.integers(0, 6), flip=st.booleans(), seed=st.integers(0, 99))
def test_batch_is_made_of_its_images(number: int, pad: int, flip: bool, seed: int) -> None:
    """Every pixel of a batch is one of the image or black; rows of the batch do not mix."""
    pixels = (
        np.full((6, 10, 5, 3), 0, dtype=np.uint8)
        + np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    )
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(6, (number,), generator=generator)
    images = DeviceImages(pixels, "cpu", mean=(0, 0, 0), std=(1, 1, 1))
    batch = images.batch(index, flip=flip, crop_pad=pad, generator=generator) * 255
    for row, i in enumerate(index.tolist()):
        found = {round(value) for value in batch[row].unique().tolist()}
        assert found <= {0, i + 1} and (pad > 0 or found == {i + 1})


@given(
    number=st.integers(0, 6), pad=st.integers(0, 12), flip=st.booleans(), crop=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_one_by_one_is_what_a_gpu_does_to_all_at_once(
    number: int, pad: int, flip: bool, crop: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(1, 256, (7, 10, 5, 3), generator=generator, dtype=torch.uint8)
    index = torch.randint(7, (number,), generator=generator)
    choices = images_module.draw(number, flip, pad if crop else 0, generator)
    expected = images_module._all_at_once(pixels[index], *choices, pad)
    assert torch.equal(images_module._one_by_one(pixels, index, *choices, pad), expected)


def test_wrong_array_or_index(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8"):
        DeviceImages(pixels.astype(np.float32), "cpu")
    with pytest.raises(DataError, match="N, h, w, 3"):
        DeviceImages(pixels.transpose(0, 3, 1, 2), "cpu")
    for row in (10, -1):
        for flip in (False, True):
            with pytest.raises(IndexError):
                DeviceImages(pixels, "cpu").batch(torch.tensor([row]), flip=flip)


def test_read_only_arrays_and_empty_batches(pixels: np.ndarray) -> None:
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = DeviceImages(pixels, "cpu")
    assert len(images) == 10 and images.on_device
    empty = images.batch(torch.zeros(0, dtype=torch.int64), flip=True, crop_pad=2)
    assert empty.shape == (0, 3, *SIZE)


def test_resizing_keeps_an_image_of_the_right_size(tmp_path: Path) -> None:
    original = picture(*SIZE)
    original.save(tmp_path / "a.png")
    assert (read_resized(tmp_path / "a.png", SIZE) == np.asarray(original)).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("share", [0.6, 0.0])
def test_cuda_equals_cpu(pixels: np.ndarray, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device, and (share 0) streamed from the host."""
    monkeypatch.setattr(images_module, "_DEVICE_SHARE", share)
    index = torch.tensor([3, 1, 9, 3])
    batches = []
    for device in ("cpu", "cuda"):
        images = DeviceImages(pixels, device)
        assert images.on_device == (device == "cpu" or share > 0)
        generator = torch.Generator().manual_seed(2)
        batches.append(images.batch(index, flip=True, crop_pad=3, generator=generator).cpu())
    torch.testing.assert_close(*batches, atol=1e-6, rtol=0)
