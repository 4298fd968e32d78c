"""MIA: attention and triplets against numbers by hand and plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from examples import captions, images, phrases

from reidlib.models.compared import mia

NARROW = {"ids": 4, "vocabulary": 30, "width": 0.0625, "depths": (1, 1, 1, 1)}
LABELS = torch.tensor([0, 1, 1, 3])


def mia_model(**changes):
    return mia.MIA(mia.MIAConfig(**NARROW, k=3, E=12, P=20, part=8, **changes))


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
    assert list(mia.evaluations(mia_model().cfg).values())[-1] == {"Sg": 1.0, "Sl": 0.5, "Sp": 0.5}


def test_first_stage_is_identity_only():
    model = mia_model().train()
    losses = model(images(), *captions([4, 6, 3, 5]), *phrases(), LABELS, ranking=False)
    assert list(losses) == ["id_v", "id_t"]
    assert set(model(images(), *captions([4, 6, 3, 5]), *phrases(), LABELS)) > {"id_v", "id_t"}
