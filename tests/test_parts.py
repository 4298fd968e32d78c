"""Boxes of body parts (Eq 1-2 by hand), fixed strips, and cutting parts out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.batches.parts import (
    MARGIN,
    P,
    boxes_of,
    cut,
    fixed_strips,
    flipped,
    part_boxes,
    strips_of,
)
from reidlib.data.batches.poses import STANDING, Poses
from reidlib.data.formats.keypoints import JOINTS


def pose(**rows: float) -> np.ndarray:
    """Joints on a vertical line x = 50, at the given rows; "knees" stands for both."""
    joints = np.full((1, 18, 2), 50.0)
    for name, y in rows.items():
        for i, joint in enumerate(JOINTS):
            if joint.replace(" ", "_") == name or joint.split()[-1] + "s" == name:
                joints[0, i, 1] = y
    return joints


WORKED = {"nose": 30, "neck": 40, "eyes": 10, "ears": 20, "shoulders": 50, "elbows": 90,
          "wrists": 120, "hips": 130, "knees": 200, "ankles": 260}  # fmt: skip


def test_the_parts_are_bounded_by_these_joints() -> None:
    names = [{JOINTS[joint].split()[-1] for joint in joints} for joints in P]
    assert names == [{"nose", "eye", "ear", "neck"}, {"neck", "shoulder", "hip"}, {"hip", "knee"},
                     {"knee", "ankle"}]  # fmt: skip
    assert [len(joints) for joints in P] == [6, 5, 4, 4]


def test_boxes_by_hand() -> None:
    """P1 y in 10 ... 40, P4 y in 200 ... 260: top -20, bottom 280, H 300, beta H/10 = 30."""
    found = part_boxes(pose(**WORKED), 1 / 10)[0]
    x_l, x_r = 50 - 75, 50 + 75  # mean x and H/4
    np.testing.assert_allclose(found, [
        (x_l, -20, x_r, 280),
        (x_l, -20, x_r, 40 + 30),
        (x_l, 40 - 30, x_r, 130 + 30),
        (x_l, 130 - 30, x_r, 200 + 30),
        (x_l, 200 - 30, x_r, 280),
    ])  # fmt: skip
    wide = pose(**WORKED)
    wide[0, JOINTS.index("left wrist"), 0] = 500.0  # mean x 75, further than H/4 on one side
    assert part_boxes(wide, 0)[0, 2].tolist() == [75 - 75, 40, 500, 130]


@given(st.lists(st.floats(-50, 400), min_size=36, max_size=36), st.floats(0, 0.2))
def test_boxes_against_the_equations_as_printed(numbers: list[float], beta: float) -> None:
    joints = np.array(numbers).reshape(1, 18, 2)
    x, y = joints[0].T
    y1, y4 = y[P[0]], y[P[3]]
    bottom = 4 / 3 * max(y4) - 1 / 3 * min(y4)
    H = bottom - (2 * min(y1) - max(y1))
    x_l, x_r = min(np.mean(x) - H / 4, min(x)), max(np.mean(x) + H / 4, max(x))
    R = [(x_l, 2 * min(y1) - max(y1), x_r, bottom),
         (x_l, 2 * min(y1) - max(y1), x_r, max(y1) + beta * H),
         *((x_l, min(y[p]) - beta * H, x_r, max(y[p]) + beta * H) for p in P[1:3]),
         (x_l, min(y4) - beta * H, x_r, bottom)]  # fmt: skip
    np.testing.assert_allclose(part_boxes(joints, beta)[0], R, rtol=1e-9, atol=1e-6)


def boxes(joints: np.ndarray, size: tuple[int, int], complete: bool = True) -> tuple:
    found = boxes_of(
        Poses(joints, np.full(len(joints), complete)), np.array([size] * len(joints)), 1 / 10
    )
    return found.boxes.numpy(), found.strips.tolist()


def test_boxes_are_shares_of_the_image_and_clipped() -> None:
    found, strips = boxes(pose(**WORKED), (250, 100))
    assert strips == [False]
    assert found[0, 2] == pytest.approx([-0.25, 10 / 250, 1.25, 160 / 250])
    assert found[0, 0] == pytest.approx([-0.25, -20 / 250, 1.25, 1.12])
    assert found.min() >= -MARGIN and found.max() <= 1 + MARGIN


@pytest.mark.parametrize(
    "changes",
    [
        dict.fromkeys(WORKED, 100.0),  # no height at all
        {**WORKED, "knees": 10, "ankles": 10},  # feet at the head
        {name: y + 2000 for name, y in WORKED.items()},  # outside the image
        {name: 100 + y / 100 for name, y in WORKED.items()},  # three pixels tall
        {**WORKED, "nose": float("nan")},
    ],
)
def test_degenerate_poses_have_fixed_strips(changes: dict[str, float]) -> None:
    found, strips = boxes(pose(**changes), (250, 100))
    assert strips == [True]
    np.testing.assert_allclose(found, fixed_strips(1))


def test_too_few_joints_have_fixed_strips_and_are_counted() -> None:
    joints = np.concatenate([pose(**WORKED)] * 3)
    poses = Poses(joints, np.array([True, False, True]))
    found = boxes_of(poses, np.array([(250, 100)] * 3), 0.1)
    assert found.strips.tolist() == [False, True, False]
    assert not np.allclose(found.boxes[0], found.boxes[1])
    np.testing.assert_allclose(found.boxes[1], fixed_strips(1)[0])


def test_fixed_strips() -> None:
    assert fixed_strips(2)[1].tolist() == [
        [0, 0, 1, 1], [0, 0, 1, 0.25], [0, 0.25, 1, 0.5], [0, 0.5, 1, 0.75], [0, 0.75, 1, 1]
    ]  # fmt: skip
    assert strips_of(3).boxes.shape == (3, 5, 4) and not strips_of(3).strips.any()


# --- cutting out


def test_whole_image_and_strips_are_cut_as_they_are() -> None:
    images = torch.randn(3, 3, 16, 6)
    whole, parts = cut(images, strips_of(3).boxes)
    torch.testing.assert_close(whole, images)
    assert parts.shape == (3, 4, 3, 4, 6)
    torch.testing.assert_close(torch.cat(list(parts.unbind(1)), 2), images)


def sampled(image: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel: bilinear, zeros outside."""
    channels, H, W = image.shape
    out = np.zeros((channels, height, width))
    for i in range(height):
        for j in range(width):
            y = (box[1] + (box[3] - box[1]) * (i + 0.5) / height) * H - 0.5
            x = (box[0] + (box[2] - box[0]) * (j + 0.5) / width) * W - 0.5
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= row < H and 0 <= column < W:
                        weight = (1 - abs(y - row)) * (1 - abs(x - column))
                        out[:, i, j] += weight * image[:, row, column]
    return out


