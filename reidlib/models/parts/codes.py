"""What several text-to-image methods do: shuffled pairs, and the codes of images and captions.

Codes are named tuples of tensors that have a row for each image or caption; `None` stands for what
a variant of a method does not have.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.data.batches.samplers import shuffled
from reidlib.devices import in_fp32

AnyCodes = TypeVar("AnyCodes", bound=tuple)


def draw_shuffled(
    model: nn.Module, split: Any, generator: torch.Generator, batch_size: int
) -> Iterator[tuple[Tensor, None]]:
    """`draw` of the methods that take the captions of a split in any order."""
    for captions in shuffled(len(split.labels), generator, batch_size):
        yield captions, None


class GlobalCodes(NamedTuple):
    """One embedding f_g float (B, P) per image or caption."""

    f_g: Tensor


def cosines(v: Tensor, t: Tensor) -> Tensor:
    """Cosine of every row of v with every row of t, parts concatenated (SSAN, Eq 7, 12, 17):
    float (B, ...) and (B', ...) -> float32 (B, B')."""
    with in_fp32(v):
        return _unit(v) @ _unit(t).T


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.flatten(1).float(), dim=1, eps=1e-8)


@torch.no_grad()
def global_similarities(
    images: GlobalCodes, texts: GlobalCodes, config: Any = None
) -> dict[str, Tensor]:
    """ "Sg", the cosine of every caption with every image: float32 (captions, images)."""
    return {"Sg": cosines(texts.f_g, images.f_g)}


def global_evaluations(config: Any) -> dict[str, dict[str, float]]:
    """`evaluations` of the methods that have one similarity."""
    return {"Sg": {"Sg": 1.0}}


def fuse(similarities: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of similarities that ranks the gallery; weights as of `evaluations`."""
    return sum(weight * similarities[name] for name, weight in weights.items())


def concatenate(codes: Sequence[AnyCodes]) -> AnyCodes:
    """The codes of several batches as one. Where captions have words or phrases of their own
    (dimension 1), the batches are padded with zeros to the most of all."""
    return type(codes[0])(*map(_join, zip(*codes, strict=True)))


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    if parts[0] is None:
        return None
    if parts[0].dim() == 1:
        return torch.cat(parts)
    most = max(part.shape[1] for part in parts)
    missing = ((0, 0) * (part.dim() - 2) + (0, most - part.shape[1]) for part in parts)
    return torch.cat([F.pad(part, pad) for part, pad in zip(parts, missing, strict=True)])
