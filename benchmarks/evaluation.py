"""A test's ranking and scoring at the sizes of real datasets, against the bare matrix product.

    python benchmarks/evaluation.py [--device cpu|cuda] [--case NAME] [--turns 3] [--scale 1]
        [--share 1] [--noise 3] [--dim 2048] [--trace]

Cases, each with random features of these shapes:

- `market1501`: 3,368 queries x 19,732 images, `reidlib.metrics.ranking.rank_features` with CMC and
  both mAPs. A straightforward evaluator that sorts every row checks the outcome and is timed once.
- `msmt17`: 11,659 x 82,161, the same, in bounded memory: `extra_gib` is what the process needed
  beyond the features.
- `cuhk-pedes`: 6,156 captions x 3,074 images by SSAN's three similarities, and by IMG-Net's, whose
  attention depends on both sides, with 3 to 11 phrases a caption.
- `icfg-pedes`: 19,848 captions x 19,848 images by SSAN's similarities, in blocks of captions, with
  the ranks of the first matches, as the test does it.

`product` is the bare products of the same features and nothing else: no norms, no ranks; in blocks
where scores of all pairs would not fit. IMG-Net's are V^G by T^S, M^V by T^S and M^P by V^G: what
no evaluator can do without. Everything is in fp32. Works are measured by turns, and `over_product`
is the median over turns. --scale shrinks both sides of every case; --share takes that part of the
queries (default 1; on the CPU a quarter of MSMT17's and an eighth of ICFG-PEDES', so that it ends
within minutes). --trace adds where the time goes, by kind of operation. The last line is JSON.
"""

import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timing import CPU, arguments, begin, by_turns, report, seconds, share, spreads, traces
from torch import Tensor

from reidlib.devices import keep_freed_memory
from reidlib.metrics.first_match import first_match_ranks
from reidlib.metrics.ranking import rank_features
from reidlib.models import imgnet, ssan
from reidlib.models.imgnet import ImageCodes, TextCodes
from reidlib.models.parts.codes import fuse

CASES = ("market1501", "msmt17", "cuhk-pedes", "icfg-pedes")
# of the queries, on a CPU, so that all cases end within five minutes
CPU_SHARES = {"msmt17": 0.25, "icfg-pedes": 0.125}
# persons, cameras, queries, their images, distractors, boxes that count for nothing
IMAGE_SETS = {
    "market1501": (750, 6, 3368, 13_115, 2798, 3819),
    "msmt17": (3060, 15, 11_659, 82_161, 0, 0),
}
TEXT_SETS = {"cuhk-pedes": (6156, 3074), "icfg-pedes": (19_848, 19_848)}  # captions, images
PEOPLE = 1000
BLOCK = 1024  # queries of a bare product where all would not fit
CAPTIONS = 256  # of a block, as the test takes them
P, K, TOLERANCE = 1024, 6, 1e-6  # of IMG-Net

Row = dict[str, Any]


