"""SNR: style normalization and restitution (Jin et al., CVPR 2020: Style normalization and
restitution for generalizable person re-identification), as IMG-Net Table 4 compares it.

Behind each of ResNet-50's four stages stands a module that takes an image's style out of the map
by instance normalization (IN), and gives back what of it tells people apart:

    F~ = IN(F)                    style normalized
    R  = F - F~                   what was removed
    a  = gate(R)                  channel attention, 0..1
    R+ = a R,  R- = (1 - a) R     relevant to identity, and irrelevant
    F~+ = F~ + R+                 goes on to the next stage
    F~- = F~ + R-                 only for the loss

The dual causality loss wants F~+ to make people easier to tell apart than F~ does, and F~- harder.

Shapes: B images, c channels and h x w places of a stage's map, Q persons. Stride 1 in the last
stage: maps of 64 x 32, 32 x 16, 16 x 8 and 16 x 8 places of images of 256 x 128 pixels.

The authors' re-identification code is not released; modules follow their classification code.
Where the paper leaves a choice: a triplet of the dual causality loss stands for every pair of one
person and every pair of two in the batch, each kind averaged. Turning BN into GN leaves IN alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32
from reidlib.experiment import Stage
from reidlib.models.parts.backbones import ResNet, resnet50
from reidlib.models.parts.batches import ImageBatch
from reidlib.models.parts.codes import cosines
from reidlib.models.parts.norms import load_backbone, use_norm

METRIC = "cosine"  # a gallery is ranked by
PER_PERSON = 4  # images of each person in a batch


@dataclass(frozen=True)
class SNRConfig:
    """Settings; the defaults are the authors' where they are known."""

    ids: int  # Q, persons in the training set
    width: float = 1.0  # of the backbone, a ResNet-50
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 1  # of its last stage
    reduction: int = 16  # of the gates
    lambdas: tuple[float, float, float, float] = (0.1, 0.1, 0.5, 0.5)  # L_SNR of stages 1 to 4
    smoothing: float = 0.1  # of the labels in the identity loss
    margin: float = 0.3  # of the triplet loss
    norm: str = "bn"  # "bn" | "gn": of all layers that normalize by either, the backbone's too
    groups: int = 32  # of GN, at most

    @property
    def backbone_norm(self) -> str:
        """What the backbone of a pretraining must have, for its weights to fit."""
        return self.norm


class Restituted(NamedTuple):
    """Maps float (B, c, h, w) behind a stage: F~, F~+ and F~-."""

    normalized: Tensor
    plus: Tensor
    minus: Tensor


class SNRModule(nn.Module):
    """One module, for maps of c channels."""

    def __init__(self, c: int, reduction: int) -> None:
        super().__init__()
        self.IN = nn.InstanceNorm2d(c, affine=True)
        hidden = max(8, c // reduction)  # 8: of narrow networks
        self.gate = nn.Sequential(
            nn.Linear(c, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, c), nn.Sigmoid()
        )
        for layer in (self.gate[0], self.gate[2]):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Restituted:
        normalized = self.IN(x)
        R = x - normalized
        a = self.gate(R.mean((2, 3)))[:, :, None, None]  # (B, c, 1, 1)
        relevant = a * R
        return Restituted(normalized, normalized + relevant, normalized + (R - relevant))


class SNR(nn.Module):
    """The whole network, the identity classifier included."""

    def __init__(self, cfg: SNRConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = resnet50(cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        self.snr = nn.ModuleList(
            SNRModule(layer[-1].conv3.out_channels, cfg.reduction) for layer in self._layers()
        )
        self.classifier = nn.Linear(C, cfg.ids)
        use_norm(self, cfg.norm, cfg.groups)

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Begin with the backbone of a pretrained network; raises RuntimeError if it is another."""
        load_backbone(self.backbone, state)

    def _layers(self) -> tuple[nn.Sequential, ...]:
        net: ResNet = self.backbone
        return net.layer1, net.layer2, net.layer3, net.layer4

    def stages(self, images: Tensor) -> list[Restituted]:
        """Images (B, 3, h, w) -> what the module behind each of the four stages makes of them."""
        net: ResNet = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        found = []
        for layer, module in zip(self._layers(), self.snr, strict=True):
            found.append(module(layer(x)))
            x = found[-1].plus
        return found

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, 3, h, w), normalized -> float (B, C): the average of the last F~+."""
        return self.stages(images)[-1].plus.mean((2, 3))

    forward = embed


NETWORK = SNR


def losses(model: SNR, batch: ImageBatch, stage: Stage) -> dict[str, Tensor]:
    """Identity, triplet and weighted dual causality losses of a batch with several images of each
    of several persons; the same in every stage."""
    cfg, labels = model.cfg, batch.labels
    found = model.stages(batch.images)
    f = found[-1].plus.mean((2, 3))
    logits = model.classifier(f)
    terms = {
        "id": F.cross_entropy(logits, labels, label_smoothing=cfg.smoothing),
        "triplet": hardest_triplet_loss(f, labels, cfg.margin),
    }
    for b, (weight, maps) in enumerate(zip(cfg.lambdas, found, strict=True), start=1):
        pooled = (m.mean((2, 3)) for m in maps)
        terms[f"SNR {b}"] = weight * dual_causality_loss(*pooled, labels)
    return terms


def dual_causality_loss(normalized: Tensor, plus: Tensor, minus: Tensor, labels: Tensor) -> Tensor:
    """L_SNR = L_SNR+ + L_SNR- of averaged maps F~, F~+, F~-, float (B, c); labels int64 (B,).

    With d = 1/2 - cosine/2, over pairs (a, p) of one person and (a, n) of two:
        L_SNR+ = mean softplus(d(a+, p+) - d(a, p)) + mean softplus(d(a, n) - d(a+, n+))
        L_SNR- = mean softplus(d(a, p) - d(a-, p-)) + mean softplus(d(a-, n-) - d(a, n))
    A batch without pairs of a kind adds 0 for it. Source: SNR, dual causality loss.
    """
    d, d_plus, d_minus = (0.5 - cosines(x, x) / 2 for x in (normalized, plus, minus))
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)

    def mean(differences: Tensor, pairs: Tensor) -> Tensor:
        return (F.softplus(differences) * pairs).sum() / pairs.sum().clamp_min(1)

    L_plus = mean(d_plus - d, positive) + mean(d - d_plus, ~same)
    L_minus = mean(d - d_minus, positive) + mean(d_minus - d, ~same)
    return L_plus + L_minus


def hardest_triplet_loss(f: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Triplet loss with the hardest pairs of a batch (Hermans et al., 2017: In defense of the
    triplet loss): mean over anchors of [margin + max_p D(a, p) - min_n D(a, n)]_+, D Euclidean.

    f: float (B, C); labels: int64 (B,). The anchor itself counts as its own p where there is no
    other; an anchor without n adds 0.
    """
    with in_fp32(f):
        f = f.float()
        square = f.square().sum(1)
        D = (square[:, None] + square[None, :] - 2 * f @ f.T).clamp_min(1e-12).sqrt()  # (B, B)
        same = labels[:, None] == labels[None, :]
        farthest = D.masked_fill(~same, 0).amax(1)
        nearest = D.masked_fill(same, torch.inf).amin(1)
        return (margin + farthest - nearest).clamp_min(0).mean()
