"""Engines of untrained models on tiny worlds, that tests of the search share."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from reidlib.explore import search
from reidlib.explore.search import Engine
from reidlib.run.session import Session
from reidlib.world.write import write

# One row of every paper that a gallery can be searched with; GLA's both ways.
PLACES = {
    "ssan": ("ssan", (1, "ssan", "CUHK-PEDES Rank-1")),
    "ssan baseline": ("ssan", (1, "baseline", "CUHK-PEDES Rank-1")),
    "imgnet": ("imgnet", (1, "vgg-ch1-sp1-gs1-ls1-gp1-gn", "Top-1")),
    "gla by text": ("gla", (4, "ours", "top-1")),
    "gla": ("gla", (2, "proposed", "Market mAP")),
    "attention_driven": ("attention_driven", (6, "intra-inter", "Market R1")),
    "fgsam": ("fgsam", (4, "base-pose-lram-ftl", "Market Rank-1")),
    "fgsam base": ("fgsam", (4, "base", "Market Rank-1")),
}
BY_SENTENCE = ("ssan", "ssan baseline", "imgnet", "gla by text")
BY_IMAGE = ("gla", "attention_driven", "fgsam", "fgsam base")


def tiny_session(folder: Path, cuhk_pedes: Path) -> Session:
    """A session with CUHK-PEDES and Market-1501."""
    shutil.copytree(cuhk_pedes, folder / "data")
    write("market1501", folder / "data", seed=3, ids=(6, 5), size=(48, 24))
    return Session.create("smoke", results=folder / "results", data=folder / "data")


def opener(session: Session) -> Callable[[str], Engine]:
    """Name of `PLACES` -> its engine, made once."""

    @cache
    def opened(name: str) -> Engine:
        paper, place = PLACES[name]
        return search.untrained(paper, "smoke", place, session.dataset, session.cache)

    return opened
