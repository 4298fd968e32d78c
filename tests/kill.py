"""Commands killed at any moment: `python -m tests.kill --kills 20` from the checkout.

A command draws a world, caches it, trains two runs in worker processes and writes the tables. It is
killed without warning (SIGKILL): the command alone, whose children have to end by themselves, or
one of its children as well; while it draws, caches, trains or reports. The same command is then
started again, at once, until it gets through. Tables, metrics and weights have to be those of a
command that nobody killed, to the byte. In parts that add up, again and again:

    python -m tests.kill --kills 4 --add-to kills.json
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 4  # kills of one command before it may get through
PATIENCE = 600.0  # seconds that a command may take on a busy machine

COMMAND = """
import sys
from pathlib import Path

from reidlib.papers.driver import get_paper
from reidlib.report.index import update_summary, write_index
from reidlib.report.record import record, recorded
from reidlib.report.results import collect
from reidlib.run.pool import raise_if_failed, run_missing
from reidlib.world.write import write

sys.path.insert(0, sys.argv[2])
from tiny_runs import session_in, some

folder = Path(sys.argv[1])
ids = tuple(map(int, sys.argv[3].split(",")))
write("cuhk-pedes", folder / "data", seed=7, ids=ids, size=(64, 32), jobs=2)
session = session_in(folder / "results", folder / "data")
raise_if_failed(run_missing(session, some(session)[: int(sys.argv[4])], bar=False))
(folder / "reporting").touch()
for _ in range(8):
    record(session, collect(session, "imgnet"))
header = {"profile": "smoke", "data": "synthetic", "device": "cpu", "versions": {}, "git": ""}
update_summary(session.folder, header, {"imgnet": recorded(session, "imgnet")["entry"]})
write_index(session.folder)
"""

# What a stage leaves on disk when it begins.
SIGNS = {
    "starting": "",
    "drawing": "data/.CUHK-PEDES.unfinished/SYNTHETIC.json",
    "caching": "results/cache",
    "training": "results/smoke/runs/*/checkpoint.pt",
    "reporting": "reporting",
}


def start(folder: Path, small: bool) -> subprocess.Popen:
    """A `small` command draws in its own process and trains one run, else in two and two."""
    size = ("30,3,12", "1") if small else ("320,10,30", "2")
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), str(ROOT / "tests"), *size],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [pid]
    for parent in found:  # grows as it is read
        found += [child for child, its in rows if its == parent]
    return found[1:]


def kill_in(process: subprocess.Popen, folder: Path, stage: str, rng: random.Random) -> bool:
    """Kill a command some moments after a stage has begun; False if it ended before."""
    sign, began = SIGNS[stage], time.monotonic()
    while sign and process.poll() is None and not any(folder.glob(sign)):
        time.sleep(0.02)
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"no end in {PATIENCE:.0f} s, while waiting for {stage}")
    time.sleep(rng.random() ** 2 * (3.0 if stage == "starting" else 1.0))
    if process.poll() is not None:
        return False
    if rng.random() < 0.4 and (others := children(process.pid)):
        with contextlib.suppress(ProcessLookupError):  # it had ended
            os.kill(rng.choice(others), signal.SIGKILL)
    process.kill()
    process.communicate()
    return True


def finish(process: subprocess.Popen) -> None:
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode != 0:
        raise RuntimeError(f"ended with {process.returncode}:\n{said}")


def outcome(folder: Path) -> dict[str, str]:
    """What has to be the same: of every table, of metrics, ranks and weights."""
    found = {}
    results = folder / "results" / "smoke"
    for path in sorted([*results.glob("imgnet/table_*.csv"), *results.glob("runs/*/*")]):
        if path.name in ("metrics.json", "provenance.json", "history.jsonl"):
            continue  # they hold times
        if path.suffix == ".tmp":
            continue  # of a file that was being written
        found[str(path.relative_to(results))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in results.glob("runs/*/metrics.json"):
        metrics = json.loads(path.read_text())
        found[str(path.relative_to(results))] = json.dumps(metrics["evaluations"], sort_keys=True)
    return found


def left_behind(folder: Path) -> list[str]:
    """Files that only a command at work may have."""
    odd = (".unfinished", "checkpoint.pt")
    return [str(p) for p in folder.rglob("*") if any(part in p.name for part in odd)]


def kills(
    root: Path, number: int, seed: int = 0, small: bool = False, say: Callable = lambda *_: None
) -> Counter:
    """So many kills, spread over commands; raises `AssertionError` if anything came out different.

    Returns in which stages they happened.
    """
    rng = random.Random(seed)
    whole = root / "whole"
    whole.mkdir()
    finish(start(whole, small))
    expected = outcome(whole)
    assert any("table_" in name for name in expected), expected
    done: Counter = Counter()
    round_ = 0
    stages: list[str] = []
    while done.total() < number:
        folder = root / f"round-{round_}"
        folder.mkdir()
        round_ += 1
        for _ in range(MOST):
            if done.total() == number:
                break
            if not stages:
                stages = list(SIGNS)
                rng.shuffle(stages)
            stage = stages.pop()
            process = start(folder, small)
            if kill_in(process, folder, stage, rng):
                done[stage] += 1
                say(f"killed while {stage} ({done.total()} of {number})")
            else:
                finish(process)
                break
        finish(start(folder, small))
        assert outcome(folder) == expected, folder
        assert left_behind(folder) == []
    return done


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="go on after what FILE counts")
    arguments = parser.parse_args(argv)
    started = time.time()
    before: Counter = Counter()
    if arguments.add_to and arguments.add_to.exists():
        before = Counter(json.loads(arguments.add_to.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as root:
        say = partial(print, flush=True)
        # A part begins with other random numbers than those before it.
        done = kills(Path(root), arguments.kills, arguments.seed + before.total(), say=say)
    total = before + done
    if arguments.add_to:
        arguments.add_to.write_text(json.dumps(total, indent=1), encoding="utf-8")
    where = ", ".join(f"{stage} {number}" for stage, number in sorted(total.items()))
    print(
        f"{total.total()} kills ({where}), the last {done.total()} in "
        f"{time.time() - started:.0f} s: the same tables"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
