"""How many pictures a second one core draws, at the sizes of the demo and of the papers.

Run: python benchmarks/render_speed.py [--pictures N]. Everything `render` returns is made; writing
files is not measured. CPU seconds of this process are counted; scenes are cached first, as in a
long run. Besides the median of the rounds the rate at every picture's fastest time is given, as
other work on the machine slows down caches and shared cores. The last line is JSON.
"""

import argparse
import json
import platform
import statistics
import time

import cv2
import numpy as np

from reidlib.world.drawing.render import render
from reidlib.world.drawing.shot import FAMILIES, make_shot

SIZES = ((96, 48), (384, 128))


def rate(size: tuple[int, int], pictures: int, repeats: int = 7) -> tuple[list[float], float]:
    """Pictures per CPU second in each of `repeats` rounds over all families, and the rate if
    every picture took its fastest time, which other work on the machine does not slow down."""
    shots = [make_shot(1, k // 4, k, FAMILIES[k % len(FAMILIES)]) for k in range(pictures)]
    for shot in shots:
        render(shot, size)
    rates, fastest = [], [float("inf")] * pictures
    for _ in range(repeats):
        total = 0.0
        for k, shot in enumerate(shots):
            start = time.process_time()
            render(shot, size)
            taken = time.process_time() - start
            total += taken
            fastest[k] = min(fastest[k], taken)
        rates.append(pictures / total)
    return rates, pictures / sum(fastest)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=160, help="pictures per round")
    pictures = parser.parse_args().pictures
    result: dict[str, object] = {
        "benchmark": "render_speed",
        "unit": "images/s/core",
        "pictures": pictures,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    for size in SIZES:
        rates, undisturbed = rate(size, pictures)
        name = f"{size[0]}x{size[1]}"
        result[name] = round(statistics.median(rates), 1)
        result[name + " range"] = [round(min(rates), 1), round(max(rates), 1)]
        result[name + " undisturbed"] = round(undisturbed, 1)
        print(f"{name}: {result[name]} images/s/core, range {result[name + ' range']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
