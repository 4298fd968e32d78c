"""The one training loop: plain PyTorch, resumable after every epoch, bit-identical on the CPU.

The state of every random generator is a function of (seed, epoch): it is set anew at the start
of each epoch. So a run that was killed and resumed equals one that was not, and a checkpoint
needs no generator states: model, optimizer, epoch and history say everything, and the average of
the weights, if there is one.
"""

import hashlib
import io
import math
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.devices import keep_freed_memory
from reidlib.errors import DeviceError, TrainingError
from reidlib.experiment import Stage, Training
from reidlib.files import explain_os_errors, read_regular, write_atomic

# On a GPU, looking at a loss makes the CPU wait; there it is looked at every so many steps.
_CHECK_EVERY_ON_GPU = 50
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """Where and how a training computes; does not belong to the experiment it computes."""

    device: str = "cpu"
    threads: int | None = None  # CPU threads; results are bit-identical for equal numbers only
    bf16: bool = False  # autocast the forward pass of the training; tests are in fp32 always
    channels_last: bool = True  # of the backbone; pays on the CPU, too (narrow VGG: about 2x)
    compile: bool = False  # torch.compile the backbone: pays for long GPU runs only

    @classmethod
    def choose(
        cls, device: str = "auto", threads: int | None = None, precision: str = "auto"
    ) -> "Compute":
        """Settings for "auto", "cpu" or "cuda", and "auto", "fp32" or "bf16".

        The precision "auto" is bf16 on a GPU that has it, and fp32 elsewhere; asked for, bf16 is
        computed anywhere. Raises `DeviceError` for CUDA without a GPU, or an unknown name.
        """
        if precision not in PRECISIONS:
            raise DeviceError(
                f"unknown precision {precision!r}: expected {', '.join(PRECISIONS[:-1])} or "
                f"{PRECISIONS[-1]}"
            )
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(f"unknown device {device!r}: expected auto, cpu or cuda")
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise DeviceError(
                "--device cuda: this machine has no usable CUDA GPU "
                f"(torch {torch.__version__}); use --device cpu, or auto to take what is there"
            )
        if device == "cpu" or not available:
            return cls("cpu", threads, bf16=precision == "bf16")
        bf16 = precision == "bf16"
        if precision == "auto":  # older GPUs emulate bf16, which is slower than fp32
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls("cuda", threads, bf16)

    @property
    def precision(self) -> str:
        """Of a training that computes so, as it is recorded and shown."""
        return "bf16 autocast" if self.bf16 else "fp32"


def seed_everything(seed: int, epoch: int) -> torch.Generator:
    """Seed torch's global generators for one epoch; returns a CPU generator for the sampler."""
    # SeedSequence mixes the pair so that (seed, epoch) and (seed + 1, epoch - 1) differ.
    state = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))
    return torch.Generator().manual_seed(int(state[1] >> np.uint64(1)))


