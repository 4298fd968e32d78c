"""The compared text-to-image methods against numbers worked out by hand and against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

from reidlib.errors import DataError, UsageError
from reidlib.models.compared import cmpm, dual_path, mia, scan, vitaa
from reidlib.models.parts.codes import GlobalCodes, concatenate

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def captions(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    tokens = torch.randint(1, 30, (len(lengths), int(lengths.max())), generator=generator)
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 0
    return tokens, lengths


def images(B=4, size=(64, 32)):
    return torch.randn(B, 3, *size, generator=torch.Generator().manual_seed(0))


def phrases():
    """1, 3, 2 and 12 noun phrases of 4 captions; some are longer than MIA's 6 words."""
    offsets = torch.tensor([0, 1, 4, 6, 18])
    return (*captions([3, 8, 1, 2, 7, 2, *([2, 3] * 6)], seed=1), offsets)


def scan_model():
    return scan.SCAN(scan.SCANConfig(**NARROW, K=3, V=12, M=20))


def mia_model(**changes):
    return mia.MIA(mia.MIAConfig(**NARROW, k=3, E=12, P=20, part=8, **changes))


def dual_path_model():
    return dual_path.DualPath(dual_path.DualPathConfig(**NARROW, V=12, text_units=(2, 2, 1, 1)))


def cmpm_model(**changes):
    return cmpm.CMPM(cmpm.CMPMConfig(**NARROW, V=12, H=10, P=16, **changes))


def vitaa_model():
    return vitaa.ViTAA(vitaa.ViTAAConfig(**NARROW, V=12, H=10, P=16))


def masks(B=4):
    return torch.randint(0, 6, (B, 64, 32), generator=torch.Generator().manual_seed(0)).byte()


# What each method takes beside images and captions: for encoding text, and for its losses.
METHODS = {
    "scan": (scan, scan_model, lambda: (), lambda: ()),
    "mia": (mia, mia_model, phrases, lambda: ()),
    "dual_path": (dual_path, dual_path_model, lambda: (), lambda: ()),
    "cmpm": (cmpm, cmpm_model, lambda: (), lambda: ()),
    "vitaa": (vitaa, vitaa_model, lambda: (), lambda: (masks(),)),
}


def build(name):
    torch.manual_seed(0)
    module, make, text, extra = METHODS[name]
    return module, make(), text(), extra()


