"""Training speed of FGSAM against its limit, its two bare encoders.

    python benchmarks/fgsam_step.py [--device cpu|cuda] [--batch 64] [--size 256 128] [--steps 3]

Limit: ResNet-50 forward and backward on the images, then the pose resolve net (VGG-19 front, three
stages of two streams, without channel parse blocks) forward and backward. Step: the forward pass of
the final model with the attributes of Market-1501, its losses, backward and Adam step on the same
batch. The parts are measured by turns; times are medians. On CUDA all run in bf16 autocast,
channels last. `share_of_limit` compares wall-clock times; `share_of_limit_cpu_time`, of the CPU
only, the processor time spent, which other load on the machine disturbs less. The last line is
JSON.
"""

import argparse
import json

import torch
from timing import CPU, by_turns, machine, milliseconds, share

from reidlib.data.formats.attributes import MARKET, sizes
from reidlib.models.fgsam import FGSAM, FGSAMConfig
from reidlib.models.pose_resolve import PoseConfig, PoseResolveNet

LIMIT, STEP = ("resnet", "pose"), ("step", "adam")
PARTS = LIMIT + STEP
IDS, IMAGES_EACH = 751, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one warm-up")
    args = parser.parse_args()
    device, B = args.device, args.batch

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    known = sizes(MARKET.attributes)
    model = FGSAM(FGSAMConfig(ids=IDS, attributes=known)).to(device)
    pose = PoseResolveNet(PoseConfig()).to(device)
    images = torch.randn(B, 3, *args.size, generator=generator).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(B) // IMAGES_EACH).to(device)
    attributes = torch.stack([torch.randint(n, (B,), generator=generator) for _, n in known], 1)
    attributes = attributes.to(device)
    for net in (model.backbone, model.pose, pose):
        net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    bf16 = {"device_type": device, "dtype": torch.bfloat16, "enabled": device == "cuda"}

    def encode_images() -> None:
        with torch.autocast(**bf16):
            out = model.backbone(images)
        out.backward(torch.ones_like(out))

    def resolve_poses() -> None:
        with torch.autocast(**bf16):
            out = torch.cat(pose(images)[-1], 1)
        out.backward(torch.ones_like(out))
        pose.zero_grad(set_to_none=True)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(**bf16):
            terms = model(images, labels, attributes)
        torch.stack(list(terms.values())).sum().backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    parts = dict(zip(PARTS, (encode_images, resolve_poses, step, update), strict=True))
    times, median = by_turns(device, parts, args.steps)
    for name, value in median.items():
        print(f"{name:8s}{value * 1e3:10.1f} ms")
    result = {
        "benchmark": "fgsam_step",
        **machine(device),
        "batch": B,
        "size": list(args.size),
        "steps": args.steps,
        "median_ms": milliseconds(median),
        "images_per_s": round(B / (median["step"] + median["adam"]), 3),
        "limit_images_per_s": round(B / (median["resnet"] + median["pose"]), 3),
        "share_of_limit": share(times, LIMIT, STEP),
        "share_of_limit_cpu_time": share(times, LIMIT, STEP, CPU) if device == "cpu" else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
