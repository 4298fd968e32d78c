import numpy as np
import pytest
import torch
import torch.nn.functional as F
from examples import differently_started
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reidlib.errors import DataError, UsageError
from reidlib.metrics.first_match import NO_MATCH
from reidlib.models.imgnet import (
    EVALUATIONS,
    ImageCodes,
    IMGNet,
    IMGNetConfig,
    SelfAttention,
    TextCodes,
    attended_cosine,
    attention_maps,
    image_regions,
    kept_attention,
    pair_similarities,
    parameter_counts,
    phrase_regions,
    ranks_of_all_pairs,
    similarities,
    similarity_blocks,
    stripes,
)
from reidlib.models.parts.codes import concatenate

NARROW = {"ids": 7, "vocabulary": 30, "width": 0.125, "P": 32, "E": 12, "k": 3}
SMALL = {"vgg16": (1, 1, 1, 1, 1), "resnet50": (1, 1, 1, 1)}


def narrow(**changes) -> IMGNet:
    torch.manual_seed(0)
    backbone = changes.get("backbone", "vgg16")
    return IMGNet(IMGNetConfig(**{**NARROW, "depths": SMALL[backbone], **changes}))


def batch(size: int = 4) -> dict:
    """A training batch: captions of 3 to 9 words, 1 to 4 phrases of 1 to 3 words each."""
    g = torch.Generator().manual_seed(size)
    counts = torch.randint(1, 5, (size,), generator=g)
    offsets = F.pad(counts.cumsum(0), (1, 0))
    R = int(offsets[-1])
    return {
        "images": torch.randn(size, 3, 96, 32, generator=g),
        "tokens": torch.randint(2, 30, (size, 9), generator=g),
        "lengths": torch.randint(3, 10, (size,), generator=g),
        "phrases": torch.randint(2, 30, (R, 3), generator=g),
        "phrase_lengths": torch.randint(1, 4, (R,), generator=g),
        "phrase_offsets": offsets,
        "labels": torch.randint(0, 7, (size,), generator=g),
        "image_ids": torch.arange(size),
    }


def encode(model: IMGNet, b: dict) -> tuple[ImageCodes, TextCodes]:
    keys = ("tokens", "lengths", "phrases", "phrase_lengths", "phrase_offsets")
    return model.encode_images(b["images"]), model.encode_text(*(b[key] for key in keys))


def random_codes(seed: int, images: int, counts: list[int], k: int = 6, P: int = 16):
    g = torch.Generator().manual_seed(seed)
    offsets = F.pad(torch.tensor(counts).cumsum(0), (1, 0))
    shapes = [(images, P), (images, k, P), (len(counts), P), (sum(counts), P)]
    VG, MV, TS, MP = (torch.randn(s, generator=g) for s in shapes)
    MV *= torch.rand(images, k, 1, generator=g) * 3  # lengths matter in Eq 12
    return ImageCodes(VG, MV), TextCodes(TS, MP, offsets)


