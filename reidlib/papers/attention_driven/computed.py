"""Tables 1, 2 and 12 of Attention Driven re-ID: computed from the network and the data.

Table 12 counts weights without biases, normalization and the last classifier, and multiply-adds of
one image of 384 x 192 pixels: with that, the printed numbers of the four known networks come out.
The authors' own two rows come out (but for the base model's multiply-adds) if a stage is counted as
Table 1 is written, as three identical units: `as_printed`. What the network has beyond that
(projections, FC_reduce, normalization) is in `as_built`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidlib.data.dataset import Dataset
from reidlib.models.attention_driven import (
    EXPANSION,
    PART,
    PARTS,
    STEM,
    WHOLE,
    AttentionDriven,
    AttentionDrivenConfig,
    Base,
    Stream,
    Unit,
)
from reidlib.papers.driver import Place

SIZE = (384, 192)
_DATASET_OF_ROW = {
    "cuhk03-labeled": "cuhk03-classic-labeled",
    "cuhk03-detected": "cuhk03-classic-detected",
    "market-1501": "market1501",
    "dukemtmc-reid": "dukemtmc-reid",
}
_SPLITS_OF = {"market1501": ("train", "gallery")}  # what the printed number of images adds up


@dataclass(frozen=True)
class Complexity:
    """Weights and multiply-adds of a network."""

    weights: int
    multiply_adds: int
    streams: int = 1


def values(datasets: Mapping[str, Dataset]) -> dict[Place, float]:
    """The cells of Tables 2 and 12; of Table 2, those of the datasets that are there, by name."""
    found: dict[Place, float] = {
        (2, row, column): value
        for row, name in _DATASET_OF_ROW.items()
        if name in datasets
        for column, value in data_table(datasets[name]).items()
    }
    for row, network in complexity_table().items():
        found[12, row, "FLOPs"] = network.multiply_adds
        found[12, row, "PN (million)"] = network.weights / 1e6
    return found


# ------------------------------------------------------------------ Table 1


def layer_table(base: Base) -> list[dict[str, str]]:
    """Table 1 as the built network has it: the printed columns of each layer."""
    streams = (base.whole, base.parts)
    rows = [_row(1, "Conv1", True, *[_conv(base.conv1)] * 2)]
    for number in range(len(base.whole.B)):
        cells = []
        for stream in streams:
            units = [_unit(unit, stream.G) for unit in stream.B[number]]
            cell = f"{units[0]} x{len(units)}" if len(set(units)) == 1 else "; ".join(units)
            cells.append(f"{_pool(stream)}; {cell}" if number == 0 else cell)
        depth = 3 * len(base.whole.B[number])
        rows.append(_row(depth, f"Conv{number + 2}x", False, *cells))
    reduced = [f"AP; {stream.FC_reduce.shape[2]}" for stream in streams]
    return [*rows, _row(1, "FC_reduce", False, *reduced), _row(1, "FC", False, "ID", "ID")]


def _row(depth: int, name: str, share: bool, whole: str, part: str) -> dict[str, str]:
    return {
        "Layer #": str(depth),
        "Layer": name,
        "Share": "Yes" if share else "No",
        "Global Branch": whole,
        "Part Branch": part,
    }


def _conv(conv: nn.Conv2d) -> str:
    kernel, stride = ("x".join(map(str, pair)) for pair in (conv.kernel_size, conv.stride))
    return f"{kernel}, {conv.out_channels}, S-{stride}"


def _pool(stream: Stream) -> str:
    kernel = stream.pool.kernel_size
    return f"{kernel}x{kernel} MP, S-{'x'.join(map(str, stream.pool.stride))}"


def _unit(unit: Unit, G: int) -> str:
    convs = (unit.conv1, unit.conv2, unit.conv3)
    return "[" + "; ".join(f"{c.kernel_size[0]}x{c.kernel_size[1]}, {c.out_channels // G}"
                           for c in convs) + "]"  # fmt: skip


# ------------------------------------------------------------------ Table 2


def data_table(dataset: Dataset) -> dict[str, int]:
    """The columns of Table 2, counted in the data found."""
    splits = dataset.splits
    train, query, gallery = (splits[name] for name in ("train", "query", "gallery"))
    files: set[str] = set()
    for name in _SPLITS_OF.get(dataset.name, ("train", "query", "gallery")):
        files |= set(splits[name]["path"])
    cameras = {camid for split in (train, query, gallery) for camid in set(split["camid"])}
    train_ids, test_ids = train["pid"].nunique(), query["pid"].nunique()
    return {
        "Cams": len(cameras),
        "IDs": train_ids + test_ids,
        "Train IDs": train_ids,
        "Test IDs": test_ids,
        "Images": len(files),
    }


# ------------------------------------------------------------------ Table 12


@lru_cache(maxsize=1)
def complexity_table() -> dict[str, Complexity]:
    """Table 12 by its rows' slugs. Takes a second; nothing is computed on real tensors."""
    return {
        **reference_networks(),
        "basemodel": as_printed(attention=False),
        "full-model": as_printed(attention=True),
    }


