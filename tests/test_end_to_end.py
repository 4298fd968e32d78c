"""The whole path, by the real commands, in the smoke profile: data, all trainings, reports."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from reidlib.arguments import PAPERS
from reidlib.errors import DataError
from reidlib.papers.driver import get_paper
from reidlib.papers.tables import LONG_COLUMNS
from reidlib.report.publish import publish
from reidlib.run.session import Session
from reidlib.world.write import write

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# Table 1 of GLA and of FGSAM is settings; Tables 1, 2 and 12 of Attention Driven re-ID are no
# percentages.
MEASURED = {
    "imgnet": (1, 2, 3, 4, 5, 6, 7),
    "ssan": (1, 2, 3, 4, 5),
    "gla": (2, 3, 4, 5, 6),
    "attention_driven": tuple(range(3, 12)),
    "fgsam": (2, 3, 4, 5),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What two `run_all` on one results folder at once leave; the notebook tests use it, too."""
    folder = os.environ.get("REIDLIB_RESULTS") or str(tmp_path_factory.mktemp("results"))
    command = [
        sys.executable,
        "-m",
        "reidlib",
        "all",
        "--profile",
        "smoke",
        "--results",
        folder,
    ]
    started = [
        subprocess.Popen(
            command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in started:
        output, errors = process.communicate(timeout=900)
        assert process.returncode == 0, output[-3000:] + errors[-3000:]
        assert "warning:" not in errors, errors
    return Path(folder)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_own_row_is_measured(results, paper):
    for number in MEASURED[paper]:
        frame = pd.read_csv(results / "smoke" / paper / f"table_{number}.csv")
        assert tuple(frame.columns) == LONG_COLUMNS
        own = frame[frame["origin"] == "own"]
        assert len(own) and (own["status"] == "measured").all(), (paper, number)
        assert own["measured"].between(0, 100).all()
        assert (frame[frame["origin"] == "cited"]["status"] == "cited").all()


def test_summary_follows_the_contract(results):
    summary = json.loads((results / "smoke" / "summary.json").read_text())
    assert summary["profile"] == "smoke" and summary["data"] == "synthetic"
    assert {"device", "versions", "git", "wall_s", "papers"} <= set(summary)
    assert set(summary["papers"]) == set(PAPERS)
    tables = {name: entry["tables"] for name, entry in summary["papers"].items()}
    assert tables["imgnet"]["1"] == {"own": 30, "measured": 30, "cited": 0}
    assert tables["imgnet"]["4"] == {"own": 4, "measured": 4, "cited": 0}
    assert tables["imgnet"]["7"] == {"own": 2, "measured": 2, "cited": 13}
    assert tables["ssan"]["3"] == {"own": 4, "measured": 4, "cited": 13}
    # A row counts once per data set: Table V has four target domains, Table 6 three sets.
    assert tables["ssan"]["5"] == {"own": 12, "measured": 12, "cited": 20}
    assert tables["gla"]["2"] == {"own": 12, "measured": 12, "cited": 0}
    assert tables["gla"]["6"] == {"own": 6, "measured": 6, "cited": 48}
    assert tables["fgsam"]["3"] == {"own": 1, "measured": 1, "cited": 1}
    assert tables["fgsam"]["4"] == {"own": 8, "measured": 8, "cited": 0}
    keys = {"id", "table", "says", "verdict", "difference", "ci_low", "ci_high"}
    for name, entry in summary["papers"].items():
        assert entry["status"] == "ok" and entry["wall_s"] > 0
        assert all(keys <= set(claim) <= keys | {"reason", "likely"} for claim in entry["claims"])
        judged = [c for c in entry["claims"] if c["verdict"] != "not_run"]
        assert len(judged) >= (7 if name == "fgsam" else 20)  # FGSAM compares few rows of its own
        assert all(c["ci_low"] <= c["difference"] <= c["ci_high"] for c in judged)


@pytest.mark.parametrize("paper", PAPERS)
def test_reports_are_whole_and_offline(results, paper):
    folder = results / "smoke"
    index = (folder / "index.html").read_text()
    page = (folder / f"{paper}.html").read_text()
    assert f'href="{paper}.html"' in index and 'id="answer"' in index
    for text in (index, page):
        assert "Synthetic data" in text
        assert "http://" not in text.replace("http://www.w3.org", "") and "<script" not in text
    for heading in ("The data", "The model", "Training", "The paper", "claims", "leaves open"):
        assert heading in page
    assert "<math" in page and page.count("<img") >= 8
    executed = nbformat.read(folder / f"{paper}.ipynb", as_version=4)
    statuses = {c.metadata.papermill.status for c in executed.cells if c.cell_type == "code"}
    assert statuses == {"completed"}


def test_rendering_again_trains_nothing(results):
    runs = results / "smoke" / "runs"
    before = {p: p.stat().st_mtime_ns for p in runs.glob("*/metrics.json")}
    assert len(before) >= 74 + 16 + 29 + 27
    done = subprocess.run(
        [sys.executable, "-m", "reidlib", "report", "--profile", "smoke", "--results", results],
        env=ENV, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in runs.glob("*/metrics.json")} == before


def test_a_failing_notebook_is_shown_and_loses_no_run(results, tmp_path, monkeypatch):
    module = get_paper("imgnet")
    source = nbformat.read(ROOT / "notebooks" / module.ABOUT.notebook, as_version=4)
    broken = nbformat.v4.new_code_cell("raise RuntimeError('broken on purpose')")
    source.cells.insert(4, broken)
    nbformat.write(source, tmp_path / "broken.ipynb")
    about = replace(module.ABOUT, notebook=str(tmp_path / "broken.ipynb"))
    monkeypatch.setattr(module, "ABOUT", about)
    session = Session.create("smoke", results=results)
    assert publish(session, ["imgnet"], train=False) == 1
    index = (results / "smoke" / "index.html").read_text()
    assert "broken on purpose" in index
    summary = json.loads((results / "smoke" / "summary.json").read_text())
    assert summary["papers"]["imgnet"]["status"] == "failed"
    assert summary["papers"]["imgnet"]["tables"]["1"]["measured"] == 30
    monkeypatch.undo()
    assert publish(session, ["imgnet"], train=False) == 0
    assert "broken on purpose" not in (results / "smoke" / "index.html").read_text()


def test_a_paper_without_data_does_not_stop_the_others(tmp_path, monkeypatch):
    """Someone has Market-1501 alone: GLA is reported, IMG-Net shown as failed."""
    write("market1501", tmp_path, ids=(8, 4), size=(64, 32))
    session = Session.create("smoke", results=tmp_path / "results", data=tmp_path)
    executed = []
    monkeypatch.setattr(
        "reidlib.report.publish.run_notebook", lambda source, *_, **__: executed.append(source)
    )
    assert publish(session, ["imgnet", "gla"], train=False) == 1
    assert [path.name for path in executed] == [get_paper("gla").ABOUT.notebook]
    summary = json.loads((session.folder / "summary.json").read_text())["papers"]
    assert summary["imgnet"]["status"] == "failed" and summary["gla"]["status"] == "ok"
    index = (session.folder / "index.html").read_text()
    assert "CUHK-PEDES" in index
    with pytest.raises(DataError, match="CUHK-PEDES"):
        publish(session, ["imgnet"], train=False)
