"""Losses shared by the papers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reidlib.errors import UsageError


def identity_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Identity loss: mean of -log softmax(logits)[label]; each person is a class.

    logits: float (B, Q); labels: int64 (B,) in 0..Q-1. Returns a scalar in nats.
    Source: IMG-Net Eq 19-20; SSAN, GLA Eq 2-3 and others use the same.

    Example:
        >>> identity_loss(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4
        tensor(1.3863)
    """
    return F.cross_entropy(logits, labels)


def ranking_loss(
    similarities: Tensor,
    margin: float,
    negatives: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Bidirectional hinge loss over matched pairs, with the other pairs of the batch as negatives.

    similarities: float (B, B); row i is image i, column j is text j, the diagonal is matched.
    negatives: bool (B, B), True where a pair may count as a negative (default: all off the
        diagonal; the diagonal never counts).
    reduction: "sum" over the B matched pairs as printed, or "mean".

    For a matched pair i: sum_j [margin - s_ii + s_ij]_+ + sum_j [margin - s_ii + s_ji]_+.
    Source: IMG-Net Eq 21. A pair without negatives adds 0.

    Example:
        >>> S = torch.tensor([[0.6, 0.5], [0.1, 0.9]])
        >>> ranking_loss(S, margin=0.2)  # image 0 finds text 1 too similar, by 0.1
        tensor(0.0500)
        >>> ranking_loss(S, margin=0.2, negatives=torch.zeros(2, 2))
        tensor(0.)
    """
    if reduction not in ("mean", "sum"):
        raise UsageError(f"ranking_loss: reduction must be mean or sum, got {reduction!r}")
    size = len(similarities)
    if similarities.shape != (size, size):
        raise UsageError(f"ranking_loss: expected B x B, got {tuple(similarities.shape)}")
    matched = similarities.diagonal()
    hinge = similarities + margin
    texts = (hinge - matched[:, None]).clamp_min(0)
    images = (hinge - matched[None, :]).clamp_min(0)
    weight = 1 - torch.eye(size, dtype=texts.dtype, device=texts.device)
    if negatives is not None:
        weight = weight * negatives
    loss = ((texts + images) * weight).sum()
    return loss / size if reduction == "mean" else loss
