"""Writing a dataset of the procedural world to disk, in the format of the real one.

What is dataset-specific (which images there are, their names, the annotation) is in one module per
format; here is what they share: processes, locking, and never leaving half a dataset behind.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from reidlib.data.formats.checks import SYNTHETIC, check_space, disk_errors, read_synthetic
from reidlib.errors import DataError, UsageError
from reidlib.files import locked
from reidlib.world.people.identity import WORLD_VERSION
from reidlib.world.writers import (
    coco_keypoints,
    cuhk01,
    cuhk03,
    cuhk_pedes,
    cuhk_sysu,
    icfg_pedes,
    market1501,
    peta,
    rstpreid,
    viper,
)

# Each module has FOLDER, VERSION, plan, count, bytes_needed, prepare, write_part and finish.
WRITERS = {
    writer.NAME: writer
    for writer in (
        cuhk_pedes,
        icfg_pedes,
        rstpreid,
        market1501,
        cuhk03,
        cuhk01,
        cuhk_sysu,
        viper,
        peta,
        coco_keypoints,
    )
}

_PART = 64  # images per task: small enough for a smooth progress bar, large against its overhead
_PARTS_PER_PROCESS = 8  # at least: starting one (imports) takes as long as drawing some hundreds


def write(
    dataset: str,
    out: Path,
    *,
    seed: int = 0,
    scale: float | None = None,
    ids: tuple[int, ...] | None = None,
    size: tuple[int, int] | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic dataset below `out`, unless it is there already; return its folder.

    The folder appears under its name only when it is complete. Several processes may ask for the
    same dataset at once: one writes it, the others wait. The same arguments give the same bytes,
    for any `jobs`.

    Args:
        dataset: a key of `WRITERS`.
        out: the data folder; the dataset becomes a folder in it, named as the real one.
        seed: of the world. Another seed is another set of people.
        scale: in (0, 1]; 1 (the default, if `ids` is not given either) has the real split sizes.
        ids: number of identities per split, instead of `scale`.
        size: (height, width) of all images; None for sizes typical of the source, which vary.
        jobs: processes to use; 1 runs in this process. More than one needs an importable main
            module (a script with `if __name__ == "__main__"`, or a notebook).
        progress: called with the number of images done and their total.

    Raises:
        UsageError: unknown dataset, or a scale, number of identities or size that is not possible.
        DataError: something else is in the way (it is never overwritten), or `out` cannot be
            written: no permission, no space.
    """
    if dataset not in WRITERS:
        raise UsageError(f"unknown dataset {dataset!r}: expected {', '.join(WRITERS)}")
    if size is not None and min(size) < 8:
        raise UsageError(f"size is (height, width), each >= 8 pixels; found {size}")
    writer = WRITERS[dataset]
    if scale is None and ids is None:
        scale = 1.0
    parameters = {
        "dataset": dataset,
        "world_seed": seed,
        "world_version": WORLD_VERSION,
        "writer_version": writer.VERSION,
        "scale": scale,
        "ids": None if ids is None else list(ids),
        "size": None if size is None else list(size),
    }
    folder = Path(out) / writer.FOLDER
    if _is_written(folder, parameters):
        return folder
    images = writer.plan(seed, scale, ids)
    needed, doing = writer.bytes_needed(images, size), f"writing {len(images):,} images"
    with disk_errors(folder, doing, needed):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{writer.FOLDER}.lock")):
            if not _is_written(folder, parameters):  # by another process, while we waited
                check_space(folder.parent, needed, doing)
                described = {**parameters, "counts": writer.count(images)}
                _write(writer, folder, images, described, jobs, progress)
    return folder


def _is_written(folder: Path, parameters: dict[str, Any]) -> bool:
    """True if `folder` is the dataset asked for, False if nothing is there; else `DataError`."""
    if not folder.exists():
        return False
    found = read_synthetic(folder)
    if found is None:
        raise DataError(
            f"{folder} exists and has no {SYNTHETIC}: this may be real data, which is never "
            "overwritten. Choose another folder for synthetic data."
        )
    different = [
        f"{key} {found.get(key)!r}, asked for {value!r}"
        for key, value in parameters.items()
        if found.get(key) != value
    ]
    if different:
        raise DataError(
            f"{folder} holds another synthetic dataset: {'; '.join(different)}. "
            "Delete it or choose another folder."
        )
    return True


def _write(
    writer: Any,
    folder: Path,
    images: Sequence[Any],
    described: dict[str, Any],
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write into a hidden sibling and rename it when complete. The caller holds the lock."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    marker = unfinished / SYNTHETIC
    if marker.exists():  # of a writer that was killed
        shutil.rmtree(unfinished)
    elif unfinished.exists():  # killed before its first file; fails if there is anything in it
        unfinished.rmdir()
    unfinished.mkdir()
    try:
        marker.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        writer.prepare(unfinished)
        size = None if described["size"] is None else tuple(described["size"])
        parts = [images[i : i + _PART] for i in range(0, len(images), _PART)]
        job = partial(writer.write_part, unfinished, described["world_seed"], size)
        entries: list[dict[str, Any]] = []
        with closing(_in_order(job, parts, jobs)) as results:
            for part in results:
                entries += part
                if progress is not None:
                    progress(len(entries), len(images))
        writer.finish(unfinished, entries)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _in_order(
    job: Callable[[Sequence[Any]], list[dict[str, Any]]], parts: Sequence[Any], jobs: int
) -> Iterator[list[dict[str, Any]]]:
    """`map(job, parts)`, over `jobs` processes where there is enough to do for them."""
    jobs = min(jobs, len(parts) // _PARTS_PER_PROCESS)
    if jobs <= 1:
        yield from map(job, parts)
        return
    # Spawned, not forked: the parent may have torch's threads running.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(job, parts)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that was writing images ended abruptly (out of memory?, or a main script "
            'without `if __name__ == "__main__"`); try again with fewer jobs'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
