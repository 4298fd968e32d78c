"""PCK against a loop and numbers by hand."""

import numpy as np
import pytest

from reidlib.errors import UsageError
from reidlib.metrics.pck import correct, pck


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    true = np.dstack([rng.uniform(0, 60, (20, 5, 2)), rng.integers(0, 3, (20, 5))])
    found = true + rng.normal(0, 6, true.shape)
    found[..., 2] = rng.uniform(-0.2, 1, (20, 5)).clip(0)
    scale = rng.uniform(40, 100, 20)
    hits = correct(found, true, scale, alpha=0.08)
    for n in range(20):
        for k in range(5):
            if true[n, k, 2] <= 0:
                assert np.isnan(hits[n, k])
                continue
            far = np.hypot(*(found[n, k, :2] - true[n, k, :2])) > 0.08 * scale[n]
            assert hits[n, k] == (not far and found[n, k, 2] > 0)
    measured = pck(found, true, scale, alpha=0.08)
    assert measured["PCK"] == pytest.approx(100 * np.nanmean(hits))
    assert measured["joint 3"] == pytest.approx(100 * np.nanmean(hits[:, 3]))


def test_joints_that_nobody_labeled() -> None:
    true = np.array([[[5.0, 5.0, 0.0], [9.0, 9.0, 1.0]]])
    measured = pck(np.array([[[5.0, 5.0, 1.0], [9.0, 9.0, 1.0]]]), true, np.array([10.0]))
    assert measured["PCK"] == 100.0 and np.isnan(measured["joint 0"])


def test_the_distance_itself_still_counts() -> None:
    true = np.array([[[0.0, 0.0, 1.0]]])
    found = np.array([[[3.0, 4.0, 1.0]]])
    assert pck(found, true, np.array([50.0]), alpha=0.1)["PCK"] == 100.0
    assert pck(found, true, np.array([49.9]), alpha=0.1)["PCK"] == 0.0


@pytest.mark.parametrize(
    ("shape", "scale"), [((2, 5, 2), [1, 1]), ((2, 5, 3), [1]), ((2, 5, 3), [1, 0])]
)
def test_what_does_not_fit(shape: tuple[int, ...], scale: list[float]) -> None:
    with pytest.raises(UsageError, match="PCK"):
        pck(np.zeros(shape), np.zeros((2, 5, 3)), np.array(scale))
