"""Two thousand damaged files: right, refused by name, or known to be other data. And: the fuzzer
itself sees what it is there to see.

By hand, with more: `python -m tests.fuzz --cases 20000`.
"""

import faulthandler
import mmap
import os
import random
import signal
import time
from pathlib import Path

import fuzz
import numpy as np
import pytest

from reidlib.errors import DataError

CASES = 2000


def test_two_thousand_damaged_files(tmp_path):
    report = fuzz.fuzz(tmp_path, range(CASES))
    assert report.failures == [], "\n".join(report.failures)
    assert sum(report.outcomes.values()) == CASES
    by_outcome = {outcome for _, outcome in report.outcomes}
    assert by_outcome == {"right", "refused", "other data, and known to be"}
    assert report.slowest < fuzz.LONGEST and report.memory < fuzz.MOST
    assert len({name for name, _ in report.outcomes}) == 40  # nothing was left out


# ------------------------------------------------------------------ the fuzzer itself


def outcome_of(tmp_path: Path, look, own: bool = False) -> tuple[str, str]:
    path = tmp_path / "some" / "file.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"a": [1, 2, 3]}')
    target = fuzz.Target("it", (path,), lambda: look(path), own=own)
    _, _, outcome, why = fuzz.run_case([target], {"it": target.look()}, seed=0, n=2)
    assert path.read_text() == '{"a": [1, 2, 3]}'  # all is put back
    return outcome, why


def test_what_is_a_finding(tmp_path):
    def is_damaged(path: Path) -> bool:
        return not path.is_file() or path.read_bytes() != b'{"a": [1, 2, 3]}'

    def wrong(path: Path) -> int:
        return 7 + is_damaged(path)

    def crashes(path: Path) -> None:
        if is_damaged(path):
            raise ValueError("some library's own")

    def refuses(path: Path, message: str) -> None:
        if is_damaged(path):
            raise DataError(message)

    assert outcome_of(tmp_path, lambda path: 7) == ("right", "")
    assert outcome_of(tmp_path, wrong)[0] == "different"
    outcome, why = outcome_of(tmp_path, crashes)
    assert outcome == "crashed" and "some library's own" in why
    assert outcome_of(tmp_path, lambda p: refuses(p, f"{p}: no")) == ("refused", "")
    assert "does not name" in outcome_of(tmp_path, lambda p: refuses(p, "something is wrong"))[1]
    seen = outcome_of(tmp_path, lambda p: (wrong(p), p.read_bytes()), own=True)
    assert seen == ("other data, and known to be", "")
    unseen = outcome_of(tmp_path, lambda p: (wrong(p), "the same name"), own=True)
    assert unseen[0] == "different" and "nothing says so" in unseen[1]


def test_a_file_that_goes_with_a_damaged_one_is_there_for_the_next_case(tmp_path, monkeypatch):
    """A cache throws away what belongs to a damaged file; in the next case it may be damaged."""
    paths = (tmp_path / "a", tmp_path / "b")
    for path in paths:
        path.write_text("x" * 100)

    def look() -> int:
        if any(path.read_text(errors="replace") != "x" * 100 for path in paths if path.is_file()):
            for path in paths:
                path.unlink(missing_ok=True)
        return 0

    monkeypatch.setattr(fuzz, "build", lambda root: [fuzz.Target("it", paths, look)])
    monkeypatch.setattr(fuzz, "spoil", lambda path, rng: _flip(path))
    report = fuzz.fuzz(tmp_path, range(12))
    assert report.failures == [] and report.outcomes == {("it", "right"): 12}


def _flip(path: Path):
    before = path.read_bytes()
    path.write_bytes(b"y" + before[1:])
    return lambda: fuzz.restore(path, before)


def test_cases_in_parts_add_up(tmp_path, monkeypatch, capsys):
    seen = []

    def here(root, numbers, seed=0, say=lambda *_: None) -> fuzz.Report:
        report = fuzz.Report(slowest=0.1 * len(numbers))
        for n in numbers:
            seen.append(n)
            report.outcomes["it", "right"] += 1
            report.failures += [f"case {n}"] if n == 3 else []
            say(report)
        return report

    monkeypatch.setattr(fuzz, "fuzz", here)
    arguments = ["--cases", "3", "--add-to", str(tmp_path / "sum.json")]
    assert fuzz.main(arguments) == 0
    assert fuzz.main(arguments) == 1  # case 3 is a finding, and stays one
    assert fuzz.main(arguments) == 1
    assert seen == list(range(9))
    assert "9 cases, the last 3 in" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="cases of seed 0, not of 1"):
        fuzz.main([*arguments, "--seed", "1"])
    with pytest.raises(SystemExit):
        fuzz.main([*arguments, "--from", "7"])
    seen.clear()
    assert fuzz.main(["--cases", "2", "--from", "7"]) == 0 and seen == [7, 8]


def hang() -> None:
    time.sleep(60)


def crash() -> None:
    faulthandler.disable()  # or the traceback of this very child stands in the tests' output
    os.kill(os.getpid(), signal.SIGSEGV)


def eat() -> None:
    # From the system: a process that has trained before may have kept as much.
    np.frombuffer(mmap.mmap(-1, 2 * fuzz.MOST), np.uint8)[:] = 1


@pytest.mark.parametrize(
    ("act", "finding"),
    [(hang, "no end after"), (crash, "it died"), (eat, "the process grew by")],
)
def test_hangs_crashes_and_memory_are_findings(tmp_path, monkeypatch, act, finding):
    path = tmp_path / "file"
    path.write_text("x" * 100)
    calls = []

    def look() -> int:
        calls.append(1)
        if len(calls) > 2:  # it is looked at twice before anything is damaged
            act()
        return 0

    monkeypatch.setattr(fuzz, "build", lambda root: [fuzz.Target("it", (path,), look)])
    monkeypatch.setattr(fuzz, "LONGEST", 0.5 if act is hang else 10.0)
    monkeypatch.setattr(fuzz, "MOST", 1 << 26)
    report = fuzz.fuzz(tmp_path, [0])
    (failure,) = report.failures
    assert finding in failure
    assert path.read_text() == "x" * 100


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.npz", "a.npy", "a.png", "a.mat", "a.txt"])
def test_damage_is_the_same_for_the_same_case_and_changes_most_files(tmp_path, name):
    from PIL import Image
    from scipy.io import savemat

    path = tmp_path / name
    if name == "a.npz":
        np.savez_compressed(path, one=np.arange(9), two=np.eye(3))
    elif name == "a.npy":
        np.save(path, np.arange(9))
    elif name == "a.png":
        Image.new("RGB", (8, 16), "red").save(path)
    elif name == "a.mat":
        savemat(path, {"a": np.arange(9.0), "b": "text"}, do_compression=True)
    else:
        path.write_text('{"a": [1, 2.5, {"b": "c"}]}\n{"d": 3}\n')
    whole = path.read_bytes()
    damages = [fuzz.damaged(path, random.Random(n)) for n in range(60)]
    assert damages == [fuzz.damaged(path, random.Random(n)) for n in range(60)]
    assert path.read_bytes() == whole
    assert len(set(damages)) > 30 and sum(damage != whole for damage in damages) > 40
