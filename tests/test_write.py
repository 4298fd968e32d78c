"""The door of the world: processes that draw end with their parent, the next writer waits."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reidlib.data.load import load
from reidlib.errors import UsageError
from reidlib.files import locked
from reidlib.world.write import world_fingerprint, write, writer_of

ROOT = Path(__file__).resolve().parents[1]
IDS, SIZE = (4, 1, 2), (32, 16)
SCRIPT = """
import sys
from pathlib import Path
from reidlib.world import write as door

if __name__ == "__main__":
    door._PART = 1
    say = lambda done, total: print(done, flush=True)
    door.write("cuhk-pedes", Path(sys.argv[1]), ids=(1500, 50, 50), jobs=2, progress=say)
"""


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_drawing_processes_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "draws.py"
    script.write_text(SCRIPT)
    out = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, str(script), str(out)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    for _ in range(5):
        assert process.stdout.readline()  # it is drawing
    drawing = children(process.pid)
    assert len(drawing) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20.0
    # The next writer wants other data in the same place, and asks at once.
    folder = write("cuhk-pedes", out, ids=IDS, size=SIZE)
    assert not any(alive(pid) for pid in drawing)
    assert time.monotonic() < deadline
    fresh = load(out, "cuhk-pedes")
    assert fresh.fingerprint == world_fingerprint("cuhk-pedes", ids=IDS, size=SIZE)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {folder.name}


def test_a_writer_waits_for_what_still_draws(tmp_path: Path) -> None:
    """A process of a killed writer holds a share of a lock as long as it lives."""
    done = threading.Event()

    def second() -> None:
        write("cuhk-pedes", tmp_path, ids=IDS, size=SIZE)
        done.set()

    with locked(tmp_path / ".CUHK-PEDES.drawing", shared=True):
        with locked(tmp_path / ".CUHK-PEDES.drawing", shared=True, wait=False) as shared:
            assert shared  # shares do not keep each other out
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(timeout=0.5)
    thread.join(timeout=60)
    assert done.is_set() and (tmp_path / "CUHK-PEDES" / "SYNTHETIC.json").is_file()


def test_unknown_formats_and_sizes() -> None:
    for call in (writer_of, world_fingerprint):
        with pytest.raises(UsageError, match="cuhk-pedes, icfg-pedes"):
            call("cuhk-pedes-ssm")
    with pytest.raises(UsageError, match="8 pixels"):
        world_fingerprint("viper", size=(4, 4))


def test_drawing_needs_no_torch() -> None:
    """A process of the pool would take seconds and hundreds of megabytes for it."""
    script = (
        "import sys, reidlib.world.write as door\n"
        "from reidlib.data.register import FORMATS\n"
        "for name in FORMATS: door.writer_of(name)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
