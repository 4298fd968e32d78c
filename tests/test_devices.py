"""What a training does about memory, on the CPU and on a GPU."""

import platform
import subprocess
import sys

import pytest
import torch

from reidlib import devices

GLIBC = platform.libc_ver()[0] == "glibc"

# Twenty blocks of 64 MB, each let go before the next, after as many: pages fetched for them.
_FETCHED = """
import resource
import torch
from reidlib.devices import keep_freed_memory

kept = keep_freed_memory() if {keep} else False
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not GLIBC, reason="the allocator is not glibc's")
def test_freed_memory_is_used_again() -> None:
    def fetched(keep: bool) -> tuple[bool, int]:
        code = _FETCHED.format(keep=keep)
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        kept, pages = found.stdout.split()
        return kept == "True", int(pages)

    kept, pages = fetched(True)
    assert kept and pages < 2000
    assert fetched(False)[1] > 10 * max(pages, 1)


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    assert not devices.keep_freed_memory()


def test_on_a_gpu_few_images_are_tested_at_a_time() -> None:
    assert devices.tested_at_a_time("cuda") == devices.tested_at_a_time(torch.device("cuda", 1))
    assert devices.tested_at_a_time("cuda") < devices.tested_at_a_time("cpu")


def test_runs_on_one_gpu_share_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("emptied"))
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: calls.append("asked") or (1000, 9000)
    )
    assert devices.room_for_data(torch.device("cuda")) == pytest.approx(600)
    assert calls == ["emptied", "asked"]
    monkeypatch.setenv(devices.RUNS_ON_GPU, "4")
    assert devices.room_for_data(torch.device("cuda")) == pytest.approx(150)


def test_what_is_sent_to_the_cpu_stays() -> None:
    x = torch.ones(3)
    assert devices.send(x, "cpu") is x and devices.send(x, torch.device("cpu")) is x
