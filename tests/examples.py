"""Small random images, captions and masks that tests of several methods share."""

import torch
from torch import Tensor, nn

WORDS = 30  # rows of an embedding


def captions(lengths, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Captions of so many words: tokens int64 (B, longest), padded with 0, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    tokens = torch.randint(1, WORDS, (len(lengths), int(lengths.max())), generator=generator)
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 0
    return tokens, lengths


def phrases() -> tuple[Tensor, Tensor, Tensor]:
    """1, 3, 2 and 12 noun phrases of 4 captions, one of 8 words: tokens, lengths and offsets."""
    offsets = torch.tensor([0, 1, 4, 6, 18])
    return (*captions([3, 8, 1, 2, 7, 2, *([2, 3] * 6)], seed=1), offsets)


def images(B: int = 4, size: tuple[int, int] = (64, 32)) -> Tensor:
    return torch.randn(B, 3, *size, generator=torch.Generator().manual_seed(0))


def masks(B: int = 4) -> Tensor:
    """Labels of body parts, uint8 (B, 64, 32)."""
    return torch.randint(0, 6, (B, 64, 32), generator=torch.Generator().manual_seed(0)).byte()


def differently_started(*models: nn.Module) -> set[str]:
    """Parameters that several of the models have, but not with the same values; a size that
    differs does not count."""
    found: dict[str, Tensor] = {}
    different = set()
    for model in models:
        for name, value in model.named_parameters():
            first = found.setdefault(name, value)
            if first.shape == value.shape and not torch.equal(first, value):
                different.add(name)
    return different
