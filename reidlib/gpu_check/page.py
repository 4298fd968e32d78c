"""The page of a check: what every part found, as Markdown, and all of it as one JSON file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reidlib.files import read_regular, write_atomic, write_json
from reidlib.report import markdown

PAGE, ALL = "gpu-check.md", "gpu-check.json"

Record = Mapping[str, Any]


def write(folder: Path, parts: Sequence[Any], device: str) -> None:
    """Write both files from the records in `folder`; parts without one are listed as missing."""
    records = {part.name: _read(folder / f"{part.name}.json") for part in parts}
    write_json(folder / ALL, {"device": device, "parts": records})
    write_atomic(folder / PAGE, text(records, {p.name: p.what for p in parts}, device))


def _read(path: Path) -> Record | None:
    try:
        return json.loads(read_regular(path))
    except (OSError, ValueError):
        return None


def text(records: Mapping[str, Record | None], what: Mapping[str, str], device: str) -> str:
    """The page."""
    lines = ["# GPU check", ""]
    if device == "cpu":
        lines += [
            "**A dry run on the CPU, in small sizes:** it shows that the check works. Its speeds "
            "mean nothing.",
            "",
        ]
    lines += _machine(_result(records, "machine"))
    lines += _table(
        "Parts",
        ("part", "what", "status", "seconds"),
        [
            (name, what[name], *(("missing", "") if record is None
             else (record["status"], f"{record['seconds']:.0f}")))
            for name, record in records.items()
        ],
    )  # fmt: skip
    tests = _result(records, "tests")
    if "summary" in tests:
        lines += ["## Tests", "", tests["summary"], ""]
    for name, title, columns, rows in _TABLES:
        found = [
            (key.removeprefix(f"{name}-"), *row)
            for key in records
            if key.startswith(f"{name}-") and (result := _result(records, key))
            for row in rows(result)
        ]
        if found:
            lines += _table(title, ("", *columns), found)
    failed = [(name, record) for name, record in records.items()
              if record is not None and record["status"] != "ok"]  # fmt: skip
    if failed:
        lines += ["## What failed, or is not finished", ""]
        for name, record in failed:
            said = record["result"].get("output") or json.dumps(record["result"])[:1500]
            lines += [f"{name}: {record['status']}", "", "```", str(said).strip(), "```", ""]
    return "\n".join(lines)


def _result(records: Mapping[str, Record | None], name: str) -> Record:
    record = records.get(name)
    return {} if record is None else record["result"]


def _machine(found: Record) -> list[str]:
    if "gpus" not in found:
        return []
    gpus = ", ".join(f"{g['name']} ({g['gib']} GiB)" for g in found["gpus"]) or "no GPU"
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return [
        f"{gpus}; {found['processor']}, {found['cores']} cores; {found['system']}; Python "
        f"{found['python']}, {packages}, CUDA {found['cuda']}, cuDNN {found['cudnn']}.",
        "",
    ]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [f"## {title}", "", *markdown.table(columns, [[*map(_cell, row)] for row in rows])]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    return markdown.escaped(str(value))


def _smoke(r: Record) -> list[tuple]:
    if "headline" not in r:
        return []
    return [(r["experiment"], r["headline"], r["precision"], r["images_per_s"], r["wall_s"])]


def _parity(r: Record) -> list[tuple]:
    if "step" not in r:
        return []
    step, rows = r["step"], []
    for name, same in r["fp32 here and on the CPU"].items():
        half = r["bf16 and fp32"][name]
        rows.append((
            name, "yes" if r["agrees"] else "no", step["loss_difference"],
            step["gradient_difference"], f"{100 * same['ranks_changed']:.2f} %",
            same["metric_points"], f"{100 * half['ranks_changed']:.2f} %", half["metric_points"],
        ))  # fmt: skip
    return rows


def _speed(r: Record) -> list[tuple]:
    return [
        (
            row["size"], f"{row['image_size'][0]}×{row['image_size'][1]}", row["batch"],
            row["precision"], row["images_per_s"]["encoders"], row["images_per_s"]["loop"],
            row["step_over_encoders"], f"{100 * row['waiting_share']:.1f} %",
            None if row["mfu"] is None else f"{100 * row['mfu']:.1f} %", row["peak_gib"],
        )
        for row in r.get("rows", ())
    ]  # fmt: skip


def _evaluation(r: Record) -> list[tuple]:
    return [
        (row["what"], row["queries"], row["gallery"], row["product_s"], row["scoring_s"],
         row["over_product"])
        for row in r.get("rows", ())
    ]  # fmt: skip


def _memory(r: Record) -> list[tuple]:
    return [
        (n["experiment"], n["dataset"], f"{n['image_size'][0]}×{n['image_size'][1]}",
         n["batch_size"], n["peak_gib"], n["test_gib"], n["reserved_gib"], n["data_gib"])
        for n in r.get("networks", ())
    ]  # fmt: skip


def _bench(r: Record) -> list[tuple]:
    return [
        (r["profile"], run["experiment"], run["headline"], run["images_per_s"], run["training_s"],
         run["evaluation_s"], run["wall_s"], *_profile(r, run is r["runs"][-1]))
        for run in r.get("runs", ())
    ]  # fmt: skip


def _profile(r: Record, own: bool) -> tuple:
    """Trainings of the paper and their minutes one after the other, beside its own row."""
    minutes = r.get("all_trainings_min") if own else None
    return (None, None) if minutes is None else (r["trainings"], f"{minutes:.1f}")


_TABLES: tuple[tuple[str, str, tuple[str, ...], Callable[[Record], list[tuple]]], ...] = (
    ("smoke", "The profile smoke", ("row", "outcome", "precision", "images/s", "s"), _smoke),
    (
        "parity",
        "CPU and GPU, fp32 and bf16",
        ("evaluation", "agree", "losses differ by", "gradient by", "ranks changed", "points",
         "by bf16: ranks", "points"),
        _parity,
    ),
    (
        "speed",
        "A training step",
        ("size", "images", "batch", "precision", "encoders, images/s", "loop, images/s",
         "encoders over step", "waiting for data", "MFU", "peak GiB"),
        _speed,
    ),
    (
        "evaluation",
        "Tests of real sizes",
        ("what", "queries", "gallery", "product, s", "scoring, s", "over the product"),
        _evaluation,
    ),
    (
        "memory",
        "Memory of the profile paper, GiB",
        ("row", "dataset", "images", "batch", "peak of a step", "of a test", "reserved",
         "data at rest"),
        _memory,
    ),
    (
        "bench",
        "One row of the profile bench",
        ("profile", "run", "outcome", "images/s", "training, s", "evaluation, s", "in all, s",
         "trainings of the paper", "one after the other, min"),
        _bench,
    ),
)  # fmt: skip
