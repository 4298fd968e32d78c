"""The drawn world: determinism, anatomy, and that picture, mask, joints and flags agree."""

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.errors import UsageError
from reidlib.world.drawing.render import Rendering, render
from reidlib.world.drawing.shot import FAMILIES, Shot, make_shot, native_size
from reidlib.world.people.identity import (
    CARRIED_KINDS,
    COLORS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    Identity,
    make_identity,
)
from reidlib.world.people.palette import shade

NOSE, NECK, R_HIP, L_HIP = 0, 1, 8, 11
SIZE = (96, 48)


def clean(shot: Shot, yaw: float, **changes: object) -> Shot:
    """The shot from another side with nothing in the way and the person well in the middle."""
    tidy = {
        "yaw": yaw, "occluder": "none", "bystander": False, "crop_x": 0.0, "crop_y": 0.0,
        "crop_zoom": 0.9, "head_turn": 0.0, "gesture": "none", "carried": (), "placement": (),
        "noise": 0.0, "blur": 0.0, "resolution": 1.0,
    }  # fmt: skip
    return dataclasses.replace(shot, **(tidy | changes))


def digest(key: tuple[int, int, int, str]) -> bytes:
    """Everything a rendering holds, as bytes; a function of the module for spawned workers."""
    drawn = render(make_shot(*key), SIZE)
    visible = repr(sorted(drawn.visible.items())).encode()
    return drawn.image.tobytes() + drawn.mask.tobytes() + drawn.joints.tobytes() + visible


def people(wanted: int, condition) -> list[Identity]:
    """The first identities of world 0 that meet a condition."""
    found = [i for i in (make_identity(0, pid) for pid in range(3000)) if condition(i)]
    assert len(found) >= wanted
    return found[:wanted]


def test_same_bytes_in_any_order() -> None:
    keys = [(3, pid, number, FAMILIES[(pid + number) % 8]) for pid in range(4) for number in (0, 5)]
    forward = [digest(key) for key in keys]
    backward = [digest(key) for key in reversed(keys)]
    assert forward == backward[::-1]
    assert len(set(forward)) == len(keys)


def test_same_bytes_in_other_processes() -> None:
    keys = [(3, pid, 1, FAMILIES[pid]) for pid in range(6)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(digest, keys)) == [digest(key) for key in keys]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    pid=st.integers(0, 2**24),
    number=st.integers(0, 1000),
    family=st.sampled_from(FAMILIES),
    size=st.sampled_from([None, (64, 32), (96, 48), (160, 64)]),
    hand_box=st.booleans(),
)
def test_every_rendering_is_sound(seed, pid, number, family, size, hand_box) -> None:
    shot = make_shot(seed, pid, number, family)
    assert shot == make_shot(seed, pid, number, family, shot.camid)
    drawn = render(shot, size, hand_box)
    height, width = size or native_size(shot)
    assert drawn.image.shape == (height, width, 3)
    assert drawn.image.dtype == np.uint8
    assert drawn.mask.shape == (height, width)
    assert set(np.unique(drawn.mask)) <= set(range(6))
    assert drawn.joints.shape == (18, 3)
    assert drawn.joints.dtype == np.float32
    assert np.isfinite(drawn.joints).all()
    assert set(np.unique(drawn.joints[:, 2])) <= {0.0, 1.0}
    seen = drawn.joints[drawn.joints[:, 2] == 1, :2]
    assert (seen >= -0.5).all()
    assert (seen <= [width + 0.5, height + 0.5]).all()
    assert {"face", "hair", "headwear", "glasses", "headphones", "scarf", "upper", "inner",
            "upper_pattern", "lower", "footwear"} <= set(drawn.visible)  # fmt: skip
    assert all(0.0 <= share <= 1.0 for share in drawn.visible.values())
    assert {key for key in drawn.visible if key.startswith("carried:")} == {
        f"carried:{thing.kind}" for thing in shot.carried
    }
    rows, columns = np.nonzero(drawn.mask)
    tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert drawn.box == tight


def test_identities_use_the_published_words() -> None:
    for pid in range(400):
        identity = make_identity(5, pid)
        assert identity.upper.kind in UPPER_KINDS
        assert identity.lower.kind in LOWER_KINDS
        assert identity.upper.color in COLORS
        assert identity.upper.pattern in PATTERNS
        assert (identity.upper.pattern == "plain") or identity.upper.second is not None
        assert (identity.upper.kind == "dress") == (identity.lower.kind == "dress")
        assert len(identity.carried) <= 3
        assert {thing.kind for thing in identity.carried} <= set(CARRIED_KINDS)
        assert 1.0 <= identity.height <= 2.0
        assert 0.8 <= identity.girth <= 1.3


