"""The store of finished runs: one folder per experiment key, complete or not there at all.

<root>/runs/<key>/experiment.json    settings, name, data fingerprint
                  history.jsonl      one line per epoch
                  checkpoint.pt      full training state; removed when the run is complete
                  model.safetensors  the model of the last epoch
                  ranks.npz          per evaluation: rank of the first correct match per query
                  people.npz         per evaluation: identity of each query
                  scores.npz         per evaluation and metric: what each query adds to the mean;
                                     only of runs with metrics that do not follow from the ranks
                  provenance.json    versions, device, processor, git commit, source, times
                  metrics.json       written last, with a digest of every file and of itself: a run
                                     is complete if and only if it is there

A run that is not in `<root>` is looked for among the reference results, which travel without
weights (`reidlib.run.reference`).
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reidlib.errors import StoreError
from reidlib.files import explain_os_errors, locked, read_regular, write_atomic, write_json
from reidlib.papers.intervals import TOP_K
from reidlib.run import reference

METRICS = "metrics.json"
CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"
WEIGHTS = "model.safetensors"
RANKS, PEOPLE, SCORES = "ranks.npz", "people.npz", "scores.npz"
_FILES = ("experiment.json", HISTORY, WEIGHTS, RANKS, PEOPLE, SCORES, "provenance.json")
_ROUNDING = 1e-3  # percentage points, of sums in another order
_LARGEST = 256 * 2**20  # bytes that the arrays of a run may unpack to


class RunLike(Protocol):
    """What reports read of a finished run, whether it was trained here or came along."""

    key: str
    metrics: Mapping[str, Any]
    experiment: Mapping[str, Any]
    provenance: Mapping[str, Any]
    history: list[dict[str, Any]]

    @property
    def weights(self) -> Path | None: ...

    def ranks(self, evaluation: str) -> np.ndarray: ...

    def people(self, evaluation: str) -> np.ndarray: ...

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Run:
    """A finished run. Everything is read from its folder when it is first asked for."""

    key: str
    folder: Path

    @property
    def weights(self) -> Path:
        """The model's file. Raises `StoreError` if its content is not what was written."""
        path = self.folder / WEIGHTS
        if why := _differs(path, self.metrics["files"][WEIGHTS]):
            raise StoreError(f"{why}; delete the folder {self.folder} to have it trained again")
        return path

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
        return read_arrays(self.folder / RANKS)

    @cached_property
    def _people(self) -> dict[str, np.ndarray]:
        return read_arrays(self.folder / PEOPLE)

    @cached_property
    def _scores(self) -> dict[str, np.ndarray]:
        return read_arrays(self.folder / SCORES)

    def ranks(self, evaluation: str) -> np.ndarray:
        """int32 (queries,): 1-based rank of each query's first correct match.

        Raises `StoreError` if the run holds no evaluation of that name.
        """
        return self._of(self._ranks, RANKS, evaluation)

    def people(self, evaluation: str) -> np.ndarray:
        """int64 (queries,): identity of the person that each query shows or describes.

        Raises `StoreError` if the run holds no evaluation of that name.
        """
        return self._of(self._people, PEOPLE, evaluation)

    def _of(self, arrays: Mapping[str, np.ndarray], file: str, evaluation: str) -> np.ndarray:
        if evaluation not in arrays:
            raise StoreError(
                f"{self.folder / file}: no evaluation {evaluation!r}; "
                f"it holds {', '.join(sorted(arrays))}"
            )
        return arrays[evaluation]

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        """float64 (queries,) in 0..1: what each query adds to the mean that is the metric.

        NaN for queries that the mean leaves out; None if the run has stored none (Top-k follows
        from the ranks).
        """
        return self._scores.get(score_name(evaluation, metric))


