"""CONTRIBUTING's sixth paper: what the page says is enough to get a report."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]

TABLES = """\
dataset = "cuhk-pedes"

[[table]]
number = 1
title = "MyNet against others"
section = "4"
backbone = "ResNet-50"
metrics = [{ column = "Top-1" }, { column = "Top-5" }, { column = "Top-10" }]
"""
ROWS = """\
row,Method,Top-1,Top-5,Top-10,origin,note
other,Other Net,40.00,60.00,70.00,cited,
mynet,MyNet,50.00,70.00,80.00,own,
"""
CLAIMS = """\
[[claim]]
id = "better"
section = "4"
table = 1
statement = "MyNet is better than Other Net"
higher = "mynet"
lower = "other"
"""
NOTES = """\
[[note]]
where = "Eq 2"
kind = "unspecified"
what = "How words are averaged is not said."
chosen = "By their mean."
why = "It is the simplest."
"""
CELLS = {
    "parameters": "import os\n\nprofile = 'smoke'\nresults = None\ndata = None\nseeds = None\n"
    "device = 'auto'\njobs = None\nworld_seed = 0\nimagefolder = None\ntrain_missing = True",
    "begin": "from reidlib.report import steps, style\nfrom reidlib.run.session import Session\n\n"
    "session = Session.create(\n    profile, results, data, seeds, device, jobs, world_seed, "
    "imagefolder\n)\nstyle()",
    "train": "steps.train(session, 'mynet', train_missing)",
    "tables": "outcome = steps.outcome(session, 'mynet')\noutcome.table(1)",
    "claims": "outcome.claims()",
    "notes": "steps.notes('mynet')",
}


def skeleton() -> dict[str, str]:
    """File name -> code, of the blocks of CONTRIBUTING.md that name a file in their first line."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", text, flags=re.DOTALL)
    return dict(blocks)


def test_a_skeleton_is_short():
    """Imports and all; the two file names and blank lines do not count."""
    lines = [line for code in skeleton().values() for line in code.splitlines() if line.strip()]
    assert len(lines) <= 40, len(lines)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout with the sixth paper in it."""
    copy = tmp_path_factory.mktemp("sixth") / "checkout"
    for name in ("reidlib", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, code in skeleton().items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(code, encoding="utf-8")
    folder = copy / "reidlib" / "papers" / "mynet"
    contents = {"tables": TABLES, "claims": CLAIMS, "notes": NOTES}
    for name, content in contents.items():
        (folder / f"{name}.toml").write_text(content)
    (folder / "table_1.csv").write_text(ROWS)
    arguments = copy / "reidlib" / "arguments.py"
    text = arguments.read_text()
    assert text.count('PAPERS = ("imgnet", ') == 1
    arguments.write_text(text.replace('PAPERS = ("imgnet", ', 'PAPERS = ("mynet", "imgnet", '))
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# MyNet"}
    cells = [title] + [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": name,
            "metadata": {"tags": ["parameters"]} if name == "parameters" else {},
            "outputs": [],
            "source": source,
        }
        for name, source in CELLS.items()
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (copy / "notebooks" / "06_mynet.ipynb").write_text(json.dumps(notebook))
    return copy


def test_it_goes_through_smoke_report_and_notebook(checkout):
    done = subprocess.run(
        [sys.executable, "-m", "reidlib", "all", "--profile", "smoke", "--papers", "mynet"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = checkout / "results" / "smoke"
    table = pd.read_csv(results / "mynet" / "table_1.csv")
    assert set(table[table["row"] == "mynet"]["status"]) == {"measured"}
    assert "MyNet is better than Other Net" in (results / "mynet.html").read_text()
    assert "MyNet" in (results / "index.html").read_text()
