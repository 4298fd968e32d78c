"""SCAN: its attention against numbers by hand and plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from reidlib.models.compared import scan

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def scan_model():
    return scan.SCAN(scan.SCANConfig(**NARROW, K=3, V=12, M=20))


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
