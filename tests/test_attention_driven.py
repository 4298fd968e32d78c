"""The attention driven network: shapes, equations, losses, counts; what rows have in common."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.models.attention_driven import (
    EVALUATIONS,
    PARTS,
    VARIANTS,
    AttentionDriven,
    AttentionDrivenConfig,
    Features,
    Inter,
    Intra,
    Stream,
    Unit,
    conv,
    normalized,
    outer,
    parameter_counts,
    side_by_side,
)

TINY = {"width": 0.25, "units": (1, 1, 1, 1), "E_g": 12, "E_p": 6, "E_f": 10}


def tiny(**changes: object) -> AttentionDriven:
    torch.manual_seed(0)
    return AttentionDriven(AttentionDrivenConfig(**{"ids": 5, **TINY, **changes}))


def pictures(B: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(B, 3, 64, 32, generator=generator)
    return whole, torch.randn(B, 4, 3, 16, 32, generator=generator)


# --- Table 1


def test_shapes_of_the_full_network() -> None:
    """Table 1 at 384 x 192: 24 x 12 x 512 and 12 x 12 x 256 before the average pooling."""
    shapes: dict[str, list[tuple[int, ...]]] = {"whole": [], "parts": []}
    with torch.device("meta"):
        model = AttentionDriven(AttentionDrivenConfig(ids=751)).eval()
        for name, seen in shapes.items():
            for block in getattr(model.backbone, name).B:
                block.register_forward_hook(lambda _m, _i, out, to=seen: to.append(out.shape[1:]))
        features = model.encode(torch.empty(2, 3, 384, 192), torch.empty(2, 4, 3, 96, 192))
    assert shapes["whole"] == [(64, 96, 48), (128, 48, 24), (256, 24, 12), (512, 24, 12)]
    of_a_part = ((32, 48, 48), (64, 24, 24), (128, 12, 12), (256, 12, 12))
    assert shapes["parts"] == [(4 * c, h, w) for c, h, w in of_a_part]
    assert (features.E_g.shape, features.E.shape) == ((2, 256), (2, 4, 128))


def test_parameters_of_the_full_network() -> None:
    """By hand: 6.963 M weights of the base, 3.443 M of the attention, classifiers 751 (256 + 512 +
    768), inter-attention 4 (128 + 1)."""
    with torch.device("meta"):
        model = AttentionDriven(AttentionDrivenConfig(ids=751))

    def convolutions(module: nn.Module) -> int:
        return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))

    assert convolutions(model.backbone) == 6_963_040
    assert convolutions(model) - convolutions(model.backbone) == 3_443_328
    counts = parameter_counts(model)
    assert counts["inter-attention"] == 516
    assert counts["prediction layers"] == 751 * (256 + 4 * 128 + 256 + 512) == 1_153_536
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["total"] == sum(n for name, n in counts.items() if name != "total")


def test_the_four_parts_are_four_networks() -> None:
    """One pass of groups is what four separate streams give, forward and backward."""
    torch.manual_seed(0)
    together = Stream(4, 8, (8, 8, 8, 8), (2, 1, 1, 1), (1, 2), 5).double()
    intra = nn.ModuleList(Intra(i, 4, 16, 8, True) for i in (2, 3, 4)).double()
    x = torch.randn(3, 32, 8, 16, dtype=torch.float64, requires_grad=True)
    E, masks = together(x, intra)
    weights = torch.randn_like(E)
    (E * weights).sum().backward()
    for part in range(4):
        alone = Stream(1, 8, (8, 8, 8, 8), (2, 1, 1, 1), (1, 2), 5).double()
        own = nn.ModuleList(Intra(i, 1, 16, 8, True) for i in (2, 3, 4)).double()
        copies = [(together, alone), (intra, own)]
        for source, target in copies:
            state = source.state_dict()
            target.load_state_dict({
                name: value if value.dim() == 0 else value.chunk(4)[part]
                for name, value in state.items()
            })  # fmt: skip
        mine = x.detach()[:, 8 * part : 8 * part + 8].clone().requires_grad_()
        expected, expected_masks = alone(mine, own)
        torch.testing.assert_close(E[:, part], expected[:, 0])
        for found, mask in zip(masks, expected_masks, strict=True):
            torch.testing.assert_close(found.chunk(4, 1)[part], mask)
        (expected * weights[:, part : part + 1]).sum().backward()
        torch.testing.assert_close(x.grad[:, 8 * part : 8 * part + 8], mine.grad)


def test_conv1_is_shared() -> None:
    model = tiny().eval()
    whole, parts = pictures(1)
    before = model.encode(whole, parts)
    with torch.no_grad():
        model.backbone.conv1.weight.mul_(-1)
    after = model.encode(whole, parts)
    assert not torch.allclose(before.E_g, after.E_g)
    assert not torch.isclose(before.E, after.E).all(2).any()


def test_a_convolution_that_normalizes() -> None:
    torch.manual_seed(0)
    for G, kernel, stride in ((1, 1, 2), (4, 3, 1), (2, 3, 2)):
        made, bn = conv(G, 3, 5, kernel, stride).double(), nn.BatchNorm2d(G * 5).double()
        x = torch.randn(2, 3 * G, 7, 6, dtype=torch.float64)
        torch.testing.assert_close(normalized(made, bn, x), nn.BatchNorm2d(5 * G).double()(made(x)))
        with torch.no_grad():
            for values in (bn.weight, bn.bias, bn.running_mean, bn.running_var):
                values.uniform_(0.2, 3)
        bn.eval()
        torch.testing.assert_close(normalized(made, bn, x), bn(made(x)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_spatial_times_channel(layout: torch.memory_format) -> None:
    S = torch.randn(2, 3, 5, 4).contiguous(memory_format=layout)
    C = torch.randn(2, 3 * 6, 1, 1)
    found = outer(S, C)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for b in range(2):
        for c in range(18):
            torch.testing.assert_close(found[b, c], S[b, c // 6] * C[b, c, 0, 0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_side_by_side(layout: torch.memory_format) -> None:
    x = torch.randn(6, 5, 4, 3).contiguous(memory_format=layout)
    y = side_by_side(x, 2)
    expected = torch.stack([torch.cat((x[2 * b], x[2 * b + 1])) for b in range(3)])
    assert y.is_contiguous(memory_format=layout) and torch.equal(y, expected)


def test_unit_is_a_bottleneck_with_a_projection_where_needed() -> None:
    assert Unit(1, 8, 4).projection is None
    assert Unit(1, 8, 4, stride=2).projection is not None
    assert Unit(1, 4, 4).projection is not None
    unit = Unit(1, 8, 4, stride=2)
    assert (unit.conv1.stride, unit.conv2.stride) == ((2, 2), (1, 1))
    with torch.no_grad():
        unit.bn3.weight.zero_()
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(unit(x), unit.projection(x).relu())
    assert Unit(1, 4, 4, shortcut=False).projection is None


# --- 3.3


def test_attention_of_zero_weights_is_one_half() -> None:
    """With a fuse convolution of zeros m = 1/2, and v = 1.5 a (Eq 7)."""
    model = tiny().eval()
    plain = tiny(intra=False).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for paths in (model.intra_whole, model.intra_parts):
            for path in paths:
                path.fuse.weight.zero_()
    whole, parts = pictures()
    masks = [m for of in model.masks(whole, parts) for m in of]
    assert len(masks) == 6 and all((m == 0.5).all() for m in masks)
    # The last block alone: its output is 1.5 times that of the plain one.
    last = model.intra_whole[:0]
    last.extend([_Nothing(), _Nothing()])
    last.append(model.intra_whole[2])
    found, _ = model.backbone.whole(model.backbone.conv1(whole), last)
    expected, _ = plain.backbone.whole(plain.backbone.conv1(whole), None)
    torch.testing.assert_close(found, 1.5 * expected)


class _Nothing(nn.Module):
    def forward(self, v: Tensor) -> Tensor:
        return v.new_zeros(1)


def test_attention_is_spatial_times_channel() -> None:
    """Before the last convolution and sigmoid, m is a product: of rank 1 in positions x channels;
    checked against a loop over Eq 6."""
    torch.manual_seed(0)
    path = Intra(3, 2, 6, 4, True).eval()  # two branches of 6 channels in, 8 out
    v = torch.randn(2, 12, 8, 6)
    A = path.encode_decode(v)
    assert A.shape == (2, 16, 4, 3)
    expected = torch.zeros_like(A)
    for b in range(2):
        for g in range(2):
            mine = A[b, 8 * g : 8 * g + 8]
            S = (path.spatial.weight[g, :, 0, 0, None, None] * mine).sum(0)
            C = path.channel.weight[8 * g : 8 * g + 8, :, 0, 0] @ mine.mean((1, 2))
            SC = C[:, None, None] * S
            fuse = path.fuse.weight[8 * g : 8 * g + 8, :, 0, 0]
            expected[b, 8 * g : 8 * g + 8] = torch.einsum("oc,chw->ohw", fuse, SC).sigmoid()
    torch.testing.assert_close(path(v), expected)


def test_pooling_two_one_and_one_times(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.nn.functional as F

    pooled: list[tuple[int, ...]] = []
    real = F.max_pool2d

    def counted(x: Tensor, *arguments: object, **more: object) -> Tensor:
        pooled.append(tuple(x.shape[2:]))
        return real(x, *arguments, **more)

    monkeypatch.setattr(F, "max_pool2d", counted)
    for i, v, m, times in ((2, (12, 6), (6, 3), 2), (3, (6, 3), (3, 2), 1), (4, (6, 3), (6, 3), 1)):
        pooled.clear()
        path = Intra(i, 1, 8, 8, True)
        assert path(torch.randn(2, 8, *v)).shape == (2, 16, *m)
        assert len(pooled) == times


def test_without_decomposition_every_position_has_channels_of_its_own() -> None:
    for decomposed in (True, False):
        path = tiny(decomposed=decomposed).eval().double().intra_whole[2]
        v = torch.randn(1, path.unit.conv1.in_channels, 4, 3, dtype=torch.float64)
        m = torch.logit(path(v))[0].flatten(1)  # (c, positions)
        assert (torch.linalg.matrix_rank(m, rtol=1e-9) == 1) == decomposed
    assert "full.weight" in dict(path.named_parameters())


def test_attention_begins_alive() -> None:
    """Masks differ between positions, and the attention has a share of the gradient."""
    model = tiny(width=0.5)
    whole, parts = pictures(8)
    masks = [m for of in model.masks(whole, parts) for m in of]
    assert min(float(m.detach().std((-2, -1)).mean()) for m in masks) > 0.01
    sum(model(whole, parts, torch.arange(8) % 5).values()).backward()
    norms = {
        name: torch.stack([p.grad.norm() for p in getattr(model, name).parameters()]).norm()
        for name in ("intra_whole", "intra_parts", "backbone")
    }
    assert min(norms["intra_whole"], norms["intra_parts"]) > 0.01 * norms["backbone"]


# --- 3.4


def test_inter_attention_of_zero_weights() -> None:
    """Zero weights: mu = 1/2, E_l = 1.5 [E_1 ... E_4] (Eq 8-9)."""
    inter = Inter(3)
    nn.init.zeros_(inter.w)
    E = torch.randn(2, 4, 3)
    torch.testing.assert_close(inter(E), 1.5 * E)
    with torch.no_grad():
        inter.w[2], inter.b[2] = torch.tensor([1.0, 0.0, -1.0]), 0.25
    E[0, 2] = torch.tensor([2.0, 7.0, 0.25])  # w E + b = 2
    assert inter.mu(E)[0, 2].item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert (inter.mu(E)[:, [0, 1, 3]] == 0.5).all()


def test_fused_features() -> None:
    features = Features(torch.randn(2, 12), torch.randn(2, 4, 6))
    plain = tiny(**VARIANTS["aligned"])
    torch.testing.assert_close(
        plain.fused(features), torch.cat((features.E_g, features.E.flatten(1)), 1)
    )
    fc = tiny(**VARIANTS["fc fusion"])
    assert fc.fused(features).shape == (2, 10)
    full = tiny()
    weighted = (1 + full.inter.mu(features.E))[:, :, None] * features.E
    torch.testing.assert_close(full.fused(features)[:, 12:], weighted.flatten(1))


def test_final_feature_gives_body_and_parts_the_same_weight() -> None:
    for variant in ("inter", "aligned"):
        model = tiny(**VARIANTS[variant])
        found = model.embeddings(Features(100 * torch.randn(2, 12), torch.randn(2, 4, 6)))
        assert tuple(found) == EVALUATIONS
        torch.testing.assert_close(found["global+part"][:, :12].norm(dim=1), torch.ones(2))
        torch.testing.assert_close(found["global+part"][:, 12:].norm(dim=1), torch.ones(2))
        for part in PARTS:
            torch.testing.assert_close(found[part].norm(dim=1), torch.ones(2))
    fc = tiny(**VARIANTS["fc fusion"])
    found = fc.embeddings(Features(torch.randn(2, 12), torch.randn(2, 4, 6)))
    assert found["global+part"].shape == (2, 10) and tuple(found) == EVALUATIONS


# --- 3.5


def test_loss_of_zero_predictions() -> None:
    """All five and the fused prediction at ln 751, lambda 1/2: (5/2 + 1) ln 751 = 23.17492."""
    model = tiny(ids=751)
    for name in ("predict_g", "predict_p", "predict"):
        nn.init.zeros_(getattr(model, name))
    terms = model(*pictures(2), torch.tensor([3, 750]))
    assert float(sum(terms.values())) == pytest.approx(3.5 * math.log(751))
    assert float(sum(terms.values())) == pytest.approx(23.17492, abs=1e-5)
    assert {name: round(float(term) / math.log(751), 4) for name, term in terms.items()} == {
        "intra": 2.5, "inter": 1.0,
    }  # fmt: skip


def test_loss_is_that_of_six_predictions() -> None:
    model = tiny(dropout=0.0, lambda_=0.3)
    for name in ("predict_g", "predict_p", "predict"):
        nn.init.normal_(getattr(model, name))
    features = Features(torch.randn(3, 12), torch.randn(3, 4, 6))
    labels = torch.tensor([0, 4, 2])
    single = [features.E_g @ model.predict_g[0]]
    single += [features.E[:, i] @ model.predict_p[i] for i in range(4)]

    def loss(logits: Tensor) -> Tensor:  # Eq 10, one image after the other
        rows = [row[k].exp() / row.exp().sum() for row, k in zip(logits, labels, strict=True)]
        return -torch.stack(rows).log().mean()

    terms = model.loss(features, labels)
    torch.testing.assert_close(terms["intra"], 0.3 * sum(map(loss, single)))
    torch.testing.assert_close(terms["inter"], loss(model.fused(features) @ model.predict[0]))


def test_lambda_0_trains_by_the_fused_loss_alone() -> None:
    model = tiny(lambda_=0.0)
    terms = model(*pictures(), torch.arange(3))
    assert float(terms["intra"]) == 0 and float(terms["inter"]) > 0
    sum(terms.values()).backward()
    assert (model.predict_p.grad == 0).all()
    assert (model.backbone.parts.FC_reduce.grad != 0).any()


def test_dropout_before_the_predictions_only() -> None:
    model = tiny()
    whole, parts = pictures()
    model.backbone.eval()
    assert torch.equal(model.encode(whole, parts).E, model.encode(whole, parts).E)
    losses = {float(model(whole, parts, torch.arange(3))["inter"].detach()) for _ in range(4)}
    assert len(losses) == 4
    model.eval()
    losses = {float(model(whole, parts, torch.arange(3))["inter"].detach()) for _ in range(4)}
    assert len(losses) == 1


# --- the rows of the tables


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains(name: str) -> None:
    model = tiny(**VARIANTS[name])
    terms = model(*pictures(), torch.arange(3))
    assert set(terms) == ({"intra"} if model.cfg.fusion == "concatenation" else {"intra", "inter"})
    sum(terms.values()).backward()
    without = [
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []


def test_rows_share_the_numbers_they_start_from() -> None:
    """Whatever two rows both have is the same under one seed, bit for bit."""
    states = {name: tiny(**changes).state_dict() for name, changes in VARIANTS.items()}
    for first, one in states.items():
        for second, other in states.items():
            for name in one.keys() & other.keys():
                same_shape = one[name].shape == other[name].shape
                assert not same_shape or torch.equal(one[name], other[name]), (first, second, name)
    assert states["aligned"].keys() == states["baseline"].keys()
    added = {
        name.partition(".")[0] for name in states["intra+inter"].keys() - states["inter"].keys()
    }
    assert added == {"intra_whole", "intra_parts"}
    added = {name.partition(".")[0] for name in states["inter"].keys() - states["aligned"].keys()}
    assert added == {"inter", "predict"}


def test_every_row_starts_from_the_base_of_a_pretraining() -> None:
    torch.manual_seed(5)
    cfg = AttentionDrivenConfig(**{"ids": 7, **TINY, **VARIANTS["baseline"]})
    pretrained = AttentionDriven(cfg).state_dict()
    for changes in VARIANTS.values():
        model = tiny(**changes)
        own = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_start(pretrained)
        for name, value in model.state_dict().items():
            base = name.startswith("backbone.")
            assert torch.equal(value, pretrained[name] if base else own[name]), name


def test_impossible_settings() -> None:
    good = AttentionDrivenConfig(ids=2)
    for changes in (
        {"fusion": "max"}, {"width": 0.0}, {"units": (1, 1, 1)}, {"units": (1, 1, 1, 0)},
        {"ids": 0}, {"E_p": 0}, {"beta": -1.0}, {"lambda_": -0.1}, {"dropout": 1.0},
        {"fusion": "concatenation", "lambda_": 0.0},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            replace(good, **changes)
