"""Finished runs that travel with the project: everything but the weights, in a few small files.

<folder>/<paper>[-<n>].npz holds, under "runs", JSON: per key the settings, metrics, history and
provenance, and which of the other arrays are its outcomes (what each query came to). Equal arrays
stand there once. A thousand runs are to fit into a few megabytes, which is why all is compressed.

Of ranks only those up to 10 are kept (`Top-10` is the last that tables compare), what is beyond
counts as 11; scores are kept as float16. The metrics are the run's own, unrounded. The JSON has a
digest of what it says, and arrays are called by theirs: a file that has changed is refused.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.errors import DataError, StoreError
from reidlib.experiment import hash_json
from reidlib.files import read_arrays, write_atomic

LAST_RANK = 10
_MOST = 900_000  # bytes of a file
_RUNS = "runs"  # the array that is JSON in UTF-8


@dataclass(frozen=True)
class ReferenceRun:
    """A finished run as it travelled; like `reidlib.run.store.Run`, but without weights."""

    key: str
    paper: str
    metrics: Mapping[str, Any]
    experiment: Mapping[str, Any]
    provenance: Mapping[str, Any]
    history: list[dict[str, Any]]
    arrays: Mapping[str, np.ndarray]  # "ranks/<evaluation>", "people/…", "scores/<name>"

    @property
    def weights(self) -> None:
        return None

    def ranks(self, evaluation: str) -> np.ndarray:
        """int32 (queries,); 11 stands for ranks beyond 10. Raises `StoreError`, as Run does."""
        return self._of("ranks", evaluation).astype(np.int32)

    def people(self, evaluation: str) -> np.ndarray:
        """int64 (queries,). Raises `StoreError`, as Run does."""
        return self._of("people", evaluation).astype(np.int64)

    def scores(self, evaluation: str, metric: str) -> np.ndarray | None:
        """float64 (queries,), of float16's precision; None if there are none."""
        found = self.arrays.get(f"scores/{evaluation}: {metric}")
        return None if found is None else found.astype(np.float64)

    def _of(self, kind: str, evaluation: str) -> np.ndarray:
        name = f"{kind}/{evaluation}"
        if name not in self.arrays:
            raise StoreError(f"reference run {self.key}: no {kind} of evaluation {evaluation!r}")
        return self.arrays[name]


@lru_cache(maxsize=16)
def load(folder: Path) -> dict[str, ReferenceRun]:
    """Key -> run, of all files in a folder; empty where there is none.

    Raises `DataError` for a file that cannot be read.
    """
    runs: dict[str, ReferenceRun] = {}
    for path in sorted(Path(folder).glob("*.npz")):
        try:
            arrays = read_arrays(path)
            if arrays is None:
                raise ValueError("it is damaged")
            content = json.loads(arrays.pop(_RUNS).tobytes())
            entries = content["runs"]
            digests = {name: _digest(values) for name, values in arrays.items()}
            if content["digest"] != hash_json(entries, 64) or any(
                n != d for n, d in digests.items()
            ):
                raise ValueError("its content is not what was written")
            for key, entry in entries.items():
                names = entry.pop("arrays")
                found = {name: arrays[digest] for name, digest in names.items()}
                runs[key] = ReferenceRun(key=key, arrays=found, **entry)
        except (ValueError, LookupError, TypeError, OSError, RecursionError) as error:
            raise DataError(f"{path}: reference runs are unreadable: {error}") from error
    return runs


def save(
    folder: Path, paper: str, runs: Iterable[tuple[Any, Mapping[str, set[str]]]]
) -> list[Path]:
    """Write a paper's finished runs as reference results, in place of those that were there.

    Args:
        runs: each with what of it the tables compare: evaluation -> metrics.

    Returns:
        The files, none larger than a megabyte.
    """
    for old in sorted(Path(folder).glob(f"{paper}*.npz")):
        if old.stem == paper or old.stem.removeprefix(f"{paper}-").isdecimal():
            old.unlink()
    written: list[Path] = []
    entries: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}

    def flush() -> None:
        number = f"-{len(written) + 1}" if written else ""
        path = Path(folder) / f"{paper}{number}.npz"
        sealed = {"runs": entries, "digest": hash_json(entries, 64)}
        content = json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()
        write_atomic(path, _packed({_RUNS: np.frombuffer(content, np.uint8), **arrays}))
        written.append(path)
        entries.clear()
        arrays.clear()

    size = 0
    for run, compared in runs:
        kept = _outcomes(run, compared)
        digests = {name: _digest(values) for name, values in kept.items()}
        entry = {
            "paper": paper,
            "metrics": {k: v for k, v in run.metrics.items() if k not in ("files", "digest")},
            "experiment": run.experiment,
            "provenance": run.provenance,
            "history": [_rounded(epoch) for epoch in run.history],
            "arrays": digests,
        }
        new = {d: kept[name] for name, d in digests.items() if d not in arrays}
        grows = len(zlib.compress(json.dumps(entry).encode()))
        grows += sum(len(_packed({"a": values})) for values in new.values())
        if entries and size + grows > _MOST:
            flush()
            size, new = 0, {d: kept[name] for name, d in digests.items()}
        entries[run.key] = entry
        arrays |= new
        size += grows
    if entries:
        flush()
    load.cache_clear()
    return written


def _outcomes(run: Any, compared: Mapping[str, set[str]]) -> dict[str, np.ndarray]:
    kept: dict[str, np.ndarray] = {}
    for evaluation, metrics in compared.items():
        people = run.people(evaluation)
        kept[f"people/{evaluation}"] = people.astype(np.min_scalar_type(int(people.max(initial=0))))
        for metric in metrics:
            scores = run.scores(evaluation, metric)
            if scores is not None:
                kept[f"scores/{evaluation}: {metric}"] = scores.astype(np.float16)
            else:
                ranks = run.ranks(evaluation)
                kept[f"ranks/{evaluation}"] = np.minimum(ranks, LAST_RANK + 1).astype(np.int8)
    return kept


def _rounded(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in epoch.items()}


def _digest(values: np.ndarray) -> str:
    header = f"{values.dtype} {values.shape} ".encode()
    return hashlib.sha256(header + values.tobytes()).hexdigest()[:16]


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    # In order of their names: the same runs, kept again, are the same bytes.
    np.savez_compressed(buffer, **dict(sorted(arrays.items())))
    return buffer.getvalue()