def test_cut_against_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 12, 8, generator=generator)
    low = torch.rand(2, 5, 2, generator=generator) * 0.8 - 0.3
    found = torch.cat((low, low + 0.2 + torch.rand(2, 5, 2, generator=generator)), 2)
    whole, parts = cut(images, found)
    for b in range(2):
        image = images[b].numpy()
        np.testing.assert_allclose(whole[b], sampled(image, found[b, 0].numpy(), 12, 8), atol=1e-5)
        for k in range(4):
            expected = sampled(image, found[b, 1 + k].numpy(), 3, 8)
            np.testing.assert_allclose(parts[b, k], expected, atol=1e-5)


def test_outside_is_zero() -> None:
    found = strips_of(1).boxes.clone()
    found[0, 1] = torch.tensor([1.1, 0.0, 1.2, 0.5])
    _, parts = cut(torch.ones(1, 3, 16, 8), found)
    assert (parts[0, 0] == 0).all() and (parts[0, 1] == 1).all()


def test_mirrored_boxes_in_mirrored_images() -> None:
    joints = np.stack([STANDING, STANDING]) * (100, 200) + (40, 10)
    joints[1, 4, 0] += 30  # one arm out: not symmetric
    found = boxes_of(Poses(joints, np.ones(2, bool)), np.array([(220, 100)] * 2), 0.1).boxes
    images = torch.randn(2, 3, 24, 12)
    flips = torch.tensor([True, False])
    mirrored = torch.stack((images[0].flip(2), images[1]))
    whole, parts = cut(mirrored, flipped(found, flips))
    expected_whole, expected_parts = cut(images, found)
    torch.testing.assert_close(whole[0], expected_whole[0].flip(2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parts[0], expected_parts[0].flip(3), atol=1e-5, rtol=1e-4)
    assert torch.equal(whole[1], expected_whole[1]) and torch.equal(parts[1], expected_parts[1])
