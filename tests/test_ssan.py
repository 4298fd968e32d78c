"""SSAN: parameter counts and loss values worked out by hand, and every step against plain loops."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from examples import differently_started
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage, Training
from reidlib.metrics.first_match import first_match_ranks
from reidlib.models import ssan
from reidlib.models.parts.codes import concatenate, fuse
from reidlib.models.parts.lstm import word_states
from reidlib.models.ssan import (
    MVNLN,
    SSAN,
    VARIANTS,
    Codes,
    PartConvs,
    SSANConfig,
    WeakCaptions,
    compound_ranking_losses,
    evaluations,
    parameter_counts,
    semi_hard,
    similarities,
    weakness,
    word_attention,
)
from reidlib.train import Compute, fit

SMALL = SSANConfig(
    ids=5, vocabulary=30, width=0.0625, depths=(1, 1, 1, 1), K=3, V=12, M=20, M_=8, N=10
)


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return SSAN(replace(SMALL, **changes))


def captions(lengths, vocabulary=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    tokens = torch.randint(1, vocabulary, (len(lengths), int(lengths.max())), generator=generator)
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 0
    return tokens, lengths


def batch(B=4, seed=0, size=(64, 32)):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(B, 3, *size, generator=generator)
    lengths = torch.randint(1, 9, (B,), generator=generator).tolist()
    return images, captions(lengths, seed=seed), captions(lengths[::-1], seed=seed + 1)


def labels_of(*labels):
    return torch.tensor(labels)


# ------------------------------------------------------------------ sizes


def on_meta(**settings):
    with torch.device("meta"):
        return SSAN(SSANConfig(vocabulary=5000, **settings))


def test_parameters_of_resnet50():
    counts = parameter_counts(on_meta(ids=11_000))
    assert counts == {
        "backbone": 23_508_032,
        "word embeddings": 5_120_000,
        "Bi-LSTM": 41_943_040,
        "W_g": 2_097_152,
        "W_l": 12_582_912,
        "word attention module": 12_288,
        "part relation learning": 12_595_200,
        "network": 97_858_624,
        "identity classifiers": 112_783_000,
        "total": 97_858_624 + 112_783_000,
    }


def test_parameters_of_other_data_and_vgg16():
    assert parameter_counts(on_meta(ids=3102))["identity classifiers"] == 31_804_806
    assert parameter_counts(on_meta(ids=10, backbone="vgg16"))["network"] == 40_297_280


def test_parameters_of_the_ablations():
    full = parameter_counts(on_meta(ids=10))

    def network(**settings):
        return parameter_counts(on_meta(ids=10, **settings))["network"]

    baseline = network(**VARIANTS["baseline"])
    assert baseline == 23_508_032 + 5_120_000 // 2 + 41_943_040 + 2_097_152
    assert network(**VARIANTS["cr"]) == baseline
    assert network(**VARIANTS["baseline"], shared=False) == baseline + 2_097_152
    pfl = full["network"] - full["part relation learning"]
    assert network(**VARIANTS["pfl"]) == pfl
    assert network(**VARIANTS["pfl+conv"]) == pfl + 6 * 1024 * 512
    assert network(**VARIANTS["pfl+prl"]) == network(**VARIANTS["ssan"]) == full["network"]
    # As printed: one embedding, no batch normalization in MV-NLN.
    assert network(reading="paper") == full["network"] - 2_560_000 - 6 * 2 * 1024


@pytest.mark.parametrize(
    ("name", "map_size"), [("resnet50", (2048, 12, 4)), ("vgg16", (512, 24, 8))]
)
def test_shapes_at_paper_size(name, map_size):
    model = on_meta(ids=10, backbone=name).eval()
    images = torch.empty(2, 3, 384, 128, device="meta")
    assert model.backbone(images).shape == (2, *map_size)
    codes = model.encode_images(images)
    assert [tuple(f.shape) for f in codes] == [(2, 1024), (2, 6, 1024), (2, 6, 512)]


@pytest.mark.parametrize("shared", [True, False])
def test_weights_survive_a_file(shared):
    model = network(shared=shared)
    restored = network(seed=1, shared=shared)
    restored.load_state_dict(safetensors.torch.load(safetensors.torch.save(model.state_dict())))
    for a, b in zip(model.state_dict().values(), restored.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_initialization():
    torch.manual_seed(0)
    assert PartConvs(6, 64, 512).weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.01)
    model = network(ids=400)
    assert model.id_l.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not model.id_l.bias.any()


def test_rows_start_alike_in_what_they_share():
    for reading in ("official", "paper"):
        rows = {v: network(reading=reading, **changes) for v, changes in VARIANTS.items()}
        assert differently_started(*rows.values(), network(reading=reading, shared=False)) == set()
        # The one table of the baseline is the first of two; the one layer of "conv" is in MV-NLN.
        own, both = (rows[v].W_e.weight for v in ("baseline", "ssan"))
        assert torch.equal(own, both[: len(own)])
        assert torch.equal(rows["pfl+conv"].prl.weight, rows["ssan"].prl.W_n.weight)
    assert network().W_e.weight.std().item() == pytest.approx(1, rel=0.1)
    assert network().W_e.weight.requires_grad


# ------------------------------------------------------------------ the text side


@pytest.mark.parametrize("reading", ["official", "paper"])
def test_text_features_equal_a_loop_over_captions_and_parts(reading):
    # max_tokens 6: the third caption fills all places, so no zero of an empty one enters there.
    model = network(reading=reading, max_tokens=6).double().eval()
    tokens, lengths = captions([4, 1, 6])
    codes = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        words = tokens[i, :n]

        def states(offset, words=words):
            h = model.lstm(model.W_e(words + offset))[0]
            return (h[:, : h.shape[1] // 2] + h[:, h.shape[1] // 2 :]) / 2

        official = reading == "official"
        E_g, E_l = states(0), states(30 if official else 0)
        top = E_g.max(0).values
        if official and n < 6:
            top = top.clamp_min(0)
        torch.testing.assert_close(codes.f_g[i], top @ model.W_g.weight[0])
        for k in range(3):
            s = torch.sigmoid(E_l @ model.W_p.weight[k])
            t_l = (s[:, None] * E_l).max(0).values @ model.W_l.weight[k]
            if official:
                t_l = torch.where(t_l > 0, t_l, 0.25 * t_l)
            torch.testing.assert_close(codes.f_l[i, k], t_l)


def test_a_caption_is_encoded_alone_as_in_a_batch():
    model = network().eval()
    tokens, lengths = captions([4, 8, 2])
    together = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = model.encode_text(tokens[i : i + 1, :n], lengths[i : i + 1])
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i])


def test_all_streams_are_read_in_one_pass(monkeypatch):
    calls = []

    def counted(lstm, x, batch_sizes):
        calls.append(int(batch_sizes[0]))
        return word_states(lstm, x, batch_sizes)

    monkeypatch.setattr(ssan, "word_states", counted)
    images, text, weak = batch()
    network()(images, *text, labels_of(0, 1, 2, 3), *weak)
    network(**VARIANTS["baseline"])(images, *text, labels_of(0, 1, 2, 3))
    assert calls == [4 * 4, 4]  # global and part embeddings of D and D'; the baseline's D alone


def test_word_attention_for_figures():
    model = network().eval()
    s = word_attention(model, *captions([4, 2]))
    assert s.shape == (2, 4, 3)
    assert ((s[0] > 0) & (s[0] < 1)).all()
    assert not s[1, 2:].any()
    torch.testing.assert_close(
        s[1:, :2], word_attention(model, captions([4, 2])[0][1:, :2], labels_of(2))
    )


# ------------------------------------------------------------------ the image side, relations


def test_image_features_equal_a_loop_over_parts():
    model = network().double().eval()
    images = torch.randn(2, 3, 192, 32, dtype=torch.float64)
    X = model.backbone(images)  # 6 rows: 2 in each of 3 parts
    codes = model.encode_images(images)
    torch.testing.assert_close(codes.f_g, X.amax((2, 3)) @ model.W_g.weight[0])
    for k in range(3):
        v_l = X[:, :, 2 * k : 2 * k + 2].amax((2, 3)) @ model.W_l.weight[k]
        assert (v_l < 0).any()
        torch.testing.assert_close(codes.f_l[:, k], torch.where(v_l > 0, v_l, 0.25 * v_l))


def test_leaky_relu_reaches_the_part_features_only_officially():
    v = torch.tensor([[[-1.0, 2.0]]])
    for reading, expected in (("official", -0.25), ("paper", -1.0)):
        model = network(reading=reading, prl="none", cr=False)
        assert model._codes(v[:, 0], v).f_l.flatten().tolist() == [expected, 2.0]


@pytest.mark.parametrize("reading", ["official", "paper"])
def test_mv_nln_equals_a_loop(reading):
    torch.manual_seed(0)
    model = MVNLN(replace(SMALL, reading=reading)).double().eval()
    v = torch.randn(2, 3, 20, dtype=torch.float64)
    official = reading == "official"

    def act(x):
        return torch.where(x > 0, x, 0.25 * x) if official else x

    if official:
        nn.init.normal_(model.norm.weight)
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
    out = model(v)
    for b in range(2):
        theta = [act(v[b, k] @ model.W_theta.weight[k]) for k in range(3)]
        phi = [act(v[b, k] @ model.W_phi.weight[k]) for k in range(3)]
        for k in range(3):
            others = [i for i in range(3) if i != k]
            cosine = [F.cosine_similarity(theta[k], phi[i], dim=0) for i in others]
            alpha = torch.stack(cosine).exp()
            alpha = alpha / alpha.sum()
            parts = [phi[i] / phi[i].norm() if official else phi[i] for i in others]
            v_lin = sum(a * p for a, p in zip(alpha, parts, strict=True)) @ model.W_gamma.weight[k]
            if official:
                norm, own = model.norm, slice(20 * k, 20 * k + 20)
                v_lin = (v_lin - norm.running_mean[own]) / (norm.running_var[own] + norm.eps).sqrt()
                v_lin = v_lin * norm.weight[own] + norm.bias[own]
            expected = (v[b, k] + act(v_lin)) @ model.W_n.weight[k]
            torch.testing.assert_close(out[b, k], expected)


def test_relations_of_identical_parts_are_uniform():
    torch.manual_seed(0)
    model = MVNLN(replace(SMALL, K=6))
    alpha, _ = model.relate(torch.randn(4, 6, 20))
    torch.testing.assert_close(alpha.sum(2), torch.ones(4, 6))
    assert not alpha.diagonal(dim1=1, dim2=2).any()
    with torch.no_grad():  # identical parts seen by identical views
        for convs in (model.W_theta, model.W_phi):
            convs.weight.copy_(convs.weight[:1].expand_as(convs.weight))
    alpha, _ = model.relate(torch.randn(4, 1, 20).expand(4, 6, 20))
    torch.testing.assert_close(alpha, (1 - torch.eye(6)).expand(4, 6, 6) / 5)


# ------------------------------------------------------------------ losses


TWO = torch.tensor([0, 1])


def test_cr_loss_by_hand():
    S = torch.tensor([[0.6, 0.5], [0.45, 0.9]])
    S_weak = torch.tensor([[0.45, 0.1], [0.4, 0.9]])
    # lambda = 0.75, alpha2 = 0.175: 0.1 + 0.05 + 0.1 (0.225 + 0.125)
    losses = compound_ranking_losses(S, S_weak, TWO, reading="paper")
    assert losses[0].item() == pytest.approx(0.185)
    assert weakness(S.diagonal(), S_weak.diagonal()).tolist() == pytest.approx([0.75, 1.0])
    # A fixed margin of 0.1: 0.1 + 0.05 + 0.1 (0.15 + 0.05)
    fixed = compound_ranking_losses(S, S_weak, TWO, alpha2=0.1, reading="paper")
    assert fixed[0].item() == pytest.approx(0.17)
    # Without weak terms: the ordinary ranking loss.
    assert compound_ranking_losses(S, None, TWO, reading="paper")[0].item() == pytest.approx(0.15)


def test_official_weak_negatives_are_captions_of_other_images():
    S = torch.tensor([[0.6, 0.3], [0.3, 0.6]])  # no strong term
    S_weak = torch.tensor([[0.5, 0.4], [0.2, 0.6]])
    margin = (0.5 / 0.6 + 1) * 0.1
    official = compound_ranking_losses(S, S_weak, TWO)
    assert official[0].item() == pytest.approx(0.1 * (margin - 0.5 + 0.4))  # D'_n
    paper = compound_ranking_losses(S, S_weak, TWO, reading="paper")
    assert paper[0].item() == pytest.approx(0.0)  # D_n: 0.183 - 0.5 + 0.3 < 0


@pytest.mark.parametrize(("ratio", "used"), [(0.59, False), (0.61, True)])
def test_official_loss_leaves_out_descriptions_that_are_too_weak(ratio, used):
    S = torch.tensor([[0.6, 0.0], [0.0, 0.6]])
    S_weak = torch.tensor([[0.6 * ratio, 0.6 * ratio - 0.05], [0.0, 0.6]])
    margin = (ratio + 1) * 0.1
    assert (margin < 0.16) is not used
    expected = 0.1 * (margin - 0.05) if used else 0.0
    assert compound_ranking_losses(S, S_weak, TWO)[0].item() == pytest.approx(expected, abs=1e-7)
    paper = compound_ranking_losses(S, S_weak, TWO, reading="paper")
    assert paper[0].item() == pytest.approx(max(0.0, 0.1 * (margin - 0.6 * ratio)), abs=1e-7)
    fixed = compound_ranking_losses(S, S_weak, TWO, alpha2=0.1)[0].item()
    assert fixed == pytest.approx(0.1 * 0.05)


def test_weakness_is_capped_and_takes_absolute_values_officially():
    positive, weak = torch.tensor([0.5, -0.5, 0.0]), torch.tensor([0.8, 0.25, 0.1])
    assert weakness(positive, weak).tolist() == [1.0, -0.5, 1.0]
    assert weakness(positive, weak, absolute=True).tolist() == [1.0, 0.5, 1.0]


SEMI_HARD = torch.tensor([[0.6, 0.55, 0.5], [0.3, 0.6, 0.5], [0.2, 0.4, 0.9]])


def test_semi_hard_negatives_by_hand():
    margin, other = torch.full((3,), 0.2), ~torch.eye(3, dtype=torch.bool)

    def candidates(S):
        hinge = S + (margin - S.diagonal())[:, None]
        return [row.nonzero().flatten().tolist() for row in semi_hard(hinge, margin, other)]

    assert candidates(SEMI_HARD) == [[1, 2], [2], []]
    assert candidates(SEMI_HARD.T) == [[], [0], []]


def test_semi_hard_negatives_are_drawn_evenly():
    torch.manual_seed(0)
    draws = torch.stack(
        [compound_ranking_losses(SEMI_HARD, None, torch.arange(3)) for _ in range(400)]
    )
    torch.testing.assert_close(draws[:, 1], torch.full((400,), 0.10 + 0.15))
    assert not draws[:, 2].any()
    first = (draws[:, 0] - 0.15).abs() < 1e-6  # negative 1; else negative 2
    torch.testing.assert_close(draws[~first, 0], torch.full((int((~first).sum()),), 0.10))
    assert 160 < first.sum() < 240


def test_the_same_person_is_never_a_negative():
    S = torch.tensor([[0.5, 0.49], [0.49, 0.5]])
    for reading in ("official", "paper"):
        losses = compound_ranking_losses(S, S, labels_of(3, 3), reading=reading)
        assert losses.tolist() == [0.0, 0.0]


def test_lambda_is_a_constant_for_the_gradient():
    S = torch.tensor([[0.6, 0.5], [0.45, 0.9]])
    S_weak = torch.tensor([[0.45, 0.1], [0.4, 0.9]], requires_grad=True)
    compound_ranking_losses(S, S_weak, TWO, reading="paper")[0].backward()
    torch.testing.assert_close(S_weak.grad, torch.tensor([[-0.2, 0.0], [0.1, 0.0]]))


def test_margin_of_the_first_epochs():
    model = network(fixed_epochs=2)
    adaptive = []
    for _ in range(3):
        model.begin_epoch()
        adaptive.append(model.adaptive)
    assert adaptive == [False, False, True]
    resumed = network(fixed_epochs=2)
    resumed.load_state_dict(model.state_dict())
    resumed.begin_epoch()
    assert resumed.adaptive
    printed = network(fixed_epochs=2, reading="paper")
    printed.begin_epoch()
    assert printed.adaptive


def test_weighted_losses_equal_a_loop_over_parts():
    model = network(reading="paper", cr=True).double()
    torch.manual_seed(0)
    shapes = ((4, 20), (4, 3, 20), (4, 3, 10))
    images, texts, weak = (
        Codes(*(torch.randn(s, dtype=torch.float64) for s in shapes)) for _ in range(3)
    )
    labels = labels_of(0, 1, 4, 2)
    nn.init.normal_(model.id_n.weight)
    terms = model.loss(images, texts, labels, weak)
    assert list(terms) == ["id_g", "rank_g", "id_l", "rank_l", "id_n", "rank_n"]
    for name, weight in (("g", 1.0), ("l", 0.5), ("n", 0.5)):
        v, t, d = (getattr(c, f"f_{name}").reshape(4, -1) for c in (images, texts, weak))
        classifiers = getattr(model, f"id_{name}")
        parts = len(classifiers.weight)
        total = 0
        for k in range(parts):
            for f in (v, t):
                logits = F.linear(
                    f.reshape(4, parts, -1)[:, k], classifiers.weight[k].T, classifiers.bias[k, 0]
                )
                total += F.cross_entropy(logits, labels) / parts
        torch.testing.assert_close(terms[f"id_{name}"], weight * total)
        S = F.cosine_similarity(v[:, None], t[None], dim=2)
        S_weak = F.cosine_similarity(v[:, None], d[None], dim=2)
        ranking = compound_ranking_losses(S, S_weak, labels, reading="paper").sum()
        torch.testing.assert_close(terms[f"rank_{name}"], (weight * ranking).float())


@pytest.mark.parametrize("reading", ["official", "paper"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_trains_all_its_parameters(variant, reading):
    model = network(reading=reading, **VARIANTS[variant])
    images, text, weak = batch()
    terms = model(images, *text, labels_of(0, 1, 1, 3), *weak)
    kinds = 1 + VARIANTS[variant]["pfl"] + (VARIANTS[variant]["prl"] != "none")
    assert len(terms) == 2 * kinds
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_batch_statistics_are_those_of_one_set_of_captions():
    """Official PRL normalizes images, D and D' apart: what D' is does not change D's features."""
    tokens, lengths = captions([4, 6, 3])
    features = []
    for other in (captions([2, 2, 5], seed=1), captions([7, 1, 1], seed=2)):
        model = network(dropout=0.0).train()
        features.append(model.encode_texts([(tokens, lengths), other])[0].f_n)
    torch.testing.assert_close(*features)