@pytest.mark.parametrize("name", list(METHODS))
def test_every_parameter_is_trained(name):
    _, model, text, extra = build(name)
    terms = model(images(), *captions([4, 6, 3, 5]), *text, LABELS, *extra)
    assert all(term.dim() == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    assert isinstance(model.backbone, nn.Module)


@pytest.mark.parametrize("name", list(METHODS))
def test_it_learns_to_match(name):
    """Thirty steps on one batch bring every matched pair's score above the others'."""
    module, model, text, extra = build(name)
    labels, words = torch.arange(4), captions([4, 6, 3, 5])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        terms = model.train()(images(), *words, *text, labels, *extra)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():  # batch statistics of the batch itself: few steps have set the others
        codes = model.encode_images(images()), model.encode_text(*words, *text)
    scores = module.similarities(*codes)
    whole = list(module.EVALUATIONS.values())[-1]
    total = sum(weight * scores[name] for name, weight in whole.items())
    assert total.argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", list(METHODS))
def test_codes_do_not_depend_on_the_batch(name):
    """In the test stage, one at a time and all at once give the same scores."""
    module, model, text, _ = build(name)
    model.eval()
    tokens, lengths = captions([4, 6, 3, 5])
    pictures = images()
    with torch.no_grad():
        together = module.similarities(
            model.encode_images(pictures), model.encode_text(tokens, lengths, *text)
        )
        alone = []
        for i, n in enumerate(lengths.tolist()):
            own = ()
            if text:
                rows = slice(int(text[2][i]), int(text[2][i + 1]))
                own = (text[0][rows], text[1][rows], text[2][i : i + 2])
            alone.append(model.encode_text(tokens[i : i + 1, :n], lengths[i : i + 1], *own))
        singles = [model.encode_images(pictures[i : i + 1]) for i in range(4)]
        apart = module.similarities(concatenate(singles), concatenate(alone))
    assert set(together) == {s for e in module.EVALUATIONS.values() for s in e}
    for key, scores in together.items():
        assert scores.shape == (4, 4)
        torch.testing.assert_close(apart[key], scores)


# ------------------------------------------------------------------ SCAN


def scan_text(words, real=None):
    real = torch.ones(words.shape[:2], dtype=torch.bool) if real is None else real
    return scan.TextCodes(torch.zeros(len(words), 2), words, real)


def test_scan_of_orthonormal_parts_and_words():
    eye = torch.eye(2)[None]
    alpha = scan.attention(eye, torch.tensor(True))
    w = math.exp(4) / (math.exp(4) + 1)  # 0.982
    torch.testing.assert_close(alpha, torch.tensor([[[w, 1 - w], [1 - w, w]]]))
    score = scan.attended_cosines(eye, scan_text(eye))
    assert score.item() == pytest.approx(w / math.hypot(w, 1 - w))
    assert score.item() == pytest.approx(0.9998, abs=5e-5)
    torch.testing.assert_close(scan.attended_words(eye, scan_text(3 * eye)), 3 * alpha)


def test_scan_equals_a_loop_over_pairs_and_parts():
    torch.manual_seed(0)
    parts, words = torch.randn(3, 2, 5), torch.randn(4, 6, 5)
    lengths = torch.tensor([6, 2, 4, 1])
    text = scan_text(words, torch.arange(6) < lengths[:, None])
    scores = scan.attended_cosines(parts, text)
    for i in range(3):
        for j, n in enumerate(lengths.tolist()):
            v, w = F.normalize(parts[i], dim=1), F.normalize(words[j, :n], dim=1)
            s = F.leaky_relu(v @ w.T, 0.1)
            s = s / s.norm(dim=0, keepdim=True)  # over the parts, for every word
            context = (4 * s).softmax(1) @ w
            expected = F.cosine_similarity(v, context, dim=1).mean()
            torch.testing.assert_close(scores[i, j], expected)


def test_scan_weights():
    torch.manual_seed(0)
    model = scan_model()
    codes = scan.ImageCodes(torch.randn(4, 20), torch.randn(4, 3, 20))
    text = scan.TextCodes(torch.randn(4, 20), torch.randn(4, 5, 20), torch.ones(4, 5) > 0)
    terms = model.loss(codes, text, LABELS)
    assert list(terms) == ["id_g", "rank_g", "id_l", "rank_l"]
    # Fresh classifiers (0.001 wide) find all 4 people about equally likely.
    assert terms["id_g"].item() == pytest.approx(2 * math.log(4), rel=0.01)
    assert terms["id_l"].item() == pytest.approx(math.log(4), rel=0.01)


# ------------------------------------------------------------------ MIA


def test_mia_attention_by_hand():
    parts, whole = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[3.0, 0.0]])
    a = math.e / (math.e + 1)  # cosines 1 and 0
    expected = torch.tensor([[2 * a, 1 - a]])
    torch.testing.assert_close(mia.attended(parts, whole), expected)
    score = mia.attended_cosines(parts, whole)
    assert score.item() == pytest.approx(2 * a / math.hypot(2 * a, 1 - a))


def test_mia_scores_equal_the_weighted_sums_of_all_pairs():
    torch.manual_seed(0)
    parts, whole = torch.randn(3, 4, 5), torch.randn(2, 5)
    real = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]]) > 0
    scores = mia.attended_cosines(parts, whole, real)
    for i in range(3):
        for j in range(2):
            one = mia.attended(parts[i : i + 1][:, real[i]], whole[j : j + 1])
            torch.testing.assert_close(scores[i, j], F.cosine_similarity(one, whole[j : j + 1])[0])


def test_mia_triplets_by_hand():
    """Both captions are (1, 0): a caption's negatives are captions, not images."""
    model = mia_model()
    one, two = torch.zeros(2, 20), torch.zeros(2, 20)
    one[0, 0] = one[1, 1] = 1.0  # images
    two[:, 0] = 1.0  # captions
    codes = mia.ImageCodes(one, one[:, None].expand(2, 3, 20))
    text = mia.TextCodes(two, two[:, None], torch.ones(2, 1) > 0)
    terms = model.loss(codes, text, torch.tensor([0, 1]))
    # S = [[1, 1], [0, 0]]: image 0: .2, image 1: .2; caption 0: 0, caption 1: 1.2. Parts likewise.
    for name in ("rank_g", "rank_l", "rank_p"):
        assert terms[name].item() == pytest.approx((0.2 + 0.2 + 0.0 + 1.2) / 2)
    same = model.loss(codes, text, torch.tensor([1, 1]))
    assert same["rank_g"].item() == 0.0


