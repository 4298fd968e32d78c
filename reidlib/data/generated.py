"""Generated datasets: what they were made from, and whether they still are what was written.

SYNTHETIC.json in the dataset's folder holds the parameters it was made from and a seal: a digest of
these and of SHA256SUMS beside it, which lists every file with the digest of its content
(`sha256sum -c` reads it, too). What a generated dataset holds follows from the parameters, so they
can stand for it in the key of a run before anything is drawn; the seal shows that they still do.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reidlib.data import content
from reidlib.data.formats.checks import SYNTHETIC, first_of
from reidlib.errors import DataError
from reidlib.experiment import hash_json
from reidlib.files import read_regular

SUMS = "SHA256SUMS"
# The parameters that decide every byte.
MADE_FROM = ("dataset", "world_seed", "world_version", "writer_version", "scale", "ids", "size")
_SEAL = "seal"


def made_from(parameters: Mapping[str, Any]) -> str:
    """Fingerprint (64 hex digits) of what is made from `parameters`, of which `MADE_FROM` count.

    Raises `KeyError` if one is missing.
    """
    return hash_json({name: parameters[name] for name in MADE_FROM}, digits=64)


def sealed(folder: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """Write SHA256SUMS for all files in `folder`; returns what SYNTHETIC.json is to hold."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (SYNTHETIC, SUMS)
    )
    found = content.digests([folder / name for name in names])
    lines = "".join(f"{digest}  {name}\n" for digest, name in zip(found, names, strict=True))
    (folder / SUMS).write_text(lines, encoding="utf-8")
    return {**described, _SEAL: _seal(described, lines.encode())}


def verify(folder: Path, described: Mapping[str, Any], cache: Path | None = None) -> None:
    """Raise `DataError` unless the files of a generated dataset are those that were written.

    Files beyond them (a desktop's, exported images) do not matter. Costs a `stat` per file once
    `cache` remembers their digests.

    Args:
        folder: the dataset's folder.
        described: its SYNTHETIC.json.
        cache: see `reidlib.data.content.digests`.
    """
    mend = (
        f"Generated data must stay as it was drawn: delete {folder}; it is drawn again when it is "
        "needed, or by `python -m reidlib synth`."
    )
    try:
        lines = read_regular(folder / SUMS)
        made_from(described)
        parameters = {name: value for name, value in described.items() if name != _SEAL}
        intact = described[_SEAL] == _seal(parameters, lines)
    except FileNotFoundError:
        raise DataError(
            f"{folder}: {SUMS} is missing: it was deleted, or an earlier version drew this data. "
            f"{mend}"
        ) from None
    except (OSError, KeyError):
        raise DataError(
            f"{folder}: {SYNTHETIC} or {SUMS} is not as it was written, or is of another version. "
            f"{mend}"
        ) from None
    if not intact:
        raise DataError(f"{folder}: {SYNTHETIC} or {SUMS} was changed after it was written. {mend}")
    written = dict(line.split("  ", 1)[::-1] for line in lines.decode().splitlines())
    paths = {name: os.path.join(folder, name) for name in written}
    there = [name for name, path in paths.items() if os.path.isfile(path)]
    gone = sorted(set(written) - set(there))
    found = content.digests([paths[name] for name in there], cache)
    changed = [n for n, digest in zip(there, found, strict=True) if digest != written[n]]
    if gone or changed:
        number = len(gone) + len(changed)
        raise DataError(
            f"{folder}: {number:,} of {len(written):,} files are not what was written "
            f"({len(gone):,} missing, {len(changed):,} changed); the first:\n"
            f"{first_of([*changed, *gone])}\n{mend}"
        )


def _seal(described: Mapping[str, Any], lines: bytes) -> str:
    return hash_json([dict(described), hashlib.sha256(lines).hexdigest()], digits=64)
