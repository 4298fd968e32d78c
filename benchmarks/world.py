"""How many pictures and captions a second one core makes, at the sizes of demo and papers.

    python benchmarks/world.py [--pictures 160] [--turns 7]

Pictures: everything `render` returns (mask, joints and visibility are made, too); writing files is
not measured. Captions: three for every picture, one in the style of each of CUHK-PEDES, ICFG-PEDES
and RSTPReid. Processor seconds of this process are counted, in one thread; scenes are cached first,
as in a long run. `undisturbed` is the rate if every picture took its fastest time, as other work on
the machine slows down caches and shared cores. The last line is JSON.
"""

import time
from collections.abc import Callable, Sequence

import cv2
from timing import arguments, begin, report, spread

from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import FAMILIES, Shot, make_shot
from reidlib.world.language.captions import cuhk_caption, icfg_caption, rstp_caption
from reidlib.world.people.identity import make_identity

SIZES = ((96, 48), (384, 128))


def rate(
    shots: Sequence[Shot], make: Callable[[int], object], turns: int
) -> tuple[list[float], float]:
    """What is made per processor second in each turn, and if each took its fastest time."""
    for k in range(len(shots)):
        make(k)
    found, fastest = [], [float("inf")] * len(shots)
    for _ in range(turns):
        total = 0.0
        for k in range(len(shots)):
            start = time.process_time()
            make(k)
            taken = time.process_time() - start
            total += taken
            fastest[k] = min(fastest[k], taken)
        found.append(len(shots) / total)
    return found, len(shots) / sum(fastest)


def main() -> None:
    parser = arguments(__doc__, turns=7, gpu=False)
    parser.add_argument("--pictures", type=int, help="of a turn (default: 160)")
    args = parser.parse_args()
    args.threads = 1
    begin(args)
    cv2.setNumThreads(1)
    number = args.pictures or (8 if args.quick else 160)
    shots = [make_shot(1, k // 4, k, FAMILIES[k % len(FAMILIES)]) for k in range(number)]
    people = [make_identity(1, shot.pid) for shot in shots]
    seen = [render(shot, SIZES[0]).visible for shot in shots]

    def captions(k: int) -> None:
        cuhk_caption(people[k], shots[k], seen[k], 0)
        icfg_caption(people[k], shots[k], seen[k])
        rstp_caption(people[k], shots[k], seen[k], 0)

    works: dict[str, tuple[Callable[[int], object], int]] = {
        f"pictures {h}x{w}": (lambda k, size=(h, w): render(shots[k], size), 1) for h, w in SIZES
    }
    works["captions"] = captions, 3
    result: dict[str, object] = {"unit": "per second and core", "pictures": number}
    for name, (make, each) in works.items():
        found, undisturbed = rate(shots, make, args.turns)
        result[name] = {
            **spread([each * value for value in found]),
            "undisturbed": round(each * undisturbed, 1),
        }
        print(f"{name}: {result[name]['median']:.1f} a second and core", flush=True)
    report("world", args, {**result, "opencv": cv2.__version__})


if __name__ == "__main__":
    main()
