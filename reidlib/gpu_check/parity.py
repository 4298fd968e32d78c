"""The same training step and the same test on the CPU and on a GPU, and what bf16 changes in it.

Losses and gradients are those of one batch in fp32, with the same weights and, wherever the method
draws at random, the same draws (`SameDraws`). The test is that of the trained smoke row, its
weights being the same on both devices.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from reidlib.experiment import Experiment
from reidlib.papers import driver
from reidlib.papers.driver import Evaluated
from reidlib.train import Compute

# fp32 sums in another order differ by this much of the whole; what is worse is another computation.
LOSS_LIMIT, GRADIENT_LIMIT = 1e-3, 2e-2
# Of the queries, how many may change their first match between two devices: ties and near ties.
RANK_LIMIT = 0.02

# What the papers' tests call of a model.
ENCODERS = ("encode_images", "encode_text", "encode_descriptions", "encode", "embed")


class SameDraws(TorchFunctionMode):
    """Random numbers come from one generator on the CPU, wherever they are asked for.

    A GPU draws other numbers from the same seed; so dropout and sampled negatives would differ.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func in (torch.rand_like, torch.randn_like):
            draw = torch.rand if func is torch.rand_like else torch.randn
            numbers = draw(args[0].shape, generator=self.generator)
            return numbers.to(args[0].device, kwargs.get("dtype") or args[0].dtype)
        device = kwargs.get("device")
        if func in (torch.rand, torch.randn, torch.randint) and device is not None:
            own = {name: value for name, value in kwargs.items() if name != "device"}
            if own.get("generator") is None:
                own["generator"] = self.generator
            return func(*args, **own).to(device)
        return func(*args, **kwargs)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return input
        kept = torch.rand(input.shape, generator=self.generator) >= p
        return input * (kept.to(input.device, input.dtype) / (1 - p))


def parity(
    experiment: Experiment,
    dataset: Any,
    cache: Path,
    device: str,
    weights: Path | None = None,
    before: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """Compare `device` with the CPU, in fp32, and bf16 on `device` with fp32 there.

    weights: of the trained model, for the test; without, the model is tested as it starts.
    """
    cpu = _measure(experiment, dataset, cache, "cpu", weights, before)
    there = _measure(experiment, dataset, cache, device, weights, before)
    step = compare_steps(cpu, there)
    test = compare_tests(cpu["fp32"], there["fp32"])
    within = (
        step["loss_difference"] <= LOSS_LIMIT
        and step["gradient_difference"] <= GRADIENT_LIMIT
        and all(entry["ranks_changed"] <= RANK_LIMIT for entry in test.values())
    )
    return {
        "experiment": experiment.name,
        "trained": weights is not None,
        "agrees": bool(within),
        "limits": {"loss": LOSS_LIMIT, "gradient": GRADIENT_LIMIT, "ranks": RANK_LIMIT},
        "step": step,
        "fp32 here and on the CPU": test,
        "bf16 and fp32": compare_tests(there["fp32"], there["bf16"]),
    }


def _measure(
    experiment: Experiment,
    dataset: Any,
    cache: Path,
    device: str,
    weights: Path | None,
    before: tuple[Path, ...],
) -> dict[str, Any]:
    paper = driver.get_paper(experiment.paper)
    compute = Compute(device)
    data = paper.prepare(experiment, dataset, cache, device)
    model = driver.initialized(experiment, data, before)
    for module in model.modules():  # their noise is drawn inside a kernel
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    model = driver.place(model, compute).train()
    generator = torch.Generator().manual_seed(0)
    batch = next(iter(paper.batches(experiment, model, data, generator, device)))
    stage = experiment.training.stages[-1]
    with SameDraws():
        terms = paper.losses(model, batch, stage)
    torch.stack(list(terms.values())).sum().backward()
    gradients = {
        name: p.grad.detach().double().cpu()
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    losses = {name: float(term.detach()) for name, term in terms.items()}
    model.zero_grad(set_to_none=True)
    # The step has moved the running statistics; the test is of the weights as they were stored.
    if weights is not None:
        model.load_state_dict(load_file(weights))
    found = {"losses": losses, "gradients": gradients, "fp32": paper.evaluate(model, data, compute)}
    encode_in_bf16(model, device)
    return {**found, "bf16": paper.evaluate(model, data, compute)}


def encode_in_bf16(model: nn.Module, device: str) -> None:
    """Let a model encode under bf16 autocast; what is compared is in fp32, as in every test."""

    def half(method: Callable[..., Any]) -> Callable[..., Any]:
        def encode(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(device, torch.bfloat16):
                found = method(*args, **kwargs)
            return tree_map_only(Tensor, lambda x: x.float() if x.is_floating_point() else x, found)

        return encode

    for name in ENCODERS:
        if callable(method := getattr(model, name, None)):
            setattr(model, name, half(method))


def compare_steps(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Relative differences of losses and gradients: of each loss the largest, of the gradient as
    one vector, and the parameters that differ most, in shares of the whole gradient."""
    losses = {
        name: abs(value - other["losses"][name]) / max(abs(value), 1e-6)
        for name, value in one["losses"].items()
    }
    norm = sum(float(g.square().sum()) for g in one["gradients"].values()) ** 0.5
    squares = {
        name: float((g - other["gradients"][name]).square().sum())
        for name, g in one["gradients"].items()
    }
    worst = sorted(squares, key=squares.__getitem__, reverse=True)[:5]
    return {
        "losses": dict(one["losses"]),
        "loss_difference": max(losses.values()),
        "gradient_difference": sum(squares.values()) ** 0.5 / max(norm, 1e-12),
        "worst_parameters": {name: squares[name] ** 0.5 / max(norm, 1e-12) for name in worst},
        "parameters": len(squares),
    }


def compare_tests(one: Evaluated, other: Evaluated) -> dict[str, dict[str, Any]]:
    """Per evaluation: the share of queries whose first correct match has another rank, by how many
    places at most, and the largest difference of a metric, in percentage points."""
    found = {}
    for name, metrics in one.evaluations.items():
        theirs = other.evaluations[name]
        differences = [abs(value - theirs[m]) for m, value in metrics.items() if value == value]
        entry = {"metric_points": max(differences, default=0.0), "ranks_changed": 0.0}
        if name in one.ranks:
            moved = np.abs(one.ranks[name].astype(np.int64) - other.ranks[name])
            entry["ranks_changed"] = float((moved > 0).mean())
            entry["most_places"] = int(moved.max(initial=0))
            entry["queries"] = len(moved)
        found[name] = entry
    return found
