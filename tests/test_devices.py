"""What a training on the CPU does about its memory."""

import platform
import subprocess
import sys

import pytest

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
