"""What backbones are pretrained with: global average pooling and a linear layer for every label.

With one label this is the network that ImageNet's classifiers are; with several (strangers: kind of
upper garment, of shoes, ...) they are learned together, by the mean of their cross-entropies.

The base network of Attention Driven re-ID has five branches, and each predicts the labels, from the
whole picture or from one of four strips of it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.models.attention_driven import PARTS, AttentionDrivenConfig, Base
from reidlib.models.parts.backbones import BACKBONES, backbone
from reidlib.models.parts.norms import use_norm

LABELS = ("kinds", "kinds+colors", "classes")
FIVE_BRANCHES = "five branches"  # the base of Attention Driven re-ID


@dataclass(frozen=True)
class PretrainingConfig:
    """A backbone and what it is to tell apart."""

    backbone: str = "resnet50"  # "resnet50" | "vgg16" | "vgg16_bn" | "five branches"
    width: float = 1.0
    depths: tuple[int, ...] | None = None  # None = full depth
    last_stride: int = 1  # of ResNet-50's layer4; weights of one stride fit the other
    labels: str = "kinds"  # of strangers: "kinds" | "kinds+colors"; of an ImageFolder: "classes"
    classes: tuple[int, ...] = (1,)  # number of values of each label; known when the data is
    norm: str = "bn"  # of the backbone: "bn" | "gn", see `reidlib.models.parts.norms`
    E: tuple[int, int] | None = None  # of five branches: size of the features of body and parts

    def __post_init__(self) -> None:
        known = (*BACKBONES, FIVE_BRANCHES)
        if self.backbone not in known:
            raise UsageError(f"pretraining: backbone must be one of {known}: {self.backbone!r}")
        if (self.backbone == FIVE_BRANCHES) != (self.E is not None):
            raise UsageError("pretraining: five branches, and they alone, need sizes of features E")
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


class FiveBranches(nn.Module):
    """The base of Attention Driven re-ID, each branch with a linear layer for each label.

    Its loss is that of the baseline with other classes: half the sum of the five branches' losses
    (Eq 11), with dropout 0.5 before every prediction.
    """

    lambda_, dropout = 0.5, 0.5

    def __init__(self, cfg: PretrainingConfig) -> None:
        super().__init__()
        self.cfg = cfg
        E_g, E_p = cfg.E
        shape = {} if cfg.depths is None else {"units": cfg.depths}
        base = AttentionDrivenConfig(ids=1, width=cfg.width, E_g=E_g, E_p=E_p, **shape)
        self.backbone = Base(base)
        values = sum(cfg.classes)
        self.predict_g = nn.Parameter(0.001 * torch.randn(E_g, values))
        self.predict_p = nn.Parameter(0.001 * torch.randn(len(PARTS), E_p, values))

    def branches(self, images: Tensor) -> Tensor:
        """What each branch says, float (5, B, values of all labels)."""
        E_g, E = self.backbone(images)[0]
        X_g, X_p = (F.dropout(e, self.dropout, self.training) for e in (E_g, E))
        parts = torch.bmm(X_p.transpose(0, 1), self.predict_p)
        return torch.cat(((X_g @ self.predict_g)[None], parts))

    def logits(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images float (B, 3, h, w), normalized -> for each label float (B, values), the mean of
        the five branches."""
        return self.branches(images).mean(0).split(self.cfg.classes, dim=1)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of a batch; labels int64 (B, number of labels), -1 = none of this image."""
        said = self.branches(images)
        # All predictions as one batch: the mean over five branches, times five.
        logits = said.flatten(0, 1).split(self.cfg.classes, dim=1)
        loss = label_loss(logits, labels.repeat(len(said), 1))
        return {"cross-entropy": self.lambda_ * len(said) * loss}


def network(cfg: PretrainingConfig) -> Pretraining | FiveBranches:
    """The network that a configuration describes."""
    return FiveBranches(cfg) if cfg.backbone == FIVE_BRANCHES else Pretraining(cfg)


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
