"""A training at its real sizes without its real data: what speed and memory are measured on.

The network is the experiment's, with classifiers and word tables as large as on the dataset of its
profile: the real one, or a world, whose captions have few words.
Its images are few people of the procedural world, decoded to the experiment's size, and batches are
drawn by the paper's own code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from reidlib import train
from reidlib.data.formats import imagefolder, strangers
from reidlib.data.load import load
from reidlib.data.register import format_of, loader_of
from reidlib.errors import UsageError
from reidlib.experiment import Experiment, Stage, Training
from reidlib.models.parts.packing import pack
from reidlib.papers import driver
from reidlib.profiles import get_profile
from reidlib.train import Compute
from reidlib.world.write import write

# The row of each paper's own method that its tables compare with others: how its name begins.
MAIN = {
    "imgnet": "channel+spatial, GS+LS+GP, GN",
    "ssan": "SSAN (ssan)",
    "gla": "market1501, proposed",
    "attention_driven": "market1501, intra+inter",
    "fgsam": "Base + Pose + LRAM + FTL",
}

_WORDS = 5000  # rows of a word table of real captions, about as many as CUHK-PEDES needs


@dataclass(frozen=True)
class Bench:
    """A training that is set up: data on the device, model placed, loop ready to go."""

    experiment: Experiment
    paper: ModuleType
    model: nn.Module
    data: Any
    compute: Compute

    def batches(self, generator: torch.Generator) -> Iterator[Any]:
        """Batches without end, as the paper's own code draws them."""
        settings = replace(self.experiment, training=replace(self.experiment.training, steps=None))
        while True:
            yield from self.paper.batches(
                settings, self.model, self.data, generator, self.compute.device
            )

    def losses(self, batch: Any, stage: Stage) -> dict[str, Tensor]:
        return self.paper.losses(self.model, batch, stage)

    @property
    def training(self) -> Training:
        """One epoch of the last stage, in which everything is trained; its steps are too small to
        change anything."""
        settings = self.experiment.training
        stage = replace(settings.stages[-1], lrs=(1e-9,))
        return replace(
            settings, stages=(stage,), steps=None, warmup_steps=0, decay="none",
            ema_epochs=min(settings.ema_epochs, 1),
        )  # fmt: skip

    def batch(self) -> Any:
        """One batch, the same in every call."""
        return next(self.batches(torch.Generator().manual_seed(0)))

    def fit(self, steps: int, fixed: Any = None) -> dict[str, Any]:
        """The record of `steps` steps of the loop, on batches as they are drawn, or on one that is
        there already."""

        def batches(generator: torch.Generator) -> Iterator[Any]:
            if fixed is not None:
                return iter([fixed] * steps)
            return islice(self.batches(generator), steps)

        settings = self.training
        return train.fit(self.model, batches, self.losses, settings, seed=0, compute=self.compute)[
            -1
        ]


def main_experiment(paper: str, profile: str) -> Experiment:
    """The training of a paper's own method in a profile, seed 0.

    Raises `UsageError` if the profile does not train it.
    """
    for cell in driver.get_paper(paper).cells(profile).values():
        if MAIN[paper] in cell.experiment.name:
            return cell.experiment
    raise UsageError(f"profile {profile} of {paper} trains no {MAIN[paper]!r}")


def small_world(dataset: str, folder: Path, people: int) -> Any:
    """The world of the profile smoke in the format of a dataset, with so many people to train on;
    rendered once in `folder`, and loaded."""
    name = strangers.NAME if dataset == imagefolder.NAME else dataset
    form = format_of(name)
    world = get_profile("smoke").worlds[form]
    first, *tested = world.ids
    first = max(first, people if tested else 3 * people)  # of one number, a part is trained on
    root = folder / f"{form}-{first}"
    write(form, root, ids=(first, *tested), size=world.size)
    return load(root, name, folder / "exported", folder / "cache")


def real_sizes(experiment: Experiment, profile: str, data: Any) -> SimpleNamespace:
    """What `build` reads of the data, in the sizes of the profile's dataset, or of the real one."""
    name = experiment.dataset
    worlds = get_profile(profile).worlds
    vocabulary = range(_WORDS)
    if worlds:
        world = worlds.get(name) or worlds.get(format_of(name))
        ids = world.ids[0] if world is not None and world.ids else data_ids(data)
        # Few people's captions have nearly all words that a world knows.
        vocabulary = getattr(data, "vocabulary", None) or vocabulary
    else:
        ids = _published_ids(name) or data_ids(data)
    return SimpleNamespace(
        ids=max(ids, data_ids(data)), vocabulary=vocabulary, classes=getattr(data, "classes", ())
    )


def data_ids(data: Any) -> int:
    return getattr(data, "ids", 1)


def _published_ids(name: str) -> int:
    if name == imagefolder.NAME:
        return 0
    rows = published(name)
    train = rows.get("train") or next(iter(rows.values()), None)
    return 0 if train is None or train.ids is None else train.ids


def published(name: str) -> Mapping[str, Any]:
    """Counts of a real dataset by split; empty where there are none."""
    rows = loader_of(name).PUBLISHED
    return rows.get(name) or rows.get(format_of(name)) or next(iter(rows.values()), {})


