"""Training speed of the five papers' networks: the whole step, its encoders alone, the data.

    python benchmarks/training.py [--device cpu|cuda] [--paper NAME] [--size paper|study|both]
        [--batch N] [--steps 3] [--turns 2] [--peak-tflops X] [--trace]

For every paper the network of its own row, at the size of the profile `paper` (classifiers and word
table as on the real dataset) and of `study`, on pictures and captions of a few people of the
procedural world:

- `encoders`: forward and backward pass of what the method cannot do without, one after the other:
  its convolutional networks on the images (Attention Driven's with the attention paths between its
  blocks), and torch's own recurrent networks, packed, on all words of a step.
- `step`: the loop itself (`reidlib.train.fit`) on one batch that is there already: forward, losses,
  backward, optimizer.
- `loop`: the same with its batches drawn, augmented and moved to the device.

`step_over_encoders` is images per second of the loop's over the encoders' (1 would be a step that
costs no more than its encoders; above 1, they were made faster than torch's). `waiting_share` is
what drawing batches adds to a step: on a GPU, which computes meanwhile, 1 - step / loop; on the CPU
the time that drawing alone takes (`draw`) over the loop's, as the difference of two long times
would drown in their noise. All are measured by turns; the shares are medians over turns. On a GPU
all run in bf16 autocast, channels last. MFU: floating-point operations of a step (torch's counter:
products and convolutions) over its time and the GPU's peak, left out where that is not known (as on
all CPUs). On the CPU the paper's size runs with batches of 12, unless --batch says otherwise.
--trace adds where the time of a step and of its encoders goes, by kind of operation. The last line
is JSON.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from timing import CPU, arguments, begin, by_turns, peak_gib, rates, report, share, spreads, traces

from reidlib.arguments import PAPERS
from reidlib.gpu_check.steps import encoders, main_experiment, peak_tflops, set_up, step_flops
from reidlib.train import Compute

ON_CPU, QUICK = 12, 8  # images of a batch


def measure(
    paper: str, size: str, device: str, args: Any, peak: float | None, folder: Path
) -> dict[str, Any]:
    """One row of the result: a paper at a size."""
    experiment = main_experiment(paper, size)
    batch_size = args.batch
    if batch_size is None and args.quick:
        batch_size = QUICK
    elif batch_size is None and device == "cpu" and size == "paper":
        batch_size = ON_CPU
    compute = Compute.choose(device, args.threads)
    bench = set_up(experiment, size, folder, compute, batch_size)
    batch, steps = bench.batch(), args.steps
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    alone = encoders(bench, batch)

    def repeated() -> None:
        for _ in range(steps):
            alone()

    bench.model.train()
    works = {
        "encoders": repeated,
        "step": lambda: bench.fit(steps, batch),
        "loop": lambda: bench.fit(steps),
    }
    if device == "cpu":
        drawn = bench.batches(torch.Generator().manual_seed(0))
        works["draw"] = lambda: [next(drawn) for _ in range(steps)]
    times, median = by_turns(device, works, args.turns)
    flops = None if args.quick or device == "cpu" else step_flops(bench, batch)
    mfu = None
    if flops is not None and peak is not None:
        mfu = round(flops * steps / median["loop"] / (peak * 1e12), 4)
    row = {
        "paper": paper,
        "size": size,
        "experiment": experiment.name,
        "image_size": list(experiment.training.image_size),
        "batch": len(batch),
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "precision": compute.precision,
        "seconds": spreads(times),
        "images_per_s": rates(len(batch) * steps, times),
        "step_over_encoders": share(times, ["encoders"], ["loop"]),
        "waiting_share": (
            share(times, ["draw"], ["loop"])
            if device == "cpu"
            else round(1 - share(times, ["step"], ["loop"]), 4)
        ),
        "tflops_of_a_step": None if flops is None else round(flops / 1e12, 4),
        "mfu": mfu,
        "peak_gib": peak_gib(device),
    }
    if device == "cpu":  # disturbed less by what else runs on the machine
        row["step_over_encoders_cpu_time"] = share(times, ["encoders"], ["loop"], CPU)
        row["waiting_share_cpu_time"] = share(times, ["draw"], ["loop"], CPU)
    print(
        f"{paper:17}{size:6} batch {len(batch):3}: "
        + ", ".join(f"{name} {rate:.1f}" for name, rate in row["images_per_s"].items())
        + f" images/s; loop {row['step_over_encoders']:.2f} of the encoders"
        + ("" if mfu is None else f", MFU {100 * mfu:.1f} %"),
        flush=True,
    )
    if args.trace:
        step = {"encoders": alone, "step": lambda: bench.fit(1, batch)}
        row["trace_ms"] = traces(device, step)
    return row


def main() -> None:
    parser = arguments(__doc__, turns=2, traced=True)
    parser.add_argument("--paper", choices=PAPERS, action="append", help="(default: all)")
    parser.add_argument("--size", choices=("paper", "study", "both"), help="(default: both)")
    parser.add_argument("--batch", type=int, help="images of a batch (default: the row's own)")
    parser.add_argument("--steps", type=int, help="of a turn (default: 1 on the CPU, else 20)")
    parser.add_argument("--peak-tflops", type=float, help="of the device, if it is not known")
    args = parser.parse_args()
    device = begin(args)
    if args.steps is None:
        args.steps = 20 if device == "cuda" and not args.quick else 1
    size = args.size or ("study" if args.quick else "both")
    sizes = ("paper", "study") if size == "both" else (size,)
    peak = args.peak_tflops or peak_tflops(device)
    with tempfile.TemporaryDirectory(prefix="reidlib-training-") as folder:
        rows = [
            measure(paper, size, device, args, peak, Path(folder))
            for paper in args.paper or PAPERS
            for size in sizes
        ]
    note = "" if peak is not None else "no MFU: the peak of this device is not known"
    result = {"steps": args.steps, "peak_tflops": peak, "mfu_note": note, "rows": rows}
    report("training", args, result)


if __name__ == "__main__":
    main()