def fit(
    model: nn.Module,
    batches: Callable[[torch.Generator], Iterable[Any]],
    losses: Callable[[Any, Stage], Mapping[str, Tensor]],
    training: Training,
    *,
    seed: int,
    compute: Compute,
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Train `model` and return one record per epoch.

    Args:
        model: on `compute.device` already; must have an attribute `backbone`, whose parameters
            take `training.backbone_lr_factor` and are frozen in stages that say so. It may have
            `lr_factors`: start of a parameter's name -> factor of its learning rate, for
            parameters outside the backbone.
        batches: given a seeded generator, yields the batches of one epoch, in order. A batch is
            whatever `losses` takes; it must have a length: the number of its images.
        losses: `losses(batch, stage)` gives named scalar losses whose sum is minimized.
        checkpoint: file that the full state is written to after every epoch, and read from first;
            what is damaged, or of another `key`, seed or precision, is not gone on with.
        key: of the experiment.
        on_epoch: called with each new record: epoch, stage, lr, loss, named losses, seconds,
            images, images_per_s.

    With `training.ema`, the model ends with the average of its weights over the last epochs. On a
    CPU the process keeps from then on the memory that it frees (`keep_freed_memory`).

    Raises:
        TrainingError: a loss is not a finite number (names epoch, step, loss and learning rate);
            settings that do not fit each other or the data.
        StoreError: the checkpoint cannot be written.
    """
    check_training(training)
    if compute.device == "cpu":
        keep_freed_memory()
    device = torch.device(compute.device)
    history: list[dict[str, Any]] = []
    plan = [(stage, lr) for stage in training.stages for lr in stage.lrs]
    optimizer: torch.optim.Optimizer | None = None
    previous: Stage | None = None
    average: dict[str, Tensor] | None = None
    about = {"key": key, "seed": seed, "precision": compute.precision}
    state = _read_checkpoint(checkpoint, device, model, about)
    if state is not None:
        model.load_state_dict(state["model"])
        history, average = state["history"], state.get("average")
    for epoch, (stage, lr) in enumerate(plan):
        if stage is not previous:  # a stage starts with a fresh optimizer
            optimizer = _optimizer(model, training, stage)
            previous = stage
        if epoch < len(history):
            continue
        if state is not None and epoch == len(history) and state["stage"] == stage.name:
            optimizer.load_state_dict(state["optimizer"])
        state = None
        if training.ema and average is None and epoch >= len(plan) - training.ema_epochs:
            average = {name: value.clone() for name, value in model.state_dict().items()}
        record = _epoch(
            model, batches, losses, training, stage, lr, optimizer, average, seed, epoch, compute
        )
        record = {"epoch": epoch, "stage": stage.name, "lr": lr, **record}
        history.append(record)
        if checkpoint is not None:
            _write_checkpoint(checkpoint, model, optimizer, average, stage, history, about)
        if on_epoch is not None:
            on_epoch(record)
    if average is not None:
        model.load_state_dict(average)
    return history


def check_training(training: Training) -> None:
    """Raise `TrainingError` for settings that do not fit each other."""
    if training.decay not in ("none", "linear", "cosine"):
        raise TrainingError(f"decay must be none, linear or cosine, got {training.decay!r}")
    if (training.decay != "none" or training.warmup_steps) and training.steps is None:
        raise TrainingError("warm-up and decay need the number of steps of an epoch")
    if not 0 <= training.ema < 1 or not 0 <= training.ema_epochs <= training.epochs:
        raise TrainingError(
            f"ema must be in [0, 1) and ema_epochs at most {training.epochs}, got {training.ema} "
            f"and {training.ema_epochs}"
        )
    if (training.ema > 0) != (training.ema_epochs > 0):
        raise TrainingError("an average of the weights needs both ema and ema_epochs")


def lr_share(training: Training, done: int) -> float:
    """What warm-up and decay leave of a learning rate when `done` steps of a training are done."""
    share = min(1.0, (done + 1) / training.warmup_steps) if training.warmup_steps else 1.0
    if training.decay == "none":
        return share
    progress = done / (training.epochs * training.steps)
    return share * (1 - progress if training.decay == "linear" else _cosine(progress))


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _epoch(
    model: nn.Module,
    batches: Callable[[torch.Generator], Iterable[Any]],
    losses: Callable[[Any, Stage], Mapping[str, Tensor]],
    training: Training,
    stage: Stage,
    lr: float,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    seed: int,
    epoch: int,
    compute: Compute,
) -> dict[str, Any]:
    """Train one epoch, at the learning rate `lr` before warm-up and decay; update `average`."""
    generator = seed_everything(seed, epoch)
    weights = model.state_dict()  # refers to them, as they change
    model.train()
    if stage.freeze_backbone:
        model.backbone.eval()  # batch statistics stay as they are, too
    check_every = 1 if compute.device == "cpu" else _CHECK_EVERY_ON_GPU
    totals: dict[str, Tensor] = {}
    unchecked: list[Tensor] = []
    images = steps = 0
    started = time.perf_counter()
    for step, batch in enumerate(_epoch_of(batches, generator, training.steps)):
        share = lr_share(training, epoch * (training.steps or 0) + step)
        for group in optimizer.param_groups:
            group["lr"] = lr * share * group["lr_factor"]
        with torch.autocast(compute.device, torch.bfloat16, enabled=compute.bf16):
            terms = losses(batch, stage)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        unchecked.append(loss.detach())
        if len(unchecked) >= check_every:
            _check(unchecked, terms, epoch, step, optimizer)
        optimizer.step()
        if average is not None:
            _average(average, weights, training.ema)
        for name, term in {"loss": loss, **terms}.items():
            totals[name] = totals.get(name, 0) + term.detach()
        images += len(batch)
        steps += 1
    if steps == 0:
        raise TrainingError(
            f"epoch {epoch}: not one full batch of {training.batch_size}; "
            "the training split is too small"
        )
    _check(unchecked, terms, epoch, steps - 1, optimizer)
    means = {name: float(total) / steps for name, total in totals.items()}  # waits for the GPU
    seconds = time.perf_counter() - started
    return {**means, "seconds": seconds, "images": images, "images_per_s": images / seconds}


def _epoch_of(
    batches: Callable[[torch.Generator], Iterable[Any]],
    generator: torch.Generator,
    steps: int | None,
) -> Iterator[Any]:
    """One pass, or exactly so many steps of as many passes as that takes."""
    done = 0
    while True:
        before = done
        for batch in islice(batches(generator), None if steps is None else steps - done):
            yield batch
            done += 1
        if steps is None or done in (before, steps):
            return


@torch.no_grad()
def _average(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """average = share * average + (1 - share) * weights, in place; counters are copied."""
    floats = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floats], [weights[n] for n in floats], 1 - share)
    for name in average.keys() - floats:
        average[name].copy_(weights[name])


def _check(
    unchecked: list[Tensor],
    terms: Mapping[str, Tensor],
    epoch: int,
    step: int,
    optimizer: torch.optim.Optimizer,
) -> None:
    if unchecked and not math.isfinite(float(torch.stack(unchecked).sum())):
        values = ", ".join(f"{name} {float(term.detach()):.4g}" for name, term in terms.items())
        raise TrainingError(
            f"the loss is not a finite number in epoch {epoch}, at or up to {len(unchecked) - 1} "
            f"steps before step {step} (there: {values}; learning rate "
            f"{optimizer.param_groups[0]['lr']:g}); a smaller learning rate may help"
        )
    unchecked.clear()


def _optimizer(model: nn.Module, training: Training, stage: Stage) -> torch.optim.Optimizer:
    backbone = list(model.backbone.parameters())
    inside = {id(p) for p in backbone}
    for parameter in backbone:
        parameter.requires_grad_(not stage.freeze_backbone)
    # A model may name parameters with another learning rate: start of the name -> factor.
    factors: Mapping[str, float] = getattr(model, "lr_factors", {})
    others: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        if id(parameter) not in inside:
            factor = next((f for start, f in factors.items() if name.startswith(start)), 1.0)
            others.setdefault(factor, []).append(parameter)
    groups = [{"params": params, "lr_factor": factor} for factor, params in others.items()]
    if not stage.freeze_backbone:
        groups.append({"params": backbone, "lr_factor": training.backbone_lr_factor})
    if training.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=training.weight_decay, fused=True)
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=training.weight_decay, fused=True)
    raise TrainingError(f"unknown optimizer {training.optimizer!r}: expected adam or sgd")


def _write_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    stage: Stage,
    history: list[dict[str, Any]],
    about: Mapping[str, Any],
) -> None:
    buffer = io.BytesIO()
    state = {
        "about": dict(about),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
        "stage": stage.name,
        "history": history,
    }
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomic(path, _seal(content) + content)


def _seal(content: bytes) -> bytes:
    """What a checkpoint begins with: torch does not notice every bit that has changed."""
    return b"reidlib checkpoint " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _read_checkpoint(
    path: Path | None, device: torch.device, model: nn.Module, about: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The state to go on from; None if there is none, or none of this training."""
    if path is None or not path.exists():
        return None
    try:
        sealed = read_regular(path)
        content = sealed[sealed.find(b"\n") + 1 :]
        if not sealed.startswith(_seal(content)):
            raise ValueError("its content is not what was written")
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        if state["about"] != about:
            raise ValueError(f"it is of {state['about']}, this training of {dict(about)}")
        if _shapes(state["model"]) != _shapes(model.state_dict()):
            raise ValueError("it is of another model")
        return state
    except (
        *(RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError),
        pickle.UnpicklingError,
    ) as error:
        why = str(error)
    # It is written atomically, so this is damage from outside: start from the beginning.
    warnings.warn(f"{path}: damaged checkpoint, training starts again ({why})", stacklevel=2)
    with explain_os_errors(path, "removing it"):
        path.unlink()
    return None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def versions() -> dict[str, str]:
    """Versions that a number depends on, for the record of a run."""
    import platform
    from importlib import metadata  # importing torchvision takes longer than all of torch

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "numpy": np.__version__,
    }
    if torch.cuda.is_available():
        found["cuda"] = str(torch.version.cuda)
        found["gpu"] = torch.cuda.get_device_name()
    found["cpu_threads"] = str(torch.get_num_threads())
    found["cpus"] = str(os.cpu_count())
    return found