def test_mia_reads_at_most_ten_phrases_of_six_words():
    rows, real = mia.first_phrases(torch.tensor([0, 2, 14]), 10)
    assert real.sum(1).tolist() == [2, 10]
    assert rows[0, :2].tolist() == [0, 1]
    assert rows[1].tolist() == list(range(2, 12))
    torch.manual_seed(0)
    model = mia_model().eval()
    tokens, lengths, offsets = phrases()
    codes = model.encode_text(*captions([4, 6, 3, 5]), tokens, lengths, offsets)
    assert codes.real.sum(1).tolist() == [1, 3, 2, 10]
    changed = tokens.clone()
    changed[1, 6:8] = 29  # words 7 and 8 of a phrase
    changed[16:, 0] = 29  # phrases 11 and 12 of a caption
    again = model.encode_text(*captions([4, 6, 3, 5]), changed, lengths, offsets)
    assert torch.equal(codes.f_p, again.f_p)
    changed[1, 0] = 29 if tokens[1, 0] != 29 else 28
    other = model.encode_text(*captions([4, 6, 3, 5]), changed, lengths, offsets)
    assert not torch.equal(codes.f_p[1, 0], other.f_p[1, 0])


def test_mia_score_is_global_and_half_of_the_others():
    assert mia.EVALUATIONS["Sg+Sl+Sp"] == {"Sg": 1.0, "Sl": 0.5, "Sp": 0.5}


# ------------------------------------------------------------------ Dual Path


@pytest.mark.parametrize(
    ("make", "terms"), [(mia_model, ["id_v", "id_t"]), (dual_path_model, ["id_v", "id_t"])]
)
def test_first_stage_is_identity_only(make, terms):
    model = make().train()
    text = phrases() if make is mia_model else ()
    losses = model(images(), *captions([4, 6, 3, 5]), *text, LABELS, ranking=False)
    assert list(losses) == terms
    assert set(model(images(), *captions([4, 6, 3, 5]), *text, LABELS)) > set(terms)


def test_dual_path_text_network():
    cfg = dual_path.DualPathConfig(ids=11_003, vocabulary=7263)
    with torch.device("meta"):
        model = dual_path.DualPath(cfg)
        assert model.text_cnn(torch.empty(2, 300, 56)).shape == (2, 2048, 14)

    def unit(inputs, middle, outputs, project):
        weights = inputs * middle + 2 * middle * middle + middle * outputs
        weights += 2 * (2 * middle + outputs)  # batch normalization
        return weights + (inputs * outputs + 2 * outputs if project else 0)

    expected = (
        unit(300, 128, 256, True)
        + 2 * unit(256, 64, 256, False)
        + unit(256, 512, 512, True)
        + 3 * unit(512, 128, 512, False)
        + unit(512, 1024, 1024, True)
        + 5 * unit(1024, 256, 1024, False)
        + unit(1024, 2048, 2048, True)
    )
    assert sum(p.numel() for p in model.text_cnn.parameters()) == expected
    assert model.W_share.weight.shape == (11_003, 2048)
    assert model.cfg.dropout == 0.8


def test_dual_path_looks_back_only():
    torch.manual_seed(0)
    unit = dual_path.TextUnit(4, 3, 4).double().eval()
    x = torch.randn(1, 4, 7, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 3] += 1
    moved = (unit(x) != unit(changed)).any(1)[0]
    assert moved.tolist() == [False, False, False, True, True, False, False]


def test_dual_path_places_captions_in_the_window():
    tokens, lengths = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([2, 3])
    placed = dual_path.place_in_window(tokens, lengths, window=6)
    assert placed.tolist() == [[0, 0, 5, 6, 0, 0], [0, 7, 8, 9, 0, 0]]
    torch.manual_seed(0)
    starts = set()
    for _ in range(100):
        random = dual_path.place_in_window(tokens, lengths, window=4, at_random=True)
        assert [[t for t in row if t] for row in random.tolist()] == [[5, 6], [7, 8, 9]]
        starts.add(tuple((random != 0).int().argmax(1).tolist()))
    assert starts == {(i, j) for i in range(3) for j in range(2)}
    assert dual_path.place_in_window(tokens, lengths, window=2).tolist() == [[5, 6], [7, 8]]
    with pytest.raises(DataError, match="without words"):
        dual_path.place_in_window(tokens, torch.tensor([0, 3]))


