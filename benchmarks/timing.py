"""How all benchmarks measure and report: the contract that `benchmarks/README.md` describes."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchvision

Taken = tuple[float, float]  # seconds by the wall clock, seconds of the processor
WALL, CPU = 0, 1
Times = dict[str, list[Taken]]


def arguments(
    doc: str, turns: int = 5, gpu: bool = True, traced: bool = False
) -> argparse.ArgumentParser:
    """A parser with the arguments that all benchmarks have; `traced` adds --trace."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    if gpu:
        parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's own number)")
    parser.add_argument(
        "--turns", type=int, default=turns, help=f"measured, after a warm-up (default: {turns})"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one turn: shows that it runs"
    )
    if traced:
        parser.add_argument("--trace", action="store_true", help="where the time goes, too")
    return parser


def begin(args: argparse.Namespace) -> str:
    """Settle what could change from run to run; returns the device. Ends the process with status 2
    where a GPU is asked for and none is there."""
    if args.quick:
        args.turns = 1
    if args.turns < 1:
        sys.exit("--turns: expected at least 1")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    # fp32 has all of its 32 bits, as in a run.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = getattr(args, "device", "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        print("error: --device cuda: this machine has no usable CUDA GPU", file=sys.stderr)
        sys.exit(2)
    return device


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
    device: str, works: Mapping[str, Callable[[], object]], turns: int, settle: bool = False
) -> tuple[Times, dict[str, float]]:
    """What each work took in every turn, after one turn to warm up, and its median seconds.

    settle: do each once untimed right before it is timed, and take that for the warming up.
    """
    times: Times = {name: [] for name in works}
    for turn in range(settle, turns + 1):
        for name, work in works.items():
            if settle:
                work()
            taken = seconds(device, work)
            if turn:
                times[name].append(taken)
    return times, {name: statistics.median(wall for wall, _ in t) for name, t in times.items()}


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


def milliseconds(median: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value * 1e3, 2) for name, value in median.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of several measurements, and the distance of the quartiles."""
    low, high = np.percentile(values, [25, 75])
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(v, 6) for name, v in {**found, "iqr": float(high - low)}.items()}


def spreads(times: Times) -> dict[str, dict[str, float]]:
    """`spread` of the wall-clock seconds of every work."""
    return {name: spread([wall for wall, _ in taken]) for name, taken in times.items()}


def rates(count: float, times: Times) -> dict[str, float]:
    """So many of something a second, in the median turn."""
    return {
        name: round(count / statistics.median(wall for wall, _ in taken), 2)
        for name, taken in times.items()
    }


# What an operation of torch is for, by what its name has in it; the first that fits.
_FAMILIES = {
    "convolutions": ("conv",),
    "recurrent": ("rnn", "lstm", "gru"),
    "normalization": ("batch_norm", "group_norm", "layer_norm", "instance_norm"),
    "products": ("mm", "addmv", "linear", "dot"),
    "optimizer and average": ("adam", "sgd", "Optimizer", "lerp"),
    "pooling and scaling": ("pool", "upsample", "grid_sampler", "mean", "sum"),
    "copies": (
        *("copy", "cat", "fill", "zero", "clone", "index", "gather", "scatter", "repeat"),
        *("slice", "stack", "contiguous", "empty", "resize", "embedding"),
    ),
}


def trace(device: str, work: Callable[[], object]) -> dict[str, float]:
    """Where the time of `work` goes: milliseconds by kind of operation, of the device's own clock;
    once, after a warm-up. "the rest" is mostly elementwise, and on the CPU torch's own machinery.
    """
    work()
    kind = torch.profiler.ProfilerActivity.CUDA if device == "cuda" else None
    activities = [torch.profiler.ProfilerActivity.CPU, *([kind] if kind else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        work()
    found = dict.fromkeys((*_FAMILIES, "the rest"), 0.0)
    for event in profiler.key_averages():
        spent = event.self_device_time_total if kind else event.self_cpu_time_total
        fits = (f for f, parts in _FAMILIES.items() if any(part in event.key for part in parts))
        found[next(fits, "the rest")] += spent / 1e3
    return {name: round(value, 2) for name, value in found.items()}


def traces(device: str, works: Mapping[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """`trace` of every work, printed."""
    found = {name: trace(device, work) for name, work in works.items()}
    for name, parts in found.items():
        print(f"  {name}: " + ", ".join(f"{part} {ms:.1f} ms" for part, ms in parts.items() if ms))
    return found


def peak_gib(device: str) -> float:
    """The most memory that was in use: the GPU's of tensors, or that of the process."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def machine(device: str) -> dict[str, Any]:
    """What a result was measured on: machine, versions, settings, and how busy it was."""
    gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "tf32": False,
        "peak_gib": peak_gib(device),
    }


def processor() -> str:
    """The kind of processor, and the widest instructions that torch uses on it."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            name = next(line.partition(":")[2].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def report(name: str, args: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """Print the result as JSON, the last line of the output."""
    device = getattr(args, "device", "cpu")
    given = {"turns": args.turns, "quick": args.quick}
    print(json.dumps({"benchmark": name, **machine(device), **given, **result}), flush=True)