def naive_attended(M: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """V^L of one pair, Eq 11-12 (T^P, Eq 13-14), in double precision."""
    M, other = M.double(), other.double()
    alpha = torch.softmax(F.cosine_similarity(M, other[None], dim=1), 0)
    return sum(a * m for a, m in zip(alpha, M, strict=True) if a >= 1 / len(M) - 1e-6)


def naive_similarities(images: ImageCodes, texts: TextCodes) -> dict[str, torch.Tensor]:
    out = {name: torch.zeros(len(images.VG), len(texts.TS)).double() for name in ("GS", "LS", "GP")}
    for i in range(len(images.VG)):
        for j in range(len(texts.TS)):
            V, T = images.VG[i].double(), texts.TS[j].double()
            VL = naive_attended(images.MV[i], T)
            TP = naive_attended(texts.MP[texts.offsets[j] : texts.offsets[j + 1]], V)
            for name, a, b in (("GS", V, T), ("LS", VL, T), ("GP", V, TP)):
                out[name][i, j] = F.cosine_similarity(a, b, dim=0)
    return out


# ------------------------------------------------------------------ the paper's sizes


@pytest.mark.parametrize(
    ("backbone", "k", "expected"),
    [
        (
            "vgg16",
            6,
            {
                "backbone": 14_714_688,
                "channel attention": 32_768,
                "spatial attention": 10,
                "fuse convolution W_A": 262_144,
                "global branch": 3_152_896,
                "local 1x1 convolution": 131_072,
                "local branch": 329_472,
                "word embedding": 1_495_200,
                "bi-GRU": 2_500_608,
                "sentence branch": 1_051_648,
                "phrase branch": 2_101_248,
                "identity classifier": 11_271_168,
                "total": 37_042_922,
            },
        ),
        (
            "resnet50",
            8,
            {
                "backbone": 23_508_032,
                "channel attention": 524_288,
                "fuse convolution W_A": 4_194_304,
                "global branch": 16_811_008,
                "local 1x1 convolution": 2_097_152,
                "local branch": 2_101_248,
                "total": 67_655_914,
            },
        ),
    ],
)
def test_full_size(backbone, k, expected):
    cfg = IMGNetConfig(ids=11_003, vocabulary=4984, backbone=backbone, k=k)
    with torch.device("meta"):
        model = IMGNet(cfg)
        codes = model.encode_images(torch.empty(2, 3, 384, 128))
    counts = parameter_counts(model)
    assert {name: counts[name] for name in expected} == expected
    assert sum(counts.values()) == 2 * counts["total"]
    assert codes.VG.shape == (2, 1024)
    assert codes.MV.shape == (2, k, 1024)
    assert {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)} == {32}


# ------------------------------------------------------------------ 3.1 self-attention


@pytest.mark.parametrize(("channel", "spatial"), [(True, True), (True, False), (False, True)])
def test_attention_equals_the_printed_equations(channel, spatial):
    torch.manual_seed(1)
    cfg = IMGNetConfig(ids=2, vocabulary=4, channel=channel, spatial=spatial)
    attention = SelfAttention(32, cfg)
    X = torch.randn(3, 32, 6, 4)
    S, C = torch.ones(3, 1, 6, 4), torch.ones(3, 32, 1, 1)
    if channel:
        squeezed = X.mean((2, 3), keepdim=True)
        W1, W2 = (w.weight[:, :, None, None] for w in (attention.W_ex1, attention.W_ex2))
        C = F.conv2d(F.conv2d(squeezed, W1).relu(), W2).relu()
    if spatial:
        S = attention.conv_3x3(X.mean(1, keepdim=True))
        assert S.shape == (3, 1, 3, 2)
        S = F.interpolate(S, (6, 4), mode="bilinear", align_corners=False)
        S = attention.conv_1x1(S)
    expected = torch.sigmoid(F.conv2d(S * C, attention.W_A.weight[:, :, None, None]))
    torch.testing.assert_close(attention(X).expand_as(X), expected)


@pytest.mark.parametrize(("channel", "spatial"), [(True, True), (True, False), (False, True)])
def test_mask_is_half_without_weights(channel, spatial):
    model = narrow(channel=channel, spatial=spatial)
    nn.init.zeros_(model.self_attention.W_A.weight)
    images = batch()["images"]
    maps = model.attention(images)
    assert maps.shape == (4, 64, 6, 2)
    assert (maps == 0.5).all()
    assert (attention_maps(model, images) == torch.full((4, 6, 2), 0.5)).all()
    # X_atten = 1.5 X, and pooling is linear in a common factor.
    phi = stripes(1.5 * model.backbone(images), 3)
    VG = model.global_fc(model.global_norm(phi.flatten(1)))
    torch.testing.assert_close(model.encode_images(images).VG, VG)


def test_without_attention_the_module_is_left_out():
    model = narrow(channel=False, spatial=False)
    assert model.self_attention is None
    assert parameter_counts(model)["fuse convolution W_A"] == 0
    assert model.encode_images(batch()["images"]).VG.shape == (4, 32)
    with pytest.raises(UsageError, match="attention"):
        attention_maps(model, batch()["images"])


