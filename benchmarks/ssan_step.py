"""Training speed of SSAN against its limit, the two bare encoders.

    python benchmarks/ssan_step.py [--device cpu|cuda] [--batch 64] [--size 384 128] [--steps 3]

Limit: ResNet-50 forward and backward on the images, then one packed `torch.nn.LSTM` forward and
backward over the words of all token streams of a step (global and part embeddings of D and D').
Step: SSAN's forward, losses, backward and Adam step on the same batch. The two are measured by
turns; times are medians. Captions have CUHK-PEDES' mean length of 23.5 words and at most 100. On
CUDA both run in bf16 autocast, channels last. `share_of_limit` compares wall-clock times;
`share_of_limit_cpu_time`, of the CPU only, the processor time spent, which other load on the
machine disturbs less. The last line is JSON.
"""

import argparse
import json

import torch
from timing import CPU, by_turns, machine, milliseconds, share
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from reidlib.models.parts.packing import pack
from reidlib.models.ssan import SSAN, SSANConfig

VOCABULARY = 5000
IDS = 11_000
LIMIT, STEP = ("resnet", "lstm"), ("step", "adam")
PARTS = LIMIT + STEP


def captions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random captions int64 (count, 100) and their lengths: mean 23.5, deviation 9, 8 to 100."""
    shape, scale = (23.5 / 9) ** 2, 9**2 / 23.5
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    lengths = torch.distributions.Gamma(shape, 1 / scale).sample((count,)).round().long()
    lengths = lengths.clamp(8, 100)
    tokens = torch.randint(1, VOCABULARY, (count, 100), generator=generator)
    tokens[torch.arange(100) >= lengths[:, None]] = 0
    return tokens[:, : int(lengths.max())], lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 128), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one warm-up")
    args = parser.parse_args()
    device, B = args.device, args.batch

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = SSAN(SSANConfig(ids=IDS, vocabulary=VOCABULARY)).to(device)
    images = torch.randn(B, 3, *args.size, generator=generator).to(device)
    labels = torch.randint(IDS, (B,), generator=generator).to(device)
    texts = [(t.to(device), n) for t, n in (captions(B, generator) for _ in range(2))]
    if device == "cuda":
        model.backbone.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    packed = pack(texts, model.copies)
    words = torch.randn(len(packed.tokens), model.cfg.V, device=device)
    bf16 = {"device_type": device, "dtype": torch.bfloat16, "enabled": device == "cuda"}

    def encode_images() -> None:
        with torch.autocast(**bf16):
            out = model.backbone(images)
        out.backward(torch.ones_like(out))

    def read_words() -> None:
        x = words.detach().requires_grad_()
        with torch.autocast(**bf16):
            out = nn.LSTM.forward(model.lstm, PackedSequence(x, packed.batch_sizes))[0].data
        out.backward(torch.ones_like(out))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(**bf16):
            terms = model(images, *texts[0], labels, *texts[1])
        torch.stack(list(terms.values())).sum().backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    parts = dict(zip(PARTS, (encode_images, read_words, step, update), strict=True))
    times, median = by_turns(device, parts, args.steps)
    for name, value in median.items():
        print(f"{name:8s}{value * 1e3:10.1f} ms")
    result = {
        "benchmark": "ssan_step",
        **machine(device),
        "batch": B,
        "size": list(args.size),
        "words": len(packed.tokens),
        "steps": args.steps,
        "median_ms": milliseconds(median),
        "images_per_s": round(B / (median["step"] + median["adam"]), 3),
        "limit_images_per_s": round(B / (median["resnet"] + median["lstm"]), 3),
        "share_of_limit": share(times, LIMIT, STEP),
        "share_of_limit_cpu_time": share(times, LIMIT, STEP, CPU) if device == "cpu" else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
