"""How the benchmarks measure: wall-clock and processor time, and shares of one in another."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

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
