"""Compact bilinear pooling (Gao et al., CVPR 2016): outer products of two vectors, sketched.

A count sketch of a vector x adds s_i x_i to place h_i of D places; places h and signs s are drawn
once and stay. The sketch of the outer product of x and y, with places (h1_i + h2_j) mod D and signs
s1_i s2_j, is the circular convolution of their two sketches, and so a product of their Fourier
transforms: D numbers stand for the I J products, and inner products are kept in expectation.
"""

import numpy as np
import torch
from torch import Tensor, nn

from reidlib.devices import in_fp32
from reidlib.errors import UsageError

# Of the generators that draw h1, s1, h2 and s2, as in the public layers.
SEEDS = (1, 3, 5, 7)


def count_sketch(x: Tensor, h: Tensor, s: Tensor, D: int) -> Tensor:
    """Adds s_i x_i to place h_i: float (..., I) -> (..., D).

    h: int64 (I,), places 0 ... D-1; s: float (I,), +1 or -1.

    Example:
        >>> x, h, s = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), torch.ones(3)
        >>> count_sketch(x, h, s, 4).tolist()
        [2.0, 0.0, 5.0, 0.0]
    """
    return x.new_zeros(*x.shape[:-1], D).index_add_(-1, h, x * s.to(x))


def circular_convolution(x: Tensor, y: Tensor) -> Tensor:
    """sum_k x_k y_(n - k mod D) by way of Fourier transforms: float (..., D) twice -> (..., D)."""
    D = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(y), n=D)


class CompactBilinear(nn.Module):
    """Sketched outer products of a feature map x with several groups of maps y.

    It has no weights. One sketch of x serves all groups; every map of every group has a place and
    a sign of its own, fixed by the order of the maps.

    Args:
        x_channels: I, channels of x.
        y_channels: J of each group.
        D: size of a sketch.
    """

    def __init__(self, x_channels: int, y_channels: tuple[int, ...], D: int) -> None:
        super().__init__()
        if D < 1 or x_channels < 1 or not y_channels or min(y_channels) < 1:
            raise UsageError(
                f"compact bilinear pooling needs channels and a size of at least 1, got "
                f"{x_channels}, {y_channels} and {D}"
            )
        self.D, self.groups = D, tuple(y_channels)
        draws = [np.random.RandomState(seed) for seed in SEEDS]
        for name, size, (h, s) in (
            ("1", x_channels, draws[:2]),
            ("2", sum(y_channels), draws[2:]),
        ):
            places, signs = h.randint(D, size=size), 2.0 * s.randint(2, size=size) - 1.0
            # Not part of the model's state: they are the same in every model of these sizes.
            self.register_buffer(f"h{name}", torch.from_numpy(places).long(), persistent=False)
            self.register_buffer(
                f"s{name}", torch.from_numpy(signs).to(torch.get_default_dtype()), persistent=False
            )

    def forward(self, x: Tensor, ys: list[Tensor]) -> list[Tensor]:
        """x (B, I, h, w) and maps y (B, J, h, w) of each group -> a sketch (B, D) of each group's
        outer products, averaged over the h w places.

        Averaging comes first: sum_p y_j(p) sketch(x(p)) is one matrix product for all maps of all
        groups, and what is left to convolve are J vectors and not h w. The maps' own sketch has a
        single entry s_j at h_j each, with which convolution is a shift.
        """
        with in_fp32(x):  # sums of many small terms
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            S = count_sketch(x.flatten(2).transpose(1, 2), self.h1, self.s1, self.D)
            y = torch.cat([part.to(x).flatten(2) for part in ys], 1)  # (B, sum J, h w)
            M = torch.bmm(y * (self.s2.to(y)[:, None] / y.shape[2]), S)  # (B, sum J, D)
            shifted = M.gather(2, self._shifts().expand(len(M), -1, -1))
            return [group.sum(1) for group in shifted.split(self.groups, 1)]

    def _shifts(self) -> Tensor:
        """Place n of map j is taken from place n - h_j: int64 (sum J, D)."""
        places = torch.arange(self.D, device=self.h2.device)
        return (places - self.h2[:, None]).remainder(self.D)

    def by_fourier(self, x: Tensor, y: Tensor, group: int = 0) -> Tensor:
        """The same for one group place by place, as the authors of the method write it: sketches
        of x(p) and y(p), the product of their Fourier transforms, averaged. For comparison."""
        start = sum(self.groups[:group])
        mine = slice(start, start + self.groups[group])
        S1 = count_sketch(x.flatten(2).transpose(1, 2), self.h1, self.s1, self.D)
        S2 = count_sketch(y.flatten(2).transpose(1, 2), self.h2[mine], self.s2[mine], self.D)
        return circular_convolution(S1, S2).mean(1)
