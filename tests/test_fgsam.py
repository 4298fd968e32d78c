"""FGSAM: the focal triplet loss by hand, rows that differ in what they say, phases that follow."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.formats import attributes, peta
from reidlib.errors import UsageError
from reidlib.models.fgsam import (
    FGSAM,
    PART_OF,
    UNLABELED,
    FGSAMConfig,
    attribute_loss,
    focal_triplet,
    focal_triplet_loss,
)
from reidlib.models.pose_resolve import PARTS, PoseConfig, PoseResolveNet

ATTRIBUTES = (("gender", 2), ("C.up", 8), ("L.slv", 2), ("bag", 2), ("C.low", 9), ("L.low", 2))
TINY: dict[str, Any] = {
    "ids": 5, "width": 0.125, "depths": (1, 1, 1, 1), "pose_width": 0.125, "D": 48, "d_part": 8,
    "d_plenary": 16,
}  # fmt: skip
BASE = FGSAMConfig(**TINY, pose=False, lram=False, ftl=False)
POSE = FGSAMConfig(**TINY, lram=False, ftl=False)
INTERMEDIATE = replace(POSE, attributes=ATTRIBUTES)
LRAM = FGSAMConfig(**TINY, attributes=ATTRIBUTES, ftl=False)
FULL = FGSAMConfig(**TINY, attributes=ATTRIBUTES)
ROWS = {
    "base": BASE, "pose": POSE, "intermediate": INTERMEDIATE, "lram": LRAM, "full": FULL,
    "without cpb": replace(FULL, cpb=False), "pooled": replace(FULL, fusion="pooled"),
}  # fmt: skip


def made(cfg: FGSAMConfig, seed: int = 0) -> FGSAM:
    torch.manual_seed(seed)
    return FGSAM(cfg)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    labels = torch.arange(8) // 2
    known = torch.stack([torch.randint(n, (8,)) for _, n in ATTRIBUTES], 1)
    known[0, 0] = known[3, 1] = UNLABELED
    return torch.randn(8, 3, 64, 32), labels, known


# --- the focal triplet loss


@pytest.mark.parametrize(
    ("d_ap", "d_an", "expected"),
    [(0.8, 0.6, 1.44 * 0.7 + 0.79), (0.2, 0.9, 0.19), (0.5, 0.8, 0.2 + 0.49), (0.3, 0.8, 0.29)],
)
def test_focal_triplet_by_hand(d_ap: float, d_an: float, expected: float) -> None:
    distances = torch.tensor([d_ap], dtype=torch.float64), torch.tensor([d_an], dtype=torch.float64)
    found = focal_triplet(*distances, alpha=0.5, beta=0.01, gamma=2.0)
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_gamma_0_is_the_triplet_loss_and_lambda_is_never_below_1() -> None:
    d_ap, d_an = torch.rand(100), 2 * torch.rand(100)
    plain = (d_ap - d_an + 0.5).clamp_min(0) + (d_ap - 0.01).clamp_min(0)
    torch.testing.assert_close(focal_triplet(d_ap, d_an, 0.5, 0.01, 0.0), plain)
    assert (focal_triplet(d_ap, d_an, 0.5, 0.01, 3.0) >= plain).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_batch_hard_mining(seed: int, flow: bool) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    labels = torch.randint(4, (9,))
    found = focal_triplet_loss(x, labels, 0.5, 0.01, 2.0, flow)
    unit = x / x.norm(dim=-1, keepdim=True)
    for branch in range(2):
        losses = []
        for a in range(9):
            d = (unit[branch] - unit[branch, a]).norm(dim=-1)
            positive = [float(d[i]) for i in range(9) if labels[i] == labels[a] and i != a]
            negative = [float(d[i]) for i in range(9) if labels[i] != labels[a]]
            if positive and negative:
                ap, an = max(positive), min(negative)
                losses.append(max(ap - an + 1, 1) ** 2 * max(ap - an + 0.5, 0) + max(ap - 0.01, 0))
        expected = sum(losses) / len(losses) if losses else 0.0
        assert float(found[branch]) == pytest.approx(expected, abs=1e-9)


def test_gradients_of_the_loss() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for flow in (True, False):
        loss = focal_triplet_loss(x, labels, 0.5, 0.01, 2.0, flow)
        (slope,) = torch.autograd.grad(loss, x)
        assert torch.isfinite(slope).all() and slope.abs().sum() > 0
    assert torch.autograd.gradcheck(lambda x: focal_triplet_loss(x, labels, 0.5, 0.01, 2.0), x)


def test_the_same_image_twice_has_a_finite_gradient() -> None:
    x = torch.randn(1, 3).repeat(4, 1).requires_grad_()
    loss = focal_triplet_loss(x, torch.tensor([0, 0, 1, 1]), 0.5, 0.01, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.5) and torch.isfinite(x.grad).all()


def test_persons_with_a_single_image_do_not_count() -> None:
    x = torch.randn(3, 4)
    assert float(focal_triplet_loss(x, torch.tensor([0, 1, 2]), 0.5, 0.01, 2.0)) == 0
    assert float(focal_triplet_loss(x, torch.tensor([1, 1, 1]), 0.5, 0.01, 2.0)) == 0


# --- attributes


def test_attribute_loss_leaves_out_what_is_not_labeled() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, -5.0]])
    labels = torch.tensor([0, 0, UNLABELED])
    # log(1 + e^-2) and log(1 + e)
    assert float(attribute_loss(logits, labels)) == pytest.approx((0.126928 + 1.313262) / 2)
    assert float(attribute_loss(logits, torch.full((3,), UNLABELED))) == 0


def test_all_attributes_of_all_datasets_have_a_part() -> None:
    assert set(attributes.NAMES) == set(PART_OF) and set(PART_OF.values()) <= set(PARTS)
    for known in (attributes.MARKET.attributes, attributes.DUKE.attributes, peta.ATTRIBUTES):
        FGSAMConfig(ids=2, attributes=attributes.sizes(known))


def test_attributes_are_recognized_by_the_branch_of_their_part() -> None:
    model = made(FULL).eval()
    codes = model.encode(batch()[0])
    changed = codes._replace(parts=codes.parts.clone())
    changed.parts[PARTS.index("upper arm")] += 1.0
    same = [
        torch.equal(a, b)
        for a, b in zip(model.attribute_logits(codes), model.attribute_logits(changed), strict=True)
    ]
    assert same == [name != "L.slv" for name, _ in ATTRIBUTES]


# --- rows


@pytest.mark.parametrize("row", ROWS)
def test_a_step_of_every_row(row: str) -> None:
    cfg = ROWS[row]
    model, (images, labels, known) = made(cfg), batch()
    terms = model.losses(images, labels, known)
    expected = ["L_CEL^ID", *["L_CEL"] * bool(cfg.attributes), *["L_FTL"] * cfg.ftl]
    assert list(terms) == expected
    assert all(term.dim() == 0 and torch.isfinite(term) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    still = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not still or (row == "lram" and all("integrate" in name for name in still))
    size = {"base": 256, "pose": 48, "intermediate": 48}.get(row, 16 + 6 * 8)
    embedded = model.eval().embed(images)
    assert embedded.shape == (8, size) and embedded.dtype == torch.float32
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(8))


def test_rows_share_the_numbers_of_the_layers_they_share() -> None:
    base, pose, intermediate, lram, full, without = (
        made(cfg).state_dict()
        for cfg in (BASE, POSE, INTERMEDIATE, LRAM, FULL, ROWS["without cpb"])
    )
    for name, value in base.items():
        assert name.startswith("W_id") or torch.equal(value, pose[name])
    for first, second in ((pose, intermediate), (lram, full), (without, full)):
        shared = [name for name in first if "parse_" not in name]
        assert all(torch.equal(first[name], second[name]) for name in shared)
    assert {name for name in full if name not in without} == {
        name for name in full if "parse_" in name
    }


def test_full_size() -> None:
    known = attributes.sizes(attributes.MARKET.attributes)
    with torch.device("meta"):
        model = FGSAM(FGSAMConfig(ids=751, attributes=known))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in
              model.named_children()}  # fmt: skip
    assert counts["backbone"] == 23_508_032
    assert counts["pose"] == 25_956_971 + 3 * (19 * 4 + 4 + 4 * 19 + 19 + 38 * 9 + 9 + 9 * 38 + 38)
    assert model.W_plenary.weight.shape == (512, 2048) and model.W_parts.shape == (6, 2048, 256)
    assert counts["W_id"] == 513 * 751
    assert [conv.in_channels for conv in model.integrate] == [57, 15, 17, 8, 8, 8, 8]


def test_normalization_of_the_three_maps() -> None:
    model = made(FULL)
    F, maps = model.normalized_maps(batch()[0])
    assert F.shape == (8, 256, 2, 1) and maps.shape == (8, 57, 2, 1)
    torch.testing.assert_close(F.mean((0, 2, 3)), torch.zeros(256), atol=1e-5, rtol=0)
    # Averaging down takes variance away and leaves the mean.
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.zeros(57), atol=1e-5, rtol=0)
    spread = F.var((0, 2, 3), unbiased=False)
    assert ((spread - 1).abs() < 0.05).float().mean() > 0.9


# --- phases


def test_a_phase_starts_from_the_one_before() -> None:
    trained = made(BASE, seed=7)
    model = made(INTERMEDIATE)
    before = model.state_dict()["W_id.weight"].clone()
    model.load_start(trained.state_dict())
    assert same(model.backbone, trained.backbone)
    assert torch.equal(model.state_dict()["W_id.weight"], before)
    final = made(FULL)
    model.pose.add_cpbs()
    final.load_start(model.state_dict())
    assert same(final.backbone, model.backbone) and same(final.pose, model.pose)
    made(BASE).load_start(final.state_dict())  # what it does not have is left out


def test_a_phase_starts_from_a_training_on_key_points() -> None:
    torch.manual_seed(3)
    trained, model = PoseResolveNet(PoseConfig(0.125)), made(FULL)
    blocks = {k: v.clone() for k, v in model.pose.state_dict().items() if "parse_" in k}
    model.load_start(trained.state_dict())
    own = model.pose.state_dict()
    assert all(torch.equal(own[name], value) for name, value in trained.state_dict().items())
    assert blocks and all(torch.equal(own[name], value) for name, value in blocks.items())


def test_a_start_that_does_not_fit() -> None:
    with pytest.raises(RuntimeError):
        made(FULL).load_start(made(replace(BASE, width=0.25)).state_dict())
    with pytest.raises(KeyError):
        made(FULL).load_start({"W.weight": torch.zeros(1)})


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in states)


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": "sum"}, {"D": 0}, {"alpha": -0.1}, {"pose": False}, {"lram": False},
        {"attributes": (("shoe size", 2),)}, {"attributes": (("hat", 1),)}, {"ids": 0},
    ],
)  # fmt: skip
def test_impossible_settings(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="FGSAM"):
        replace(FULL, **change)


def test_attributes_are_asked_for() -> None:
    images, labels, _ = batch()
    with pytest.raises(UsageError, match="attributes of the images"):
        made(INTERMEDIATE).losses(images, labels)