def test_rows_start_alike_in_what_they_share():
    """Tables 1, 2, 5 and 6: with and without attention, losses, stripes, BN and poolings."""
    rows = [
        narrow(channel=channel, spatial=spatial, **more)
        for channel in (True, False)
        for spatial in (True, False)
        for more in ({}, {"gs": False}, {"norm": "bn"}, {"pooling": "max"})
    ]
    assert differently_started(*rows) == set()
    # The range of a bias depends on the number of inputs, here on k.
    assert differently_started(*rows, narrow(k=2)) == {"global_fc.bias"}
    torch.manual_seed(1)
    assert "gru.weight_hh_l0" in differently_started(rows[0], IMGNet(rows[0].cfg))


# ------------------------------------------------------------------ 3.2 features


def test_stripes_by_hand():
    X = torch.arange(24.0).view(1, 1, 6, 4)
    assert stripes(X, 3, "avg").flatten().tolist() == [3.5, 11.5, 19.5]
    assert stripes(X, 3, "max").flatten().tolist() == [7, 15, 23]
    assert stripes(X, 3, "fused").flatten().tolist() == [10.5, 26.5, 42.5]


def test_stripes_that_do_not_divide_the_map():
    X = torch.randn(2, 5, 24, 8)
    pooled = stripes(X, 10, "avg")
    assert pooled.shape == (2, 10, 5)
    torch.testing.assert_close(pooled[:, 1], X[:, :, 2:5].mean((2, 3)))  # rows 2.4 to 4.8


def test_a_caption_without_phrases_is_an_error():
    with pytest.raises(DataError, match="without phrases"):
        phrase_regions(torch.zeros(2, 4), torch.tensor([0, 2, 2]))


def test_text_codes_equal_one_caption_at_a_time():
    model, b = narrow().eval(), batch()
    codes = encode(model, b)[1]

    def alone(words: torch.Tensor) -> torch.Tensor:
        _, h = model.gru(model.W_e(words)[None])
        return torch.cat((h[0], h[1]), 1)

    for i in range(4):
        e = alone(b["tokens"][i, : b["lengths"][i]])
        TS = model.sentence_fc(model.sentence_norm(e))
        torch.testing.assert_close(codes.TS[i : i + 1], TS)
    for r in range(len(b["phrases"])):
        e = alone(b["phrases"][r, : b["phrase_lengths"][r]])
        torch.testing.assert_close(codes.MP[r : r + 1], model.phrase_head(e))
    assert codes.offsets.tolist() == b["phrase_offsets"].tolist()


def test_padding_and_shifted_offsets_change_nothing():
    model, b = narrow().eval(), batch()
    expected = encode(model, b)[1]
    b["tokens"] = F.pad(b["tokens"], (0, 5), value=29)
    b["phrases"] = F.pad(b["phrases"], (0, 2), value=28)
    b["phrase_offsets"] = b["phrase_offsets"] + 100
    codes = encode(model, b)[1]
    assert torch.equal(codes.TS, expected.TS)
    assert torch.equal(codes.MP, expected.MP)
    assert torch.equal(codes.offsets, expected.offsets)


# ------------------------------------------------------------------ 3.3 hard-region attention

COSINES = torch.tensor([0.9, 0.5, 0.1, -0.2, 0.3, 0.0])


def test_attention_by_hand():
    expected = [0.293436, 0.196696, 0.131849, 0.097676, 0.161041, 0.119302]
    alpha = kept_attention(COSINES[None, :, None], 1e-9)[0, :, 0]
    assert alpha.tolist() == pytest.approx(expected, abs=1e-6)
    kept = kept_attention(COSINES[None, :, None], 1 / 6 - 1e-6)[0, :, 0]
    assert (kept > 0).tolist() == [True, True, False, False, False, False]
    assert kept.sum().item() == pytest.approx(0.490132, abs=1e-6)


def test_single_phrase_and_equal_scores_are_kept():
    assert kept_attention(torch.tensor([[[0.3]]]), 1 - 1e-6).item() == pytest.approx(1)
    for n in range(2, 17):
        alpha = kept_attention(torch.full((1, n, 1), 0.37), 1 / n - 1e-6)
        torch.testing.assert_close(alpha, torch.full((1, n, 1), 1 / n))