def test_colors_are_unequally_common_and_descriptions_shared() -> None:
    crowd = [make_identity(0, pid) for pid in range(1000)]
    colors = [i.upper.color for i in crowd]
    assert colors.count("black") > 4 * colors.count("orange")
    coarse = [(i.sex, i.upper.kind, i.upper.color, i.lower.kind) for i in crowd]
    assert len(set(coarse)) < 0.6 * len(coarse)  # many people look alike at first sight
    assert len(set(crowd)) == len(crowd)


@pytest.mark.parametrize(("yaw", "right_is_left_in_picture"), [(0.0, True), (180.0, False)])
def test_left_and_right_follow_the_view(yaw: float, right_is_left_in_picture: bool) -> None:
    for pid in range(8):
        joints = render(clean(make_shot(1, pid, 0, "msmt"), yaw), (192, 96)).joints
        for right, left in ((2, 5), (8, 11), (16, 17), (14, 15)):
            assert (joints[right, 0] < joints[left, 0]) == right_is_left_in_picture


def test_upright_bodies_are_in_order() -> None:
    for pid in range(12):
        shot = clean(make_shot(1, pid, 0, "campus"), 37.0 * pid - 180.0)
        y = render(shot, (192, 96)).joints[:, 1]
        assert y[NOSE] < y[NECK] < min(y[R_HIP], y[L_HIP])
        for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
            assert y[hip] < y[knee] < y[ankle]


def test_side_views_show_one_side() -> None:
    for pid in range(6):
        right = render(clean(make_shot(1, pid, 0, "duke"), 90.0), (384, 128)).joints[:, 2]
        left = render(clean(make_shot(1, pid, 0, "duke"), -90.0), (384, 128)).joints[:, 2]
        assert right[2] == 1  # walking to the right edge, the right shoulder is near
        assert left[5] == 1
        assert right[15] == 0 and left[14] == 0  # the far eye is hidden


def test_backs_have_no_face() -> None:
    for pid in range(10):
        shot = make_shot(2, pid, 0, "market")
        front, back = (render(clean(shot, yaw), (192, 96)) for yaw in (0.0, 180.0))
        assert front.joints[[0, 14, 15], 2].all()
        assert not back.joints[[0, 14, 15], 2].any()
        assert front.visible["face"] > 0.3
        assert back.visible["face"] < 0.05
        assert back.visible["glasses"] < 0.05


def test_logo_and_inner_shirt_show_from_the_front_only() -> None:
    for identity in people(5, lambda i: i.upper.pattern == "logo" and i.hair_length == "short"):
        shot = make_shot(0, identity.pid, 0, "msmt")
        front, back = (render(clean(shot, yaw), (192, 96)).visible for yaw in (0.0, 180.0))
        assert front["upper_pattern"] > 0.4
        assert back["upper_pattern"] == 0.0
    for identity in people(5, lambda i: i.inner_color and i.upper.kind in ("jacket", "coat")):
        shot = make_shot(0, identity.pid, 0, "msmt")
        front, back = (render(clean(shot, yaw), (192, 96)).visible for yaw in (0.0, 180.0))
        assert front["inner"] > 0.3
        assert back["inner"] < 0.02


def test_backpacks_are_seen_from_behind() -> None:
    for identity in people(5, lambda i: any(c.kind == "backpack" for c in i.carried)):
        bag = next(c for c in identity.carried if c.kind == "backpack")
        shot = make_shot(0, identity.pid, 0, "campus")
        front, back = (
            render(clean(shot, yaw, carried=(bag,), placement=("back",)), (192, 96))
            for yaw in (0.0, 180.0)
        )
        assert back.visible["carried:backpack"] > 0.7
        assert 0.02 < front.visible["carried:backpack"] < 0.4
        assert (back.mask == 5).sum() > 3 * (front.mask == 5).sum()


def test_mask_and_joints_agree() -> None:
    hits = total = 0
    for pid in range(20):
        drawn = render(clean(make_shot(1, pid, 0, "campus"), 20.0 * pid), (192, 96))
        assert {1, 2, 3, 4} <= set(np.unique(drawn.mask))
        for hip, knee in ((8, 9), (11, 12)):
            if drawn.joints[[hip, knee], 2].all():
                x, y = drawn.joints[[hip, knee], :2].mean(0)
                total += 1
                hits += drawn.mask[int(y), int(x)] in (3, 2, 5)  # a coat may hang over the thigh
        x, y = drawn.joints[[14, 15, 16, 17], :2].mean(0)
        assert drawn.mask[int(y), int(x)] == 1
        x, y = drawn.joints[[1, 8, 11], :2].mean(0)
        assert drawn.mask[int(y), int(x)] == 2
    assert total >= 15
    assert hits == total


