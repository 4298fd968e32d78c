"""Images per second on their way into a training step.

    python benchmarks/data.py [--device cpu|cuda] [--images 512] [--batch 64] [--workers N]

Synthetic CUHK-PEDES images of their native sizes go to 384x128, flipped and cropped at random:

- `decode`: files are read, decoded and resized, by one thread.
- `cache build`: `image_cache` from nothing, with as many threads as cores.
- `cached`: `DeviceImages.batch` of the cache: gathered, augmented and normalized in batches.
- `per image`: torchvision's pipeline in this process, image by image.
- `loader`: the same in a torchvision DataLoader with --workers processes (default: one per core),
  running before it is measured; a turn takes an epoch of it.

`cached_over_loader` and `cached_over_per_image` are medians over turns. Files are in the system's
cache in all of them. The last line is JSON.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import arguments, begin, by_turns, rates, report, share, spreads
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reidlib.data.batches.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DeviceImages,
    image_cache,
    read_resized,
)
from reidlib.data.formats.cuhk_pedes import load
from reidlib.devices import keep_freed_memory
from reidlib.world.write import write

PAD = 10


class Pictures(Dataset):
    """Files as torchvision would train on them."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths = paths
        self.made = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(size, padding=PAD),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.made(Image.open(self.paths[index]).convert("RGB"))


def one_thread(_: int) -> None:
    torch.set_num_threads(1)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help="(default: 512)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="(default: 384 128)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the DataLoader")
    args = parser.parse_args()
    device = begin(args)
    if device == "cpu":
        keep_freed_memory()  # as a training does
    number = args.images or (64 if args.quick else 512)
    size = tuple(args.size or ((96, 32) if args.quick else (384, 128)))
    batch = min(args.batch, number)
    with tempfile.TemporaryDirectory(prefix="reidlib-data-") as folder:
        # 3.1 images per identity: enough identities for the number of images asked for.
        write("cuhk-pedes", Path(folder), ids=(number // 3 + 1, 1, 1))
        paths = load(Path(folder)).image_paths("train")[:number]
        caches = iter(range(10**6))

        def build() -> np.ndarray:
            return image_cache(paths, size, Path(folder) / f"cache-{next(caches)}", os.cpu_count())

        images, generator = DeviceImages(build(), device), torch.Generator().manual_seed(0)
        pictures = Pictures(paths, size)
        loader = DataLoader(
            pictures, batch, shuffle=True, drop_last=True, num_workers=args.workers,
            persistent_workers=args.workers > 0, worker_init_fn=one_thread,
            pin_memory=device == "cuda",
        )  # fmt: skip
        epoch = len(paths) // batch * batch  # images of a turn

        def batches() -> list[Tensor]:
            order = torch.randperm(len(paths), generator=generator)[:epoch]
            return list(order.split(batch))

        def used(found: Iterable[Any]) -> None:
            """As a training takes them: a batch is let go before the next one is there."""
            for one in found:
                del one

        works: dict[str, Any] = {
            "decode": lambda: used(read_resized(path, size) for path in paths[:epoch]),
            "cache build": build,
            "cached": lambda: used(
                images.batch(rows, flip=True, crop_pad=PAD, generator=generator)
                for rows in batches()
            ),
            "per image": lambda: used(
                torch.stack([pictures[i] for i in rows.tolist()]).to(device) for rows in batches()
            ),
            "loader": lambda: used(found.to(device, non_blocking=True) for found in loader),
        }
        times, _ = by_turns(device, works, args.turns)
    found = rates(epoch, times)
    found["cache build"] = rates(len(paths), {"x": times["cache build"]})["x"]
    for name, rate in found.items():
        print(f"{name:12}{rate:12,.0f} images/s")
    result = {
        "images": len(paths),
        "batch": batch,
        "size": list(size),
        "workers": args.workers,
        "images_per_s": found,
        "seconds": spreads(times),
        "cached_over_loader": share(times, ["loader"], ["cached"]),
        "cached_over_per_image": share(times, ["per image"], ["cached"]),
    }
    report("data", args, result)


if __name__ == "__main__":
    main()