def image_set(
    name: str, scale: float, dim: int, noise: float, seed: int = 0
) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query and gallery features, pids and camera numbers in the proportions of a dataset.

    A feature is its person's center plus noise of `noise` times its length, and a person looks
    somewhat different in each camera. A person has a query in some of the cameras it is seen in.
    """
    ids, cameras, *sizes = IMAGE_SETS[name]
    ids, queries, good, distractors, junk = (
        max(2, round(n * scale)) if n else 0 for n in (ids, *sizes)
    )
    rng = np.random.default_rng(seed)
    pairs = np.array([(p, c) for p in range(1, ids + 1) for c in range(1, cameras + 1)])
    chosen = pairs[np.sort(rng.permutation(len(pairs))[:queries])]
    weights = rng.gamma(2.0, size=ids)  # some people have many more images than others
    images = np.repeat(np.arange(1, ids + 1), rng.multinomial(good, weights / weights.sum()))
    pids = np.concatenate([images, np.zeros(distractors, int), np.full(junk, -1)])
    camids = rng.integers(1, cameras + 1, len(pids))
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(ids + 1, dim, generator=generator)
    in_camera = torch.randn(ids + 1, cameras + 1, dim, generator=generator)

    def features(pids: np.ndarray, camids: np.ndarray) -> Tensor:
        found = torch.randn(len(pids), dim, generator=generator)
        known = torch.from_numpy(np.flatnonzero(pids > 0))
        person = torch.from_numpy(pids)[known]
        found[known] *= noise
        found[known] += centers[person]
        found[known] += 0.5 * in_camera[person, torch.from_numpy(camids)[known]]
        return found

    query = features(chosen[:, 0], chosen[:, 1])
    return query, features(pids, camids), chosen[:, 0], pids, chosen[:, 1], camids


def by_sorting(
    query: Tensor, gallery: Tensor, query_pids: np.ndarray, pids: np.ndarray,
    query_camids: np.ndarray, camids: np.ndarray,
) -> dict[str, float]:  # fmt: skip
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


def images_by_images(name: str, args: Any) -> list[Row]:
    """`market1501` or `msmt17`."""
    query, gallery, *labels = image_set(name, args.scale, args.dim, args.noise)
    taken = slice(0, max(1, round(len(query) * share_of(name, args))))
    query, labels[0], labels[2] = query[taken], labels[0][taken], labels[2][taken]
    query, gallery = query.to(args.device), gallery.to(args.device)
    before = used_gib(args.device)

    def product() -> None:
        for block in query.split(BLOCK):
            block @ gallery.T

    def scoring() -> dict[str, float]:
        return rank_features(query, gallery, *labels).metrics()

    found = scoring()
    extra = used_gib(args.device) - before
    row = measured(
        f"{name}, image to image", args, len(query), len(gallery), product, scoring,
        extra_gib=round(extra, 3), dim=args.dim, mAP=round(found["mAP (step)"], 2),
    )  # fmt: skip
    if name == "market1501":
        plain: dict[str, float] = {}
        wall, _ = seconds(args.device, lambda: plain.update(by_sorting(query, gallery, *labels)))
        for metric, value in plain.items():
            assert abs(found[metric] - value) < 0.01, (metric, found[metric], value)
        row["by_sorting_s"] = round(wall, 4)
    return [row]


def texts_by_images(name: str, args: Any) -> list[Row]:
    """`cuhk-pedes` or `icfg-pedes`."""
    captions, images = (max(2, round(n * args.scale)) for n in TEXT_SETS[name])
    captions = max(1, round(captions * share_of(name, args)))
    rows = [by_ssan(name, args, captions, images)]
    if name == "cuhk-pedes":
        rows.append(by_imgnet(name, args, captions, images))
    return rows


def by_ssan(name: str, args: Any, captions: int, images: int) -> Row:
    """S_g, S_l and S_n of every pair, their sum, and the rank of the first match."""
    config = ssan.SSANConfig(ids=1, vocabulary=2)
    shapes = ((config.M,), (config.K, config.M), (config.K, config.N))
    v = ssan.Codes(*(torch.randn(images, *shape).to(args.device) for shape in shapes))
    t = ssan.Codes(*(torch.randn(captions, *shape).to(args.device) for shape in shapes))
    weights = ssan.evaluations(config)["Sg+Sl+Sn"]
    people, pids = (np.arange(n) % PEOPLE for n in (captions, images))
    blocks = torch.arange(captions).split(CAPTIONS)

    def part(rows: Tensor) -> ssan.Codes:
        return ssan.Codes(*(codes[rows[0] : rows[-1] + 1] for codes in t))

    def product() -> None:
        for rows in blocks:
            for text, image in zip(part(rows), v, strict=True):
                text.flatten(1) @ image.flatten(1).T

    def scoring() -> None:
        for rows in blocks:
            scores = fuse(ssan.similarities(v, part(rows), config), weights)
            first_match_ranks(scores, people[rows.numpy()], pids)

    return measured(f"{name}, SSAN", args, captions, images, product, scoring)


def by_imgnet(name: str, args: Any, captions: int, images: int) -> Row:
    """GS, LS and GP of every pair; all seven rankings are timed beside them."""
    counts = torch.randint(3, 12, (captions,))
    offsets = F.pad(counts.cumsum(0), (1, 0))
    shapes = [(images, P), (images, K, P), (captions, P), (int(offsets[-1]), P)]
    VG, MV, TS, MP = (torch.randn(s).add_(0.3).to(args.device) for s in shapes)
    v, t = ImageCodes(VG, MV), TextCodes(TS, MP, offsets)
    rows = 2048
    by_text = torch.empty(rows, captions, device=args.device)
    by_image = torch.empty(rows, images, device=args.device)

    def product() -> None:
        for left in (VG, MV.flatten(0, 1)):
            for block in left.split(rows):
                torch.mm(block, TS.T, out=by_text[: len(block)])
        for block in MP.split(rows):
            torch.mm(block, VG.T, out=by_image[: len(block)])

    def scoring() -> None:
        for _ in imgnet.similarity_blocks(v, t):
            pass

    error = naive_error(v, t)
    row = measured(
        f"{name}, IMG-Net", args, captions, images, product, scoring,
        phrases=int(offsets[-1]), max_error=error,
    )  # fmt: skip
    pids = (np.arange(captions) // 6, np.arange(images) // 3)
    wall, _ = seconds(args.device, lambda: imgnet.ranks_of_all_pairs(v, t, *pids))
    row["scoring_and_seven_rankings_s"] = round(wall, 4)
    return row


def naive_error(images: ImageCodes, texts: TextCodes, pairs: int = 500) -> float:
    """Largest difference from a loop over some pairs in double precision."""
    picked_rows = torch.randperm(len(texts.TS))[:25].sort().values
    columns = torch.randperm(len(images.VG))[: max(1, pairs // 25)].sort().values
    images = ImageCodes(images.VG.cpu()[columns], images.MV.cpu()[columns])
    texts = TextCodes(texts.TS.cpu(), texts.MP.cpu(), texts.offsets)
    picked = TextCodes(
        texts.TS[picked_rows],
        torch.cat([texts.MP[texts.offsets[i] : texts.offsets[i + 1]] for i in picked_rows]),
        F.pad(texts.offsets.diff()[picked_rows].cumsum(0), (1, 0)),
    )
    ours = imgnet.pair_similarities(images, picked)

    def attended(M: Tensor, other: Tensor) -> Tensor:
        alpha = F.cosine_similarity(M, other[None], dim=1).softmax(0)
        return ((alpha >= 1 / len(M) - TOLERANCE)[:, None] * alpha[:, None] * M).sum(0)

    worst = 0.0
    for m, row in enumerate(picked_rows):
        T = texts.TS[row].double()
        phrases = texts.MP[texts.offsets[row] : texts.offsets[row + 1]].double()
        for i in range(len(columns)):
            V, MV = images.VG[i].double(), images.MV[i].double()
            LS = F.cosine_similarity(attended(MV, T), T, dim=0)
            GP = F.cosine_similarity(attended(phrases, V), V, dim=0)
            worst = max(worst, abs(LS - ours["LS"][i, m]), abs(GP - ours["GP"][i, m]))
    return float(worst)


def measured(
    what: str, args: Any, queries: int, gallery: int, product: Callable[[], object],
    scoring: Callable[[], object], **more: Any,
) -> Row:  # fmt: skip
    """A row of the result: the two by turns."""
    works = {"product": product, "scoring": scoring}
    times, median = by_turns(args.device, works, args.turns)
    over = share(times, ["scoring"], ["product"])
    row = {
        "what": what,
        "queries": queries,
        "gallery": gallery,
        "product_s": round(median["product"], 4),
        "scoring_s": round(median["scoring"], 4),
        "over_product": over,
        "over_product_cpu_time": share(times, ["scoring"], ["product"], CPU)
        if args.device == "cpu"
        else None,
        "seconds": spreads(times),
        **more,
    }
    print(
        f"{what}: {queries:,} x {gallery:,}, product {median['product']:.3f} s, "
        f"{over:.2f} times that",
        flush=True,
    )
    if args.trace:
        row["trace_ms"] = traces(args.device, works)
    return row


def share_of(name: str, args: Any) -> float:
    """The part of the queries that is taken."""
    if args.share is not None:
        return args.share
    return CPU_SHARES.get(name, 1.0) if args.device == "cpu" else 1.0


def used_gib(device: str) -> float:
    """The most memory that has been in use so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__, turns=3, traced=True)
    parser.add_argument("--case", choices=CASES, action="append", help="(default: all)")
    parser.add_argument("--scale", type=float, help="of both sides (default: 1)")
    parser.add_argument("--share", type=float, help="of the queries")
    parser.add_argument("--dim", type=int, default=2048, help="of image features (2048)")
    parser.add_argument(
        "--noise", type=float, default=3.0, help="of image features; 100 leaves chance alone"
    )
    args = parser.parse_args(given)
    if begin(args) == "cpu":
        keep_freed_memory()  # as a run does, which has trained before
    if args.scale is None:
        args.scale = 0.02 if args.quick else 1.0
    rows: list[Row] = []
    for name in args.case or CASES:
        rows += (images_by_images if name in IMAGE_SETS else texts_by_images)(name, args)
    report("evaluation", args, {"scale": args.scale, "noise": args.noise, "rows": rows})


if __name__ == "__main__":
    main()
