"""Writing a dataset of the procedural world to disk, in the format of the real one.

What is dataset-specific (which images there are, their names, the annotation) is in one module per
format; here is what they share: processes, locking, and never leaving half a dataset behind.
"""

import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from reidlib.data import generated
from reidlib.data.formats.checks import SYNTHETIC, read_synthetic
from reidlib.data.register import FORMATS
from reidlib.errors import DataError, UsageError
from reidlib.files import check_space, disk_errors, locked
from reidlib.world.people.identity import WORLD_VERSION

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
        dataset: a format, a key of `reidlib.data.register.FORMATS`.
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
    writer = writer_of(dataset)
    parameters = _parameters(dataset, seed, scale, ids, size)
    folder = Path(out) / FORMATS[dataset].folder
    if _is_written(folder, parameters):
        return folder
    images = writer.plan(seed, parameters["scale"], ids)
    needed, doing = writer.bytes_needed(images, size), f"writing {len(images):,} images"
    with disk_errors(folder, doing, needed):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(_beside(folder, "lock")):
            if not _is_written(folder, parameters):  # by another process, while we waited
                check_space(folder.parent, needed, doing)
                described = {**parameters, "counts": writer.count(images)}
                _write(writer, folder, images, described, jobs, progress)
    return folder


def writer_of(dataset: str) -> ModuleType:
    """The module that writes a format; `UsageError` for an unknown one."""
    if dataset not in FORMATS:
        raise UsageError(f"unknown dataset {dataset!r}: expected {', '.join(FORMATS)}")
    return importlib.import_module(FORMATS[dataset].writer)


def world_fingerprint(
    dataset: str,
    *,
    seed: int = 0,
    ids: tuple[int, ...] | None = None,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    """`Dataset.fingerprint` of what `write` draws with the same arguments; draws nothing.

    The same for all datasets (protocols, domains, random splits) of a format.
    """
    return generated.made_from(_parameters(dataset, seed, scale, ids, size))


def _parameters(
    dataset: str,
    seed: int,
    scale: float | None,
    ids: tuple[int, ...] | None,
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """All that decides what is written."""
    version = writer_of(dataset).VERSION
    if size is not None and min(size) < 8:
        raise UsageError(f"size is (height, width), each >= 8 pixels; found {size}")
    return {
        "dataset": dataset,
        "world_seed": seed,
        "world_version": WORLD_VERSION,
        "writer_version": version,
        "scale": 1.0 if scale is None and ids is None else scale,
        "ids": None if ids is None else list(ids),
        "size": None if size is None else list(size),
    }


def _beside(folder: Path, kind: str) -> Path:
    """A hidden file or folder next to that of the dataset."""
    return folder.with_name(f".{folder.name}.{kind}")


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
    unfinished, drawing = _beside(folder, "unfinished"), _beside(folder, "drawing")
    with locked(drawing):  # the processes of a writer that was killed end first, if there are any
        marker = unfinished / SYNTHETIC
        if marker.exists():
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
        with closing(_in_order(job, parts, jobs, drawing)) as results:
            for part in results:
                entries += part
                if progress is not None:
                    progress(len(entries), len(images))
        writer.finish(unfinished, entries)
        written = generated.sealed(unfinished, read_synthetic(unfinished))
        marker.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _in_order(
    job: Callable[[Sequence[Any]], list[dict[str, Any]]],
    parts: Sequence[Any],
    jobs: int,
    drawing: Path,
) -> Iterator[list[dict[str, Any]]]:
    """`map(job, parts)`, over `jobs` processes where there is enough to do for them."""
    jobs = min(jobs, len(parts) // _PARTS_PER_PROCESS)
    if jobs <= 1:
        yield from map(job, parts)
        return
    # Spawned, not forked: the parent may have torch's threads running.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(drawing,))
    try:
        yield from pool.map(job, parts)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that was writing images ended abruptly (out of memory?, or a main script "
            'without `if __name__ == "__main__"`); try again with fewer jobs'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_held = ExitStack()  # what a process of the pool holds as long as it lives


def _begin(drawing: Path) -> None:
    """In every process of the pool: end with the parent, however that ends, and until then hold a
    share of the lock that the next writer waits for."""
    _held.enter_context(locked(drawing, shared=True))
    sentinel = multiprocessing.parent_process().sentinel

    def end_with_parent(timeout: float | None = None) -> None:
        if multiprocessing.connection.wait([sentinel], timeout):
            os._exit(1)

    end_with_parent(timeout=0.0)  # it was killed while this process was starting
    threading.Thread(target=end_with_parent, daemon=True).start()
