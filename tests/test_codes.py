"""What methods do with the codes of images and captions."""

from typing import NamedTuple

import torch

from reidlib.models.parts.codes import concatenate, cosines, fuse


class Codes(NamedTuple):
    whole: torch.Tensor
    words: torch.Tensor
    real: torch.Tensor
    missing: None = None


def test_cosines_of_parts_are_those_of_their_concatenation():
    torch.manual_seed(0)
    v, t = torch.randn(3, 2, 4), torch.randn(5, 2, 4)
    expected = torch.cosine_similarity(v.flatten(1)[:, None], t.flatten(1)[None], dim=2)
    torch.testing.assert_close(cosines(v, t), expected)
    assert cosines(v.half(), t.half()).dtype == torch.float32
    assert not cosines(torch.zeros(1, 4), t[:, 0]).any()


def test_fuse_is_the_weighted_sum():
    scores = {"a": torch.tensor([[0.5]]), "b": torch.tensor([[0.2]]), "c": torch.tensor([[9.0]])}
    assert fuse(scores, {"a": 1.0, "b": 0.5}).tolist() == [[0.6000000238418579]]


def test_batches_are_joined_and_padded():
    first = Codes(torch.ones(2, 3), torch.ones(2, 4, 3), torch.ones(2, 4) > 0)
    second = Codes(torch.zeros(1, 3), torch.ones(1, 1, 3), torch.ones(1, 1) > 0)
    joined = concatenate([first, second])
    assert joined.whole.shape == (3, 3)
    assert joined.words.shape == (3, 4, 3)
    assert joined.words[2].sum() == 3
    assert joined.real[2].tolist() == [True, False, False, False]
    assert joined.missing is None
