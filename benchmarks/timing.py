"""How the benchmarks measure: wall-clock and processor time, and shares of one in another."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Taken = tuple[float, float]  # seconds by the wall clock, seconds of the processor
WALL, CPU = 0, 1


def seconds(device: str, work: Callable[[], object]) -> Taken:
    """Wall-clock time and processor time of `work`; on a GPU of all that it started there."""
    if device == "cuda":
        torch.cuda.synchronize()
    start, spent = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - spent


def by_turns(
    device: str, works: Mapping[str, Callable[[], object]], turns: int
) -> tuple[dict[str, list[Taken]], dict[str, float]]:
    """What each work took in every turn, after one turn to warm up, and its median seconds."""
    times: dict[str, list[Taken]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            taken = seconds(device, work)
            if turn:
                times[name].append(taken)
    return times, {name: statistics.median(wall for wall, _ in t) for name, t in times.items()}


def machine(device: str) -> dict[str, Any]:
    """What a result was measured on, and on a GPU the most memory that was in use."""
    gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
    }


def milliseconds(median: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value * 1e3, 2) for name, value in median.items()}


def share(
    times: Mapping[str, Sequence[Taken]],
    parts: Sequence[str],
    of: Sequence[str],
    kind: int = WALL,
) -> float:
    """What `parts` take together over what `of` take: median over turns, in each of which every
    work named in `times` was measured once."""
    turns = range(min(len(times[name]) for name in (*parts, *of)))
    ratios = (
        sum(times[name][turn][kind] for name in parts) / sum(times[name][turn][kind] for name in of)
        for turn in turns
    )
    return round(statistics.median(ratios), 4)
