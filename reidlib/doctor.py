"""What was found on this machine: datasets, ImageNet weights, devices, tagger, disk space.

`examine` returns findings as plain rows; `format_findings` makes a text of them. A finding is a
dict with `topic`, `name`, `state` ("ok", "missing" or "wrong") and `detail` (one or more lines);
datasets also have `path`, `synthetic` (bool) and `counts`, a row of found and expected numbers per
split. Nothing is written: pictures that other files hold are counted, not written out.
"""

import hashlib
import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from reidlib.data.dataset import Dataset
from reidlib.data.formats import checks
from reidlib.data.formats.checks import SYNTHETIC, counts_table
from reidlib.data.formats.decoding import ends_early
from reidlib.data.language.tagger import load_tagger
from reidlib.data.register import FORMATS, Format, loader_of
from reidlib.errors import DataError
from reidlib.models.parts.backbones import IMAGENET_FILES, imagenet_path
from reidlib.run.source import is_todays
from reidlib.run.store import Store

Finding = dict[str, Any]

_PACKAGES = (
    "torch", "torchvision", "numpy", "pandas", "pillow", "opencv-python-headless", "nltk", "scipy",
    "h5py",
)  # fmt: skip
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def examine(data_root: Path, results: Path | None = None) -> list[Finding]:
    """All findings for a data folder, a results folder and this machine; writes nothing.

    Reads annotations and weight files whole.
    """
    data_root = Path(data_root)
    return [
        *versions(),
        *devices(),
        *datasets(data_root),
        *weights(),
        *([] if results is None else runs(Path(results))),
        tagger(),
        disk(data_root),
    ]


def is_fine(findings: list[Finding]) -> bool:
    """Whether nothing was found that is wrong; what is missing may not be needed."""
    return all(finding["state"] != "wrong" for finding in findings)


def runs(results: Path) -> list[Finding]:
    """Finished runs per profile: how many, and how many of them other source than today's made."""
    rows = []
    for folder in sorted(results.glob("*/runs")):
        store = Store(folder.parent)
        names = [path.name for path in folder.glob("*/") if not path.name.startswith(".")]
        finished = [run for name in names if (run := store.load_trained(name))]
        unfinished = len(names) - len(finished)
        stale = sum(
            not is_todays(str(run.experiment.get("paper")), run.provenance.get("source"))
            for run in finished
        )
        detail = f"{len(finished)} finished runs in {folder}"
        if stale:
            detail += f"; {stale} of them were computed by other source than today's"
        if unfinished:
            detail += f"; {unfinished} folders are not of finished runs, or damaged"
        rows.append({"topic": "runs", "name": folder.parent.name, "state": "ok", "detail": detail})
    return rows


def datasets(data_root: Path) -> list[Finding]:
    """Every known dataset in `data_root`, and those rendered below its folder synthetic/."""
    rows = []
    generated = sorted((data_root / "synthetic").glob("*/*/"))
    for key, form in FORMATS.items():
        published = loader_of(key).PUBLISHED
        for name in published or form.datasets:
            if os.path.lexists(data_root / form.folder):
                rows.append(_dataset(name, form, data_root))
            elif published:  # what nobody published counts of is not missed, and examined if there
                rows.append(
                    {
                        "topic": "dataset",
                        "name": name,
                        "state": "missing",
                        "detail": f"no folder {form.folder} in {data_root}; data/README.md says "
                        "where to get it and how to place it",
                        "path": str(data_root / form.folder),
                        "synthetic": False,
                        "counts": [],
                    }
                )
            rows += [
                _dataset(name, form, root)
                for root in generated
                if os.path.lexists(root / form.folder)
            ]
    return rows


def _dataset(name: str, form: Format, root: Path) -> Finding:
    """A dataset that is there. Whatever is wrong with it is a finding, and ends nothing."""
    folder = root / form.folder
    row: Finding = {
        "topic": "dataset",
        "name": name,
        "state": "ok",
        "path": str(folder),
        "synthetic": os.path.lexists(folder / SYNTHETIC),
        "counts": [],
    }
    kind = "synthetic" if row["synthetic"] else "real data"
    lines = [f"{kind} in {folder}"]
    try:
        loader = loader_of(name)
        arguments = {"name": name} if len(form.datasets) > 1 else {}
        dataset = loader.load(root, **arguments, **({"export": False} if form.exports else {}))
        counted, published = loader.count(dataset.splits), loader.PUBLISHED.get(name)
        expected = checks.expected_counts(published or {}, dataset.synthetic, folder, name)
        found = {split: counted[split] for split in expected}
        row["counts"] = [
            {"split": split, "unit": unit, "found": number, "expected": vars(expected[split])[unit]}
            for split, counts in found.items()
            for unit, number in vars(counts).items()
        ]
        if published:
            lines.append(counts_table(found, expected))
        else:
            lines += [f"{split}: {counts.images:,} images" for split, counts in counted.items()]
        lines += dataset.notes
        if problem := _damage(dataset):
            row["state"] = "wrong"
            lines.append(problem)
    except DataError as error:
        row["state"], lines = "wrong", [str(error)]
    except Exception as error:  # another dataset's findings must not be lost for it
        row["state"], lines = "wrong", [f"{folder}: {type(error).__name__}: {error}"]
    return {**row, "detail": "\n".join(lines)}


def _damage(dataset: Dataset) -> str:
    """What is wrong with the files of a dataset whose annotation is in order, "" if nothing is."""
    if dataset.synthetic is not None:
        _ = dataset.fingerprint  # raises if it is not what was written
    names = [name for name in dataset.files if name.lower().endswith(_PICTURES)]
    with ThreadPoolExecutor(8) as pool:
        early = list(pool.map(lambda name: ends_early(dataset.root / name), names))
    damaged = [name for name, is_early in zip(names, early, strict=True) if is_early]
    if not damaged:
        return ""
    return (
        f"{len(damaged):,} of {len(names):,} image files end too early, if only by their end "
        "marker: training would stop at them; copy them again:\n"
        + checks.first_of(damaged, len(damaged))
    )


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
        # Names on disk may hold bytes that are no text.
        detail = finding["detail"].encode("utf-8", "backslashreplace").decode()
        first, *rest = detail.splitlines() or [""]
        lines.append(f"  {finding['state']:<7}  {finding['name']:<{width}}  {first}")
        lines += [f"  {'':<7}  {'':<{width}}  {line}".rstrip() for line in rest]
    return "\n".join(lines)


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
