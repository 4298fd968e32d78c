"""Which loss moves the backbone: why an added loss helps the features, or does not."""

import copy
from itertools import islice
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from reidlib.experiment import Experiment
from reidlib.papers import driver

BATCHES = 4


def loss_gradients(
    experiment: Experiment, model: nn.Module, data: Any, *, batches: int = BATCHES
) -> pd.DataFrame:
    """The terms of a trained model's loss, as its last stage adds them up, and what each of them
    asks of the backbone: the norm of its gradient, and the cosine between it and the first's.

    Around 0 a loss asks for something that is of no use to the first one, below 0 it undoes it.
    Means over some training batches, with dropout off; `model` is left as it is. A loss that the
    backbone has no part in has norm 0 and no cosine.

    Args:
        experiment: the one that `model` was trained by.
        model: with a `backbone`, on the device of `data`.
        data: as the paper's `prepare` returns it.
        batches: how many; fewer if an epoch has fewer.
    """
    paper = driver.get_paper(experiment.paper)
    stage = experiment.training.stages[-1]
    # Norms by batch take the batch's statistics and would change the averages they keep.
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(True)
    parameters = list(model.backbone.parameters())
    device = str(parameters[0].device)
    generator = torch.Generator().manual_seed(experiment.seed)
    drawn = paper.batches(experiment, model, data, generator, device)
    found = []
    for number, batch in enumerate(islice(drawn, batches)):
        losses = paper.losses(model, batch, stage)
        asked = {name: _gradient(loss, parameters) for name, loss in losses.items()}
        first = next(iter(asked.values()))
        found += [
            {
                "batch": number,
                "loss": name,
                "value": loss.item(),
                "gradient on the backbone": asked[name].norm().item(),
                "cosine with the first": _cosine(asked[name], first),
            }
            for name, loss in losses.items()
        ]
    table = pd.DataFrame(found).drop(columns="batch").groupby("loss", sort=False).mean()
    norms = table["gradient on the backbone"]
    table.insert(2, "as a multiple of the first's", norms / norms.iloc[0])
    return table.reset_index()


def _gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """float (all of them,); 0 where the loss does not depend on a parameter."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), device=loss.device)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
    return torch.cat([each.flatten() for each in flat]).float()


def _cosine(one: Tensor, other: Tensor) -> float:
    if not one.any() or not other.any():
        return float("nan")
    return torch.cosine_similarity(one, other, dim=0).item()
