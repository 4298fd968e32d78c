"""PCB+RPP: part-based convolutional baseline with refined part pooling (Sun et al., ECCV 2018:
Beyond part models), as IMG-Net Table 4 compares it. The row is printed as PCB; its numbers are
those of PCB with refined part pooling.

PCB cuts the last map into p horizontal stripes and learns to tell people apart by each of them. RPP
lets every place of the map choose the stripe that it looks like:

    PCB               uniform stripes; everything is trained
    part classifier   W of P(P_i | f) replaces the stripes; nothing else is trained
    RPP               everything is trained

Shapes: B images, C channels of the last map (2048), h x w its size (24 x 8), p = 6 parts, r = 256
numbers of a reduced part, Q persons. f is the column vector of C numbers at one place of the map.

Follows the authors' PyTorch code: the part classifier sees f averaged over groups of C/r
neighboring channels, less its mean over the map, and parts are averaged over the whole map, times
p; where every place belongs to one stripe, that is the average of PCB's stripe.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import resnet50, scaled_channels
from reidlib.models.parts.batches import ImageBatch
from reidlib.models.parts.norms import load_backbone, use_norm

METRIC = "cosine"  # a gallery is ranked by
PER_PERSON = 0  # images of each person in a batch; 0 = any
STAGES = ("PCB", "part classifier", "RPP")


@dataclass(frozen=True)
class PCBConfig:
    """Settings; the defaults are the authors'."""

    ids: int  # Q, persons in the training set
    width: float = 1.0  # of the backbone, a ResNet-50
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 1  # of its last stage
    p: int = 6  # parts
    r: int | None = None  # numbers of a reduced part; None = 256 times the width
    dropout: float = 0.5  # before the identity classifiers
    norm: str = "bn"  # "bn" | "gn": of all layers that normalize by either, the backbone's too
    groups: int = 32  # of GN, at most

    @property
    def backbone_norm(self) -> str:
        """What the backbone of a pretraining must have, for its weights to fit."""
        return self.norm


class PCB(nn.Module):
    """The whole network, part classifier and identity classifiers included."""

    def __init__(self, cfg: PCBConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = resnet50(cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        r = scaled_channels(256, cfg.width) if cfg.r is None else cfg.r
        if cfg.p < 1 or r < 1 or C % r:
            raise UsageError(
                f"PCB: expected p >= 1 and a divisor r of the backbone's {C} channels, got "
                f"p = {cfg.p}, r = {r}"
            )
        self.r = r
        # The 1 x 1 convolution is shared by all parts.
        self.reduce = nn.Conv2d(C, r, 1, bias=False)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out")
        self.reduce_norm = nn.BatchNorm2d(r)
        self.classifiers = nn.ModuleList(nn.Linear(r, cfg.ids) for _ in range(cfg.p))
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.001)
            nn.init.zeros_(classifier.bias)
        self.part_classifier = nn.Conv2d(r, cfg.p, 1)
        nn.init.kaiming_normal_(self.part_classifier.weight, mode="fan_out")
        nn.init.zeros_(self.part_classifier.bias)
        # Whether parts are refined. It belongs to the state: a trained model says what it is.
        self.register_buffer("refined", torch.zeros((), dtype=torch.bool))
        self._stage = ""
        use_norm(self, cfg.norm, cfg.groups)

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Begin with the backbone of a pretrained network; raises RuntimeError if it is another."""
        load_backbone(self.backbone, state)

    # -------------------------------------------------------------- parts

    def stripes(self, X: Tensor) -> Tensor:
        """Uniform parts g_1 ... g_p: map (B, C, h, w) -> (B, C, p), averages of h/p rows each.

        Where p does not divide h, neighboring stripes share rows (adaptive pooling).
        """
        return F.adaptive_avg_pool2d(X, (self.cfg.p, 1)).squeeze(3)

    def part_probabilities(self, X: Tensor) -> Tensor:
        """P(P_i | f) = softmax_i(W_i . f) of every place: (B, C, h, w) -> float (B, p, h, w)."""
        f = F.dropout(X, self.cfg.dropout, self.training)
        f = f.unflatten(1, (self.r, -1)).mean(2)  # (B, r, h, w)
        f = f - f.mean((2, 3), keepdim=True)
        return self.part_classifier(f).softmax(1)

    def refined_parts(self, X: Tensor) -> Tensor:
        """Refined parts g_i = p / hw sum_f P(P_i | f) f: map (B, C, h, w) -> (B, C, p)."""
        P = self.part_probabilities(X)
        return weighted_parts(X, P)

    def parts(self, images: Tensor, refined: bool) -> Tensor:
        X = self.backbone(images)
        return self.refined_parts(X) if refined else self.stripes(X)

    # -------------------------------------------------------------- training and test

    def logits(self, g: Tensor) -> Tensor:
        """Parts (B, C, p) -> (B, p, Q)."""
        g = F.dropout(g, self.cfg.dropout, self.training)
        h = F.relu(self.reduce_norm(self.reduce(g[..., None]))).squeeze(3)  # (B, r, p)
        return torch.stack([fc(h[..., i]) for i, fc in enumerate(self.classifiers)], 1)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, 3, h, w), normalized -> float (B, p C), compared by cosine: the parts before
        their reduction, each of unit length; refined ones as soon as they have been trained."""
        g = self.parts(images, bool(self.refined))
        return F.normalize(g.float(), dim=1).transpose(1, 2).flatten(1)

    forward = embed

    def enter(self, stage: str) -> None:
        """Train what the stage trains (the backbone is the training loop's)."""
        if stage not in STAGES:
            raise UsageError(f"PCB: unknown stage {stage!r}: expected one of {', '.join(STAGES)}")
        alone = stage == "part classifier"
        if alone:  # every time, because an epoch begins with train()
            self.reduce_norm.eval()
        if stage == self._stage:
            return
        for part in (self.reduce, self.reduce_norm, self.classifiers):
            part.requires_grad_(not alone)
        self.refined.fill_(stage != "PCB")
        self._stage = stage


NETWORK = PCB


def losses(model: PCB, batch: ImageBatch, stage: Stage) -> dict[str, Tensor]:
    """The identity loss of every part of a batch, of a stage of `STAGES`; their sum is minimized.

    "part classifier" should freeze the backbone.
    """
    model.enter(stage.name)
    logits = model.logits(model.parts(batch.images, refined=stage.name != "PCB"))
    return {
        f"id part {i + 1}": identity_loss(logits[:, i], batch.labels) for i in range(model.cfg.p)
    }


def weighted_parts(X: Tensor, P: Tensor) -> Tensor:
    """p / hw sum over places of P_i f: X (B, C, h, w), P (B, p, h, w) -> (B, C, p)."""
    h, w = X.shape[2:]
    return torch.einsum("bchw,bphw->bcp", X, P) * (P.shape[1] / (h * w))
