"""How long IMG-Net takes to score every caption against every image, against bare products.

V^L depends on the text and T^P on the image, so the obvious evaluator builds a vector per pair.
`similarity_blocks` needs matrix products only. This compares it, at the size of CUHK-PEDES' test
split, with the products that no evaluator can do without:

    GS  V^G (images x P)               by  T^S (P x captions)
    LS  M^V (images k x P)             by  T^S (P x captions)
    GP  M^P (phrases x P)              by  V^G (P x images)

The reference ("bare") is these three as plain torch.mm into a buffer that is used again, in blocks
of 2,048 rows, and nothing else: no cosines, softmax, threshold or norms. The quadratic forms of
the norms (k x k Gram matrix by k x captions, for each image; likewise the phrases) are needed
products too; they are timed apart, and the ratio that is printed does not lean on them.

Two splits of random codes: 3 to 11 phrases a caption, 7 on average, and 16 phrases throughout.
Repeats alternate between the two sides; the ratio is that of the fastest of each, because on a
machine that others use too, anything slower measures them. The last line is JSON.

    python benchmarks/imgnet_scoring.py [--threads 2] [--repeats 3] [--device cpu] [--scale 1]
"""

import argparse
import json
import platform
import resource
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from timing import WALL, seconds
from torch import Tensor

from reidlib.models.imgnet import (
    ImageCodes,
    TextCodes,
    pair_similarities,
    ranks_of_all_pairs,
    similarity_blocks,
)

IMAGES, CAPTIONS, P, K, TOLERANCE = 3074, 6156, 1024, 6, 1e-6


def random_codes(counts: Tensor, images: int, device: str) -> tuple[ImageCodes, TextCodes]:
    offsets = F.pad(counts.cumsum(0), (1, 0))
    shapes = [(images, P), (images, K, P), (len(counts), P), (int(offsets[-1]), P)]
    VG, MV, TS, MP = (torch.randn(s).add_(0.3).to(device) for s in shapes)
    return ImageCodes(VG, MV), TextCodes(TS, MP, offsets)


def bare_products(images: ImageCodes, texts: TextCodes) -> None:
    rows = 2048
    by_text = torch.empty(rows, len(texts.TS), device=texts.TS.device)
    by_image = torch.empty(rows, len(images.VG), device=texts.TS.device)
    for left in (images.VG, images.MV.flatten(0, 1)):
        for block in left.split(rows):
            torch.mm(block, texts.TS.T, out=by_text[: len(block)])
    for block in texts.MP.split(rows):
        torch.mm(block, images.VG.T, out=by_image[: len(block)])


def quadratic_products(images: ImageCodes, texts: TextCodes) -> None:
    """The products of the norms, at the tile sizes of the scoring."""
    counts = texts.offsets.diff()
    n, N, M = round(counts.float().mean().item()), len(images.VG), len(counts)
    for regions, items, others in ((K, N, M), (n, M, N)):
        gram = torch.rand(128, regions, regions, device=texts.TS.device)
        a = torch.rand(128, regions, 512, device=texts.TS.device)
        for _ in range(-(-items // 128) * -(-others // 512)):
            torch.bmm(gram, a)


def score(images: ImageCodes, texts: TextCodes) -> None:
    for _ in similarity_blocks(images, texts):
        pass


def naive_error(images: ImageCodes, texts: TextCodes, pairs: int = 500) -> float:
    """Largest difference from a loop over some pairs in double precision."""
    rows = torch.randperm(len(texts.TS))[:25].sort().values
    columns = torch.randperm(len(images.VG))[: max(1, pairs // 25)].sort().values
    picked = TextCodes(
        texts.TS[rows],
        torch.cat([texts.MP[texts.offsets[i] : texts.offsets[i + 1]] for i in rows]),
        F.pad(texts.offsets.diff()[rows].cumsum(0), (1, 0)),
    )
    few = ImageCodes(images.VG[columns], images.MV[columns])
    ours = pair_similarities(few, picked)

    def attended(M: Tensor, other: Tensor) -> Tensor:
        alpha = F.cosine_similarity(M, other[None], dim=1).softmax(0)
        return ((alpha >= 1 / len(M) - TOLERANCE)[:, None] * alpha[:, None] * M).sum(0)

    worst = 0.0
    for m, row in enumerate(rows):
        T = texts.TS[row].double()
        phrases = texts.MP[texts.offsets[row] : texts.offsets[row + 1]].double()
        for i in range(len(columns)):
            V, MV = few.VG[i].double(), few.MV[i].double()
            LS = F.cosine_similarity(attended(MV, T), T, dim=0)
            GP = F.cosine_similarity(attended(phrases, V), V, dim=0)
            worst = max(worst, abs(LS - ours["LS"][i, m]), abs(GP - ours["GP"][i, m]))
    return float(worst)


def measure(name: str, counts: Tensor, images: int, device: str, repeats: int) -> dict:
    image_codes, text_codes = random_codes(counts, images, device)
    codes = image_codes, text_codes
    bare_products(*codes)  # warm-up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    score(*codes)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    def wall(work: Callable[..., object], *arguments: object) -> float:
        return seconds(device, partial(work, *arguments))[WALL]

    bare, scoring = [], []
    for _ in range(repeats):
        bare.append(wall(bare_products, *codes))
        scoring.append(wall(score, *codes))
    query_pids, gallery_pids = torch.arange(len(counts)) // 6, torch.arange(images) // 3
    ranks = wall(ranks_of_all_pairs, *codes, query_pids.numpy(), gallery_pids.numpy())
    quadratic = wall(quadratic_products, *codes)
    result = {
        "phrases": int(counts.sum()),
        "bare_s": round(min(bare), 3),
        "bare_all_s": [round(s, 3) for s in bare],
        "scoring_s": round(min(scoring), 3),
        "scoring_all_s": [round(s, 3) for s in scoring],
        "ratio": round(min(scoring) / min(bare), 3),
        "quadratic_products_s": round(quadratic, 3),
        "scoring_and_seven_rankings_s": round(ranks, 3),
        "extra_memory_MiB": round(memory),
        "max_error": naive_error(*codes),
    }
    print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in result.items()))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the test split")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images, captions = int(IMAGES * arguments.scale), int(CAPTIONS * arguments.scale)
    cases = {
        "3 to 11 phrases": torch.randint(3, 12, (captions,)),
        "16 phrases": torch.full((captions,), 16),
    }
    results = {
        name: measure(name, counts, images, arguments.device, arguments.repeats)
        for name, counts in cases.items()
    }
    print(
        json.dumps(
            {
                "benchmark": "imgnet_scoring",
                "images": images,
                "captions": captions,
                "P": P,
                "k": K,
                "device": arguments.device,
                "threads": arguments.threads,
                "torch": torch.__version__,
                "machine": platform.processor() or platform.machine(),
                "cases": results,
                "ratio": max(r["ratio"] for r in results.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
