"""Replication of five person re-identification papers, and the library it is made of.

What scripts need most is at hand as `reidlib.<name>`, imported when it is used: see `dir(reidlib)`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    # data, and the procedural world that stands in for it
    "load": "reidlib.data.load",
    "write": "reidlib.world.write",
    # measuring
    "first_match_ranks": "reidlib.metrics.first_match",
    "rank_features": "reidlib.metrics.ranking",
    "rank_scores": "reidlib.metrics.ranking",
    "top_k": "reidlib.metrics.first_match",
    # a row of a paper's table: found, changed, trained, looked at
    "Session": "reidlib.run.session",
    "finished": "reidlib.explore.common",
    "planned_for": "reidlib.run.plan",
    "run_one": "reidlib.run.runner",
    "trainings_of": "reidlib.papers.tinker",
    "with_settings": "reidlib.papers.tinker",
    # the models, and the training loop
    "AttentionDriven": "reidlib.models.attention_driven",
    "AttentionDrivenConfig": "reidlib.models.attention_driven",
    "Compute": "reidlib.train",
    "Experiment": "reidlib.experiment",
    "FGSAM": "reidlib.models.fgsam",
    "FGSAMConfig": "reidlib.models.fgsam",
    "GLA": "reidlib.models.gla",
    "GLAConfig": "reidlib.models.gla",
    "IMGNet": "reidlib.models.imgnet",
    "IMGNetConfig": "reidlib.models.imgnet",
    "SSAN": "reidlib.models.ssan",
    "SSANConfig": "reidlib.models.ssan",
    "Stage": "reidlib.experiment",
    "Training": "reidlib.experiment",
    "fit": "reidlib.train",
    # what every error of this library is
    "ReidlibError": "reidlib.errors",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reidlib' has no attribute {name!r}; it has {__dir__()}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
