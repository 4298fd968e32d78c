"""Images per second into a training step: cached and batched, against torchvision per image.

    python benchmarks/image_pipeline.py [--device cpu|cuda] [--images 512] [--repeats 9]

Synthetic CUHK-PEDES images of their native sizes go to 384x128, flipped and cropped at random.
`per image` decodes, resizes and augments every image with torchvision in one process, as a data
loader worker does, and moves the batch to the device. `cached` is `DeviceImages.batch` after
`image_cache`, whose own speed is `cache`. Medians over the repeats after two rounds of warm-up,
spread as interquartile range. The last line is the result as JSON.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from reidlib.data.batches.images import IMAGENET_MEAN, IMAGENET_STD, DeviceImages, image_cache
from reidlib.data.formats.cuhk_pedes import load
from reidlib.world.write import write

SIZE = (384, 128)
PAD = 10
BATCHES = (32, 64)
WARM_UP = 2


def rate(images: int, repeats: int, step: Callable[[], object], device: str) -> dict[str, float]:
    """Median and interquartile range of images per second."""
    rates = []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(images / (time.perf_counter() - start))
    low, median, high = np.percentile(rates[WARM_UP:], [25, 50, 75])
    return {"images_per_s": round(float(median), 1), "iqr": round(float(high - low), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device, repeats = arguments.device, arguments.repeats
    per_image = transforms.Compose(
        [
            transforms.Resize(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(SIZE, padding=PAD),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        # 3.1 images per identity: enough identities for the number of images asked for.
        write("cuhk-pedes", Path(folder), ids=(arguments.images // 3 + 1, 1, 1))
        paths = load(Path(folder)).image_paths("train")[: arguments.images]
        start = time.perf_counter()
        cache = image_cache(paths, SIZE, Path(folder) / "cache")
        made = len(paths) / (time.perf_counter() - start)
        results.append({"what": "cache", "batch": None, "images_per_s": round(made, 1), "iqr": 0})
        images = DeviceImages(cache, device)
        generator = torch.Generator().manual_seed(0)
        for batch in BATCHES:

            def one_by_one(batch: int = batch) -> torch.Tensor:
                chosen = torch.randint(len(paths), (batch,), generator=generator).tolist()
                loaded = [per_image(Image.open(paths[i]).convert("RGB")) for i in chosen]
                return torch.stack(loaded).to(device)

            def cached(batch: int = batch) -> torch.Tensor:
                index = torch.randint(len(paths), (batch,), generator=generator)
                return images.batch(index, flip=True, crop_pad=PAD, generator=generator)

            for what, step in (("per image", one_by_one), ("cached", cached)):
                measured = rate(batch, repeats, step, device)
                results.append({"what": what, "batch": batch, **measured})
    for row in results:
        size = "" if row["batch"] is None else f"batch {row['batch']}"
        print(f"{row['what']:<10} {size:<9} {row['images_per_s']:>10,.0f} images/s ± {row['iqr']}")
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    about = {"device": device, "device_name": name, "threads": 1, "size": SIZE, "pad": PAD}
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    print(json.dumps({**about, "repeats": repeats, **versions, "results": results}))


if __name__ == "__main__":
    main()