def test_dual_path_ranking_loss_by_hand():
    S = torch.tensor([[0.5, 0.2], [0.1, 0.4]])
    # images: 1 - .5 + .2, 1 - .4 + .1; texts: 1 - .5 + .1, 1 - .4 + .2
    loss = dual_path.random_ranking_loss(S, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((0.7 + 0.7 + 0.6 + 0.8) / 2)
    assert dual_path.random_ranking_loss(S, torch.tensor([2, 2])).item() == 0.0


def test_dual_path_weights_of_the_second_stage():
    torch.manual_seed(0)
    model = dual_path_model().eval()
    P = model.W_share.in_features
    nn.init.zeros_(model.W_share.weight)
    nn.init.zeros_(model.W_share.bias)
    v, t = torch.zeros(2, P), torch.zeros(2, P)
    v[0, 0] = v[1, 1] = t[0, 0] = t[1, 1] = 1.0
    v[:, 2] = -5.0  # the ReLU takes it away
    terms = model.loss(GlobalCodes(v), GlobalCodes(t), torch.tensor([0, 1]))
    assert terms["id_v"].item() == pytest.approx(math.log(4))
    assert terms["id_t"].item() == pytest.approx(0.5 * math.log(4))
    assert terms["rank"].item() == 0.0
    terms = model.loss(GlobalCodes(v), GlobalCodes(t.flip(0)), torch.tensor([0, 1]))
    assert terms["rank"].item() == pytest.approx(2 * (2 + 2))


# ------------------------------------------------------------------ CMPM + CMPC


def test_cmpm_of_orthonormal_pairs():
    eye, labels = torch.eye(2), torch.tensor([0, 1])
    assert cmpm.cmpm_loss(eye, eye, labels).item() == pytest.approx(8.74376, abs=1e-4)
    assert cmpm.cmpm_loss(10 * eye, 10 * eye, labels).item() == pytest.approx(0.00067, abs=1e-5)


def test_cmpm_shares_the_match_among_captions_of_one_person():
    """Two of three people are the same: q is 1/2 each (the sum, not the l2 norm, divides)."""
    x = 10 * torch.eye(3)
    x[1] = x[0]
    loss = cmpm.cmpm_loss(x, x, torch.tensor([7, 7, 2]))
    assert loss.item() == pytest.approx(0.0, abs=2e-3)


def test_cmpc_by_hand():
    x, z, W = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 2.0]]), 5 * torch.eye(2)
    # x on z: (0, 1): log(1 + 1/e); z on x: (1, 1): log 2
    loss = cmpm.cmpc_loss(x, z, W, torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)) + math.log(2))


def test_cmpm_backward_lstm_reads_the_words_in_reverse():
    torch.manual_seed(0)
    model = cmpm_model(joint_norm=False).double().eval()
    tokens, lengths = captions([4, 6])
    codes = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        states = model.lstm(model.W_e(tokens[i, :n]))[0]  # (n, 2 H), both directions over time
        torch.testing.assert_close(codes.f_g[i], model.joint_text(states.max(0).values))


def test_cmpm_terms():
    for cmpm_on, cmpc_on in ((True, False), (False, True)):
        model = cmpm_model(cmpm=cmpm_on, cmpc=cmpc_on)
        terms = model(images(), *captions([4, 6, 3, 5]), LABELS)
        assert list(terms) == ["cmpm"] * cmpm_on + ["cmpc"] * cmpc_on


# ------------------------------------------------------------------ ViTAA*


def test_vitaa_alignment_by_hand():
    S = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    # A row, or a column, has one positive at .6 and one negative at .4: 2 log 2.
    loss = vitaa.align_loss(S, torch.eye(2) > 0)
    assert loss.item() == pytest.approx(4 * 2 * math.log(2) / 2)
    S = torch.tensor([[0.7, 0.3], [0.5, 0.6]])
    terms = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-4))
    terms += math.log(1 + math.exp(4)) + math.log(2)
    assert vitaa.align_loss(S, torch.eye(2) > 0).item() == pytest.approx(terms, rel=1e-5)
    both = vitaa.align_loss(torch.stack((S, S)), torch.eye(2) > 0)  # mean over parts
    assert both.item() == pytest.approx(terms, rel=1e-5)


def test_vitaa_reciprocal_neighbors():
    S = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.7, 0.6], [0.5, 0.95, 0.3]])
    # Best text of images 0, 1, 2: 0, 1, 1; best image of texts 0, 1, 2: 0, 2, 1.
    expected = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 0]]) > 0
    assert torch.equal(vitaa.reciprocal(S, 1), expected)
    assert torch.equal(vitaa.reciprocal(torch.stack((S, S.T)), 1)[1], expected.T)
    assert vitaa.reciprocal(S, 8).all()


