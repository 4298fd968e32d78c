"""The checkout itself: notebooks are clean, nothing big or private is in it, texts agree."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import reidlib
from reidlib.arguments import PAPERS
from reidlib.papers.driver import CONTRACT, get_paper

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in done.stdout.split("\0") if name]
    if not names:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_is_clean(path):
    content = json.loads(path.read_text())
    code = [c for c in content["cells"] if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in code) == 1
    for cell in code:
        checked = "nbval-check-output" in cell["metadata"].get("tags", [])
        assert bool(cell["outputs"]) == checked, "".join(cell["source"])[:60]
        assert len("".join(cell["source"])) <= 1500
        assert not any(o["output_type"] == "error" for o in cell["outputs"])
        assert "papermill" not in cell["metadata"]
    text = path.read_text()
    assert not re.search(r"(/home/|/root/|/Users/|/tmp/)", text)
    assert not re.search(r"^\s*\"(class|def) \w*(Net|Loss|Model)", text, re.MULTILINE)


def test_nothing_tracked_is_big():
    pictures = 0
    for path in tracked():
        size = path.stat().st_size
        assert size <= 1_000_000, f"{path.name}: {size:,} bytes"
        if path.suffix in (".png", ".jpg"):
            pictures += size
    assert pictures <= 5_000_000


def test_pinned_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )  # fmt: skip
    names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    for requirement in wanted:
        name = re.match(r"[\w.-]+?(?===|>=|$)", requirement).group()
        assert re.sub(r"[-_.]+", "-", name).lower() in names, requirement
    assert names["torch"] == "2.11.0" and names["torchvision"] == "0.26.0"


def test_every_paper_has_what_a_paper_needs():
    for name in PAPERS:
        module = get_paper(name)
        assert (ROOT / "notebooks" / module.ABOUT.notebook).exists()
        assert set(module.__all__) == set(CONTRACT)
        assert all(hasattr(module, name) for name in CONTRACT)


EXAMPLES = [
    block.split("```")[0]
    for block in (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_readme_s_examples_run(code, tmp_path):
    assert len(code.splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Top-1" in done.stdout


def test_importing_the_library_shows_what_there_is():
    for name in dir(reidlib):
        assert getattr(reidlib, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'rank_feature'; .*rank_features"):
        reidlib.rank_feature  # noqa: B018


def test_what_the_readme_promises_is_tested():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## What you can rely on\n")[1].split("\n## ")[0]
    promises = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z)", section, re.MULTILINE | re.DOTALL)
    assert len(promises) == 10
    defined = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise)
        assert named and set(named) <= defined, set(named) - defined


def test_license_and_citation_are_there():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert citation.count("  - type:") == 5
