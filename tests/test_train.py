"""The training loop: schedule, freezing, resume to the bit, and what it says when it fails."""

import io
import math
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from reidlib.errors import DeviceError, TrainingError
from reidlib.experiment import Stage, Training
from reidlib.train import Compute, _seal, fit, lr_share, seed_everything

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


def train(model, training=TRAINING, **kwargs):
    return fit(model, batches, losses_of(model), training, seed=3, compute=CPU, **kwargs)


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


STEADY = replace(
    TRAINING, steps=5, warmup_steps=7, decay="cosine", ema=0.8, ema_epochs=2, optimizer="sgd"
)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_resumed_training_with_average_warm_up_and_decay_equals_an_uninterrupted_one(
    tmp_path, after
):
    """Interrupted before, at the beginning of, and within the epochs that are averaged."""
    whole = make_net()
    train(whole, training=STEADY)

    def stop(record):
        if record["epoch"] == after:
            raise Killed

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(make_net(), training=STEADY, checkpoint=checkpoint, on_epoch=stop)
    resumed = Net()
    train(resumed, training=STEADY, checkpoint=checkpoint)
    assert_same(state(whole), state(resumed))
    # A run that had finished all epochs, but was killed before it was evaluated.
    again = Net()
    train(again, training=STEADY, checkpoint=checkpoint)
    assert_same(state(whole), state(again))


def test_average_of_the_weights_of_the_last_epochs():
    """Against a loop over the weights after every step; batch statistics are averaged as well."""
    training = replace(TRAINING, steps=1, ema=0.75, ema_epochs=2)
    after = []
    plain = make_net()
    fit(plain, batches, losses_of(plain), replace(training, ema=0.0, ema_epochs=0), seed=3,
        compute=CPU, on_epoch=lambda record: after.append(state(plain)))  # fmt: skip
    averaged = make_net()
    train(averaged, training=training)
    for name, value in averaged.state_dict().items():
        expected = after[2][name]  # of five epochs of one step, where averaging begins
        if value.is_floating_point():
            for weights in after[3:]:
                expected = 0.75 * expected + 0.25 * weights[name]
            torch.testing.assert_close(value, expected)
        else:
            assert torch.equal(value, after[4][name])
    assert not torch.equal(averaged.head.weight, plain.head.weight)


def test_average_does_not_change_the_training():
    """Losses are those of the weights themselves, whether they are averaged besides or not."""
    one, two = make_net(), make_net()
    plain = train(one, training=replace(STEADY, ema=0.0, ema_epochs=0))
    assert [h["loss"] for h in plain] == [h["loss"] for h in train(two, training=STEADY)]


@pytest.mark.parametrize(
    ("decay", "share"), [("none", [1.0, 1.0, 1.0]), ("linear", [0.75, 0.5, 0.25]),
                         ("cosine", [0.85355339, 0.5, 0.14644661])],
)  # fmt: skip
def test_decay_to_zero(decay, share):
    training = replace(TRAINING, steps=8, decay=decay)  # 5 epochs
    assert lr_share(training, 0) == 1.0
    assert [lr_share(training, done) for done in (10, 20, 30)] == pytest.approx(share)


