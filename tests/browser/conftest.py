"""Chromium and finished results, for all browser tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import ARGUMENTS, CHROMIUM, PATIENCE, train


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM} (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=PATIENCE
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def results(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with reports in the smoke profile: that of the whole suite, else a new one
    with two papers."""
    folder = os.environ.get("REIDLIB_RESULTS") or str(tmp_path_factory.mktemp("results"))
    train(Path(folder))
    return Path(folder)
