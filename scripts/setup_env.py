"""Find a Python environment that has everything, or make `.venv`; prints its interpreter's path.

Standard library only: this runs before anything is installed. Progress goes to standard error.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".reidlib-installed"
EXTRAS = ("notebooks", "test")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return project["dependencies"] + [r for extra in EXTRAS for r in extras[extra]]


def missing() -> list[str]:
    """The requirements that the running interpreter does not meet (name, and == versions)."""
    lacking = []
    for requirement in requirements():
        name, _, version = re.match(r"([\w.-]+)(==)?([\w.]+)?", requirement).groups()
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(requirement)
            continue
        if version and "==" in requirement and found.split("+")[0] != version:
            lacking.append(f"{requirement} (found {found})")
    return lacking


def recipe() -> str:
    """Changes when the environment has to be made anew."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    content = b"".join(file.read_bytes() for file in files) + sys.version.encode()
    return hashlib.sha256(content).hexdigest()


def run_quietly(command: list[str | Path]) -> int:
    """Run a command and return its exit status. What it says is shown if it fails, all of it; pip
    warns in a line per package of whatever its configuration names."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        say(done.stdout)
    return done.returncode


def make_venv() -> Path:
    python = VENV / "bin" / "python"
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run_all.sh waits here, then finds it made
        if STAMP.exists() and STAMP.read_text() == recipe():
            return python
        say(f"Making {VENV} (once; PyTorch is large, so this takes a minute or more) …")
        venv.create(VENV, with_pip=True, clear=VENV.exists())
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        target = f"{ROOT}[{','.join(EXTRAS)}]"
        status = run_quietly([*install, "-c", str(ROOT / "constraints.txt"), "-e", target])
        if status:
            sys.exit(
                f"error: installing into {VENV} failed (pip's exit status {status}); "
                "see its message above. Needed: a package index with the versions of "
                "constraints.txt, and about 6 GB of disk space."
            )
        STAMP.write_text(recipe())
    return python


def main() -> None:
    lacking = missing()
    if not lacking:
        print(sys.executable)
        return
    if os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX"):
        say(
            f"The active environment lacks {', '.join(lacking[:6])}"
            f"{' and more' if len(lacking) > 6 else ''}; using {VENV} instead."
        )
    print(make_venv())


if __name__ == "__main__":
    main()