def as_printed(attention: bool) -> Complexity:
    """Counted as Table 1 is written: Conv1, and in every stage three identical units, whose input
    has as many channels as their output; no projections, no FC_reduce. The attention paths have
    one such unit, and convolutions c -> 1, c -> c on a single position, and c -> c."""
    height, width = SIZE[0] // 2, SIZE[1] // 2
    part_height = SIZE[0] // len(PARTS) // 2
    weights = 3 * 3 * 3 * STEM  # shared by all branches
    multiply_adds = weights * (height + len(PARTS) * part_height) * width
    branches = (
        (1, WHOLE, (height // 2, width // 2)),
        (len(PARTS), PART, (part_height, width // 2)),
    )
    for branch_count, sizes, (h, w) in branches:
        for number, c in enumerate(sizes):
            if number in (1, 2):  # Conv3x and Conv4x halve the map
                h, w = h // 2, w // 2
            outputs = EXPANSION * c
            unit = outputs * c + 9 * c * c + c * outputs
            weights += branch_count * 3 * unit
            multiply_adds += branch_count * 3 * unit * h * w
            if attention and number > 0:
                spatial, channel, fuse = outputs, outputs**2, outputs**2
                weights += branch_count * (unit + spatial + channel + fuse)
                multiply_adds += branch_count * ((unit + spatial + fuse) * h * w + channel)
    return Complexity(weights, multiply_adds, 1 + len(PARTS))


def as_built(cfg: AttentionDrivenConfig, size: tuple[int, int] = SIZE) -> Complexity:
    """Counted in the network as it is built: all weights up to the features, FC_reduce included,
    normalization and prediction layers not.

    The last convolution of an attention path is counted as it runs, on one position (see `Intra`);
    at all positions, as the paper builds it, the full model has 0.169e9 multiply-adds more.
    """
    height, width = size
    with torch.device("meta"):
        model = AttentionDriven(cfg).eval()
        whole = torch.empty(1, 3, height, width)
        parts = torch.empty(1, len(PARTS), 3, height // len(PARTS), width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode(whole, parts)
    weights = sum(p.numel() for name, p in model.named_parameters()
                  if p.dim() > 2 and not name.startswith("predict"))  # fmt: skip
    return Complexity(weights, counter.get_total_flops() // 2, 1 + len(PARTS))


def reference_networks() -> dict[str, Complexity]:
    """AlexNet, VGG-16, ResNet-50 and GoogLeNet of torchvision, without their last classifier.

    ResNet-50 with the stride in the first convolution of a unit, as it was first published.
    """
    from torchvision import models

    with torch.device("meta"):
        networks = {
            "alexnet": models.alexnet(),
            "vgg": models.vgg16(),
            "resnet50": models.resnet50(),
            "googlenet": models.googlenet(aux_logits=False, init_weights=False),
        }
        for unit in networks["resnet50"].modules():
            if isinstance(unit, models.resnet.Bottleneck):
                unit.conv1.stride, unit.conv2.stride = unit.conv2.stride, unit.conv1.stride
        for name in ("resnet50", "googlenet"):
            networks[name].fc = nn.Identity()
        for name in ("alexnet", "vgg"):
            networks[name].classifier[-1] = nn.Identity()
        return {name: _counted(network.eval()) for name, network in networks.items()}


def _counted(network: nn.Module) -> Complexity:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *SIZE, device="meta"))
    weights = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    return Complexity(weights, counter.get_total_flops() // 2)