def test_cr_loss_without_weak_captions_is_an_error():
    images, text, _ = batch()
    with pytest.raises(UsageError, match="captions of other images"):
        network()(images, *text, labels_of(0, 1, 2, 3))


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "resnet18"},
        {"reading": "mine"},
        {"prl": "gcn"},
        {"pfl": False},
        {"K": 1},
        {"ids": 0},
    ],
)
def test_settings_are_checked(changes):
    with pytest.raises(UsageError, match="SSAN"):
        replace(SMALL, **changes)


# ------------------------------------------------------------------ D'


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=30))
def test_weak_captions_are_of_the_same_person_and_another_image(pairs):
    labels = torch.tensor([label for label, _ in pairs])
    image_of = torch.tensor([label * 3 + image for label, image in pairs])
    index = torch.arange(len(pairs))
    drawn = WeakCaptions.build(image_of, labels).draw(index, torch.Generator().manual_seed(0))
    for i, j in enumerate(drawn.tolist()):
        allowed = [
            a for a in range(len(pairs)) if labels[a] == labels[i] and image_of[a] != image_of[i]
        ]
        assert j in (allowed or [i])


def test_weak_captions_are_drawn_evenly():
    labels = torch.tensor([1, 0, 1, 1, 0, 1, 1])
    image_of = torch.tensor([7, 2, 9, 7, 3, 8, 9])
    weak = WeakCaptions.build(image_of, labels)
    drawn = weak.draw(torch.zeros(6000, dtype=torch.int64), torch.Generator().manual_seed(0))
    counts = drawn.bincount(minlength=7)
    assert counts[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]
    assert all(1850 < c < 2150 for c in counts[[2, 5, 6]].tolist())


