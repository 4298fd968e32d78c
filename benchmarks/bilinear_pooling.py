"""Compact bilinear pooling against the outer product that it replaces: time and memory.

    python benchmarks/bilinear_pooling.py [--device cpu|cuda] [--batch 64] [--turns 5]

Three ways from a backbone's map (2048 x 8 x 4) and 57 pose maps of that size to an embedding of 512
numbers, forward and backward: `compact`, FGSAM's sketches of 2048 numbers (averaged before they are
convolved); `by_fourier`, the same sketches as their authors compute them, place by place with
Fourier transforms; and `outer`, the averaged outer product of 57 x 2048 numbers. Each ends in a
linear layer. Times are medians of turns; memory is that of the layer's weights and of what the
forward pass keeps for the backward pass. The last line is JSON.
"""

from collections.abc import Callable
from functools import partial

import torch
from timing import arguments, begin, by_turns, milliseconds, report, spreads
from torch import Tensor, nn

from reidlib.models.parts.bilinear import CompactBilinear

CHANNELS, MAPS, D, EMBEDDING = 2048, 57, 2048, 512


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of all tensors that a forward pass keeps, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, help="images (default: 64)")
    parser.add_argument("--map", type=int, nargs=2, default=(8, 4), metavar=("H", "W"))
    args = parser.parse_args()
    device = begin(args)
    B = args.batch or (2 if args.quick else 64)
    F = torch.randn(B, CHANNELS, *args.map, device=device, requires_grad=True)
    P = torch.randn(B, MAPS, *args.map, device=device, requires_grad=True)
    pooling = CompactBilinear(CHANNELS, (MAPS,), D).to(device)
    after_sketch = nn.Linear(D, EMBEDDING).to(device)
    after_outer = nn.Linear(MAPS * CHANNELS, EMBEDDING).to(device)

    def compact() -> Tensor:
        return after_sketch(pooling(F, [P])[0])

    def by_fourier() -> Tensor:
        return after_sketch(pooling.by_fourier(F, P))

    def outer() -> Tensor:
        products = torch.bmm(P.flatten(2), F.flatten(2).transpose(1, 2))
        return after_outer(products.flatten(1) / F[0, 0].numel())

    torch.testing.assert_close(compact(), by_fourier(), rtol=1e-3, atol=1e-3)
    ways = {"compact": compact, "by_fourier": by_fourier, "outer": outer}
    weights = {"compact": after_sketch, "by_fourier": after_sketch, "outer": after_outer}
    trained = (F, P, *after_sketch.parameters(), *after_outer.parameters())

    def step(way: Callable[[], Tensor]) -> None:
        for tensor in trained:
            tensor.grad = None
        way().sum().backward()

    works = {name: partial(step, way) for name, way in ways.items()}
    times, median = by_turns(device, works, args.turns)
    memory = {
        name: saved_bytes(way) + 4 * sum(p.numel() for p in weights[name].parameters())
        for name, way in ways.items()
    }
    for name in ways:
        print(f"{name:12s}{median[name] * 1e3:10.1f} ms{memory[name] / 2**20:10.1f} MiB")
    result = {
        "batch": B,
        "map": list(args.map),
        "median_ms": milliseconds(median),
        "seconds": spreads(times),
        "mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "speedup_over_outer": round(median["outer"] / median["compact"], 2),
        "speedup_over_by_fourier": round(median["by_fourier"] / median["compact"], 2),
    }
    report("bilinear_pooling", args, result)


if __name__ == "__main__":
    main()