class Store:
    """Runs below `root`; those of `references` stand in for what was not trained here.

    With the `precision` "fp32" only runs that were trained in fp32 are found.
    """

    def __init__(self, root: Path, references: Path | None = None, precision: str = "auto") -> None:
        self.root = Path(root)
        self.references = references
        self.precision = precision

    def folder(self, key: str) -> Path:
        return self.root / "runs" / key

    def load(self, key: str) -> RunLike | None:
        """The finished run of that key; None if there is none, or if its folder is damaged."""
        return self.load_trained(key) or self.load_reference(key)

    def load_trained(self, key: str) -> Run | None:
        """The run that was trained here, with its weights."""
        run = Run(key, self.folder(key))
        return run if damage(run) == "" and self._in_precision(run) else None

    def load_reference(self, key: str) -> reference.ReferenceRun | None:
        """The run that came along with the project, without its weights."""
        run = None if self.references is None else reference.load(self.references).get(key)
        return run if run is not None and self._in_precision(run) else None

    def _in_precision(self, run: RunLike) -> bool:
        return self.precision != "fp32" or run.provenance.get("precision", "fp32") == "fp32"

    def check_precision(self, key: str) -> None:
        """Raise `StoreError` if the run is there, but was trained in another precision."""
        run = Run(key, self.folder(key))
        if damage(run) == "" and not self._in_precision(run):
            raise StoreError(
                f"{run.folder}: this run was trained in {run.provenance['precision']}; to have it "
                "in fp32 as well, give another folder as --results"
            )

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
        people: Mapping[str, np.ndarray],
        provenance: Mapping[str, Any],
        metrics: Mapping[str, Any],
        scores: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    ) -> Run:
        """Write what a training leaves; `metrics.json` last, with a digest of every other file.

        scores: per evaluation and metric, see `Run.scores`.
        """
        folder = self.folder(key)
        write_atomic(folder / WEIGHTS, weights)
        write_atomic(folder / RANKS, pack_arrays(ranks))
        write_atomic(folder / PEOPLE, pack_arrays(people))
        by_name = {
            score_name(evaluation, metric): np.asarray(values, dtype=np.float64)
            for evaluation, metrics_of in (scores or {}).items()
            for metric, values in metrics_of.items()
        }
        write_atomic(folder / SCORES, pack_arrays(by_name))
        write_json(folder / "provenance.json", provenance)
        files = {name: _digest(folder / name) for name in _FILES}
        content = {**metrics, "key": key, "files": files}
        write_json(folder / METRICS, {**content, "digest": _digest_of(content)})
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return Run(key, folder)

    def discard(self, key: str) -> None:
        """Remove what a damaged run left, so that it is trained again from the start."""
        with explain_os_errors(self.folder(key), "removing a damaged run"):
            if self.folder(key).is_symlink():  # whatever it leads to is not ours
                self.folder(key).unlink()
                return
            shutil.rmtree(self.folder(key), ignore_errors=False)


def damage(run: Run) -> str:
    """What is wrong with a run's folder: "" if it is complete, "missing" if never finished.

    Every file but the weights is compared with its digest; those are when they are read.
    """
    path = run.folder / METRICS
    if not path.exists():
        return "missing"
    try:
        metrics = dict(_read_json(path))
        written = metrics.pop("digest", None)
        if written != _digest_of(metrics):
            return f"{path}: its content is not what was written"
        if metrics["key"] != run.key:
            return f"{path}: of run {metrics['key']}, expected {run.key}"
        for name in _FILES:
            file = run.folder / name
            if not file.is_file():
                return f"{file}: missing"
            if name == WEIGHTS:
                if file.stat().st_size != metrics["files"][name]["bytes"]:
                    return f"{file}: another size than was written"
            elif why := _differs(file, metrics["files"][name]):
                return why
        _ = run.experiment, run.provenance, run.history, run._ranks, run._people, run._scores
        return _contradiction(run)
    except (
        *(KeyError, TypeError, ValueError, OSError, EOFError, RecursionError, AttributeError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, StoreError),
    ) as error:
        return f"{run.folder}: unreadable ({type(error).__name__}: {error})"


def _contradiction(run: Run) -> str:
    """What a run's metrics say that its ranks and scores do not; "" if they agree."""
    for evaluation, values in run.metrics["evaluations"].items():
        for metric, value in values.items():
            scores = run.scores(evaluation, metric)
            if scores is None:
                top = TOP_K.fullmatch(metric)
                if top is None or evaluation not in run._ranks:
                    continue
                ranks = run.ranks(evaluation)
                scores = ((ranks >= 1) & (ranks <= int(top[1]))).astype(np.float64)
            counted = scores[~np.isnan(scores)]
            if len(counted) and not abs(100 * counted.mean() - value) < _ROUNDING:
                return (
                    f"{run.folder / METRICS}: {evaluation}, {metric} {value:.2f}; the queries come "
                    f"to {100 * counted.mean():.2f}"
                )
    return ""


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs recorded so far, oldest first."""
    return [json.loads(line) for line in read_regular(path).splitlines() if line]


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(epoch) + "\n" for epoch in history))


def score_name(evaluation: str, metric: str) -> str:
    return f"{evaluation}: {metric}"


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as the content of an npz file."""
    buffer = BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz file; raises `StoreError` before it would take an absurd amount of memory,
    and what numpy and zipfile raise for a damaged file."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _LARGEST:
        raise StoreError(f"{path}: {size:,} bytes unpacked, expected at most {_LARGEST:,}")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _differs(path: Path, written: Mapping[str, Any]) -> str:
    found = _digest(path)
    return "" if found == written else f"{path}: its content is not what was written"


def _digest_of(metrics: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(read_regular(path))
