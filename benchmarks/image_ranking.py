"""Speed and memory of the image-to-image evaluator on a set of Market-1501's size.

    python benchmarks/image_ranking.py [--device cpu|cuda] [--threads 2] [--noise 3]

Times, on the same features: the bare product query @ gallery.T,
`reidlib.metrics.ranking.rank_features` with CMC and both mAPs, and a straightforward
evaluator that sorts every row. The three take turns, so that what else runs on the machine hits
all of them. The last line is JSON.
"""

import argparse
import json
import platform
import resource
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from timing import seconds
from torch import Tensor

from reidlib.metrics.ranking import rank_features

IDS, CAMERAS, QUERIES = 750, 6, 3368
GOOD, DISTRACTORS, JUNK = 13_115, 2_798, 3_819  # 19,732 gallery images


def market_sized(
    dim: int, noise: float, seed: int = 0
) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query and gallery features, pids and camera numbers in Market-1501's proportions.

    A feature is its person's center plus noise of `noise` times its length, and a person looks
    somewhat different in each camera. A person has a query in some of the cameras it is seen in.
    """
    rng = np.random.default_rng(seed)
    pairs = np.array([(p, c) for p in range(1, IDS + 1) for c in range(1, CAMERAS + 1)])
    queries = pairs[np.sort(rng.permutation(len(pairs))[:QUERIES])]
    weights = rng.gamma(2.0, size=IDS)  # some people have many more images than others
    images = np.repeat(np.arange(1, IDS + 1), rng.multinomial(GOOD, weights / weights.sum()))
    pids = np.concatenate([images, np.zeros(DISTRACTORS, int), np.full(JUNK, -1)])
    camids = rng.integers(1, CAMERAS + 1, len(pids))
    generator = torch.Generator().manual_seed(seed)

    def features(pids: np.ndarray, camids: np.ndarray) -> Tensor:
        disturbance = torch.randn(len(pids), dim, generator=generator)
        known = torch.from_numpy(pids > 0)[:, None]
        index = torch.from_numpy(np.maximum(pids, 0))
        looks = centers[index] + 0.5 * in_camera[index, torch.from_numpy(camids)]
        return torch.where(known, looks + noise * disturbance, disturbance)

    centers = torch.randn(IDS + 1, dim, generator=generator)
    in_camera = torch.randn(IDS + 1, CAMERAS + 1, dim, generator=generator)
    query = features(queries[:, 0], queries[:, 1])
    return query, features(pids, camids), queries[:, 0], pids, queries[:, 1], camids


def by_sorting(
    query: Tensor,
    gallery: Tensor,
    query_pids: np.ndarray,
    pids: np.ndarray,
    query_camids: np.ndarray,
    camids: np.ndarray,
) -> dict[str, float]:
    """What one would write first: sort the whole gallery for every query."""
    scores = F.normalize(query) @ F.normalize(gallery).T
    order = scores.argsort(1, descending=True).cpu().numpy()
    first, step, trapezoid = [], [], []
    for ranking, pid, camid in zip(order, query_pids, query_camids, strict=True):
        listed, cameras = pids[ranking], camids[ranking]
        same = listed == pid
        hit = same[(listed != -1) & ~(same & (cameras == camid))]
        ranks = np.flatnonzero(hit) + 1
        if not len(ranks):
            continue
        number = np.arange(1, len(ranks) + 1)
        before = np.where(ranks > 1, (number - 1) / np.maximum(ranks - 1, 1), 1)
        first.append(ranks[0])
        step.append(np.mean(number / ranks))
        trapezoid.append(np.mean((number / ranks + before) / 2))
    cmc = {f"Top-{k}": float(np.mean(np.array(first) <= k) * 100) for k in (1, 5, 10)}
    return {
        **cmc,
        "mAP (step)": float(np.mean(step) * 100),
        "mAP (trapezoid)": float(np.mean(trapezoid) * 100),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--noise", type=float, default=3.0, help="of the features; 100 leaves nothing but chance"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    query, gallery, *labels = market_sized(args.dim, args.noise)
    query, gallery = query.to(args.device), gallery.to(args.device)
    query_pids, pids, query_camids, camids = labels

    def evaluate() -> dict[str, float]:
        ranking = rank_features(query, gallery, query_pids, pids, query_camids, camids)
        return ranking.metrics()

    result = evaluate()  # warms up; nothing large has run before, so that the peak is its own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    gpu_peak = torch.cuda.max_memory_allocated() / 1024**3 if args.device == "cuda" else None
    actions = {
        "product": lambda: query @ gallery.T,
        "evaluator": evaluate,
        "by sorting": lambda: by_sorting(query, gallery, query_pids, pids, query_camids, camids),
    }
    expected = actions["by sorting"]()
    actions["product"]()
    for name, value in expected.items():
        assert abs(result[name] - value) < 0.01, (name, result[name], value)
    wall: dict[str, list[float]] = {name: [] for name in actions}
    cpu: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(args.repeats):
        for name, action in actions.items():
            taken = seconds(args.device, action)
            wall[name].append(taken[0])
            cpu[name].append(taken[1])
    median = {name: statistics.median(values) for name, values in wall.items()}
    cpu_median = {name: statistics.median(values) for name, values in cpu.items()}
    print(
        f"{QUERIES} queries x {len(pids)} gallery images, {args.dim}-d, {args.device}, "
        f"{args.threads} threads: " + ", ".join(f"{k} {v:.2f}" for k, v in result.items())
    )
    for name, values in wall.items():
        print(
            f"{name:12s} {median[name]:7.3f} s ({min(values):.3f}-{max(values):.3f}), "
            f"{median[name] / median['product']:5.2f} x product; "
            f"CPU {cpu_median[name]:7.3f} s, {cpu_median[name] / cpu_median['product']:5.2f} x"
        )
    print(f"peak memory of the process, features included, after the evaluator: {peak:.2f} GiB")
    record = {
        "benchmark": "image_ranking",
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": args.threads,
        "queries": QUERIES,
        "gallery": len(pids),
        "dim": args.dim,
        "noise": args.noise,
        "mAP (step)": round(result["mAP (step)"], 2),
        "repeats": args.repeats,
        "seconds": {name: round(value, 4) for name, value in median.items()},
        "seconds_min": {name: round(min(values), 4) for name, values in wall.items()},
        "cpu_seconds": {name: round(value, 4) for name, value in cpu_median.items()},
        "evaluator_over_product": round(median["evaluator"] / median["product"], 3),
        "evaluator_over_product_min": round(min(wall["evaluator"]) / min(wall["product"]), 3),
        "evaluator_over_product_cpu": round(cpu_median["evaluator"] / cpu_median["product"], 3),
        "sorting_over_product": round(median["by sorting"] / median["product"], 3),
        "peak_memory_gib": round(peak, 3),
        "peak_gpu_memory_gib": None if gpu_peak is None else round(gpu_peak, 3),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
