"""Every training that the profiles know, on a GPU that is not there; see `pretend_gpu`.

All experiments of all profiles are rehearsed, and those that they start from, as miniatures:
backbones of one block a stage, an eighth as wide, and no layer above 64; data as in the profile
smoke. Trainings whose miniatures take the same ways through the code are rehearsed once. The ways
of a training (`ways`) are five, each independent of the others: that of the method (its settings,
of numbers only whether they are 0, 1 or more, and its kinds of stages), that of the backbone, that
of the data, that of its augmentation, and that of the loop. Every way of every training is in one
that is rehearsed.

A rehearsal is what a run does: data prepared on the device, one step of every kind of stage in the
loop itself (bf16 autocast, losses, backward, fused optimizer, average of weights), and for one of
each kind the evaluation.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from pretend_gpu import CUDA, OnGPU, WrongDevice, pretended_gpu, waits
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from reidlib import train
from reidlib.arguments import PAPERS
from reidlib.data.formats import imagefolder
from reidlib.devices import send
from reidlib.experiment import Experiment, Stage
from reidlib.models import gla, imgnet
from reidlib.models.parts.gru import last_states
from reidlib.models.parts.lstm import word_states
from reidlib.models.parts.packing import pack
from reidlib.papers import driver
from reidlib.profiles import PROFILES
from reidlib.run.session import Session
from reidlib.train import Compute

GPU = Compute("cuda", bf16=True)
LARGEST, WIDTH = 64, 0.125
STAGES_OF = {"vgg16": 5, "vgg16_bn": 5, "resnet50": 4, "five branches": 4}

# ---------------------------------------------------------------- what is rehearsed


def every_experiment() -> Iterator[tuple[str, Experiment]]:
    """All trainings of seed 0 with their profile, the small profiles first."""
    for profile in PROFILES:
        for paper in PAPERS:
            measured = driver.get_paper(paper).cells(profile).values()
            for experiment in dict.fromkeys(cell.experiment for cell in measured):
                for found in (experiment, *experiment.all_before):
                    yield profile, found


def miniature(profile: str, experiment: Experiment) -> Experiment:
    """The experiment with a small network, small pictures and one epoch of each kind of stage."""
    settings, training = experiment.model, experiment.training
    small: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in ("width", "pose_width"):
            small[field.name] = min(value, WIDTH)
        elif field.name in ("depths", "units", "text_units") and (value or field.name == "depths"):
            name = getattr(settings, "backbone", "resnet50")
            small[field.name] = (1,) * (len(value) if value else STAGES_OF[name])
        elif type(value) is int:
            small[field.name] = min(value, LARGEST)
    kinds: dict[tuple, Stage] = {}
    for stage in training.stages:
        kinds.setdefault((_kind(stage.name), stage.freeze_backbone), stage)
    height = 64 if profile == "smoke" else 128
    return replace(
        experiment,
        dataset="strangers" if experiment.dataset == imagefolder.NAME else experiment.dataset,
        model=replace(settings, **small),
        training=replace(
            training,
            stages=tuple(replace(stage, lrs=(1e-3,)) for stage in kinds.values()),
            batch_size=min(training.batch_size, 8),
            image_size=(height, height // 2),
            pretrained="",
            steps=1,
            ema_epochs=min(training.ema_epochs, 1),
        ),
        start=None,
        joins=(),
    )


def _kind(name: str) -> str:
    return name.rstrip("0123456789 ")


def structure(value: Any) -> Any:
    """What of a setting decides which way is taken, and not how large something is."""
    if is_dataclass(value):
        return type(value).__name__, *(structure(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, tuple):
        # Attributes and labels, of which there are many: kinds of entries, not their number.
        return frozenset(map(structure, value))
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return min(value, 2) if isinstance(value, int) else (value > 0) - (value < 0)


def ways(experiment: Experiment) -> frozenset[tuple]:
    """The ways that a training takes: equal ones are the same code, run with other numbers."""
    model, training = experiment.model, experiment.training
    method = {f.name: structure(getattr(model, f.name)) for f in fields(model)}
    own = ("backbone", "depths", "last_stride", "width", "pose_width")
    backbone = tuple(method.pop(field, None) for field in own)
    kinds = frozenset((_kind(stage.name), stage.freeze_backbone) for stage in training.stages)
    name = type(model).__name__
    augmented = training.flip, training.crop_pad > 0
    return frozenset((
        ("method", experiment.paper, name, *method.items(), kinds),
        ("backbone", name, *backbone),
        ("data", experiment.paper, name, experiment.dataset, experiment.needs),
        ("augmentation", experiment.paper, name, *augmented),
        ("loop", training.optimizer, training.ema > 0),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def every() -> list[Experiment]:
    """Miniatures of all trainings."""
    return [miniature(profile, experiment) for profile, experiment in every_experiment()]


@pytest.fixture(scope="module")
def rehearsed(every) -> list[Experiment]:
    """Those that take a way that none before them takes."""
    seen: set[tuple] = set()
    chosen = []
    for experiment in every:
        if not ways(experiment) <= seen:
            seen |= ways(experiment)
            chosen.append(experiment)
    return chosen


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Session]:
    yield Session.create("smoke", results=tmp_path_factory.mktemp("rehearsal"), device="cpu")
    driver._PREPARED.clear()  # its data is on a GPU that is gone


# ---------------------------------------------------------------- the rehearsal


def rehearse(session: Session, experiment: Experiment, evaluated: bool = True) -> list[str]:
    """Train a step of every stage on the pretended GPU; the waits in batches and losses by name.

    Raises `WrongDevice` and whatever else a training raises.
    """
    paper = driver.get_paper(experiment.paper)
    dataset = session.dataset(experiment.dataset)
    noted: list[str] = []

    def losses(batch: Any, stage: Stage) -> dict[str, Tensor]:
        if hasattr(model, "enter"):  # what SVDNet does once where a stage begins
            model.enter(stage.name)
        with waits() as mine:
            terms = paper.losses(model, batch, stage)
        noted.extend(mine)
        for name, term in terms.items():
            if not isinstance(term, OnGPU):
                raise WrongDevice(f"the loss {name} is on the CPU")
        return terms

    def batches(generator: torch.Generator) -> Iterator[Any]:
        with waits() as mine:
            found = [*islice(paper.batches(experiment, model, data, generator, "cuda"), 1)]
        noted.extend(name for name in mine if name != "__int__")  # SSAN counts its epochs
        return iter(found)

    with pretended_gpu():
        data = paper.prepare(experiment, dataset, session.cache, "cuda")
        torch.manual_seed(experiment.seed)
        model = driver.place(paper.build(experiment, data), GPU)
        for name, tensor in model.state_dict().items():
            assert isinstance(tensor, OnGPU), f"{name} stays on the CPU"
        settings, seed = experiment.training, experiment.seed
        history = train.fit(model, batches, losses, settings, seed=seed, compute=GPU)
        assert len(history) == len(settings.stages)
        if evaluated:
            outcome = paper.evaluate(model, data, GPU)
            assert outcome.evaluations
        assert driver.weights_of(model)
    return noted


@pytest.mark.parametrize("paper", (*PAPERS, *driver.PRETRAININGS))
def test_every_training_on_a_pretended_gpu(paper, rehearsed, session):
    mine = [experiment for experiment in rehearsed if experiment.paper == paper]
    assert mine
    mine.sort(key=lambda e: (e.dataset, e.needs, e.training.image_size))  # data is kept from last
    problems, evaluated = [], set()
    for experiment in mine:
        kind = type(experiment.model), experiment.dataset, experiment.needs
        try:
            noted = rehearse(session, experiment, kind not in evaluated)
        except Exception as error:
            where = [s.name for s in experiment.training.stages]
            problems.append(f"{experiment.name} ({where}): {type(error).__name__}: {error}")
        else:
            if noted:
                problems.append(f"{experiment.name}: waits for the GPU: {sorted(set(noted))}")
            evaluated.add(kind)
    assert not problems, "\n".join(problems)


def test_no_way_is_left_out(every, rehearsed):
    taken = frozenset().union(*map(ways, rehearsed))
    assert all(ways(experiment) <= taken for experiment in every)
    assert {experiment.paper for experiment in rehearsed} == {*PAPERS, *driver.PRETRAININGS}
    assert len(rehearsed) < len(every) / 4  # most are repetitions
    full = [experiment for _, experiment in every_experiment()]
    for field in ("backbone", "norm", "fusion", "pooling", "prl", "L_rank"):  # not lost on the way
        names = {getattr(experiment.model, field, None) for experiment in full}
        assert names == {getattr(experiment.model, field, None) for experiment in rehearsed}


# ---------------------------------------------------------------- that it finds what it is for


def first_of(experiments: list[Experiment], paper: str) -> Experiment:
    return next(experiment for experiment in experiments if experiment.paper == paper)


def test_a_tensor_left_on_the_cpu_is_found_in_a_loss(rehearsed, session, monkeypatch):
    def ranking_loss(similarities: Tensor, *_: Any, **__: Any) -> Tensor:
        return (similarities * torch.eye(len(similarities))).mean()  # no device: the CPU

    experiment = first_of(rehearsed, "imgnet")
    rehearse(session, experiment, evaluated=False)
    monkeypatch.setattr(imgnet, "ranking_loss", ranking_loss)
    with pytest.raises(WrongDevice, match="mul"):
        rehearse(session, experiment, evaluated=False)


def test_a_tensor_left_on_the_cpu_is_found_in_a_model(rehearsed, session, monkeypatch):
    build = imgnet.IMGNet.__init__

    def with_a_tensor_that_is_no_buffer(self: Any, cfg: Any) -> None:
        build(self, cfg)
        self.factor = torch.ones(cfg.P)
        self.id_norm_v = Times(self.factor)

    monkeypatch.setattr(imgnet.IMGNet, "__init__", with_a_tensor_that_is_no_buffer)
    with pytest.raises(WrongDevice):
        rehearse(session, first_of(rehearsed, "imgnet"), evaluated=False)


class Times(nn.Module):
    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_a_loss_on_the_cpu_and_a_wait_are_found(rehearsed, session, monkeypatch):
    experiment = first_of(rehearsed, "imgnet")
    monkeypatch.setattr(
        imgnet, "identity_loss", lambda logits, labels: logits.mean() * float(logits.max())
    )
    assert "__float__" in rehearse(session, experiment, evaluated=False)
    monkeypatch.setattr(imgnet, "identity_loss", lambda logits, labels: logits.mean().cpu())
    with pytest.raises(WrongDevice, match="is on the CPU"):
        rehearse(session, experiment, evaluated=False)


# ---------------------------------------------------------------- the pretended GPU itself


def test_tensors_say_where_they_are():
    with pretended_gpu():
        x = torch.ones(2, 3, device="cuda")
        assert x.device == CUDA and x.is_cuda and not x.is_cpu and x.shape == (2, 3)
        assert torch.ones(2).to("cuda").device.type == "cuda"
        assert torch.ones(2).to(x).device == CUDA and torch.ones(2).cuda().device == CUDA
        assert x.new_zeros(2).device == CUDA and torch.rand_like(x).device == CUDA
        assert torch.tensor([1], device=x.device).device == CUDA
        home = x.cpu()
        assert home.device.type == "cpu" and not isinstance(home, OnGPU)
        assert x.to("cpu").numpy().sum() == 6 and x.new_zeros(1, device="cpu").is_cpu
    assert not torch.ones(1).is_cuda


MIXED = {
    "sum": lambda x, y: x + y,
    "sum, the CPU's first": lambda x, y: y + x,
    "product of matrices": lambda x, y: x @ y.T,
    "concatenation": lambda x, y: torch.cat((x, y)),
    "index of the CPU's": lambda x, y: y[x.argmax(1)],
    "choice": lambda x, y: torch.where(y > 0, x, y),
    "in place": lambda x, y: y.add_(x),
    "set": lambda x, y: y.__setitem__(0, x[0]),
    "set, the GPU's": lambda x, y: x.__setitem__(torch.tensor([0]), y[:1]),
    "layer": lambda x, y: nn.Linear(3, 2)(x),
    "embedding": lambda x, y: nn.Embedding(5, 2)(x.long()),
    "loss": lambda x, y: nn.functional.cross_entropy(x, torch.zeros(2, dtype=torch.int64)),
    "numpy": lambda x, y: x.numpy(),
    "generator": lambda x, y: torch.rand(2, device="cuda", generator=torch.Generator()),
    "recurrent": lambda x, y: nn.GRU(3, 2).to("cuda")(y),
}


@pytest.mark.parametrize("name", MIXED)
def test_two_devices_do_not_mix(name):
    with pretended_gpu(), pytest.raises(WrongDevice):
        MIXED[name](torch.ones(2, 3, device="cuda"), torch.ones(2, 3))


def test_what_cuda_allows_is_allowed():
    with pretended_gpu():
        x = torch.ones(2, 3, device="cuda")
        assert (x * torch.tensor(2.0)).sum() == 12  # a number of the CPU's
        x.copy_(torch.zeros(2, 3))
        here = torch.ones(2, 3).copy_(x)
        assert not isinstance(here, OnGPU) and here.sum() == 0
        with waits() as noted:  # places, but they are copied
            assert x[torch.tensor([0])].shape == (1, 3) and x[torch.ones(2) > 0].device == CUDA
            x[torch.tensor([0])] = x[1:].clone()
        assert noted == ["__getitem__", "__getitem__", "__setitem__"]
        gru = nn.GRU(3, 2).to("cuda")
        states = gru(PackedSequence(x, torch.tensor([1, 1])))[0].data
        assert states.device == CUDA


def test_it_trains_as_the_cpu_does():
    torch.manual_seed(0)
    images, start = torch.rand(4, 3, 8, 8), nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {name: value.clone() for name, value in start.state_dict().items()}

    def trained(device: str) -> dict[str, Tensor]:
        start.load_state_dict(state)
        model = start.to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            model(images.to(device)).square().mean().backward()
            optimizer.step()
        return {name: value.cpu().clone() for name, value in model.state_dict().items()}

    expected = trained("cpu")
    with pretended_gpu():
        found = trained("cuda")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_a_copy_that_is_waited_for_is_counted():
    x = torch.rand(4)
    with pretended_gpu():
        there = torch.rand(1, device="cuda")
        for work in (lambda: x.to("cuda"), lambda: x.to(there), lambda: x.to(device="cuda"),
                     lambda: torch.tensor([1.0], device="cuda")):  # fmt: skip
            with waits() as noted:
                work()
            assert noted, work
        with waits() as noted:
            send(send(x, "cuda"), "cuda")
            torch.arange(4, device="cuda")
        assert not noted


def test_waits_are_counted():
    with pretended_gpu():
        x = torch.rand(4, device="cuda")
        with waits() as noted:
            y = x * 2 + x.mean()
            torch.cat((x, y)).sort()
        assert not noted
        for work in (float, Tensor.tolist, Tensor.cpu, partial(Tensor.to, device="cpu"),
                     torch.nonzero, lambda x: x[x > 0], lambda x: bool((x > 0).any())):  # fmt: skip
            with waits() as noted:
                work(x.sum() if work is float else x)
            assert noted, work


RECURRENT = {
    "GRU": lambda x: last_states(there(nn.GRU(3, 4, bidirectional=True)), x, PACKED),
    "LSTM": lambda x: word_states(
        there(nn.LSTM(3, 4, bidirectional=True)), x, PACKED.batch_sizes
    ),
    "GLA's": lambda x: gla._states(there(nn.LSTM(3, 4, batch_first=True)), x[None]),
}  # fmt: skip
PACKED = pack([(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2]))])


def there(network: nn.Module) -> nn.Module:
    """On the GPU; notes what it is given, and under which autocast."""

    def note(module: nn.Module, inputs: tuple) -> None:
        x = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
        SEEN.append((x.dtype, torch.is_autocast_enabled("cuda")))

    network = network.to("cuda")
    network.register_forward_pre_hook(note)
    return network


SEEN: list[tuple] = []


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_networks_are_not_left_to_autocast(name):
    """cuDNN's would compute in fp16 under an autocast to bf16, without any scaling of the loss."""
    SEEN.clear()
    with pretended_gpu(), torch.autocast("cuda", torch.bfloat16):
        states = RECURRENT[name](torch.randn(5, 3).to("cuda").bfloat16())
        assert states.dtype == torch.float32
    assert [(torch.float32, False)] == SEEN
