"""The whole test suite: pytest on tests/, then nbval on the notebooks. Exit status 1 if any fails.

Notebooks run in the smoke profile, in a results folder of their own that is removed afterwards.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadscope",
        "-p",
        "no:cacheprovider",
    ]
    with tempfile.TemporaryDirectory(prefix="reidlib-tests-") as results:
        environment = {
            **os.environ,
            "REIDLIB_PROFILE": "smoke",
            "REIDLIB_RESULTS": results,
            "OMP_NUM_THREADS": "1",  # two test processes side by side
        }
        runs = (
            [*pytest, "tests", *sys.argv[1:]],
            [
                *pytest,
                "--nbval-lax",
                "--nbval-current-env",
                "--nbval-cell-timeout=600",
                "notebooks",
            ],
        )
        statuses = [subprocess.run(run, cwd=ROOT, env=environment).returncode for run in runs]
    sys.exit(1 if any(statuses) else 0)


if __name__ == "__main__":
    main()
