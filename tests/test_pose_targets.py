"""Confidence maps, affinity fields, masks and moved joints against plain loops."""

import math

import numpy as np
import pytest
import torch

from reidlib.data.batches.pose_targets import (
    JOINTS,
    LIMBS,
    MIRRORED,
    affinity_fields,
    confidence_maps,
    moved,
    weights,
)
from reidlib.world.people.skeleton import JOINTS as WORLD_JOINTS

SIZE = (64, 48)


def people(seed: int = 0) -> torch.Tensor:
    """Two pictures with three people each, some joints unknown: float (2, 3, 18, 3)."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform((-8, -8), (56, 72), (2, 3, JOINTS, 2))
    flags = rng.integers(0, 3, (2, 3, JOINTS, 1))
    return torch.tensor(np.concatenate((xy, flags), 3), dtype=torch.float32)


def test_confidence_maps_against_a_loop() -> None:
    joints = people()
    maps = confidence_maps(joints, SIZE)
    assert maps.shape == (2, 19, 8, 6)
    for b in range(2):
        for j in range(JOINTS):
            for gy in range(8):
                for gx in range(6):
                    total = 0.0
                    for p in range(3):
                        x, y, flag = joints[b, p, j].tolist()
                        d2 = (8 * gx + 3.5 - x) ** 2 + (8 * gy + 3.5 - y) ** 2
                        e = d2 / (2 * 7**2)
                        if flag > 0 and e <= 4.6052:
                            total += math.exp(-e)
                    assert maps[b, j, gy, gx].item() == pytest.approx(min(1, total), abs=1e-5)
    torch.testing.assert_close(maps[:, 18], 1 - maps[:, :18].amax(1))


def test_a_joint_at_a_cells_center() -> None:
    joints = torch.zeros(1, 1, JOINTS, 3)
    joints[0, 0, 4] = torch.tensor([19.5, 11.5, 1.0])
    maps = confidence_maps(joints, SIZE)
    assert maps[0, 4, 1, 2] == 1 and maps[0, 18, 1, 2] == 0
    assert maps[0, 4, 1, 3].item() == pytest.approx(math.exp(-64 / 98))
    assert (maps[0, 5] == 0).all() and (maps[0, 18, 7] == 1).all()


def test_affinity_fields_against_a_loop() -> None:
    joints = people(1)
    fields, points = affinity_fields(joints, SIZE).numpy(), joints.numpy()
    assert fields.shape == (2, 38, 8, 6)
    for b in range(2):
        for limb, (a, c) in enumerate(LIMBS):
            for gy in range(8):
                for gx in range(6):
                    found = []
                    for p in range(3):
                        if not (points[b, p, a, 2] > 0 and points[b, p, c, 2] > 0):
                            continue
                        A, B = ((points[b, p, k, :2] - 3.5) / 8 for k in (a, c))
                        unit = (B - A) / np.linalg.norm(B - A)
                        low, high = np.minimum(A, B) - 1, np.maximum(A, B) + 1
                        aside = abs((gx - A[0]) * unit[1] - (gy - A[1]) * unit[0])
                        inside = low[0] <= gx <= high[0] and low[1] <= gy <= high[1]
                        if inside and aside <= 1:
                            found.append(unit)
                    expected = np.mean(found, axis=0) if found else np.zeros(2)
                    got = fields[b, 2 * limb : 2 * limb + 2, gy, gx]
                    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_limb_without_length_is_left_out() -> None:
    joints = torch.full((1, 1, JOINTS, 3), 20.0)
    fields = affinity_fields(joints, SIZE)
    assert torch.isfinite(fields).all() and (fields == 0).all()


def test_a_field_points_from_a_to_b() -> None:
    joints = torch.zeros(1, 1, JOINTS, 3)
    joints[0, 0, 1] = torch.tensor([19.5, 11.5, 2.0])  # neck
    joints[0, 0, 8] = torch.tensor([19.5, 43.5, 1.0])  # right hip
    fields = affinity_fields(joints, SIZE)
    assert (fields[0, 1, 1:6, 2] == 1).all() and (fields[0, 0] == 0).all()
    assert (fields[0, 1, :, 5] == 0).all() and (fields[0, 2:] == 0).all()


def test_tables() -> None:
    assert len(LIMBS) == 19 and len(set(LIMBS)) == 19
    assert {joint for limb in LIMBS for joint in limb} == set(range(JOINTS))
    swapped = [name.replace("r ", "L ").replace("l ", "r ").replace("L ", "l ")
               for name in WORLD_JOINTS]  # fmt: skip
    assert [WORLD_JOINTS[i] for i in MIRRORED] == swapped


def test_weights() -> None:
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[0, :8, :5] = 1  # 5/8 of the first cell
    mask[0, 8:, :3] = 255  # 3/8 of the third
    assert weights(mask)[0, 0].tolist() == [[0, 1], [1, 1]]


def test_moved_joints() -> None:
    joints = torch.zeros(2, 1, JOINTS, 3)
    joints[:, 0, 2] = torch.tensor([10.0, 20.0, 2.0])  # right shoulder
    joints[:, 0, 0] = torch.tensor([47.0, 60.0, 1.0])
    shift = torch.tensor([[[1.0, 0, 4], [0, 1.0, -5]]]).repeat(2, 1, 1)
    found = moved(joints, shift, torch.tensor([False, True]), SIZE)
    assert found[0, 0, 2].tolist() == [14.0, 15.0, 2.0]
    assert found[1, 0, 5].tolist() == [41.0, 15.0, 2.0]  # mirrored, it is the left one
    assert found[1, 0, 2, 2] == 0
    assert found[0, 0, 0, 2] == 0  # 51 is outside
    assert found[1, 0, 0].tolist() == [4.0, 55.0, 1.0]
    assert joints[0, 0, 2].tolist() == [10.0, 20.0, 2.0]  # what was given is as it was