def set_up(
    experiment: Experiment,
    profile: str,
    folder: Path,
    compute: Compute,
    batch_size: int | None = None,
) -> Bench:
    """Everything of a training up to its first step. Worlds and caches are kept in `folder`."""
    if batch_size is not None:
        training = replace(experiment.training, batch_size=batch_size)
        experiment = replace(experiment, training=training)
    paper = driver.get_paper(experiment.paper)
    people = experiment.training.batch_size // 2  # no sampler draws fewer of a person
    dataset = small_world(experiment.dataset, folder, people)
    data = paper.prepare(experiment, dataset, folder / "cache", compute.device)
    torch.manual_seed(0)
    model = paper.build(experiment, real_sizes(experiment, profile, data))
    return Bench(experiment, paper, driver.place(model, compute), data, compute)


# ---------------------------------------------------------------- the encoders alone


def encoders(bench: Bench, batch: Any) -> Callable[[], None]:
    """Forward and backward pass of what a method cannot do without: the networks that see the
    images and, in torch's own form, the recurrent ones that read all words of a step."""
    model, bf16 = bench.model, bench.compute.bf16
    images, look = seen(model, batch)
    readers = [(*reader, bench.compute.device) for reader in _readers(model, batch)]

    def run() -> None:
        outputs: list[Tensor] = []
        with torch.autocast(bench.compute.device, torch.bfloat16, enabled=bf16):
            outputs += _tensors(look(*images))
            for network in getattr(model, "beside", ()):
                outputs += _tensors(network(*images)[-1])
            for network, sizes, device in readers:
                words = torch.randn(int(sizes.sum()), network.input_size, device=device)
                packed = PackedSequence(words.requires_grad_(), sizes)
                outputs.append(type(network).forward(network, packed)[0].data)
        outputs = [x for x in outputs if x.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
        model.zero_grad(set_to_none=True)

    return run


def seen(model: nn.Module, batch: Any) -> tuple[tuple[Tensor, ...], Callable[..., Any]]:
    """The pictures of a batch, and the network that sees them."""
    if hasattr(batch, "whole"):  # the attention paths sit between the blocks of the backbone
        return (batch.whole, batch.parts), model.encode
    return (batch.images,), model.backbone


def _tensors(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    return [x for part in found for x in _tensors(part)] if isinstance(found, tuple) else []


def _readers(model: nn.Module, batch: Any) -> list[tuple[nn.Module, Tensor]]:
    """The recurrent networks of a method, with the words of each step that they read."""
    text = getattr(batch, "text", None)
    if text is None or len(text.lengths) == 0:
        return []
    captions, phrases = (text.tokens, text.lengths), (text.phrases, text.phrase_lengths)
    if hasattr(model, "gru"):  # IMG-Net
        return [(model.gru, _sizes([captions, phrases]))]
    if hasattr(model, "decoder_lstm"):  # GLA: reads both, and writes the phrases again
        readers = [(model.lstm, _sizes([captions, phrases]))]
        return [*readers, (model.decoder_lstm, _sizes([phrases]))]
    if isinstance(getattr(model, "lstm", None), nn.LSTM):  # SSAN
        weak = () if batch.weak is None else ((batch.weak.tokens, batch.weak.lengths),)
        return [(model.lstm, _sizes([captions, *weak], getattr(model, "copies", 1)))]
    return []


def _sizes(texts: Sequence[tuple[Tensor, Tensor]], copies: int = 1) -> Tensor:
    return pack(texts, copies).batch_sizes


# ---------------------------------------------------------------- how much work it is

# Dense bf16 multiply-adds counted as two, by what the GPU calls itself: the makers' data sheets.
PEAK_TFLOPS = {
    "H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "B200": 2250.0,
    "A100": 312.0, "A10G": 70.0, "A10": 125.0, "L40S": 362.0, "L4": 121.0, "V100": None,
    "RTX 4090": 165.2, "RTX 3090": 71.0, "T4": None,
}  # fmt: skip


def peak_tflops(device: str) -> float | None:
    """Of the GPU in bf16; None where it is not known, or there is no bf16, and for the CPU."""
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for known, peak in PEAK_TFLOPS.items() if known in name), None)


def step_flops(bench: Bench, batch: Any) -> int:
    """Floating-point operations of a step, forward and backward, by torch's own counter: matrix
    products and convolutions, and the products of recurrent networks."""
    from torch.utils.flop_counter import FlopCounterMode

    def recurrent(times: int) -> Callable[..., int]:
        def count(
            words: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any
        ) -> int:
            steps = words[0] if len(words) == 2 else words[0] * words[1]
            products = sum(shape[0] * shape[1] for shape in weights if len(shape) == 2)
            return times * 2 * steps * products

        return count

    aten = torch.ops.aten
    mapping = {aten._cudnn_rnn: recurrent(1), aten._cudnn_rnn_backward: recurrent(2)}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        with torch.autocast(bench.compute.device, torch.bfloat16, enabled=bench.compute.bf16):
            terms = bench.losses(batch, bench.training.stages[-1])
        torch.stack(list(terms.values())).sum().backward()
    bench.model.zero_grad(set_to_none=True)
    return counter.get_total_flops()
