"""The pose resolve net: sizes, the table of parts, channel parse blocks, losses, peaks."""

import pytest
import torch
from torchvision.models import vgg19

from reidlib.data.batches.pose_targets import LIMBS, confidence_maps
from reidlib.errors import UsageError
from reidlib.models.pose_resolve import (
    BACKGROUND,
    PART_JOINTS,
    PART_LIMBS,
    PARTS,
    STAGES,
    ChannelParseBlock,
    Maps,
    PoseConfig,
    PoseResolveNet,
    U,
    V,
    joints_of,
    part_channels,
    pose_losses,
)

SMALL = PoseConfig(width=0.125)


def test_number_of_parameters() -> None:
    with torch.device("meta"):
        net = PoseResolveNet(PoseConfig())
    assert sum(p.numel() for p in net.parameters()) == 25_956_971
    net.add_cpbs()
    blocks = sum(p.numel() for p in net.parameters()) - 25_956_971
    assert blocks == 3 * (19 * 4 + 4 + 4 * 19 + 19 + 38 * 9 + 9 + 9 * 38 + 38)


def test_front_takes_vgg19s_weights() -> None:
    with torch.device("meta"):
        net, vgg = PoseResolveNet(PoseConfig()), vgg19().features
    own = {name: p.shape for name, p in net.front.named_parameters()}
    theirs = {name: p.shape for name, p in vgg.named_parameters()}
    shared = [name for name in own if own[name] == theirs.get(name)]
    assert len(shared) == 20  # ten convolutions, each with a bias
    assert [name for name in own if name not in shared] == [
        "23.weight", "23.bias", "25.weight", "25.bias"
    ]  # fmt: skip


def test_it_starts_from_vgg19_and_says_if_it_cannot() -> None:
    net = PoseResolveNet(PoseConfig())
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg19().features.state_dict().items()}
    other = {f"backbone.features.{k}": torch.full(shape, 0.5) for k, shape in shapes.items()}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_start(other)
    for name, value in net.state_dict().items():
        number = name.split(".")[1]
        taken = name.startswith("front.") and int(number) <= 21
        assert bool((value == 0.5).all()) == taken, name
        assert taken or torch.equal(value, before[name])
    with pytest.raises(KeyError):
        net.load_start({"backbone.conv1.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        PoseResolveNet(SMALL).load_start(other)


def test_shapes() -> None:
    stages = PoseResolveNet(SMALL)(torch.randn(2, 3, 64, 32))
    assert len(stages) == STAGES
    for stage in stages:
        assert stage.H.shape == (2, 19, 8, 4) and stage.C.shape == (2, 38, 8, 4)


def test_every_field_belongs_to_one_part() -> None:
    channels = [c for part in PARTS for c in part_channels(part)]
    assert sorted(c for c in channels if c >= U) == list(range(U, U + V))
    assert {c for c in channels if c < U} == set(range(U)) - {BACKGROUND}
    assert {part: len(part_channels(part)) for part in PARTS} == {
        "head": 15, "upper body": 17, "upper arm": 8, "lower arm": 8, "upper leg": 8,
        "lower leg": 8,
    }  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_limbs_of_a_part_connect_its_joints(part: str) -> None:
    # Shoulder-ear and neck-nose reach from one part into another.
    crossing = {9, 13, 14}
    for limb in set(PART_LIMBS[part]) - crossing:
        assert set(LIMBS[limb]) <= set(PART_JOINTS[part])
    for limb in set(PART_LIMBS[part]) & crossing:
        assert set(LIMBS[limb]) & set(PART_JOINTS[part])


def test_channel_parse_block() -> None:
    block = ChannelParseBlock(19)
    x = torch.randn(3, 19, 4, 2)
    assert block.weights(x).shape == (3, 19, 1, 1)
    assert (block.weights(x) > 0.85).all()  # pre-trained maps come through at first
    torch.nn.init.zeros_(block.excite.weight)
    torch.nn.init.zeros_(block.excite.bias)
    torch.testing.assert_close(block(x), 0.5 * x)


def test_channel_parse_block_by_hand() -> None:
    block = ChannelParseBlock(2, r=2)
    with torch.no_grad():
        block.squeeze.weight[:] = torch.tensor([1.0, -1.0])[None, :, None, None]
        block.squeeze.bias.zero_()
        block.excite.weight[:] = torch.tensor([1.0, -1.0])[:, None, None, None]
        block.excite.bias.zero_()
    x = torch.stack((torch.full((2, 2), 3.0), torch.full((2, 2), 1.0)))[None]
    # relu(3 - 1) = 2: sigmoid(2) and sigmoid(-2).
    found = block.weights(x).flatten()
    torch.testing.assert_close(found, torch.tensor([0.880797, 0.119203]), atol=1e-6, rtol=0)


def test_blocks_change_what_later_stages_see() -> None:
    torch.manual_seed(0)
    net, x = PoseResolveNet(SMALL), torch.randn(1, 3, 32, 16)
    before = net(x)
    net.add_cpbs()
    for block in (*net.parse_H, *net.parse_C):
        torch.nn.init.constant_(block.excite.bias, -30.0)  # all weights 0
    after = net(x)
    assert all(stage.H.abs().max().item() < 1e-6 for stage in after)
    assert not torch.equal(before[1].H, after[1].H)


def test_losses_are_masked_sums() -> None:
    torch.manual_seed(0)
    maps = [Maps(torch.randn(2, 19, 2, 2), torch.randn(2, 38, 2, 2)) for _ in range(3)]
    true = Maps(torch.randn(2, 19, 2, 2), torch.randn(2, 38, 2, 2))
    W = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]], [[[0.0, 0.0], [0.0, 1.0]]]])
    terms = pose_losses(maps, true, W)
    assert list(terms) == [f"L_{s}^{t}" for t in (1, 2, 3) for s in ("S1", "S2")]
    slow = 0.0
    for b in range(2):
        for u in range(38):
            for y in range(2):
                for x in range(2):
                    d = maps[1].C[b, u, y, x] - true.C[b, u, y, x]
                    slow += float(W[b, 0, y, x] * d**2) / 2
    assert terms["L_S2^2"].item() == pytest.approx(slow, rel=1e-5)


def test_peaks_are_found_where_they_were_drawn() -> None:
    torch.manual_seed(0)
    joints = torch.rand(5, 1, 18, 3) * torch.tensor([55.0, 119.0, 0.0]) + torch.tensor([4, 4, 1.0])
    joints[0, 0, 3] = 0.0
    found = joints_of(confidence_maps(joints, (128, 64)))
    known = joints[:, 0, :, 2] > 0
    assert float((found[..., :2] - joints[:, 0, :, :2]).norm(dim=2)[known].max()) < 4.6
    assert (found[..., 2] > 0)[known].all() and found[0, 3, 2] == 0


def test_it_learns_to_draw() -> None:
    torch.manual_seed(0)
    net, x = PoseResolveNet(SMALL), torch.randn(2, 3, 32, 16)
    joints = torch.rand(2, 1, 18, 3) * torch.tensor([14.0, 30.0, 0.0]) + torch.tensor([0, 0, 1.0])
    true = Maps(confidence_maps(joints, (32, 16)), torch.zeros(2, 38, 4, 2))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = sum(pose_losses(net(x), true, torch.ones(2, 1, 4, 2)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_impossible_width() -> None:
    with pytest.raises(UsageError, match="width"):
        PoseConfig(width=0)
