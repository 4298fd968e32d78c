"""What backbones are pretrained with: global average pooling and a linear layer for every label.

With one label this is the network that ImageNet's classifiers are; with several (strangers: kind of
upper garment, of shoes, ...) they are learned together, by the mean of their cross-entropies.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.models.parts.backbones import BACKBONES, backbone
from reidlib.models.parts.norms import use_norm

LABELS = ("kinds", "kinds+colors", "classes")


@dataclass(frozen=True)
class PretrainingConfig:
    """A backbone and what it is to tell apart."""

    backbone: str = "resnet50"  # "resnet50" | "vgg16" | "vgg16_bn"
    width: float = 1.0
    depths: tuple[int, ...] | None = None  # None = full depth
    last_stride: int = 1  # of ResNet-50's layer4; weights of one stride fit the other
    labels: str = "kinds"  # of strangers: "kinds" | "kinds+colors"; of an ImageFolder: "classes"
    classes: tuple[int, ...] = (1,)  # number of values of each label; known when the data is
    norm: str = "bn"  # of the backbone: "bn" | "gn", see `reidlib.models.parts.norms`

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise UsageError(f"pretraining: backbone must be one of {BACKBONES}: {self.backbone!r}")
        if self.labels not in LABELS:
            raise UsageError(f"pretraining: labels must be one of {LABELS}, got {self.labels!r}")
        if not self.classes or min(self.classes) < 1:
            raise UsageError(f"pretraining: classes must be numbers above 0, got {self.classes}")


class Pretraining(nn.Module):
    """The backbone, global average pooling, and one linear layer for each label."""

    def __init__(self, cfg: PretrainingConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        use_norm(self.backbone, cfg.norm)
        # All linear layers as one: label i has the outputs behind those of the labels before it.
        self.heads = nn.Linear(self.backbone.out_channels, sum(cfg.classes))

    def logits(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images float (B, 3, h, w), normalized -> for each label float (B, values)."""
        pooled = self.backbone(images).mean((2, 3))
        return self.heads(pooled).split(self.cfg.classes, dim=1)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of a batch; labels int64 (B, number of labels), -1 = none of this image."""
        return {"cross-entropy": label_loss(self.logits(images), labels)}


def label_loss(logits: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Cross-entropy, in nats, averaged over labels and images: float ().

    logits: for each label float (B, values); labels: int64 (B, number of labels), -1 = none, which
    adds 0.
    """
    terms = [
        F.cross_entropy(own.float(), column, ignore_index=-1, reduction="sum")
        for own, column in zip(logits, labels.unbind(1), strict=True)
    ]
    return torch.stack(terms).sum() / labels.numel()