def test_padding_gets_no_attention():
    cosines = torch.stack((COSINES, COSINES))[:, :, None]
    real = torch.tensor([[1.0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])[:, :, None]
    floor = torch.tensor([1 / 3 - 1e-6, 1 / 6 - 1e-6])[:, None, None]
    alpha = kept_attention(cosines, floor, real)[:, :, 0]
    expected = torch.softmax(COSINES[:3], 0)
    assert alpha[0].tolist() == pytest.approx([expected[0].item(), 0, 0, 0, 0, 0], abs=1e-6)
    alone = kept_attention(COSINES[None, :, None], 1 / 6 - 1e-6)[0, :, 0]
    torch.testing.assert_close(alpha[1], alone)


def test_gradient_flows_through_what_is_kept():
    cosines = COSINES.double()[None, :, None].requires_grad_()
    floor = 1 / 6 - 1e-6
    alpha = torch.softmax(cosines, 1)
    (kept_attention(cosines, floor)[0, :, 0] * torch.arange(6.0)).sum().backward()
    ours = cosines.grad.clone()
    cosines.grad = None
    indicator = (alpha >= floor).double()  # a constant
    ((alpha * indicator)[0, :, 0] * torch.arange(6.0)).sum().backward()
    torch.testing.assert_close(ours, cosines.grad)
    assert (ours != 0).all()  # the dropped ones are in the denominator


def test_half_precision_codes_keep_equal_scores():
    one = torch.ones(1, 4, dtype=torch.bfloat16)
    images = ImageCodes(one, one.repeat(3, 1)[None])
    for counts in ([3, 1], [3, 3]):
        texts = TextCodes(
            one.repeat(2, 1),
            one.repeat(sum(counts), 1),
            F.pad(torch.tensor(counts).cumsum(0), (1, 0)),
        )
        for similarity in pair_similarities(images, texts).values():
            torch.testing.assert_close(similarity, torch.ones(1, 2))


def test_zero_vectors_are_no_nan():
    zero = ImageCodes(torch.zeros(2, 4), torch.zeros(2, 3, 4, requires_grad=True))
    texts = random_codes(0, 1, [2, 1], P=4)[1]
    similarities = pair_similarities(zero, texts)
    sum(s.sum() for s in similarities.values()).backward()
    assert all((s == 0).all() for s in similarities.values())
    assert torch.isfinite(zero.MV.grad).all()


# ------------------------------------------------------------------ 3.4 all pairs


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.lists(st.integers(1, 16), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_all_pairs_equal_a_loop(seed, images, counts, k):
    codes = random_codes(seed, images, counts, k)
    expected = naive_similarities(*codes)
    for name, similarity in pair_similarities(*codes).items():
        torch.testing.assert_close(similarity.double(), expected[name], rtol=0, atol=1e-5)


@pytest.fixture
def threads(request):
    """Runs a test with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3], indirect=True)
@pytest.mark.parametrize(("captions_per_block", "tile"), [(512, 128), (7, 3), (1, 1), (40, 2)])
def test_blocks_equal_all_pairs_at_once(captions_per_block, tile, threads):
    counts = [1 + (i * 7) % 16 for i in range(23)]
    images, texts = random_codes(3, 11, counts, P=64)
    expected = pair_similarities(images, texts)
    seen = []
    for block, part in similarity_blocks(images, texts, 1e-6, captions_per_block, tile):
        assert len(block) <= captions_per_block
        seen += block.tolist()
        for name, similarity in part.items():
            torch.testing.assert_close(similarity, expected[name].T[block], rtol=0, atol=1e-5)
    assert sorted(seen) == list(range(23))
    for name, similarity in similarities(images, texts).items():
        torch.testing.assert_close(similarity, expected[name].T, rtol=0, atol=1e-5)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_blocks_of_codes_made_in_any_mode(threads):
    b = batch()
    expected = pair_similarities(*encode(narrow(), b))
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            codes = encode(narrow(), b)
            for rows, part in similarity_blocks(*codes):
                for name, similarity in part.items():
                    assert not similarity.requires_grad
                    torch.testing.assert_close(similarity, expected[name].T[rows].detach())


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_an_error_in_a_tile_is_raised(threads):
    images, texts = random_codes(0, 3, [2, 0, 1])
    with pytest.raises(DataError, match="without phrases"):
        list(similarity_blocks(images, texts))
    assert torch.get_num_threads() == threads


def test_gradients_of_all_pairs_equal_a_loop():
    images, texts = random_codes(5, 3, [2, 4, 1], k=4, P=8)
    leaves = [images.VG, images.MV, texts.TS, texts.MP]
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    gradients = []
    for of_all_pairs in (pair_similarities, naive_similarities):
        for leaf in leaves:
            leaf.requires_grad_().grad = None
        (sum(of_all_pairs(images, texts).values()) * weight).sum().backward()
        gradients.append([leaf.grad.clone() for leaf in leaves])
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_attended_cosine_weighs_by_length():
    MV = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])  # one image; both stripes at 45 degrees to T
    T = F.normalize(torch.tensor([[1.0, 1.0]]))
    similarity = attended_cosine(image_regions(MV), T)
    assert similarity.item() == pytest.approx(4 / (10**0.5 * 2**0.5))


def test_ranks_of_all_pairs_equal_a_loop():
    counts = [1 + i % 5 for i in range(14)]
    images, texts = random_codes(11, 9, counts, P=8)
    query_pids, gallery_pids = np.arange(14) % 6, np.arange(9) % 5  # pid 5 has no image
    scores = naive_similarities(images, texts)
    ranks = ranks_of_all_pairs(images, texts, query_pids, gallery_pids)
    assert list(ranks) == ["GS", "LS", "GP", "GS+LS", "GS+GP", "LS+GP", "GS+LS+GP"]
    for name, weights in EVALUATIONS.items():
        fused = sum(weight * scores[key] for key, weight in weights.items()).T
        for j in range(14):
            correct = gallery_pids == query_pids[j]
            row = fused[j].numpy()
            best = row[correct].max() if correct.any() else -np.inf
            expected = 1 + (row[~correct] >= best).sum() if correct.any() else NO_MATCH
            assert ranks[name][j] == expected
        assert ranks[name].dtype == np.int32
    with pytest.raises(UsageError, match="query pids"):
        ranks_of_all_pairs(images, texts, query_pids[:3], gallery_pids)


def test_fusion_has_the_weights_of_eq_18():
    assert EVALUATIONS["GS+LS+GP"] == {"GS": 1.0, "LS": 0.5, "GP": 0.5}
    for name, weights in EVALUATIONS.items():  # a part keeps the weights of the whole
        assert list(weights) == name.split("+")
        assert weights.items() <= EVALUATIONS["GS+LS+GP"].items()


def test_codes_of_batches_join():
    images, _ = random_codes(2, 6, [2, 1, 3, 2, 2])
    joined = concatenate([ImageCodes(*(t[i : i + 2] for t in images)) for i in (0, 2, 4)])
    assert all(torch.equal(a, b) for a, b in zip(joined, images, strict=True))
    only_global = concatenate([ImageCodes(images.VG, None)] * 2)
    assert only_global.MV is None


# ------------------------------------------------------------------ 3.5-3.6 losses and stages


def test_loss_terms_by_stage_and_flag():
    b = batch()
    model = narrow()
    terms = model(**b)
    assert list(terms) == ["id_v", "id_t", "rank_gs", "rank_ls", "rank_gp"]
    assert list(narrow(gs=False, gp=False)(**b)) == ["id_v", "id_t", "rank_ls"]
    assert list(model(**b, ranking=False)) == ["id_v", "id_t"]
    # What a loss does not need is not run, and what is run does not depend on it.
    torch.testing.assert_close(model(**b, ranking=False)["id_t"], terms["id_t"])


def test_loss_follows_the_equations():
    b, model = batch(), narrow(norm="bn").eval()
    b["image_ids"] = torch.tensor([5, 9, 5, 7])  # captions 0 and 2 are of one image
    b["labels"] = torch.tensor([1, 2, 1, 1])  # image 7 shows the same person: still a negative
    images, texts = encode(model, b)
    terms = model.loss(images, texts, b["labels"], b["image_ids"])
    logits = F.batch_norm(images.VG, torch.zeros(32), torch.ones(32)) @ model.W_ID.weight.T
    log_p = torch.log_softmax(logits, 1)
    expected = -sum(log_p[i, label] for i, label in enumerate(b["labels"])) / 4
    assert terms["id_v"].item() == pytest.approx(expected.item(), rel=1e-5)
    for name, s in naive_similarities(images, texts).items():
        total = 0.0
        for i in range(4):
            for j in range(4):
                if b["image_ids"][i] != b["image_ids"][j]:
                    total += max(0.0, 0.2 - s[i, i].item() + s[i, j].item())
                    total += max(0.0, 0.2 - s[i, i].item() + s[j, i].item())
        assert terms[f"rank_{name.lower()}"].item() == pytest.approx(total / 4, abs=1e-5)
    summed = narrow(norm="bn", reduction="sum").eval()
    summed.load_state_dict(model.state_dict())
    sums = summed.loss(images, texts, b["labels"], b["image_ids"])
    assert sums["rank_ls"].item() == pytest.approx(4 * terms["rank_ls"].item(), rel=1e-5)


def test_stage_1_trains_what_the_identity_losses_reach():
    model = narrow(backbone="resnet50")
    model.backbone.requires_grad_(False)
    sum(model(**batch(), ranking=False).values()).backward()
    reached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {
        "self_attention",
        "global_norm",
        "global_fc",
        "W_e",
        "gru",
        "sentence_norm",
        "sentence_fc",
        "id_norm_v",
        "id_norm_t",
        "W_ID",
    }
    model.backbone.requires_grad_(True)
    sum(model(**batch()).values()).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "resnet50"},
        {"norm": "bn"},
        {"norm_in_attention": "gn"},
        {"norm_in_attention": "bn"},
        {"pooling": "avg"},
        {"pooling": "max"},
        {"channel": False},
        {"spatial": False},
        {"k": 4},
    ],
)
def test_every_variant_trains(changes):
    model, b = narrow(**changes), batch()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = sum(model(**b).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_runs_are_bit_identical():
    results = []
    for _ in range(2):
        model = narrow()
        sum(model(**batch()).values()).backward()
        results.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_half_precision_leaves_the_similarities_in_full():
    model, b = narrow(), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images, texts = encode(model, b)
        similarities = model.pair_similarities(images, texts)
        loss = sum(model.loss(images, texts, b["labels"], b["image_ids"]).values())
    assert all(s.dtype == torch.float32 for s in similarities.values())
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "median"},
        {"norm": "ln"},
        {"P": 33},
        {"k": 0},
        {"backbone": "vgg19"},
        {"tolerance": 0.1},
    ],
)
def test_bad_settings(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        IMGNetConfig(**{**NARROW, **change})


# ------------------------------------------------------------------ CUDA

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.mark.cuda
@on_cuda
def test_cuda_equals_cpu():
    model, b = narrow().double(), batch()
    b["images"] = b["images"].double()
    expected = model(**b)
    sum(expected.values()).backward()
    gradient = model.W_e.weight.grad.clone()
    model.zero_grad()
    model.cuda()
    moved = {k: v.cuda() if k in ("images", "labels", "image_ids") else v for k, v in b.items()}
    terms = model(**moved)
    sum(terms.values()).backward()
    for name, term in terms.items():
        torch.testing.assert_close(term.cpu(), expected[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.W_e.weight.grad.cpu(), gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
@on_cuda
def test_scoring_on_cuda_equals_cpu():
    counts = [1 + (i * 7) % 16 for i in range(70)]
    images, texts = random_codes(3, 50, counts, P=64)
    there = (
        ImageCodes(images.VG.cuda(), images.MV.cuda()),
        TextCodes(texts.TS.cuda(), texts.MP.cuda(), texts.offsets),
    )
    expected = pair_similarities(images, texts)
    for block, part in similarity_blocks(*there, 1e-6, 16, 8):
        for name, similarity in part.items():
            ours = similarity.cpu()
            torch.testing.assert_close(ours, expected[name].T[block], rtol=0, atol=1e-5)
    pids, gallery = np.arange(70) % 20, np.arange(50) % 20
    ranks, ranks_there = (
        ranks_of_all_pairs(images, texts, pids, gallery),
        ranks_of_all_pairs(*there, pids, gallery),
    )
    for name in EVALUATIONS:
        assert (ranks[name] == ranks_there[name]).mean() > 0.95  # rounding may swap neighbors
