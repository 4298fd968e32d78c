"""What each loss asks of the backbone, against one backward pass per loss."""

import copy
import math

import pytest
import torch

from reidlib.explore import common
from reidlib.explore.gradients import loss_gradients
from reidlib.papers import driver


def test_norms_and_cosines_are_those_of_backward_passes(finished):
    session, (full, _) = finished
    experiment = full.experiment
    model, data = common.finished(session, experiment)
    before = copy.deepcopy(model.state_dict())
    found = loss_gradients(experiment, model, data, batches=1).set_index("loss")
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
    assert not model.training and all(p.grad is None for p in model.parameters())

    paper, asked = driver.get_paper("imgnet"), {}
    for name in found.index:
        again = copy.deepcopy(model).train()
        for module in again.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        generator = torch.Generator().manual_seed(experiment.seed)
        batch = next(iter(paper.batches(experiment, again, data, generator, "cpu")))
        loss = paper.losses(again, batch, experiment.training.stages[-1])[name]
        loss.backward()
        gradients = [p.grad for p in again.backbone.parameters()]
        asked[name] = torch.cat(
            [
                torch.zeros(p.numel()) if g is None else g.flatten()
                for g, p in zip(gradients, again.backbone.parameters(), strict=True)
            ]
        ).double()
        assert found.loc[name, "value"] == pytest.approx(loss.item(), rel=1e-5)
    first = next(iter(asked.values()))
    assert len(asked) > 2 and first.norm() > 0
    for name, gradient in asked.items():
        norm, cosine = gradient.norm(), gradient @ first / (gradient.norm() * first.norm())
        row = found.loc[name]
        assert row["gradient on the backbone"] == pytest.approx(norm.item(), rel=1e-4)
        assert row["as a multiple of the first's"] == pytest.approx(
            (norm / first.norm()).item(), rel=1e-4
        )
        assert row["cosine with the first"] == pytest.approx(cosine.item(), abs=1e-4, nan_ok=True)


def test_a_loss_without_the_backbone_has_no_direction(finished, monkeypatch):
    session, (_, plain) = finished
    model, data = common.finished(session, plain.experiment)
    paper = driver.get_paper("imgnet")
    losses = paper.losses

    def with_two_more(model, batch, stage):
        found = losses(model, batch, stage)
        constant = torch.tensor(2.0)
        other = sum(p.sum() for n, p in model.named_parameters() if not n.startswith("backbone."))
        return {**found, "constant": constant, "other": other}

    monkeypatch.setattr(paper, "losses", with_two_more)
    found = loss_gradients(plain.experiment, model, data, batches=2).set_index("loss")
    for name in ("constant", "other"):
        assert found.loc[name, "gradient on the backbone"] == 0
        assert math.isnan(found.loc[name, "cosine with the first"])
    assert found.loc["constant", "value"] == 2.0
