"""The training loop: schedule, freezing, resume to the bit, and what it says when it fails."""

import math
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from reidlib.errors import DeviceError, TrainingError
from reidlib.experiment import Stage, Training
from reidlib.train import Compute, fit, seed_everything

CPU = Compute("cpu", threads=1)


class Net(nn.Module):
    """A backbone with dropout and batch statistics, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.backbone(x))


def make_net():
    torch.manual_seed(7)
    return Net()


def batches(generator):
    for _ in range(5):
        yield torch.randn(6, 4, generator=generator)


def losses_of(model):
    def losses(batch, stage):
        out = model(batch)
        return {"square": (out**2).mean(), "spread": 0.1 * (out - batch[:, :3]).abs().mean()}

    return losses


STAGES = (Stage("heads", (1e-2, 1e-2), freeze_backbone=True), Stage("all", (1e-3, 1e-3, 1e-4)))
TRAINING = Training(STAGES, batch_size=6, image_size=(4, 1))


def train(model, **kwargs):
    return fit(model, batches, losses_of(model), TRAINING, seed=3, compute=CPU, **kwargs)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_history_has_one_record_per_epoch_with_schedule_and_losses():
    model = make_net()
    history = train(model)
    assert [h["stage"] for h in history] == ["heads"] * 2 + ["all"] * 3
    assert [h["lr"] for h in history] == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4]
    assert all(h["images"] == 30 for h in history)
    for h in history:
        assert math.isclose(h["loss"], h["square"] + h["spread"], rel_tol=1e-5)
    assert history[1]["loss"] < history[0]["loss"]


def test_frozen_backbone_keeps_weights_and_batch_statistics():
    model = make_net()
    before = state(model.backbone)
    only_heads = Training(STAGES[:1], batch_size=6, image_size=(4, 1))
    fit(model, batches, losses_of(model), only_heads, seed=3, compute=CPU)
    assert_same(before, state(model.backbone))
    assert not torch.equal(make_net().head.weight, model.head.weight)


def test_same_seed_same_bits_and_another_seed_differs():
    first, second, other = make_net(), make_net(), make_net()
    train(first)
    train(second)
    fit(other, batches, losses_of(other), TRAINING, seed=4, compute=CPU)
    assert_same(state(first), state(second))
    assert not torch.equal(first.head.weight, other.head.weight)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_resumed_training_equals_an_uninterrupted_one_to_the_bit(tmp_path, after):
    """Interrupted after any epoch, also between the two stages."""
    whole = make_net()
    history = train(whole)

    def stop(record):
        if record["epoch"] == after:
            raise Killed

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(make_net(), checkpoint=checkpoint, on_epoch=stop)
    resumed = Net()  # other weights: all must come from the checkpoint
    seen = []
    rest = train(resumed, checkpoint=checkpoint, on_epoch=lambda r: seen.append(r["epoch"]))
    assert seen == list(range(after + 1, 5))
    assert [h["loss"] for h in rest] == [h["loss"] for h in history]
    assert_same(state(whole), state(resumed))


def test_damaged_checkpoint_starts_again(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK\x03\x04 not a checkpoint")
    whole, again = make_net(), make_net()
    train(whole)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt: damaged"):
        train(again, checkpoint=checkpoint)
    assert_same(state(whole), state(again))


def test_backbone_learning_rate_factor():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(1, 1, bias=False)
            self.head = nn.Linear(1, 1, bias=False)

    model = Plain()
    nn.init.ones_(model.backbone.weight)
    nn.init.ones_(model.head.weight)
    training = Training(
        (Stage("all", (0.1,)),), batch_size=1, image_size=(1, 1), optimizer="sgd",
        backbone_lr_factor=0.1, steps=1,
    )  # fmt: skip

    def losses(batch, stage):
        return {"both": (model.backbone.weight + model.head.weight).sum()}  # gradients are 1

    fit(model, batches, losses, training, seed=0, compute=CPU)
    assert model.head.weight.item() == pytest.approx(0.9)
    assert model.backbone.weight.item() == pytest.approx(0.99)


def test_nan_loss_stops_at_once_and_says_where():
    model = make_net()
    step = 0

    def losses(batch, stage):
        nonlocal step
        step += 1
        value = model(batch).mean()
        return {"rank": value * (float("nan") if step == 8 else 1.0)}

    with pytest.raises(TrainingError, match=r"epoch 1, .*step 2 .*rank nan.*learning rate 0\.01"):
        fit(model, batches, losses, TRAINING, seed=3, compute=CPU)
    for parameter in model.parameters():
        assert torch.isfinite(parameter).all()


def test_training_split_smaller_than_a_batch():
    model = make_net()
    with pytest.raises(TrainingError, match="not one full batch of 6"):
        fit(model, lambda g: [], losses_of(model), TRAINING, seed=0, compute=CPU)


def test_steps_limits_an_epoch():
    training = Training(STAGES[1:], batch_size=6, image_size=(4, 1), steps=2)
    model = make_net()
    history = fit(model, batches, losses_of(model), training, seed=0, compute=CPU)
    assert [h["images"] for h in history] == [12, 12, 12]


def test_seeds_of_neighboring_epochs_and_seeds_differ():
    draws = set()
    for seed in range(3):
        for epoch in range(3):
            generator = seed_everything(seed, epoch)
            draws.add((torch.rand(()).item(), torch.rand((), generator=generator).item()))
    assert len(draws) == 9


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_gpu_is_a_clear_error():
    with pytest.raises(DeviceError, match="no usable CUDA GPU"):
        Compute.choose("cuda")
    assert Compute.choose("auto").device == "cpu"


def test_unknown_device():
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        Compute.choose("tpu")


def test_sigkill_in_mid_epoch_then_resume_to_the_bit(tmp_path):
    """A real process, killed without warning in the middle of its fourth epoch."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        sys.path.insert(0, sys.argv[1])
        import test_train as t
        from pathlib import Path
        model = t.make_net()
        count = 0
        plain = t.losses_of(model)
        def losses(batch, stage):
            global count
            count += 1
            if count == 18:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(batch, stage)
        t.fit(model, t.batches, losses, t.TRAINING, seed=3, compute=t.CPU,
              checkpoint=Path(sys.argv[2]))
        """
    )
    checkpoint = tmp_path / "checkpoint.pt"
    here = str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script, here, str(checkpoint)], timeout=120)
    assert done.returncode == -9
    assert checkpoint.exists()
    whole, resumed = make_net(), Net()
    train(whole)
    epochs = []
    train(resumed, checkpoint=checkpoint, on_epoch=lambda r: epochs.append(r["epoch"]))
    assert epochs == [3, 4]
    assert_same(state(whole), state(resumed))
