"""Scoring speed of SSAN: all captions of CUHK-PEDES' test split against all its images.

    python benchmarks/ssan_scoring.py [--device cpu|cuda] [--captions 6156] [--images 3074]

Scores: S_g, S_l and S_n of every pair from encoded features, and their sum. Limit: the three bare
matrix products. The two are measured by turns; times are medians. The rank of every caption's
first correct image is timed beside them. The last line is JSON.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from reidlib.metrics.first_match import first_match_ranks
from reidlib.models.parts.codes import fuse
from reidlib.models.ssan import Codes, SSANConfig, evaluations, similarities

PEOPLE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--captions", type=int, default=6156)
    parser.add_argument("--images", type=int, default=3074)
    parser.add_argument("--repeats", type=int, default=3, help="after one warm-up")
    args = parser.parse_args()

    torch.manual_seed(0)
    cfg = SSANConfig(ids=1, vocabulary=2)
    shapes = ((cfg.M,), (cfg.K, cfg.M), (cfg.K, cfg.N))
    texts, images = (
        Codes(*(torch.randn(count, *shape).to(args.device) for shape in shapes))
        for count in (args.captions, args.images)
    )
    query_pids, gallery_pids = (np.arange(n) % PEOPLE for n in (args.captions, args.images))
    whole = evaluations(cfg)["Sg+Sl+Sn"]
    scores = fuse(similarities(images, texts), whole)

    parts = {
        "limit": lambda: [
            t.flatten(1) @ v.flatten(1).T for t, v in zip(texts, images, strict=True)
        ],
        "scores": lambda: fuse(similarities(images, texts), whole),
        "ranks": lambda: first_match_ranks(scores, query_pids, gallery_pids),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(args.repeats + 1):
        for name, work in parts.items():
            start = time.perf_counter()
            work()
            if args.device == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(t) for name, t in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["limit"], times["scores"], strict=True))
    for name, value in median.items():
        print(f"{name:8s}{value * 1e3:10.1f} ms")
    result = {
        "benchmark": "ssan_scoring",
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "captions": args.captions,
        "images": args.images,
        "repeats": args.repeats,
        "median_ms": {name: round(value * 1e3, 2) for name, value in median.items()},
        "share_of_limit": round(ratio, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
