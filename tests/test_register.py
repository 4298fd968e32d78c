"""The register: one line per dataset, and everything that reads it."""

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidlib import cli, doctor
from reidlib.arguments import DATASETS
from reidlib.data import register
from reidlib.data.dataset import Dataset, file_sizes
from reidlib.data.formats import checks, cuhk_pedes, image_sets
from reidlib.data.formats.checks import Counts
from reidlib.data.load import load
from reidlib.data.register import (
    FORMATS,
    Format,
    format_of,
    loader_of,
    names,
    parse,
    splits_of,
    with_split,
)
from reidlib.errors import UsageError
from reidlib.world.drawing.camera import LOOKS
from reidlib.world.write import world_fingerprint, write, writer_of

ROOT = Path(__file__).resolve().parents[1]
LOADER = ("load", "count", "PUBLISHED")
WRITER = ("VERSION", "plan", "count", "bytes_needed", "prepare", "write_part", "finish")


@pytest.mark.parametrize("key", FORMATS)
def test_every_line_leads_to_a_loader_and_a_writer(key: str) -> None:
    form, loader, writer = FORMATS[key], loader_of(key), writer_of(key)
    assert all(hasattr(loader, name) for name in LOADER)
    assert all(hasattr(writer, name) for name in WRITER)
    assert form.folder == loader.FOLDER and loader.NAME == writer.NAME == key
    assert set(loader.PUBLISHED) <= set(form.datasets)
    for counts in loader.PUBLISHED.values():
        assert counts and all(isinstance(row, Counts) for row in counts.values())
    assert form.cameras and set(form.cameras) <= set(LOOKS)
    assert f"{form.folder}/" in (ROOT / "data" / "README.md").read_text()


def test_names_are_told_apart() -> None:
    assert len(set(names())) == len(names()) == sum(len(f.datasets) for f in FORMATS.values())
    assert len({form.folder for form in FORMATS.values()}) == len(FORMATS)
    assert set(cuhk_pedes.DOMAINS) | {cuhk_pedes.NAME, cuhk_pedes.TRANSFER} == set(
        FORMATS["cuhk-pedes"].datasets
    )
    for name in names():
        assert parse(name) == (name, 0) and name in FORMATS[format_of(name)].datasets


def test_random_splits() -> None:
    assert {name: splits_of(name) for name in names() if splits_of(name) > 1} == {
        "cuhk03-classic-labeled": 20, "cuhk03-classic-detected": 20, "cuhk01": 10, "viper": 10,
        "peta": 10,
    }  # fmt: skip
    for name in names():
        last = with_split(name, splits_of(name) - 1)
        assert parse(last) == (name, splits_of(name) - 1) and format_of(last) == format_of(name)
        assert with_split(last, 0) == name
        with pytest.raises(UsageError):
            with_split(name, splits_of(name))


@pytest.mark.parametrize(
    "name",
    ["", "cuhk", "market1501-split-0", "viper-split-10", "viper-split-", "viper-split-٣", "cuhk03",
     "cuhk01-split-99999999999", "cuhk01\n"],
)  # fmt: skip
def test_unknown_datasets(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse(name)


def test_the_command_line_reads_it_with_the_standard_library_alone() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import reidlib.arguments, reidlib.data.register\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'reidlib'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


# --- a seventh dataset: a loader, a writer, a line


def _gnomes_loader() -> types.ModuleType:
    loader = types.ModuleType("gnomes_loader")
    loader.NAME, loader.FOLDER = "gnomes", "Gnomes"
    loader.PUBLISHED = {"gnomes": {"train": Counts(8, 4)}}
    loader.count = image_sets.count

    def load_gnomes(root: Path, split: int = 0) -> Dataset:
        folder = checks.locate(root, "Gnomes", "garden", "Gnomes/garden/")
        paths = sorted(f"garden/{p.name}" for p in (folder / "garden").iterdir())
        rows = [(int(Path(path).stem[:2]), 1, path, "Gnomes") for path in paths]
        splits = {"train": image_sets.frame(rows, train=True)}
        synthetic = checks.read_synthetic(folder)
        image_sets.check_counts(
            "gnomes", folder, image_sets.count(splits), synthetic, loader.PUBLISHED["gnomes"]
        )
        checks.check_files("Gnomes", folder, paths, file_sizes(folder, paths))
        return Dataset("gnomes", folder, folder, splits, tuple(paths), synthetic, split)

    loader.load = load_gnomes
    return loader


def _gnomes_writer() -> types.ModuleType:
    writer = types.ModuleType("gnomes_writer")
    writer.NAME, writer.VERSION = "gnomes", 1
    writer.plan = lambda seed, scale, ids: [(pid, k) for pid in range(4) for k in range(2)]
    writer.count = lambda plan: {"train": {"images": len(plan), "ids": len({p for p, _ in plan})}}
    writer.bytes_needed = lambda plan, size: 1_000 * len(plan)
    writer.prepare = lambda folder: (folder / "garden").mkdir()
    writer.finish = lambda folder, entries: None

    def write_part(folder, seed, size, part):
        for pid, k in part:
            pixels = np.full((16, 8, 3), 30 * pid + k, np.uint8)
            Image.fromarray(pixels).save(folder / "garden" / f"{pid:02d}_{k}.png")
        return [{} for _ in part]

    writer.write_part = write_part
    return writer


def test_a_new_dataset_is_a_loader_a_writer_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "gnomes_loader", _gnomes_loader())
    monkeypatch.setitem(sys.modules, "gnomes_writer", _gnomes_writer())
    line = Format("Gnomes", "gnomes_loader", "gnomes_writer", {"gnomes": 3}, ("market",))
    monkeypatch.setitem(register.FORMATS, "gnomes", line)

    assert "gnomes" in DATASETS and "gnomes" in names()
    assert cli.parser().parse_args(["synth", "--dataset", "gnomes", "--out", "x"])
    with pytest.raises(SystemExit) as ended:
        cli.main(["synth", "--dataset", "gnomes", "--out", str(tmp_path), "--scale", "1.0"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "Gnomes")
    assert splits_of("gnomes") == 3 and with_split("gnomes", 2) == "gnomes-split-2"
    dataset = load(tmp_path, "gnomes-split-2", cache=tmp_path / "cache")
    assert (dataset.name, dataset.split, len(dataset.splits["train"])) == ("gnomes", 2, 8)
    assert dataset.fingerprint == world_fingerprint("gnomes")
    (row,) = [row for row in doctor.datasets(tmp_path) if row["name"] == "gnomes"]
    assert row["state"] == "ok" and "8 / 8" in row["detail"]
    with pytest.raises(UsageError, match="gnomes"):  # errors list it, too
        write("elves", tmp_path)