def test_warm_up_rises_linearly_and_multiplies_the_decay():
    training = replace(TRAINING, steps=8, warmup_steps=4)
    assert [lr_share(training, done) for done in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    training = replace(training, decay="linear")
    assert lr_share(training, 1) == pytest.approx(0.5 * (1 - 1 / 40))


def test_learning_rates_of_the_steps_are_those_of_the_epoch_times_the_share():
    """With gradients of 1, plain SGD moves a weight by the learning rates' sum."""

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Identity()
            self.weight = nn.Parameter(torch.zeros(()))

    model = Plain()
    training = Training(
        (Stage("one", (0.1,)), Stage("two", (0.01,))), batch_size=1, image_size=(1, 1),
        optimizer="sgd", steps=3, warmup_steps=2, decay="linear",
    )  # fmt: skip
    # Momentum would mix the steps: each step's gradient is made to be what momentum lacks of 1.
    taken = []

    def losses(batch, stage):
        first = len(taken) in (0, 3)  # a stage starts with a fresh optimizer
        taken.append(float(model.weight.detach()))
        return {"loss": model.weight * (1.0 if first else 0.1)}

    fit(model, lambda g: torch.zeros(9, 1), losses, training, seed=0, compute=CPU)
    moves = -torch.tensor([*taken, float(model.weight.detach())]).diff()
    shares = [0.5, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    expected = [0.1 * s for s in shares[:3]] + [0.01 * s for s in shares[3:]]
    torch.testing.assert_close(moves, torch.tensor(expected))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decay": "exponential"}, "decay must be"),
        ({"decay": "cosine"}, "need the number of steps"),
        ({"warmup_steps": 3}, "need the number of steps"),
        ({"ema": 1.0, "ema_epochs": 1}, "ema must be"),
        ({"ema": 0.9, "ema_epochs": 6}, "at most 5"),
        ({"ema": 0.9}, "needs both"),
        ({"ema_epochs": 2}, "needs both"),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, says):
    with pytest.raises(TrainingError, match=says):
        train(make_net(), training=replace(TRAINING, **changes))


def test_damaged_checkpoint_starts_again(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK\x03\x04 not a checkpoint")
    whole, again = make_net(), make_net()
    train(whole)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt: damaged"):
        train(again, checkpoint=checkpoint)
    assert_same(state(whole), state(again))


def test_no_bit_of_a_checkpoint_changes_unseen(tmp_path):
    """torch.load alone takes most of them: other weights, and nothing is said."""
    checkpoint = tmp_path / "checkpoint.pt"
    whole = make_net()
    train(whole)

    def stop(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_net(), checkpoint=checkpoint, on_epoch=stop)
    content = checkpoint.read_bytes()
    for place in range(0, len(content), len(content) // 12):
        damaged = bytearray(content)
        damaged[place] ^= 1
        checkpoint.write_bytes(damaged)
        again, epochs = make_net(), []
        with pytest.warns(UserWarning, match=r"checkpoint\.pt: damaged"):
            train(again, checkpoint=checkpoint, on_epoch=lambda r, e=epochs: e.append(r["epoch"]))
        assert epochs == [0, 1, 2, 3, 4]
        assert_same(state(whole), state(again))


@pytest.mark.parametrize("other", ["key", "seed", "precision", "model", "nothing of the kind"])
def test_a_checkpoint_of_another_training_is_not_gone_on_with(tmp_path, other):
    """It is readable, and even fits, and yet it is not this training's."""
    checkpoint = tmp_path / "checkpoint.pt"

    def written(model, seed=3, compute=CPU, key="a" * 16):
        fit(
            model, batches, losses_of(model), TRAINING, seed=seed, compute=compute, key=key,
            checkpoint=checkpoint,
        )  # fmt: skip

    if other == "nothing of the kind":
        buffer = io.BytesIO()
        torch.save({"about": "something else"}, buffer)
        checkpoint.write_bytes(_seal(buffer.getvalue()) + buffer.getvalue())
    elif other == "model":
        larger = make_net()
        larger.more = nn.Linear(2, 2)
        written(larger)
    else:
        changes = {"key": "b" * 16, "seed": 4, "precision": Compute("cpu", 1, bf16=True)}
        written(make_net(), **{"compute" if other == "precision" else other: changes[other]})
    plain, again = make_net(), make_net()
    train(plain)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt: damaged checkpoint, training starts"):
        written(again)
    assert_same(state(plain), state(again))


def test_precision_of_a_training():
    assert Compute.choose("cpu").precision == "fp32" == Compute.choose("cpu", 1, "fp32").precision
    assert Compute.choose("cpu", precision="bf16").precision == "bf16 autocast"
    with pytest.raises(DeviceError, match="unknown precision 'fp8': expected auto, fp32 or bf16"):
        Compute.choose("cpu", precision="fp8")
    seen = []

    def losses(batch, stage):
        seen.append(model(batch).dtype)
        return {"square": (model(batch) ** 2).mean()}

    model = make_net()
    for precision in ("fp32", "bf16"):
        compute = Compute.choose("cpu", 1, precision)
        fit(model, batches, losses, TRAINING, seed=3, compute=compute)
    assert seen == [torch.float32] * 25 + [torch.bfloat16] * 25
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_precision_of_a_gpu(monkeypatch):
    """Emulated bf16 is slower than fp32: it is taken where it was asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has in (True, False):
        supported = lambda including_emulation=True, has=has: has or including_emulation  # noqa: E731
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        found = {p: Compute.choose("auto", precision=p).precision for p in ("auto", "fp32", "bf16")}
        assert found == {
            "auto": "bf16 autocast" if has else "fp32", "fp32": "fp32", "bf16": "bf16 autocast"
        }  # fmt: skip


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
        t.torch.set_num_threads(int(sys.argv[3]))  # other sums with another number
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
    arguments = [here, str(checkpoint), str(torch.get_num_threads())]
    done = subprocess.run([sys.executable, "-c", script, *arguments], timeout=120)
    assert done.returncode == -9
    assert checkpoint.exists()
    whole, resumed = make_net(), Net()
    train(whole)
    epochs = []
    train(resumed, checkpoint=checkpoint, on_epoch=lambda r: epochs.append(r["epoch"]))
    assert epochs == [3, 4]
    assert_same(state(whole), state(resumed))


def test_a_model_may_name_parameters_with_a_learning_rate_of_their_own():
    """One step of SGD moves a parameter by rate, factor and gradient; the others by rate alone."""

    class Named(Net):
        lr_factors: ClassVar = {"head.bias": 0.01, "backbone.": 5.0}  # the latter is not meant

    training = replace(
        TRAINING, stages=(Stage("all", (0.1,)),), optimizer="sgd", steps=1, backbone_lr_factor=0.5
    )
    moved = {}
    for kind in (Net, Named):
        torch.manual_seed(7)
        model = kind()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        train(model, training)
        moved[kind] = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    for name, usual in moved[Net].items():
        factor = 0.01 if name == "head.bias" else 1.0
        torch.testing.assert_close(moved[Named][name], factor * usual, rtol=1e-3, atol=1e-7)
    assert moved[Net]["head.bias"].abs().min() > 1e-3
