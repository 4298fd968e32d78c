"""Moving tensors to the device, computing in fp32 there, and a training's memory on the CPU."""

import contextlib
import ctypes
import sys

import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x`, from the CPU, on `device`; the CPU does not wait for what a GPU has still to do."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


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
