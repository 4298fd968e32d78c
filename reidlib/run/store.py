"""The store of finished runs: one folder per experiment key, complete or not there at all.

<root>/runs/<key>/experiment.json    settings, name, data fingerprint
                  history.jsonl      one line per epoch
                  checkpoint.pt      full training state; removed when the run is complete
                  model.safetensors  the model of the last epoch
                  ranks.npz          per evaluation: rank of the first correct match per query
                  scores.npz         per evaluation and metric: what each query adds to the mean;
                                     only of runs with metrics that do not follow from the ranks
                  provenance.json    versions, device, git commit, times
                  metrics.json       written last: a run is complete if and only if it is there
"""

import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.errors import StoreError
from reidlib.files import explain_os_errors, locked, write_atomic, write_json

METRICS = "metrics.json"
CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"
SCORES = "scores.npz"
_FILES = ("experiment.json", HISTORY, "model.safetensors", "ranks.npz", "provenance.json")


@dataclass(frozen=True)
class Run:
    """A finished run. Everything is read from its folder when it is first asked for."""

    key: str
    folder: Path

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return _read_json(self.folder / METRICS)

    @cached_property
    def experiment(self) -> dict[str, Any]:
        return _read_json(self.folder / "experiment.json")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return _read_json(self.folder / "provenance.json")

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        return read_history(self.folder / HISTORY)

    @cached_property
    def _ranks(self) -> dict[str, np.ndarray]:
        return _read_arrays(self.folder / "ranks.npz")

    @cached_property
    def _scores(self) -> dict[str, np.ndarray]:
        path = self.folder / SCORES
        return _read_arrays(path) if SCORES in self.metrics["files"] else {}

    def ranks(self, evaluation: str) -> np.ndarray:
        """int32 (queries,): 1-based rank of each query's first correct match.

        Raises `StoreError` if the run holds no evaluation of that name.
        """
        if evaluation not in self._ranks:
            raise StoreError(
                f"{self.folder / 'ranks.npz'}: no evaluation {evaluation!r}; "
                f"it holds {', '.join(sorted(self._ranks))}"
            )
        return self._ranks[evaluation]

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        """float64 (queries,) in 0..1: what each query adds to the mean that the metric is.

        NaN for queries without a correct image, which the mean leaves out; None if this run holds
        no such scores, as where ranks say it all.
        """
        return self._scores.get(_score_name(evaluation, metric))


class Store:
    """The runs of one profile. `root` is `results/<profile>`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, key: str) -> Path:
        return self.root / "runs" / key

    def load(self, key: str) -> Run | None:
        """The finished run of that key; None if there is none, or if its folder is damaged."""
        run = Run(key, self.folder(key))
        return run if damage(run) == "" else None

    @contextmanager
    def claim(self, key: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a run for training; yields False if another process is training it."""
        with locked(self.root / "runs" / ".locks" / key, wait=wait) as held:
            yield held

    def finish(
        self,
        key: str,
        *,
        weights: bytes,
        ranks: Mapping[str, np.ndarray],
        provenance: Mapping[str, Any],
        metrics: Mapping[str, Any],
        scores: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    ) -> Run:
        """Write what a training leaves; `metrics.json` last, with the size of every other file.

        scores: per evaluation and metric, see `Run.scores`.
        """
        folder = self.folder(key)
        write_atomic(folder / "model.safetensors", weights)
        _write_arrays(folder / "ranks.npz", ranks)
        by_name = {
            _score_name(evaluation, metric): np.asarray(values, dtype=np.float64)
            for evaluation, metrics_of in (scores or {}).items()
            for metric, values in metrics_of.items()
        }
        if by_name:
            _write_arrays(folder / SCORES, by_name)
        write_json(folder / "provenance.json", provenance)
        files = (*_FILES, SCORES) if by_name else _FILES
        sizes = {name: (folder / name).stat().st_size for name in files}
        write_json(folder / METRICS, {**metrics, "files": sizes})
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return Run(key, folder)

    def discard(self, key: str) -> None:
        """Remove what a damaged run left, so that it is trained again from the start."""
        with explain_os_errors(self.folder(key), "removing a damaged run"):
            shutil.rmtree(self.folder(key), ignore_errors=False)


def damage(run: Run) -> str:
    """What is wrong with a run's folder: "" if it is complete, "missing" if never finished."""
    path = run.folder / METRICS
    if not path.exists():
        return "missing"
    try:
        sizes = _read_json(path)["files"]
        for name in sorted({*_FILES, *sizes}):
            file = run.folder / name
            if not file.exists():
                return f"{file}: missing"
            if file.stat().st_size != sizes[name]:
                return f"{file}: {file.stat().st_size} bytes, expected {sizes[name]}"
        _ = run.experiment, run.provenance, run.history, run._ranks, run._scores
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        return f"{run.folder}: unreadable ({error})"
    return ""


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs recorded so far, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(epoch) + "\n" for epoch in history))


def _score_name(evaluation: str, metric: str) -> str:
    return f"{evaluation}: {metric}"


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    write_atomic(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_json(path: Path) -> dict[str, Any]:
    with contextlib.closing(path.open(encoding="utf-8")) as file:
        return json.load(file)
