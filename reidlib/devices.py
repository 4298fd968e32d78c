"""Moving tensors to the device, computing in fp32 there, and a training's memory on the CPU."""

import contextlib
import ctypes
import os
import sys

import torch
from torch import Tensor

RUNS_ON_GPU = "REIDLIB_RUNS_ON_GPU"  # set for the workers of a pool that share a GPU
_FOR_DATA = 0.6  # of the free memory of a GPU
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def send(x: Tensor, device: torch.device | str) -> Tensor:
    """`x` on `device`; unlike with `to`, the CPU does not wait for what a GPU has still to do."""
    device = torch.device(device)
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def tested_at_a_time(device: torch.device | str) -> int:
    """Images that are encoded at a time to test. On a GPU few: tests are in fp32, and should not
    ask for more memory than a training did (`reidlib.gpu_check.memory`)."""
    return 64 if torch.device(device).type == "cuda" else 256


def room_for_data(device: torch.device) -> float:
    """Bytes of a GPU that the pictures of a split may take: 0.6 of what is free, shared out among
    the runs that are trained on it side by side."""
    torch.cuda.empty_cache()  # what an earlier run of this process has left is free, too
    free, _ = torch.cuda.mem_get_info(device)
    return _FOR_DATA * free / int(os.environ.get(RUNS_ON_GPU, "1"))


def in_fp32(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """No autocast where `x` is: what is computed inside keeps the precision of its inputs."""
    if x.is_meta:  # shapes only
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def keep_freed_memory() -> bool:
    """Have the process keep large blocks that it frees, instead of giving them back to the system.

    A step asks for the same sizes as the one before. From the system each of them would be new
    pages, to be filled with zeros first, which takes a third of a step at the paper's sizes
    (`benchmarks/five_branches.py --fresh-pages`). Returns False where the allocator is not
    glibc's: there nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
