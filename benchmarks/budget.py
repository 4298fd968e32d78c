"""How much a whole profile computes, counted and not measured.

    python benchmarks/budget.py [--profile bench] [--paper NAME] [--tflops 100]

For every kind of network that the profile trains, one step is run on a few images at the network's
real size, and torch counts its multiply-adds (two operations each, forward and backward: products
and convolutions, not what is limited by memory). Operations of an image, times the images of a
batch, times the steps of a training, times the trainings of one seed, are the work of the profile;
`minutes` is that work at `tflops` a second, which is an assumption until `gpu-check` has measured
it. Of rows that differ in their losses or attention one stands for all: the paper's own. Tests,
drawing and start-up are not counted. The last line is JSON.
"""

import tempfile
from pathlib import Path
from typing import Any

from timing import arguments, begin, report

from reidlib.arguments import PAPERS
from reidlib.experiment import Experiment
from reidlib.gpu_check.steps import MAIN, set_up, step_flops
from reidlib.papers import driver
from reidlib.train import Compute

IMAGES = 8  # of the batch that is counted


def trained(papers: list[str], profile: str) -> list[Experiment]:
    """Every training of one seed, those that others start from once."""
    cells = (c for paper in papers for c in driver.get_paper(paper).cells(profile).values())
    experiments = [cell.experiment for cell in cells]
    return list(dict.fromkeys(e for found in experiments for e in (*found.all_before, found)))


def kind(experiment: Experiment) -> tuple[str, str, str, tuple[int, int]]:
    """What trainings have in common whose steps cost about the same."""
    model, training = experiment.model, experiment.training
    backbone = getattr(model, "backbone", "")
    return experiment.paper, type(model).__name__, backbone, training.image_size


def steps(experiment: Experiment) -> int:
    """Of a training. Raises `SystemExit` where they depend on the data."""
    training = experiment.training
    if training.steps is None:
        raise SystemExit(f"{experiment.name}: an epoch is one pass over the data; name a profile "
                         "whose epochs have a number of steps")  # fmt: skip
    return training.epochs * training.steps


def main() -> None:
    parser = arguments(__doc__, turns=1, gpu=False)
    parser.add_argument("--profile", help="(default: bench; smoke with --quick)")
    parser.add_argument("--paper", choices=PAPERS, action="append", help="(default: all)")
    parser.add_argument("--tflops", type=float, default=100.0, help="a second (default: 100)")
    args = parser.parse_args()
    compute = Compute.choose(begin(args), args.threads)
    profile = args.profile or ("smoke" if args.quick else "bench")
    kinds: dict[tuple, list[Experiment]] = {}
    for experiment in trained(args.paper or list(PAPERS), profile):
        kinds.setdefault(kind(experiment), []).append(experiment)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="reidlib-budget-") as folder:
        for (paper, *_), experiments in kinds.items():
            own = (e for e in experiments if MAIN.get(paper, "") in e.name)
            shown = next(own, experiments[0])
            images = sum(steps(e) * e.training.batch_size for e in experiments)
            bench = set_up(shown, profile, Path(folder), compute, IMAGES)
            bench.model.train()
            batch = bench.batch()
            operations = step_flops(bench, batch) / len(batch)
            rows.append({
                "paper": paper,
                "counted": shown.name,
                "trainings": len(experiments),
                "images": images,
                "gflop_of_an_image": round(operations / 1e9, 3),
                "pflop": round(operations * images / 1e15, 6),
            })  # fmt: skip
            print(
                f"{rows[-1]['pflop']:9.3g} PFLOP: {len(experiments)} trainings, {images} images of "
                f"{operations / 1e9:.2f} GFLOP: {shown.name}",
                flush=True,
            )
    total = sum(row["pflop"] for row in rows)
    minutes = total * 1e3 / args.tflops / 60
    print(f"{total:9.3g} PFLOP in all: {minutes:.1f} minutes at {args.tflops:g} TFLOP a second")
    result = {
        "profile": profile,
        "tflops": args.tflops,
        "pflop": round(total, 6),
        "minutes": round(minutes, 1),
        "rows": rows,
    }
    report("budget", args, result)


if __name__ == "__main__":
    main()
