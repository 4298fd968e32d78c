"""Canonical poses, and joints filled in from them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.batches.poses import STANDING, canonical_poses, complete
from reidlib.data.formats.keypoints import JOINTS, THRESHOLD


def seen(poses: np.ndarray) -> np.ndarray:
    """Poses (N, 18, 2) with all joints found."""
    return np.concatenate((poses, np.full((*poses.shape[:2], 1), 0.9)), 2)


def walking() -> np.ndarray:
    """A second typical pose: seen from the side, arms and legs in one line of x."""
    pose = STANDING.copy()
    pose[:, 0] *= 0.1
    pose[[4, 13], 0] = 0.2
    pose[[7, 10], 0] = -0.2
    return pose


def test_without_fully_found_poses_there_is_a_standing_person() -> None:
    joints = seen(np.tile(STANDING * 100, (30, 1, 1)))
    joints[:, 14, 2] = THRESHOLD / 2
    for few in (joints, joints[:0], seen(STANDING[None]), np.zeros((40, 18, 3))):
        found = canonical_poses(few)
        assert found.shape == (1, 18, 2)
        expected = STANDING - STANDING.mean(0)
        np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected))


def test_two_kinds_of_poses_are_found_whatever_their_size_and_place() -> None:
    random = np.random.default_rng(0)
    kinds = np.array([STANDING, walking()])
    which = np.arange(60) % 2
    poses = kinds[which] * random.uniform(50, 300, (60, 1, 1)) + random.uniform(0, 99, (60, 1, 2))
    poses += random.normal(0, 0.1, poses.shape)
    found = canonical_poses(seen(poses), count=2)
    centered = kinds - kinds.mean(1, keepdims=True)
    centered /= np.sqrt((centered**2).sum((1, 2), keepdims=True))
    distance = np.abs(found[:, None] - centered[None]).max((2, 3))
    assert sorted(distance.argmin(1)) == [0, 1] and distance.min(1).max() < 0.01
    assert np.array_equal(found, canonical_poses(seen(poses), count=2))
    assert len(canonical_poses(seen(poses[:25]), count=4)) == 2  # ten poses for each


@given(
    st.floats(20, 500), st.floats(-100, 300), st.floats(-100, 300),
    st.sets(st.integers(0, 17), min_size=0, max_size=13),
)  # fmt: skip
def test_missing_joints_of_a_canonical_pose_are_found_again(
    scale: float, x: float, y: float, missing: set[int]
) -> None:
    true = STANDING * scale + (x, y)
    joints = seen(true[None])
    joints[0, sorted(missing)] = 0
    found = complete(joints, canonical_poses(joints[:0]))
    assert found.complete.tolist() == [True]
    np.testing.assert_allclose(found.joints[0], true, atol=1e-6 * scale + 1e-6)


def test_the_best_of_several_canonical_poses_is_taken() -> None:
    canonical = np.concatenate([canonical_poses(seen(np.tile(p, (10, 1, 1))), 1)
                                for p in (STANDING, walking())])  # fmt: skip
    assert len(canonical) == 2
    for pose in (STANDING, walking()):
        joints = seen(pose[None] * 80 + 7)
        joints[0, [0, 10, 13]] = 0
        found = complete(joints, canonical)
        np.testing.assert_allclose(found.joints[0], pose * 80 + 7, atol=1e-6)


def test_found_joints_stay_where_they_are() -> None:
    joints = seen(STANDING[None] * 100)
    joints[0, 3] = (60, 60, 0.9)  # an elbow no canonical pose has there
    joints[0, 5, 2] = THRESHOLD / 2
    found = complete(joints, canonical_poses(joints[:0]))
    kept = [joint for joint in range(18) if joint != 5]
    assert np.array_equal(found.joints[0, kept], joints[0, kept, :2])
    assert not np.array_equal(found.joints[0, 5], joints[0, 5, :2])


def test_too_few_joints_or_none_that_fit_are_left_alone() -> None:
    canonical = canonical_poses(np.zeros((0, 18, 3)))
    joints = np.zeros((4, 18, 3))
    joints[0, :2] = 5, 5, 0.9  # two joints
    joints[1, [8, 9, 10]] = 30, 40, 0.9  # three, all in one point: no scale
    upside_down = seen((STANDING * (1, -1))[None])[0]
    joints[2, [1, 8, 9, 10]] = upside_down[[1, 8, 9, 10]]
    joints[3] = seen(STANDING[None] * 50)[0]
    found = complete(joints, canonical)
    assert found.complete.tolist() == [False, False, False, True]
    assert len(JOINTS) == found.joints.shape[1] and np.isfinite(found.joints).all()
