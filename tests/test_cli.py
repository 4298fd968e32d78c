"""The commands as a user types them: what they print, and their exit status."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reidlib.run.session import _warn_of_another_checkout

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "reidlib", *arguments],
        env={**ENV, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def run_all(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(ROOT / "run_all.sh"), *arguments],
        env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["doctor", "synth", "run", "report", "gpu-check"])
def test_help(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python -m reidlib {command}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "huge"], "invalid choice: 'huge' (choose from"),
        (["--papers", "imgnet,nonet"], "unknown paper 'nonet': expected one or more of imgnet"),
        (["--papers", ","], "unknown paper ','"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--precision", "fp16"], "invalid choice: 'fp16'"),
        (["--data", "/no/such/folder"], "/no/such/folder: expected an existing folder"),
        (["--seeds", "0"], "'0': expected a whole number of at least 1"),
        (["--jobs", "x"], "'x': expected a whole number of at least 1"),
        (["--profile", "paper"], "--profile paper runs on real data: give --data DIR"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, says):
    for done in (run_all(*arguments), run("run", *arguments)):
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_run_all_is_found_whatever_cdpath_says(tmp_path):
    """With CDPATH, `cd` may go elsewhere and print where."""
    other = tmp_path / "other" / ROOT.name
    other.mkdir(parents=True)
    done = subprocess.run(
        ["bash", f"{ROOT.name}/run_all.sh", "--help"],
        cwd=ROOT.parent,
        env={**ENV, "CDPATH": str(tmp_path / "other")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "./run_all.sh test" in done.stdout


def test_a_colon_in_the_checkout_s_path_is_said_at_once(tmp_path):
    odd = tmp_path / "a:b"
    odd.mkdir()
    shutil.copy(ROOT / "run_all.sh", odd)
    done = subprocess.run(["bash", str(odd / "run_all.sh")], capture_output=True, text=True)
    assert done.returncode == 2 and "a:b: a colon in the path of the checkout" in done.stderr


def test_modules_of_the_folder_one_is_in_are_not_taken_for_ours(tmp_path):
    """`python -m` would import them first."""
    for name in ("tqdm.py", "argparse.py"):
        (tmp_path / name).write_text("raise SystemExit('not mine')\n")
    done = subprocess.run(
        ["bash", str(ROOT / "run_all.sh"), "--profile", "huge"],
        cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "invalid choice: 'huge'" in done.stderr, done.stderr
    assert '-P -m reidlib all "$@"' in (ROOT / "run_all.sh").read_text()


def test_results_names_that_no_file_system_takes(tmp_path):
    done = run("run", "--profile", "smoke", "--results", str(tmp_path / ("a" * 300)), "--dry-run")
    assert done.returncode == 2 and "a name of more than 255 bytes" in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_while_modules_are_imported(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins, sys\n"
        "plain = builtins.__import__\n"
        "def stopped(name, *rest, **named):\n"
        "    if name == 'reidlib.cli':\n"
        "        raise KeyboardInterrupt\n"
        "    return plain(name, *rest, **named)\n"
        "builtins.__import__ = stopped\n"
    )
    done = run("doctor", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr


def test_another_checkout_s_code_is_said(tmp_path, capfd, monkeypatch):
    (tmp_path / "reidlib" / "run").mkdir(parents=True)
    (tmp_path / "reidlib" / "run" / "session.py").touch()
    (tmp_path / "notebooks").mkdir()
    for place, said in ((tmp_path / "notebooks", True), (ROOT / "notebooks", False)):
        monkeypatch.chdir(place)
        _warn_of_another_checkout.cache_clear()
        _warn_of_another_checkout()
        assert (f"the code of {ROOT}, not of {tmp_path}" in capfd.readouterr().err) == said


def test_run_all_help_needs_nothing():
    done = run_all("--help")
    assert done.returncode == 0
    assert "./run_all.sh test" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_gpu():
    done = run("run", "--profile", "smoke", "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --device cuda: this machine has no usable CUDA GPU")


def test_missing_dataset_names_the_folder_and_what_belongs_there(tmp_path):
    done = run("run", "--profile", "smoke", "--data", str(tmp_path), "--results", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "CUHK-PEDES" in done.stderr and "reid_raw.json" in done.stderr
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_dry_run_lists_runs_and_trains_nothing(tiny_world, tmp_path):
    done = run(
        "run", "--profile", "smoke", "--data", str(tiny_world), "--results", str(tmp_path),
        "--papers", "imgnet", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " runs, 0 done" in done.stdout
    lines = done.stdout.splitlines()
    assert sum(" missing " in line for line in lines) == 77
    assert all(" no data " in line for line in lines if "dukemtmc-reid" in line)
    assert not (tmp_path / "smoke" / "runs").exists()


def test_dry_run_says_which_runs_have_no_data(tiny_world, tmp_path):
    done = run(
        "run", "--profile", "smoke", "--data", str(tiny_world), "--results", str(tmp_path),
        "--papers", "gla", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "28 runs, 0 done" in done.stdout
    lines = done.stdout.splitlines()
    assert sum(" missing " in line for line in lines) == 2  # Table 4, on CUHK-PEDES, and its start
    assert all(" no data " in line for line in lines if "market1501" in line)


def test_a_row_is_trained_with_other_settings(tiny_world, tmp_path):
    """Once; the same command finds the finished run."""
    command = (
        "run", "--profile", "smoke", "--data", str(tiny_world), "--results", str(tmp_path),
        "--papers", "imgnet", "--row", "vgg-ch0-sp0-gs1-ls0-gp0-gn",
        "--set", "margin=0.4", "--set", "steps=1",
    )  # fmt: skip
    outputs = []
    for _ in range(2):
        done = run(*command)
        assert done.returncode == 0, done.stderr
        # A line for each finished run, that of the pretraining first.
        (line,) = (li for li in done.stdout.splitlines() if "margin = 0.4, steps = 1: Top-1 " in li)
        outputs.append(line)
        assert "2 of 2 runs are finished" in done.stdout
    assert outputs[0] == outputs[1]
    (folder,) = (tmp_path / "smoke" / "runs").glob(f"{outputs[0].split()[0]}*")
    record = json.loads((folder / "experiment.json").read_text())
    assert record["model"]["margin"] == 0.4 and record["training"]["steps"] == 1
    assert {h["images"] for h in map(json.loads, (folder / "history.jsonl").open())} == {32}


@pytest.mark.parametrize(("arguments", "says"), [
    (["--row", "vgg-k-2", "--set", "marign=0.4"], "error: --set marign"),
    (["--row", "vgg-k-2", "--set", "k=two"], "error: --set k='two': expected int"),
    (["--row", "vgg-k-3"], "error: --row 'vgg-k-3'"),
    (["--set", "k=4"], "error: --set k=4: changes a row; say which with --row"),
    (["--dataset", "cuhk-pedes"], "error: --dataset cuhk-pedes: chooses among the trainings of a"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused_before_anything_is_trained(arguments, says, tmp_path):
    done = run(
        "run", "--profile", "smoke", "--results", str(tmp_path), "--papers", "imgnet", *arguments
    )
    assert done.returncode == 2
    assert done.stderr.startswith(says), done.stderr
    assert not (tmp_path / "smoke").exists()


def test_synth_writes_what_doctor_then_finds(tmp_path):
    done = run("synth", "--dataset", "cuhk-pedes", "--scale", "0.001", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "CUHK-PEDES")
    found = run("doctor", "--data", str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "CUHK-PEDES" in found.stdout and "synthetic" in found.stdout


def test_synth_scale_out_of_range(tmp_path):
    done = run("synth", "--scale", "1.5", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "scale" in done.stderr and "Traceback" not in done.stderr


def test_importing_and_running_needs_no_jupyter_package():
    """Neither the library nor `python -m reidlib run` may import the notebook stack."""
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in {'IPython', 'ipykernel', 'ipywidgets', 'jupyter_client',"
        " 'nbformat', 'nbclient', 'nbconvert', 'papermill', 'notebook', 'matplotlib', 'seaborn',"
        " 'mistune', 'jinja2'}:\n"
        "            raise ImportError('refused: ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import reidlib\n"
        "sys.argv = ['reidlib', 'run', '--help']\n"
        "import reidlib.run.runner, reidlib.run.worker, reidlib.papers.imgnet\n"
        "import reidlib.world.write\n"
        "import reidlib.doctor\n"
        "from reidlib.cli import main\n"
        "main(['run', '--help'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENV, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_pip_is_quiet_unless_it_fails(capfd):
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts" / "setup_env.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    warn = "import sys; print('WARNING: ignored', file=sys.stderr); print('why'); sys.exit({})"
    assert setup.run_quietly([sys.executable, "-c", warn.format(0)]) == 0
    assert capfd.readouterr() == ("", "")
    assert setup.run_quietly([sys.executable, "-c", warn.format(3)]) == 3
    found = capfd.readouterr()
    assert "WARNING: ignored" in found.err and "why" in found.err and found.out == ""