# ------------------------------------------------------------------ scores, training


def test_scores_are_cosines_and_their_sum():
    torch.manual_seed(0)
    images, texts = (
        Codes(torch.randn(n, 4), torch.randn(n, 3, 4), torch.randn(n, 3, 2)) for n in (5, 2)
    )
    scores = similarities(images, texts)
    for name, t, v in zip(("Sg", "Sl", "Sn"), texts, images, strict=True):
        expected = F.cosine_similarity(t.flatten(1)[:, None], v.flatten(1)[None], dim=2)
        torch.testing.assert_close(scores[name], expected)
    names = list(evaluations(SMALL))
    assert names == ["Sg", "Sl", "Sn", "Sg+Sl", "Sg+Sl+Sn"]
    torch.testing.assert_close(
        fuse(scores, evaluations(SMALL)["Sg+Sl+Sn"]), scores["Sg"] + scores["Sl"] + scores["Sn"]
    )
    assert list(evaluations(replace(SMALL, **VARIANTS["cr"]))) == ["Sg"]
    parts = concatenate([Codes(*(f[:2] for f in images)), Codes(*(f[2:] for f in images))])
    torch.testing.assert_close(similarities(parts, texts), scores)


class Pairs:
    """Eight images of four people, a caption for each, as a split and as batches."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(8, 3, 64, 32, generator=generator)
        self.tokens, self.lengths = captions([5, 7, 3, 6, 4, 8, 5, 6])
        self.labels = torch.arange(8) // 2
        self.image_of = torch.arange(8)

    def batch(self, captions, weak):
        text, weak = ((self.tokens[rows], self.lengths[rows]) for rows in (captions, weak))
        return Batch(self.images[captions], text, self.labels[captions], weak)


class Batch(NamedTuple):
    images: torch.Tensor
    text: tuple[torch.Tensor, torch.Tensor]
    labels: torch.Tensor
    weak: tuple[torch.Tensor, torch.Tensor]


def train(model, pairs, epochs, **kwargs):
    training = Training(
        stages=(Stage("all", (1e-3,) * epochs),),
        batch_size=8,
        image_size=(64, 32),
        backbone_lr_factor=0.1,
    )
    return fit(
        model,
        lambda generator: (pairs.batch(*c) for c in ssan.draw(model, pairs, generator, 8)),
        lambda batch, stage: ssan.losses(model, batch, stage),
        training,
        seed=3,
        compute=Compute("cpu", 1),
        **kwargs,
    )


@pytest.mark.parametrize("reading", ["official", "paper"])
def test_it_learns_to_match(reading):
    pairs, model = Pairs(), network(ids=4, reading=reading)
    history = train(model, pairs, epochs=40)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    model.eval()
    with torch.no_grad():
        images = model.encode_images(pairs.images)
        texts = model.encode_text(pairs.tokens, pairs.lengths)
    ranks = first_match_ranks(
        fuse(similarities(images, texts), evaluations(model.cfg)["Sg+Sl+Sn"]),
        pairs.labels.numpy(),
        pairs.labels.numpy(),
    )
    assert np.mean(ranks == 1) > 0.8


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    pairs, whole = Pairs(), network(ids=4, fixed_epochs=1)
    train(whole, pairs, epochs=3)
    file = tmp_path / "state.pt"
    first = network(ids=4, fixed_epochs=1)
    train(first, pairs, epochs=2, checkpoint=file)
    second = network(seed=9, ids=4, fixed_epochs=1)
    train(second, pairs, epochs=3, checkpoint=file)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("reading", ["official", "paper"])
def test_cuda_equals_cpu(reading):
    model = network(reading=reading, dropout=0.0).eval()
    images, text, weak = batch()
    cpu = model.encode_images(images), model.encode_text(*text)
    model.cuda()
    on_gpu = [(t.cuda(), n) for t, n in (text, weak)]
    gpu = model.encode_images(images.cuda()), model.encode_text(*on_gpu[0])
    for name, scores in similarities(*gpu).items():
        torch.testing.assert_close(scores.cpu(), similarities(*cpu)[name], atol=1e-3, rtol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        terms = model.train()(images.cuda(), *on_gpu[0], labels_of(0, 1, 1, 3).cuda(), *on_gpu[1])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