def test_vitaa_masks():
    target = masks(2)
    uniform = torch.zeros(2, 5, 6, 64, 32)
    assert vitaa.mask_loss(uniform, target).item() == pytest.approx(5 * math.log(6), rel=1e-5)
    sure = torch.zeros(2, 5, 6, 64, 32)
    for part in range(5):  # branch `part` says its own label where it is, and background elsewhere
        own = target == part + 1
        sure[:, part, 0][~own] = 50.0
        sure[:, part, part + 1][own] = 50.0
    assert vitaa.mask_loss(sure, target).item() < 1e-5
    assert vitaa.mask_loss(sure[:, :, :, ::2, ::2], target[:, ::2, ::2]).item() < 1e-5
    small = torch.zeros(2, 4, 2, dtype=torch.uint8)
    assert vitaa.mask_loss(uniform, small).item() == pytest.approx(5 * math.log(6), rel=1e-5)


def test_vitaa_branches_equal_separate_basic_blocks():
    torch.manual_seed(0)
    side_by_side = vitaa.branches(6, 4, K=3).eval()
    x = torch.randn(2, 6, 5, 3)
    out = side_by_side(x).unflatten(1, (3, 4))
    for k in range(3):
        own = slice(4 * k, 4 * k + 4)
        shortcut = nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4))
        blocks = nn.Sequential(BasicBlock(6, 4, 1, shortcut), BasicBlock(4, 4)).eval()
        shortcut[0].weight.data = side_by_side[0].shortcut[0].weight[own]
        for ours, theirs in zip(side_by_side, blocks, strict=True):
            theirs.conv1.weight.data = ours.conv1.weight[own]
            theirs.conv2.weight.data = ours.conv2.weight[own]
        torch.testing.assert_close(out[:, k], blocks(x))
    std = side_by_side[1].conv2.weight.std().item()
    assert std == pytest.approx(math.sqrt(2 / (4 * 9)), rel=0.15)


def test_vitaa_at_paper_size():
    with torch.device("meta"):
        model = vitaa.ViTAA(vitaa.ViTAAConfig(ids=12_003, vocabulary=12_000))
        codes = model.encode_images(torch.empty(2, 3, 384, 128))
    assert codes.f_g.shape == (2, 256)
    assert codes.f_l.shape == (2, 5, 256)
    assert codes.masks.shape == (2, 5, 6, 48, 16)
    assert model.lstm.hidden_size == 512
    assert not any("layer4" in name for name in model.state_dict())


def test_vitaa_text_features_equal_a_loop():
    torch.manual_seed(0)
    model = vitaa_model().double().eval()
    tokens, lengths = captions([4, 6])
    codes = model.encode_text(tokens, lengths)
    for i, n in enumerate(lengths.tolist()):
        e = model.lstm(model.W_e(tokens[i, :n]))[0]
        torch.testing.assert_close(codes.f_g[i], model.textual_fc(e.max(0).values))
        for k in range(5):
            s = torch.sigmoid(e @ model.W_p.weight[k])
            attribute = model.attribute_fc((s[:, None] * e).max(0).values)
            torch.testing.assert_close(codes.f_l[i, k], attribute)


def test_vitaa_loss_needs_codes_of_the_training_mode():
    model = vitaa_model().eval()
    codes = model.encode_images(images())
    assert codes.masks is None
    with pytest.raises(UsageError, match="training mode"):
        model.loss(codes, model.encode_text(*captions([4, 6, 3, 5])), LABELS, masks())


def test_vitaa_loads_imagenet_weights_without_the_last_stage(monkeypatch):
    torch.manual_seed(0)

    def load(module, name, weights):
        assert (name, weights) == ("resnet50", "V1")
        nn.init.constant_(module.layer3[0].conv1.weight, 3.0)

    monkeypatch.setattr(vitaa, "load_imagenet", load)
    model = vitaa.ViTAA(vitaa.ViTAAConfig(ids=2, vocabulary=3, V=4, H=4, P=8))
    model.load_imagenet()
    assert (model.backbone.layer3[0].conv1.weight == 3.0).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", list(METHODS))
def test_cuda_trains_and_equals_cpu(name):
    module, model, text, extra = build(name)
    tokens, lengths = captions([4, 6, 3, 5])
    model.eval()
    with torch.no_grad():
        cpu = module.similarities(
            model.encode_images(images()), model.encode_text(tokens, lengths, *text)
        )
        model.cuda()
        own = (text[0].cuda(), *text[1:]) if text else ()
        gpu = module.similarities(
            model.encode_images(images().cuda()), model.encode_text(tokens.cuda(), lengths, *own)
        )
    for key, scores in cpu.items():
        torch.testing.assert_close(gpu[key].cpu(), scores, atol=2e-3, rtol=2e-3)
    with torch.autocast("cuda", torch.bfloat16):
        terms = model.train()(
            images().cuda(), tokens.cuda(), lengths, *own, LABELS.cuda(), *(e.cuda() for e in extra)
        )
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
