"""reidlib.models.gla: the numbers the paper implies, and every equation against a naive loop."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from examples import differently_started
from torch import nn

from reidlib.errors import DataError, UsageError
from reidlib.experiment import Stage, Training
from reidlib.losses import ranking_loss
from reidlib.models.gla import (
    GLA,
    METHODS,
    GLAConfig,
    bidirectional_ranking,
    length_groups,
    parameter_counts,
    phrase_heat_maps,
    phrase_owner,
    pool_neighbors,
    reconstruction_by_source,
    sample_pairs,
    text_to_image_scores,
    weighted_squares,
)
from reidlib.train import Compute, fit

PAPER = GLAConfig(ids=751, vocabulary=1000)
NARROW = GLAConfig(
    ids=5, vocabulary=30, width=0.125, depths=(1, 1, 1, 1), d=16, E=12, H=14, lambda_T=0.1
)


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return GLA(replace(NARROW, **changes))


def batch(seed=0, size=(64, 32), device="cpu"):
    """Eight tuples of four persons: arguments of `GLA.losses`."""
    generator = torch.Generator().manual_seed(seed)

    def words(*shape):
        return torch.randint(1, 30, shape, generator=generator)

    def padded(lengths, longest):
        rows = words(len(lengths), longest)
        return rows.masked_fill(torch.arange(longest) >= lengths[:, None], 0)

    labels = torch.arange(4).repeat_interleave(2)
    lengths = torch.tensor([3, 9, 1, 4, 7, 7, 2, 5])
    counts = torch.tensor([2, 1, 3, 1, 1, 2, 4, 1])
    phrase_lengths = torch.tensor([2, 3, 1, 4, 2, 2, 3, 1, 2, 3, 4, 1, 1, 2, 3])
    return {
        "images": torch.randn(8, 3, *size, generator=generator).to(device),
        "labels": labels.to(device),
        "tokens": padded(lengths, 9).to(device),
        "lengths": lengths,
        "phrases": padded(phrase_lengths, 4).to(device),
        "phrase_lengths": phrase_lengths,
        "phrase_offsets": F.pad(counts.cumsum(0), (1, 0)),
    }


def zero(*layers):
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


# ------------------------------------------------------------------ numbers of the paper


@pytest.mark.parametrize(("stride", "size"), [(1, (16, 8)), (2, (8, 4))])
def test_shapes_at_full_size(stride, size):
    with torch.device("meta"):
        model = GLA(replace(PAPER, last_stride=stride))
        images = torch.empty(2, 3, 256, 128)
        assert model.backbone(images).shape == (2, 2048, *size)
        visual = model.encode_images(images)
        assert visual.Psi.shape == (2, 256, *size)
        assert visual.psi_bar.shape == visual.phi.shape == (2, 256)
        half = (size[0] // 2, size[1] // 2)
        assert pool_neighbors(visual.Psi, 2).shape == (2, 256, *half)
        r, psi_hat = model.attend(visual.Psi, torch.empty(5, 256), torch.zeros(5).long())
        assert r.shape == (5, *half)
        assert psi_hat.shape == (5, 256)


def test_parameters_at_full_size():
    with torch.device("meta"):
        counts = parameter_counts(GLA(PAPER))
        baseline = parameter_counts(GLA(replace(PAPER, **METHODS["basel."])))
    assert counts["backbone"] == 23_508_032
    assert counts["1x1 convolution Psi"] == 524_544
    assert counts["projection phi"] == 65_792
    assert counts["image identity classifier"] == counts["text identity classifier"] == 192_256
    assert counts["relevance w_s"] == counts["attention w_r"] == 257
    assert sum(counts.values()) == 2 * counts["total"]
    assert baseline["total"] == 23_508_032 + 524_544 + 65_792 + 192_256
    assert sum(baseline.values()) == 2 * baseline["total"]


def test_relevance_without_weights_is_one_half():
    model = small()
    zero(model.w_s)
    psi_bar, theta_g = torch.randn(8, 16), torch.randn(8, 16)
    assert torch.equal(model.relevance_logits(psi_bar, theta_g).sigmoid(), torch.full((8, 8), 0.5))
    for labels in (torch.arange(8), torch.arange(4).repeat_interleave(2), torch.zeros(8).long()):
        loss = model.discriminative_loss(psi_bar, theta_g, labels)
        assert loss.item() == pytest.approx(0.693147, abs=1e-6)


def test_attention_without_weights_is_the_mean():
    model = small()
    zero(model.w_r)
    Psi = torch.randn(3, 16, 16, 8)
    owner = torch.tensor([0, 2, 2, 1])
    r, psi_hat = model.attend(Psi, torch.randn(4, 16), owner)
    assert torch.allclose(r, torch.full((4, 8, 4), 1 / 32))
    assert torch.allclose(psi_hat, Psi.mean((2, 3))[owner], atol=1e-6)


def test_uniform_decoder():
    """(M + 1) ln D: M = 3 words and the end, D = 1000 words."""
    model = small(vocabulary=1000)
    zero(model.W_oh, model.W_oe)
    phrases = torch.tensor([[7, 8, 9, 0, 0], [1, 2, 3, 4, 5]])
    nll = model.phrase_nll(torch.randn(2, 16), phrases, torch.tensor([3, 5]))
    assert nll[0].item() == pytest.approx(27.6310, abs=1e-4)
    assert nll[1].item() == pytest.approx(6 * math.log(1000), abs=1e-4)


def test_uniform_identity_classifier():
    model = small(ids=751, **METHODS["basel."])
    zero(model.W_I)
    terms = model.losses(**batch())
    assert list(terms) == ["L_I"]
    assert terms["L_I"].item() == pytest.approx(6.621406, abs=1e-5)


# ------------------------------------------------------------------ equations against loops


def test_representations():
    """Eq 1, and h_F of a description read word by word without padding."""
    model = small().eval()
    data = batch()
    visual = model.encode_images(data["images"])
    feature = model.backbone(data["images"])
    psi_k = torch.stack(
        [
            feature[:, :, y, x] @ model.conv_Psi.weight[:, :, 0, 0].T + model.conv_Psi.bias
            for y in range(feature.shape[2])
            for x in range(feature.shape[3])
        ]
    )
    assert torch.allclose(visual.psi_bar, psi_k.mean(0), atol=1e-5)
    assert torch.allclose(visual.phi, model.W_phi(psi_k.mean(0)), atol=1e-5)
    theta_g = model.encode_descriptions(data["tokens"], data["lengths"])
    theta_l = model.encode_phrases(data["phrases"], data["phrase_lengths"])
    for rows, lengths, theta, W in [
        (data["tokens"], data["lengths"], theta_g, model.W_g),
        (data["phrases"], data["phrase_lengths"], theta_l, model.W_l),
    ]:
        for row, length, expected in zip(rows, lengths, theta, strict=True):
            h = c = torch.zeros(1, 1, 14)
            for word in row[:length]:
                _, (h, c) = model.lstm(model.W_e(word.view(1, 1)), (h, c))
            assert torch.allclose(W(h[0, 0]), expected, atol=1e-5)


def test_relevance_of_all_pairs():
    """Eq 4 as three products, also where features are large and far from 0."""
    model = small()
    for scale, offset in [(1, 0), (3, 20)]:
        psi_bar, theta_g = (torch.randn(n, 16) * scale + offset for n in (7, 5))
        s = model.relevance_logits(psi_bar, theta_g).sigmoid()
        assert s.shape == (7, 5)
        for i in range(7):
            for j in range(5):
                varphi = (psi_bar[i] - theta_g[j]) * (psi_bar[i] - theta_g[j])
                logit = model.w_s(varphi)
                assert model.relevance_logits(psi_bar, theta_g)[i, j].item() == pytest.approx(
                    logit.item(), abs=1e-4 * scale**2
                )
                e = logit.double().exp()
                assert s[i, j].item() == pytest.approx((e / (1 + e)).item(), abs=1e-4 * scale**2)


def test_weighted_squares_precision():
    a, b, w = torch.randn(40, 16), torch.randn(30, 16), torch.randn(16)
    expected = ((a[:, None] - b).double().square() * w).sum(2)
    assert torch.allclose(weighted_squares(a, b, w).double(), expected, atol=1e-4)


def test_discriminative_loss():
    """Eq 5 over the pairs that are sampled under the same seed."""
    model = small()
    psi_bar, theta_g = torch.randn(16, 16), torch.randn(16, 16)
    labels = torch.arange(8).repeat_interleave(2)
    torch.manual_seed(5)
    loss = model.discriminative_loss(psi_bar, theta_g, labels)
    torch.manual_seed(5)
    positive, negative = sample_pairs(labels)
    total = count = 0
    for i in range(16):
        for j in range(16):
            if positive[i, j] or negative[i, j]:
                s = model.w_s((psi_bar[i] - theta_g[j]).square()).sigmoid().item()
                total -= math.log(s if labels[i] == labels[j] else 1 - s)
                count += 1
    assert count == 32 + 96
    assert loss.item() == pytest.approx(total / count, abs=1e-5)


def test_negative_pairs_are_uniform_over_other_persons():
    labels = torch.arange(8).repeat_interleave(2)
    seeded = torch.Generator().manual_seed(3)
    drawn = sum(sample_pairs(labels, generator=seeded)[1].double() for _ in range(3000)) / 3000
    other = labels[:, None] != labels
    # 6 of 14 descriptions; five standard deviations of a mean of 3000.
    assert (drawn[other] - 6 / 14).abs().max() < 5 * (6 / 14 * 8 / 14 / 3000) ** 0.5
    assert (drawn[~other] == 0).all()


def test_negative_pairs_run_out():
    positive, negative = sample_pairs(torch.tensor([0, 0, 0, 1]))
    assert positive.sum(1).tolist() == [3, 3, 3, 1]
    assert negative.sum(1).tolist() == [1, 1, 1, 3]


def naive_ranking(k, positive, negative, alpha):
    total = count = 0.0
    for i in range(len(k)):
        for p in range(len(k)):
            for j in range(len(k)):
                if positive[i, p] and negative[i, j]:
                    total += max(0, k[i, j] - k[i, p] + alpha)
                    count += 1
                if positive[i, p] and negative[p, j]:
                    total += max(0, k[j, p] - k[i, p] + alpha)
    return total / count


@pytest.mark.parametrize("variant", ["rank1", "rank2"])
def test_ranking_losses(variant):
    model = small(**METHODS[f"basel. + {variant}"])
    psi_bar, theta_g = torch.randn(16, 16), torch.randn(16, 16)
    labels = torch.arange(8).repeat_interleave(2)
    torch.manual_seed(6)
    loss = model.ranking_loss(psi_bar, theta_g, labels)
    torch.manual_seed(6)
    positive, negative = sample_pairs(labels)
    if variant == "rank1":
        positive, negative = torch.eye(16).bool(), ~torch.eye(16).bool()
    else:
        assert positive.sum() == 32
        assert (negative.sum(1) == 6).all()
    k = F.cosine_similarity(psi_bar[:, None], theta_g[None], dim=2).numpy()
    expected = naive_ranking(k, positive, negative, 0.2)
    assert expected > 0
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_rank1_is_the_ranking_loss_of_tuples():
    k = torch.randn(6, 6) / 4
    eye = torch.eye(6, dtype=torch.bool)
    loss = bidirectional_ranking(k, eye, ~eye, 0.2)
    assert torch.allclose(loss, ranking_loss(k, 0.2, reduction="sum") / 30)


def test_ranking_without_negatives_is_zero():
    everyone = torch.ones(3, 3, dtype=torch.bool)
    assert bidirectional_ranking(torch.randn(3, 3), everyone, ~everyone, 0.2) == 0


def test_attention():
    model = small()
    Psi = torch.randn(3, 16, 4, 6)
    theta_l, owner = torch.randn(4, 16), torch.tensor([1, 0, 2, 1])
    r, psi_hat = model.attend(Psi, theta_l, owner)
    assert r.shape == (4, 2, 3)
    for p in range(4):
        bins = [
            Psi[owner[p], :, y : y + 2, x : x + 2].mean((1, 2))
            for y in (0, 2)
            for x in (0, 2, 4)
        ]  # fmt: skip
        r_bar = torch.stack([model.w_r((psi - theta_l[p]) * (psi - theta_l[p])) for psi in bins])
        weights = r_bar[:, 0].exp() / r_bar.exp().sum()
        assert torch.allclose(r[p].flatten(), weights, atol=1e-6)
        expected = sum(w * psi for w, psi in zip(weights, bins, strict=True))
        assert torch.allclose(psi_hat[p], expected, atol=1e-5)


def test_reconstruction():
    """Eq 7, every phrase decoded on its own, step by step."""
    model = small()
    data = batch()
    Psi = torch.randn(8, 16, 4, 2)
    text = {name: data[name] for name in ("phrases", "phrase_lengths", "phrase_offsets")}
    loss = model.reconstruction_loss(Psi, **text)
    theta_l = model.encode_phrases(data["phrases"], data["phrase_lengths"])
    offsets = data["phrase_offsets"].tolist()
    total = 0.0
    for n in range(8):
        for number in range(offsets[n], offsets[n + 1]):
            _, psi_hat = model.attend(
                Psi[n : n + 1], theta_l[number : number + 1], torch.tensor([0])
            )
            length = int(data["phrase_lengths"][number])
            words = [0, *data["phrases"][number, :length].tolist(), 0]  # start, words, end
            _, state = model.decoder_lstm(psi_hat[:, None])
            for m in range(length + 1):
                e = model.decoder_W_e(torch.tensor([[words[m]]]))
                h, state = model.decoder_lstm(e, state)
                log_p = (model.W_oh(h) + model.W_oe(e)).log_softmax(2)[0, 0, words[m + 1]]
                total -= log_p.item() / (offsets[n + 1] - offsets[n]) / 8
    assert loss.item() == pytest.approx(total, abs=1e-4)
    shifted = text | {"phrase_offsets": text["phrase_offsets"] + 100}
    assert torch.equal(model.reconstruction_loss(Psi, **shifted), loss)
    assert phrase_owner(shifted["phrase_offsets"])[:4].tolist() == [0, 0, 1, 2]
    with pytest.raises(DataError, match="at least one phrase"):
        model.reconstruction_loss(Psi[:7], **text)


def test_padding_does_not_matter():
    model = small().eval()
    data = batch()
    wider = data | {
        "tokens": F.pad(data["tokens"], (0, 5)),
        "phrases": F.pad(data["phrases"], (0, 3)),
    }
    terms = []
    for arguments in (data, wider):
        torch.manual_seed(1)
        terms.append(model.losses(**arguments))
    for name, term in terms[0].items():
        assert torch.allclose(term, terms[1][name], atol=1e-6), name


# ------------------------------------------------------------------ the losses together


def test_methods_are_those_of_table_1():
    printed = {
        "basel.": ["L_I"],
        "basel. + rank1": ["L_I", "L_T", "L_rank"],
        "basel. + rank2": ["L_I", "L_T", "L_rank"],
        "basel. + GDA": ["L_I", "L_T", "L_dis"],
        "basel. + LRA": ["L_I", "L_rec"],
        "proposed": ["L_I", "L_T", "L_dis", "L_rec"],
    }
    assert list(METHODS) == list(printed)
    assert METHODS["proposed"].items() <= vars(PAPER).items()
    for name, terms in printed.items():
        model = small(**METHODS[name])
        assert list(model.losses(**batch())) == terms
        sum(model.losses(**batch()).values()).backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None]
        assert idle == [], f"{name} has parts that no loss reaches"


def test_weights_of_equation_8():
    """The sum of the terms is L; weights are those of the paper unless they are changed."""
    weights = {"lambda_T": 0.5, "lambda_dis": 2.0, "lambda_rec": 3.0}
    plain, weighted = small(), small(**weights)
    terms = []
    for model in (plain, weighted):
        torch.manual_seed(2)
        terms.append(model.losses(**batch()))
    assert torch.equal(terms[0]["L_I"], terms[1]["L_I"])
    for name, factor in [("L_T", 5), ("L_dis", 2), ("L_rec", 3)]:
        assert torch.allclose(factor * terms[0][name], terms[1][name])
    assert (PAPER.lambda_T, PAPER.lambda_dis, PAPER.lambda_rec) == (0.1, 1, 1)
    assert "L_T" not in small(lambda_T=0.0).losses(**batch())
    ranked = [
        small(**METHODS["basel. + rank1"], lambda_rank=weight).losses(**batch())["L_rank"]
        for weight in (1.0, 4.0)
    ]
    assert torch.allclose(4 * ranked[0], ranked[1])


def test_methods_start_alike_in_what_they_share():
    assert differently_started(*(small(**changes) for changes in METHODS.values())) == set()
    assert "W_phi.weight" in differently_started(small(), small(seed=1))


def test_training_lowers_every_loss_and_repeats_itself():
    data = batch(size=(32, 16))

    class Eight(dict):
        def __len__(self):
            return 8

    training = Training(
        stages=(Stage("all", (0.05,) * 2),),
        batch_size=8,
        image_size=(32, 16),
        optimizer="sgd",
        backbone_lr_factor=0.1,
    )
    histories = []
    for _ in range(2):
        model = small()
        histories.append(
            fit(
                model,
                lambda generator: [Eight(data)] * 10,
                lambda arguments, stage, model=model: model.losses(**arguments),
                training,
                seed=0,
                compute=Compute(),
            )
        )
    first, last = histories[0]
    for name in ("loss", "L_I", "L_T", "L_dis", "L_rec"):
        assert last[name] < first[name], name
        assert [r[name] for r in histories[0]] == [r[name] for r in histories[1]]


def test_half_precision():
    model = small()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.losses(**batch())
    sum(terms.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    full = model.losses(**batch())
    for name in ("L_I", "L_T", "L_rec"):
        assert terms[name].item() == pytest.approx(full[name].item(), rel=0.1)


@pytest.mark.parametrize(
    "changes",
    [{"last_stride": 2}, {"pool": 1}, {"pool": 9}, {"backbone": "vgg16", "depths": (1,) * 5}],
)
def test_other_members(changes):
    """Maps smaller than the pooling (64 x 32 images at stride 2 give 2 x 1 bins) included."""
    terms = small(**changes).losses(**batch())
    assert all(term.isfinite() for term in terms.values())


# ------------------------------------------------------------------ searching and figures


def test_reconstruction_by_source():
    """The own picture is that of the loss; without attention weights all bins are alike."""
    model, b = small(pool=1).eval(), batch()
    owner = phrase_owner(b["phrase_offsets"])
    phrases = b["phrases"], b["phrase_lengths"]
    found = reconstruction_by_source(model, b["images"], *phrases, owner)
    counts = b["phrase_offsets"].diff()
    expected = (found["own picture"] / counts[owner]).sum() / len(counts)
    loss = model.reconstruction_loss(
        model.encode_images(b["images"]).Psi, *phrases, b["phrase_offsets"]
    )
    torch.testing.assert_close(expected, loss.detach())
    moved = reconstruction_by_source(model, b["images"].roll(-1, 0), *phrases, owner)
    torch.testing.assert_close(found["another picture"], moved["own picture"])
    zero(model.w_r)
    found = reconstruction_by_source(model, b["images"], *phrases, owner)
    torch.testing.assert_close(found["own picture"], found["no attention"])


def test_text_to_image_scores():
    model = small()
    psi_bar, theta_g = torch.randn(7, 16), torch.randn(5, 16)
    scores = text_to_image_scores(model, psi_bar, theta_g)
    assert scores.shape == (5, 7)
    assert torch.equal(scores.T.sigmoid(), model.relevance_logits(psi_bar, theta_g).sigmoid())
    ranked = small(**METHODS["basel. + rank2"])
    cosines = F.cosine_similarity(theta_g[:, None], psi_bar[None], dim=2)
    assert torch.allclose(text_to_image_scores(ranked, psi_bar, theta_g), cosines, atol=1e-6)


def test_heat_maps():
    """With w_r = -1, the bin closest to the phrase gets the most attention."""
    model = small(pool=1).eval()
    data = batch()
    nn.init.constant_(model.w_r.weight, -50.0)
    Psi = model.encode_images(data["images"]).Psi  # (8, 16, 4, 2)
    owner = torch.tensor([3, 0])
    target = Psi[3, :, 2, 1]

    def encode(phrases, lengths):
        return torch.stack((target, target))

    model.encode_phrases = encode
    maps = phrase_heat_maps(
        model, data["images"], data["phrases"][:2], data["phrase_lengths"][:2], owner
    )
    assert maps.shape == (2, 64, 32)
    hottest = divmod(int(maps[0].argmax()), 32)
    assert 32 <= hottest[0] < 48
    assert 16 <= hottest[1] < 32
    assert not torch.allclose(maps[0], maps[1])
    assert (maps >= 0).all()
    assert maps.mean((1, 2)) == pytest.approx([1 / 8, 1 / 8], rel=0.3)


def test_bad_input():
    for changes, message in [
        ({"backbone": "alexnet"}, "resnet50 or vgg16"),
        ({"L_rank": "rank3"}, "none, rank1 or rank2"),
        ({"d": 0}, "d must be at least 1"),
        ({"lambda_rec": -1.0}, "lambda_rec must not be negative"),
    ]:
        with pytest.raises(UsageError, match=message):
            replace(NARROW, **changes)
    baseline = small(**METHODS["basel."])
    one = torch.ones(1, dtype=torch.int64)
    for call in (
        lambda: baseline.encode_descriptions(one[None], one),
        lambda: baseline.encode_phrases(one[None], one),
        lambda: baseline.relevance_logits(torch.ones(1, 16), torch.ones(1, 16)).sigmoid(),
        lambda: baseline.attend(torch.ones(1, 16, 2, 2), torch.ones(1, 16), one * 0),
        lambda: baseline.phrase_nll(torch.ones(1, 16), one[None], one),
    ):
        with pytest.raises(UsageError, match="this GLA"):
            call()
    with pytest.raises(DataError, match="without words"):
        small().encode_descriptions(one[None], one * 0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_equals_cpu():
    model = small().eval()
    on_cpu = model.losses(**batch())
    model.cuda()
    torch.backends.cudnn.allow_tf32 = False
    on_gpu = model.losses(**batch(device="cuda"))
    for name in ("L_I", "L_T", "L_rec"):  # L_dis samples other pairs
        assert on_gpu[name].item() == pytest.approx(on_cpu[name].item(), rel=1e-3)
    assert on_gpu["L_dis"].isfinite()
    with torch.autocast("cuda", torch.bfloat16):
        sum(model.train().losses(**batch(device="cuda")).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "lengths", [[3], [4, 4, 4], [2, 19, 3, 2, 1, 2, 18], [1, 50], list(range(30, 0, -1))]
)
def test_groups_of_rows_read_the_least_padding(lengths):
    groups = length_groups(torch.tensor(lengths))
    assert sorted(torch.cat([rows for rows, _ in groups]).tolist()) == list(range(len(lengths)))
    for rows, ends in groups:
        assert ends.tolist() == [lengths[row] for row in rows]
    read = sum(len(ends) * int(ends.max()) for _, ends in groups)
    ordered = sorted(lengths)
    cuts = [k * ordered[k - 1] + (len(ordered) - k) * ordered[-1] for k in range(len(ordered))]
    assert read == min(cuts)


def test_neither_grouping_nor_padding_changes_what_is_read():
    model = small().eval()
    lengths = torch.tensor([2, 9, 1, 3, 8, 2])
    tokens = torch.randint(1, 30, (6, 12), generator=torch.Generator().manual_seed(0))
    tokens = tokens.masked_fill(torch.arange(12) >= lengths[:, None], 0)
    together = model.encode_descriptions(tokens, lengths)
    nll = model.phrase_nll(torch.ones(6, NARROW.d), tokens, lengths)
    for row, length in enumerate(lengths):
        alone = tokens[row : row + 1, :length], lengths[row : row + 1]
        torch.testing.assert_close(model.encode_descriptions(*alone)[0], together[row])
        torch.testing.assert_close(model.phrase_nll(torch.ones(1, NARROW.d), *alone)[0], nll[row])
