"""Training and encoding speed of Attention Driven re-ID: against five passes and bare convolutions.

    python benchmarks/five_branches.py [--device cpu|cuda] [--batch 32] [--size 384 192]
        [--width 1.0] [--turns 5] [--trace] [--fresh-pages]

Step: cut out body and parts, forward, losses, backward and SGD step of the full model. Encoding:
cut out, forward and the final feature of a batch; the gallery of Market-1501 (15,913 images) is
that many batches. `five` is the same network with a pass for each of the five branches. `bare` is
the convolutions alone, forward and, for the step, backward, each on its own random input. The
three are measured by turns, each once untimed right before, as a step follows one of its own
kind: what another leaves in memory is of other sizes. Times are medians. On CUDA all run in bf16
autocast, channels last, and features are computed in fp32, as in a run. `share_of_bare` is the full
model's images per second over the bare convolutions', `over_five` over those of five passes; with
`_cpu_time`, of the CPU only, by the processor time spent, which other load on the machine disturbs
less. `moved_gb` is what normalization, ReLU and shortcuts of a step read and write if each is a
kernel of its own, as in torch; `moving_s` the time that a plain copy takes for as much, and
`share_of_bare_at_most` the share that would be left if nothing else cost any time beside the
convolutions. --trace adds where the time of each goes, by kind of operation. --fresh-pages leaves
out what a training on the CPU does about its memory. The last line is JSON.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import (
    CPU,
    WALL,
    arguments,
    begin,
    by_turns,
    milliseconds,
    report,
    share,
    spreads,
    traces,
)
from torch import Tensor, nn

from reidlib.data.batches.parts import cut, strips_of
from reidlib.devices import keep_freed_memory
from reidlib.models.attention_driven import (
    PARTS,
    AttentionDriven,
    AttentionDrivenConfig,
    Features,
    Stream,
    Unit,
    channels,
    intra_attention,
    normalized,
)

IDS = 751
GALLERY = 15_913


class FivePasses(nn.Module):
    """The full model with a stream and an attention path of its own for every part."""

    def __init__(self, model: AttentionDriven) -> None:
        super().__init__()
        cfg, c = model.cfg, channels(model.cfg)
        self.model = copy.deepcopy(model)
        stem = model.backbone.conv1.out_channels
        self.parts = nn.ModuleList(
            Stream(1, stem, c["parts"], cfg.units, (1, 2), cfg.E_p) for _ in PARTS
        )
        self.intra = nn.ModuleList(intra_attention(cfg, 1, c["parts"]) for _ in PARTS)
        self.model.backbone.parts = self.model.intra_parts = None

    def encode(self, whole: Tensor, parts: Tensor) -> Features:
        base = self.model.backbone
        x = F.relu(normalized(base.conv1, base.bn1_whole, whole), inplace=True)
        E_g = base.whole(x, self.model.intra_whole)[0][:, 0]
        E = []
        for k in range(len(PARTS)):
            x = F.relu(normalized(base.conv1, base.bn1_parts, parts[:, k]), inplace=True)
            E.append(self.parts[k](x, self.intra[k])[0])
        return Features(E_g, torch.cat(E, 1))

    def forward(self, whole: Tensor, parts: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.model.loss(self.encode(whole, parts), labels)


def convolutions(model: AttentionDriven, whole: Tensor, parts: Tensor) -> list[tuple]:
    """Every convolution of the model with a random input of the shape that it sees."""
    found: list[tuple[nn.Conv2d, Tensor]] = []

    def see(conv: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        found.append((conv, torch.randn_like(inputs[0]).requires_grad_()))

    hooks = [m.register_forward_pre_hook(see) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model.encode(whole, parts)
    for hook in hooks:
        hook.remove()
    return found


# Maps read or written, forward + backward, where every operation is a kernel of its own.
# Normalization: read for the statistics, read, written + two read for the sums, two read, one
# written. ReLU in place: read, written + two read, one written. Shortcut: two read, one written.
_NORMALIZED, _RELU, _ADDED = 3 + 5, 2 + 3, 3


def moved(model: AttentionDriven, whole: Tensor, parts: Tensor) -> int:
    """Bytes that normalization, ReLU and shortcuts of a step read and write at least."""
    found: list[int] = []
    base, units = model.backbone, [m for m in model.modules() if isinstance(m, Unit)]
    passes = {bn: _NORMALIZED + _RELU for bn in (base.bn1_whole, base.bn1_parts)}
    for unit in units:
        passes |= {bn: _NORMALIZED + _RELU for bn in (unit.bn1, unit.bn2, unit.bn3)}
        passes[unit.bn3] += _ADDED if unit.shortcut else 0
        if unit.projection is not None:
            passes[unit.projection[1]] = _NORMALIZED

    def see(bn: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(passes[bn] * output.numel() * output.element_size())

    model.train()
    hooks = [bn.register_forward_hook(see) for bn in passes]
    with torch.no_grad():
        model.encode(whole, parts)
    for hook in hooks:
        hook.remove()
    return sum(found)


def copy_rate(device: str, count: int, turns: int) -> float:
    """Bytes a second that are read and written where so many numbers are copied."""
    source = torch.randn(count, device=device)
    target, copies = torch.empty_like(source), 8
    work = {"copy": lambda: [target.copy_(source) for _ in range(copies)]}
    _, median = by_turns(device, work, turns)
    return copies * 2 * count * source.element_size() / median["copy"]


def main() -> None:
    parser = arguments(__doc__, traced=True)
    parser.add_argument("--batch", type=int, help="images (default: 32)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="(default: 384 192)")
    parser.add_argument("--width", type=float, help="of all channels (default: 1)")
    parser.add_argument(
        "--fresh-pages", action="store_true", help="give freed memory back, as torch alone does"
    )
    args = parser.parse_args()
    device = begin(args)
    if device == "cpu" and not args.fresh_pages:
        keep_freed_memory()  # as a training does
    B = args.batch or (2 if args.quick else 32)
    args.size = args.size or ((64, 32) if args.quick else (384, 192))
    args.width = args.width or (0.125 if args.quick else 1.0)
    model = AttentionDriven(AttentionDrivenConfig(ids=IDS, width=args.width))
    five = FivePasses(model)
    for network in (model, five):
        network.to(device, memory_format=torch.channels_last)
    images = torch.randn(B, 3, *args.size, device=device)
    boxes = strips_of(B).boxes.to(device)
    labels = torch.randint(IDS, (B,), device=device)
    bare = convolutions(model, *cut(images, boxes))
    optimizers = {
        id(network): torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, fused=True)
        for network in (model, five)
    }
    bf16 = {"device_type": device, "dtype": torch.bfloat16, "enabled": device == "cuda"}

    def step(network: nn.Module) -> None:
        network.train()
        whole, parts = cut(images, boxes)
        with torch.autocast(**bf16):
            terms = network(whole, parts, labels)
        torch.stack(list(terms.values())).sum().backward()
        optimizers[id(network)].step()
        optimizers[id(network)].zero_grad(set_to_none=True)

    def bare_step() -> None:
        for conv, x in bare:
            with torch.autocast(**bf16):
                y = conv(x)
            y.backward(torch.ones_like(y))
            x.grad = conv.weight.grad = None

    @torch.inference_mode()
    def encode(network: nn.Module) -> None:
        network.eval()
        features = network.encode(*cut(images, boxes))
        getattr(network, "model", network).embeddings(features)

    @torch.inference_mode()
    def bare_encode() -> None:
        for conv, x in bare:
            conv(x)

    works: dict[str, Callable[[], None]] = {
        "step": lambda: step(model), "five step": lambda: step(five), "bare step": bare_step,
        "encode": lambda: encode(model), "five encode": lambda: encode(five),
        "bare encode": bare_encode,
    }  # fmt: skip
    times, median = by_turns(device, works, args.turns, settle=True)
    for kind, value in median.items():
        print(f"{kind:12s}{value * 1e3:10.1f} ms{B / value:12.1f} images/s")

    result = {
        "batch": B,
        "size": list(args.size),
        "width": args.width,
        "median_ms": milliseconds(median),
        "seconds": spreads(times),
        "images_per_s": {kind: round(B / value, 2) for kind, value in median.items()},
        "gallery_seconds": round(GALLERY / B * median["encode"], 1),
        "gallery_images": GALLERY,
    }
    for name in ("step", "encode"):
        for limit in ("bare", "five"):
            key = f"{name}_share_of_bare" if limit == "bare" else f"{name}_over_five"
            result[key] = share(times, [f"{limit} {name}"], [name], WALL)
            if device == "cpu":
                result[f"{key}_cpu_time"] = share(times, [f"{limit} {name}"], [name], CPU)
    rate = copy_rate(device, max(x.numel() for _, x in bare), args.turns)
    amount = moved(model, *cut(images, boxes))
    moving = amount / rate
    result |= {
        "copied_gb_per_s": round(rate / 1e9, 2),
        "moved_gb": round(amount / 1e9, 2),
        "moving_s": round(moving, 3),
        "share_of_bare_at_most": round(median["bare step"] / (median["bare step"] + moving), 3),
    }
    print(
        f"normalization, ReLU and shortcuts of a step move {amount / 1e9:.1f} GB: {moving:.2f} s "
        f"at the {rate / 1e9:.1f} GB/s of a copy; at most "
        f"{result['share_of_bare_at_most']:.2f} of the bare convolutions"
    )
    if args.trace:
        result["trace_ms"] = traces(device, works)
    report("five_branches", args, result)


if __name__ == "__main__":
    main()