def test_occluders_hide() -> None:
    for occluder in ("pole", "bicycle", "car", "person"):
        shot = make_shot(1, 4, 0, "duke")
        free = render(clean(shot, 0.0), (192, 96))
        hidden = render(
            clean(shot, 0.0, occluder=occluder, occluder_side=-1, occluder_amount=0.6), (192, 96)
        )
        assert (hidden.mask > 0).sum() < (free.mask > 0).sum()
        assert hidden.joints[:, 2].sum() <= free.joints[:, 2].sum()
        assert np.array_equal(hidden.joints[:, :2], free.joints[:, :2])


def upper_color(drawn: Rendering) -> np.ndarray:
    """Mean color of the upper body."""
    return drawn.image[drawn.mask == 2].mean(0)


def test_clothes_stay_the_same_over_shots() -> None:
    long_sleeved = people(8, lambda i: i.upper.length == "long" and i.upper.second is None
                          and i.inner_color is None and i.scarf_color is None)  # fmt: skip
    means = []
    for identity in long_sleeved:
        shots = [make_shot(0, identity.pid, n, "campus", camid=1) for n in range(5)]
        neutral = [dataclasses.replace(clean(s, s.yaw), brightness=1.0, sun=0.0) for s in shots]
        colors = np.array([upper_color(render(s, SIZE)) for s in neutral])
        assert np.abs(colors - colors.mean(0)).max() < 22.0
        means.append(colors.mean(0))
    assert np.array(means).std(0).max() > 22.0  # while people differ


def test_shades_differ_between_people_but_not_between_shots() -> None:
    reds = {shade(0, pid, "upper", "red") for pid in range(30)}
    assert len(reds) == 30
    assert all(red > green and red > blue for red, green, blue in reds)
    assert shade(0, 7, "upper", "red") == shade(0, 7, "upper", "red")


def test_families_look_different() -> None:
    warmth, sharpness = {}, {}
    for family in FAMILIES:
        images = [render(make_shot(0, pid, 1, family), (128, 64)).image for pid in range(24)]
        stack = np.stack(images).astype(np.float64)
        warmth[family] = stack[..., 0].mean() - stack[..., 2].mean()
        sharpness[family] = np.abs(np.diff(stack.mean(-1), n=2, axis=2)).mean()
    assert warmth["market"] > warmth["cuhk03"] + 15.0
    assert warmth["cuhk03"] < min(warmth["cuhk01"], warmth["viper"])
    assert sharpness["viper"] < 0.8 * sharpness["cuhk01"]
    sizes = {family: native_size(make_shot(0, 1, 0, family)) for family in FAMILIES}
    assert sizes["market"] == (128, 64)
    assert sizes["viper"] == (128, 48)
    assert sizes["cuhk01"] == (160, 60)
    assert max(height for height, _ in sizes.values()) > 160


def test_viper_views_are_turned() -> None:
    turns = []
    for pid in range(40):
        first, second = (make_shot(0, pid, n, "viper", camid=n + 1).yaw for n in (0, 1))
        turns.append(abs((second - first + 180.0) % 360.0 - 180.0))
    assert 70.0 < np.median(turns) < 110.0


def test_things_come_and_go() -> None:
    owners = people(30, lambda i: len(i.carried) > 0)
    shares = [
        len(make_shot(0, i.pid, n, "market").carried) / len(i.carried)
        for i in owners
        for n in range(8)
    ]
    assert 0.6 < np.mean(shares) < 0.9
    assert 0.0 in shares and 1.0 in shares


def test_hand_boxes_are_tidy() -> None:
    slack = {False: [], True: []}
    for pid in range(30):
        shot = dataclasses.replace(make_shot(0, pid, 0, "market"), occluder="none", carried=(),
                                   placement=())  # fmt: skip
        for hand_box, gaps in slack.items():
            x0, y0, x1, y1 = render(shot, (128, 64), hand_box).box
            gaps.append((0.5 * (x0 + x1) - 32.0, 0.5 * (y0 + y1) - 64.0))
    assert np.std(slack[True]) < 0.5 * np.std(slack[False])


def test_unknown_family_or_camera_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="camera family 'kitchen'"):
        make_shot(0, 1, 0, "kitchen")
    with pytest.raises(UsageError, match="cameras 1 to 6, not 7"):
        make_shot(0, 1, 0, "market", camid=7)
