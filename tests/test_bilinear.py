"""Compact bilinear pooling: the identity it rests on, gradients, two ways to compute it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidlib.errors import UsageError
from reidlib.models.parts.bilinear import CompactBilinear, circular_convolution, count_sketch


def _sketches() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = torch.tensor([1.0, 2.0, 0.0, -1.0]), torch.tensor([0.5, -1.0, 2.0])
    h1, s1 = torch.tensor([0, 3, 7, 11]), torch.tensor([1.0, -1.0, 1.0, 1.0])
    h2, s2 = torch.tensor([2, 5, 9]), torch.tensor([1.0, 1.0, -1.0])
    return count_sketch(x, h1, s1, 16), count_sketch(y, h2, s2, 16)


def test_hand_computed() -> None:
    expected = [1, 0, 0.5, 0, 2, -2, 0, 0, 2, -2, 0, 0, 4, -0.5, 0, 0]
    found = circular_convolution(*_sketches())
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**31))
def test_identity(i_size: int, j_size: int, D: int, seed: int) -> None:
    """The sketch of the outer product is the convolution of the sketches."""
    torch.manual_seed(seed)
    x, y = torch.randn(i_size, dtype=torch.float64), torch.randn(j_size, dtype=torch.float64)
    h1, h2 = torch.randint(D, (i_size,)), torch.randint(D, (j_size,))
    s1, s2 = (2.0 * torch.randint(2, (n,)).double() - 1 for n in (i_size, j_size))
    slow = torch.zeros(D, dtype=torch.float64)
    for i in range(i_size):
        for j in range(j_size):
            slow[(h1[i] + h2[j]) % D] += s1[i] * s2[j] * x[i] * y[j]
    found = circular_convolution(count_sketch(x, h1, s1, D), count_sketch(y, h2, s2, D))
    torch.testing.assert_close(found, slow)


@pytest.mark.parametrize("size", [(1, 1), (4, 2)])
def test_averaged_products_equal_products_place_by_place(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pooling = CompactBilinear(12, (5, 3, 1), 17).double()
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    ys = [torch.randn(2, n, *size, dtype=torch.float64) for n in pooling.groups]
    for group, found in enumerate(pooling(x, ys)):
        assert found.shape == (2, 17)
        torch.testing.assert_close(found, pooling.by_fourier(x, ys[group], group))


def test_gradients() -> None:
    torch.manual_seed(0)
    pooling = CompactBilinear(4, (3, 2), 6).double()
    inputs = [torch.randn(2, n, 2, 1, dtype=torch.float64, requires_grad=True) for n in (4, 3, 2)]
    assert torch.autograd.gradcheck(lambda x, a, b: tuple(pooling(x, [a, b])), inputs)
    assert torch.autograd.gradcheck(lambda x, a: pooling.by_fourier(x, a), inputs[:2])


def test_inner_products_are_kept_on_average() -> None:
    """<sketch(x y), sketch(x' y')> = <x, x'> <y, y'> in expectation over the hashes."""
    rng = np.random.default_rng(0)
    x, x2, y, y2 = (torch.from_numpy(rng.normal(size=8)) for _ in range(4))
    found = []
    for _ in range(400):
        h1, h2 = (torch.from_numpy(rng.integers(64, size=8)) for _ in range(2))
        s1, s2 = (torch.from_numpy(rng.choice([-1.0, 1.0], 8)) for _ in range(2))
        first, second = (
            circular_convolution(count_sketch(a, h1, s1, 64), count_sketch(b, h2, s2, 64))
            for a, b in ((x, y), (x2, y2))
        )
        found.append(float(first @ second))
    exact = float((x @ x2) * (y @ y2))
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / len(found) ** 0.5


def test_hashes_are_fixed_and_not_part_of_the_state() -> None:
    first, second = CompactBilinear(50, (7, 3), 32), CompactBilinear(50, (7, 3), 32)
    assert torch.equal(first.h1, second.h1) and torch.equal(first.s2, second.s2)
    assert not first.state_dict() and not list(first.parameters())
    assert set(first.s1.tolist()) == {-1.0, 1.0} and int(first.h1.max()) < 32


def test_bf16_inputs_are_summed_in_float32() -> None:
    pooling = CompactBilinear(8, (2,), 16)
    x, y = torch.randn(1, 8, 4, 4), torch.randn(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = pooling(x.bfloat16(), [y])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pooling(x.bfloat16().float(), [y])[0])


@pytest.mark.parametrize("sizes", [(0, (2,), 4), (3, (), 4), (3, (0,), 4), (3, (2,), 0)])
def test_impossible_sizes(sizes: tuple) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        CompactBilinear(*sizes)
