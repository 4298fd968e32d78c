"""What notebook 00 trains before the reader's eyes: a small text-to-image network, from nothing."""

from collections.abc import Callable
from typing import Any

from reidlib.experiment import Experiment, Stage, Training
from reidlib.explore import search
from reidlib.explore.search import Engine, Row
from reidlib.models.ssan import VARIANTS, SSANConfig
from reidlib.run.plan import planned_for
from reidlib.run.runner import run_one
from reidlib.run.session import Session
from reidlib.run.store import Run

EVALUATION = "Sg"
# 240 steps of 64 pairs, about 25 seconds of one core; of 150 of them docs/training.md says what
# they come to from random weights: 2.4 % Rank-1 and 14.0 % Rank-10.
_EPOCHS, _STEPS = 8, 30


def experiment(session: Session, seed: int = 0) -> Experiment:
    """SSAN's baseline, its backbone a sixteenth as wide as the paper's and on small pictures, from
    random weights. The smoke profile makes four steps of it."""
    smoke = session.profile == "smoke"
    config = SSANConfig(
        ids=1,
        vocabulary=2,
        width=1 / 16,
        depths=(1, 1, 1, 1),
        last_stride=1,
        V=64,
        M=128,
        M_=64,
        N=64,
        **VARIANTS["baseline"],
    )
    training = Training(
        stages=(Stage("all", (4e-3,) * (2 if smoke else _EPOCHS)),),
        batch_size=8 if smoke else 64,
        image_size=(96, 32),
        steps=2 if smoke else _STEPS,
        warmup_steps=1 if smoke else 15,
    )
    return Experiment("ssan", "a first network", "cuhk-pedes", config, training, seed, recipe=1)


def train(
    session: Session, seed: int = 0, on_epoch: Callable[[dict[str, Any]], None] | None = None
) -> Run:
    """Train it, or find it finished: then its epochs are told one after the other."""
    planned = planned_for(session, experiment(session, seed))
    before = session.store.load_trained(planned.key)
    run = before or run_one(session, planned, on_epoch=on_epoch)
    if before is not None and on_epoch is not None:
        for epoch in before.history:
            on_epoch(epoch)
    return run


def engine(session: Session, seed: int = 0) -> Engine:
    """The trained network, to search with."""
    return search.engine(session, Row("ssan", 1, "baseline", experiment(session, seed), EVALUATION))
