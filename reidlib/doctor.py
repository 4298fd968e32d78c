"""What was found on this machine: datasets, ImageNet weights, devices, tagger, disk space.

`examine` returns findings as plain rows; `format_findings` makes a text of them. A finding is a
dict with `topic`, `name`, `state` ("ok", "missing" or "wrong") and `detail` (one or more lines);
datasets also have `path`, `synthetic` (bool) and `counts`, a row of found and expected numbers per
split.
"""

import hashlib
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from reidlib.data.formats import (
    cuhk01,
    cuhk03,
    cuhk_pedes,
    cuhk_sysu,
    dukemtmc,
    icfg_pedes,
    market1501,
    rstpreid,
    viper,
)
from reidlib.data.formats.checks import counts_table
from reidlib.data.language.tagger import load_tagger
from reidlib.errors import DataError
from reidlib.models.parts.backbones import IMAGENET_FILES, imagenet_path

Finding = dict[str, Any]

# Each module has NAME, FOLDER, load, count and expected_counts.
FORMATS: tuple[Any, ...] = (
    cuhk_pedes, icfg_pedes, rstpreid, market1501, dukemtmc, *cuhk03.FORMATS, cuhk01,
    cuhk_sysu, viper,
)  # fmt: skip

_PACKAGES = (
    "torch", "torchvision", "numpy", "pandas", "pillow", "opencv-python-headless", "nltk", "scipy",
    "h5py",
)  # fmt: skip


def examine(data_root: Path) -> list[Finding]:
    """All findings for a data folder and this machine. Reads annotations and weight files whole."""
    data_root = Path(data_root)
    return [
        *versions(),
        *devices(),
        *datasets(data_root),
        *weights(),
        tagger(),
        disk(data_root),
    ]


def datasets(data_root: Path) -> list[Finding]:
    """Every known dataset in `data_root`, and those rendered below its folder synthetic/."""
    rows = []
    for form in FORMATS:
        if (data_root / form.FOLDER).exists():
            rows.append(_dataset(form, data_root))
        else:
            rows.append(
                {
                    "topic": "dataset",
                    "name": form.NAME,
                    "state": "missing",
                    "detail": f"no folder {form.FOLDER} in {data_root}; data/README.md says where "
                    "to get it and how to place it",
                    "path": str(data_root / form.FOLDER),
                    "synthetic": False,
                    "counts": [],
                }
            )
        for root in sorted((data_root / "synthetic").glob("*/*/")):
            if (root / form.FOLDER).exists():
                rows.append(_dataset(form, root))
    return rows


def _dataset(form: Any, root: Path) -> Finding:
    folder = root / form.FOLDER
    row: Finding = {
        "topic": "dataset",
        "name": form.NAME,
        "state": "ok",
        "path": str(folder),
        "synthetic": (folder / "SYNTHETIC.json").exists(),
        "counts": [],
    }
    try:
        dataset = form.load(root)
    except DataError as error:
        return {**row, "state": "wrong", "detail": str(error)}
    found, expected = form.count(dataset.splits), form.expected_counts(dataset.synthetic)
    row["counts"] = [
        {"split": split, "unit": unit, "found": number, "expected": vars(expected[split])[unit]}
        for split, counts in found.items()
        for unit, number in vars(counts).items()
    ]
    kind = "synthetic" if row["synthetic"] else "real data"
    lines = [f"{kind} in {folder}", counts_table(found, expected), *dataset.notes]
    return {**row, "detail": "\n".join(lines)}


def weights() -> list[Finding]:
    """ImageNet weights: the file must be there, and its SHA-256 begin as its name says."""
    rows = []
    for name, kind in IMAGENET_FILES:
        path = imagenet_path(name, kind)
        row = {"topic": "weights", "name": f"{name} {kind}", "path": str(path)}
        prefix = path.stem.rpartition("-")[2]
        if not path.is_file():
            detail = f"not found: {path} (needed for real data only: profile paper)"
            rows.append({**row, "state": "missing", "detail": detail})
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest.startswith(prefix):
            rows.append({**row, "state": "ok", "detail": str(path)})
        else:
            detail = f"{path}: SHA-256 begins with {digest[:8]}, expected {prefix}: copy it again"
            rows.append({**row, "state": "wrong", "detail": detail})
    return rows


def devices() -> list[Finding]:
    """The CPU, and every CUDA device that torch can use."""
    threads = torch.get_num_threads()
    cpu = f"{platform.processor() or platform.machine()}, torch uses {threads} threads"
    rows = [{"topic": "device", "name": "cpu", "state": "ok", "detail": cpu}]
    if not torch.cuda.is_available():
        detail = "none that torch can use: everything runs on the CPU"
        return [*rows, {"topic": "device", "name": "cuda", "state": "missing", "detail": detail}]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        detail = (
            f"{about.name}, compute capability {about.major}.{about.minor}, "
            f"{_gib(free)} of {_gib(total)} free"
        )
        rows.append({"topic": "device", "name": f"cuda:{index}", "state": "ok", "detail": detail})
    return rows


def tagger() -> Finding:
    """Which part-of-speech tagger the noun phrases come from."""
    row = {"topic": "tagger", "name": "part of speech"}
    try:
        return {**row, "state": "ok", "detail": load_tagger().name}
    except DataError as error:
        return {**row, "state": "wrong", "detail": str(error)}


def disk(folder: Path) -> Finding:
    """Free space where `folder` is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{_gib(free)} free in {place}"
    return {"topic": "disk", "name": "free space", "state": "ok", "detail": detail}


def versions() -> list[Finding]:
    """Python and the packages that numbers depend on."""
    rows = [
        {
            "topic": "version",
            "name": "python",
            "state": "ok",
            "detail": f"{platform.python_version()} on {platform.platform()}",
        }
    ]
    for package in _PACKAGES:
        try:
            row = {"name": package, "state": "ok", "detail": version(package)}
        except PackageNotFoundError:
            row = {"name": package, "state": "missing", "detail": "not installed"}
        rows.append({"topic": "version", **row})
    return rows


def format_findings(findings: list[Finding]) -> str:
    """Findings as aligned text, one block per topic."""
    lines: list[str] = []
    width = max((len(finding["name"]) for finding in findings), default=0)
    topic = None
    for finding in findings:
        if finding["topic"] != topic:
            topic = finding["topic"]
            lines += ["", topic] if lines else [topic]
        first, *rest = finding["detail"].splitlines()
        lines.append(f"  {finding['state']:<7}  {finding['name']:<{width}}  {first}")
        lines += [f"  {'':<7}  {'':<{width}}  {line}".rstrip() for line in rest]
    return "\n".join(lines)


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
