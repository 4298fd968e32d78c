"""A narrow ResNet-50's step on the CPU with group normalization: torch's own, and ours.

    python benchmarks/group_norm.py [--batch 32] [--threads 1] [--turns 5]

Forward and backward pass of the backbone that Table 4 of IMG-Net trains in `study`, channels last,
on pictures of 64 x 32: with batch normalization (`bn`), with torch's GroupNorm (`torch_gn`), and
with ours, which normalizes a contiguous copy (`gn`). Times are medians of turns. The last line is
JSON.
"""

import torch
from timing import arguments, begin, by_turns, milliseconds, report, spreads
from torch import nn

from reidlib.models.parts.backbones import resnet50
from reidlib.models.parts.norms import GroupNorm, use_norm

WIDTH, DEPTHS = 0.125, (1, 1, 1, 1)
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # sums in another order, through 16 layers


def network(norm: str) -> nn.Module:
    torch.manual_seed(0)
    backbone = resnet50(WIDTH, DEPTHS)
    if norm != "bn":
        use_norm(backbone, "gn")
    if norm == "torch_gn":
        for part in backbone.modules():
            if isinstance(part, GroupNorm):
                part.forward = nn.GroupNorm.forward.__get__(part)
    return backbone.to(memory_format=torch.channels_last)


def main() -> None:
    parser = arguments(__doc__, gpu=False)
    parser.add_argument("--batch", type=int, help="images (default: 32)")
    args = parser.parse_args()
    device = begin(args)
    B = args.batch or (4 if args.quick else 32)
    images = torch.randn(B, 3, 64, 32).contiguous(memory_format=torch.channels_last)
    networks = {norm: network(norm) for norm in ("bn", "torch_gn", "gn")}
    torch.testing.assert_close(networks["gn"](images), networks["torch_gn"](images), **CLOSE)

    def step(norm: str) -> None:
        networks[norm].zero_grad()
        networks[norm](images).sum().backward()

    works = {norm: lambda norm=norm: step(norm) for norm in networks}
    times, median = by_turns(device, works, args.turns)
    for norm, value in median.items():
        print(f"{norm:10s}{value * 1e3:10.1f} ms")
    result = {
        "batch": B,
        "median_ms": milliseconds(median),
        "seconds": spreads(times),
        "speedup_over_torch": round(median["torch_gn"] / median["gn"], 2),
        "gn_over_bn": round(median["gn"] / median["bn"], 2),
    }
    report("group_norm", args, result)


if __name__ == "__main__":
    main()
