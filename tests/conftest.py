"""Shared by all tests: one thread, reproducible property tests, and a tiny world on disk."""

from pathlib import Path

import pytest
import torch
from engines import opener, tiny_session
from hypothesis import settings
from tiny_runs import session_in, some

from reidlib.run.runner import run_one
from reidlib.world.write import write

torch.set_num_threads(1)
# The same examples on every run: a red build is never a matter of luck.
settings.register_profile("reidlib", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("reidlib")

TINY_IDS = (12, 3, 6)  # identities of train, val, test
TINY_SIZE = (64, 32)  # height, width


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny synthetic CUHK-PEDES. Shared: copy it before changing it."""
    root = tmp_path_factory.mktemp("world")
    write("cuhk-pedes", root, seed=7, ids=TINY_IDS, size=TINY_SIZE)
    return root


@pytest.fixture(scope="module")
def data(tiny_world: Path) -> Path:
    return tiny_world


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A session with two finished runs."""
    session = session_in(tmp_path_factory.mktemp("results"), data)
    planned = some(session)
    for p in planned:
        run_one(session, p)
    return session, planned


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path):
    """Name of `engines.PLACES` -> an engine of an untrained model."""
    return opener(tiny_session(tmp_path_factory.mktemp("engines"), tiny_world))
