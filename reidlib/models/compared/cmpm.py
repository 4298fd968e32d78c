"""CMPM + CMPC: cross-modal projection matching and classification (Zhang & Lu, ECCV 2018), with
ResNet-50, as SSAN Table IV compares it.

Image: global average of the map; text: bi-directional LSTM over words, maximum over time; each
through one linear layer to a joint space of 512 dimensions, without activation. As in the authors'
TensorFlow code, this layer is followed by batch normalization (`joint_norm`), and words and states
are dropped out at random. The maximum is taken over real words only, and a batch's match
distribution is the mask of same people divided by its row sums.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import backbone
from reidlib.models.parts.codes import (
    GlobalCodes,
    draw_shuffled,
    global_evaluations,
    global_similarities,
)
from reidlib.models.parts.lstm import row_maxima, word_states
from reidlib.models.parts.packing import pack

NEEDS: tuple[str, ...] = ()
PHRASES = False
draw, evaluations, similarities = draw_shuffled, global_evaluations, global_similarities

_EPS = 1e-8


@dataclass(frozen=True)
class CMPMConfig:
    """Settings; the defaults are the authors', with ResNet-50 in place of MobileNet."""

    ids: int
    vocabulary: int
    backbone: str = "resnet50"
    width: float = 1.0
    depths: tuple[int, ...] | None = None
    last_stride: int = 2
    V: int = 512  # size of a word
    H: int = 512  # states per LSTM direction
    P: int = 512  # joint space
    joint_norm: bool = True
    dropout: float = 0.3
    cmpm: bool = True
    cmpc: bool = True
    weight_decay: float = 0.0  # of convolutions and joint layers, and of nothing else


class CMPM(nn.Module):
    """The whole network, CMPC's classifier included."""

    def __init__(self, cfg: CMPMConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.V)
        nn.init.xavier_uniform_(self.W_e.weight)
        self.lstm = nn.LSTM(cfg.V, cfg.H, bidirectional=True)
        self.joint_image = _joint(self.backbone.out_channels, cfg)
        self.joint_text = _joint(2 * cfg.H, cfg)
        self.W = nn.Parameter(torch.empty(cfg.P, cfg.ids))
        nn.init.xavier_uniform_(self.W)

    def encode_images(self, images: Tensor) -> GlobalCodes:
        """Images float (B, 3, h, w), normalized."""
        return GlobalCodes(self.joint_image(self.backbone(images).mean((2, 3))))

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> GlobalCodes:
        """Captions int64 (B, L), padded, and their lengths int64 (B,), on the CPU."""
        packed = pack([(tokens, lengths)])
        x = F.dropout(self.W_e(packed.tokens), self.cfg.dropout, self.training)
        e = word_states(self.lstm, x, packed.batch_sizes).transpose(0, 1).flatten(1)
        e = F.dropout(e, self.cfg.dropout, self.training)  # (words, 2 H)
        return GlobalCodes(self.joint_text(row_maxima(e, packed.slots)))

    def loss(self, images: GlobalCodes, texts: GlobalCodes, labels: Tensor) -> dict[str, Tensor]:
        """CMPM and CMPC of B matched pairs, both directions each; labels int64 (B,)."""
        terms = {}
        with in_fp32(images.f_g):
            x, z = images.f_g.float(), texts.f_g.float()
            if self.cfg.cmpm:
                terms["cmpm"] = cmpm_loss(x, z, labels)
            if self.cfg.cmpc:
                terms["cmpc"] = cmpc_loss(x, z, self.W, labels)
            if self.cfg.weight_decay:
                terms["l2"] = self.cfg.weight_decay / 2 * self.squares()
        return terms

    def squares(self) -> Tensor:
        """Sum of the squares of the weights that the authors' code regularizes."""
        layers = [m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)]
        for joint in (self.joint_image, self.joint_text):
            layers += [m for m in joint.modules() if isinstance(m, nn.Linear)]
        return torch.stack([layer.weight.square().sum() for layer in layers]).sum()

    def forward(
        self, images: Tensor, tokens: Tensor, lengths: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Losses of one training batch."""
        return self.loss(self.encode_images(images), self.encode_text(tokens, lengths), labels)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the LSTM for a caption of so many words, forward."""
        return words * sum(p.numel() for p in self.lstm.parameters())


NETWORK = CMPM


def losses(model: CMPM, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs, see `reidlib.models`."""
    return model(batch.images, *batch.text[:2], batch.labels)


def _joint(inputs: int, cfg: CMPMConfig) -> nn.Module:
    if not cfg.joint_norm:
        return nn.Linear(inputs, cfg.P)
    return nn.Sequential(nn.Linear(inputs, cfg.P, bias=False), nn.BatchNorm1d(cfg.P))


def cmpm_loss(x: Tensor, z: Tensor, labels: Tensor) -> Tensor:
    """Cross-modal projection matching of B image and text embeddings (B, P): a scalar in nats.

    p_ij = softmax_j(x_i . z_j / |z_j|) is compared with q_ij, 1 / (matches of i) where the labels
    are equal and 0 elsewhere: mean over i of sum_j p_ij log(p_ij / (q_ij + eps) + eps), and the
    same for texts projected on images.
    """
    same = (labels[:, None] == labels[None, :]).to(x.dtype)
    q = same / same.sum(1, keepdim=True)

    def one_way(a: Tensor, b: Tensor) -> Tensor:
        p = (a @ F.normalize(b, dim=1, eps=_EPS).T).softmax(1)
        return (p * (p / (q + _EPS) + _EPS).log()).sum(1).mean()

    return one_way(x, z) + one_way(z, x)


def cmpc_loss(x: Tensor, z: Tensor, W: Tensor, labels: Tensor) -> Tensor:
    """Cross-modal projection classification of B matched pairs: a scalar in nats.

    x, z (B, P); W (P, Q), its columns normalized here. Each embedding is projected on its partner's
    direction before it is classified.
    """
    W = F.normalize(W, dim=0, eps=_EPS)

    def one_way(a: Tensor, b: Tensor) -> Tensor:
        unit = F.normalize(b, dim=1, eps=_EPS)
        return identity_loss(((a * unit).sum(1, keepdim=True) * unit) @ W, labels)

    return one_way(x, z) + one_way(z, x)
