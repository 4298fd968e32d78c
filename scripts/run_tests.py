"""The whole test suite: pytest on tests/, then nbval on the notebooks, and notebooks and reports in
a browser. Exit status 1 if any fails.

Everything runs in the smoke profile, in one results folder that is removed afterwards. The browser
is Debian's chromium: installed here if it is missing and can be, else its tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq --no-install-recommends chromium fonts-dejavu-core
"""


def installing_chromium(log: Path) -> subprocess.Popen | None:
    """Begin to install chromium where there is none, on a Debian whose root we are; it takes about
    as long as a few tests, beside which it runs. What it says goes to `log`."""
    release = Path("/etc/os-release")
    debian = release.is_file() and "\nID=debian\n" in f"\n{release.read_text()}\n"
    if shutil.which("chromium") or not debian or os.geteuid() != 0:
        return None
    print("Installing chromium for the browser tests …", flush=True)
    with log.open("w") as out:
        return subprocess.Popen(["sh", "-c", INSTALL], stdout=out, stderr=subprocess.STDOUT)


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
        log = Path(results) / "chromium.log"
        installing = installing_chromium(log)
        environment = {
            **os.environ,
            "REIDLIB_PROFILE": "smoke",
            "REIDLIB_RESULTS": results,
            "OMP_NUM_THREADS": "1",  # two test processes side by side
        }
        alone = [*pytest, "tests", "--ignore=tests/browser", *sys.argv[1:]]
        # What looks at finished results, those of the end-to-end test.
        looking = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
        looking = [*pytest, *looking, "tests/browser", "notebooks"]
        statuses = [subprocess.run(alone, cwd=ROOT, env=environment).returncode]
        if installing and installing.wait():
            print(f"Installing chromium failed:\n{log.read_text(errors='replace')}", flush=True)
        statuses += [subprocess.run(looking, cwd=ROOT, env=environment).returncode]
    sys.exit(1 if any(statuses) else 0)


if __name__ == "__main__":
    main()
