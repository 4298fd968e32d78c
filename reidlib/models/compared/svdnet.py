"""SVDNet (Sun et al., ICCV 2017: SVDNet for pedestrian retrieval), as IMG-Net Table 4 compares it.

The embedding is the output of one linear layer, the Eigenlayer. Its weight vectors, the columns of
W, grow alike in training, so that a few directions count several times in a distance between two
embeddings. Restraint and relaxation iterations make them orthogonal without changing distances:

    decorrelation   W = U S V^T is replaced by U S
    restraint       everything is trained but the Eigenlayer
    relaxation      everything is trained; W may leave orthogonality again

Shapes: B images, C channels of the last map (2048), d = 1024, Q persons.

Follows the authors' Caffe code: every column of U S stands where the old column nearest to it in
angle stood, with its sign; batch normalization uses the statistics of its pretraining throughout.
Columns of W are rows of `eigenlayer.weight`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import resnet50
from reidlib.models.parts.batches import ImageBatch
from reidlib.models.parts.norms import freeze_statistics, load_backbone, use_norm

METRIC = "euclidean"  # a gallery is ranked by
PER_PERSON = 0  # images of each person in a batch; 0 = any

FIRST_STAGE = "step 0"


def stage_names(iterations: int) -> tuple[str, ...]:
    """The stages of a training: step 0, then restraint and relaxation of every iteration."""
    rounds = (f"{part} {t + 1}" for t in range(iterations) for part in ("restraint", "relaxation"))
    return (FIRST_STAGE, *rounds)


@dataclass(frozen=True)
class SVDNetConfig:
    """Settings; the defaults are the authors'."""

    ids: int  # Q, persons in the training set
    width: float = 1.0  # of the backbone, a ResNet-50
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 2  # of its last stage
    d: int = 1024  # outputs of the Eigenlayer, at most as many as the backbone has channels
    dropout: float = 0.5  # between the Eigenlayer and the classifier
    norm: str = "bn"  # "bn" | "gn": of all layers that normalize by either, the backbone's too
    groups: int = 32  # of GN, at most
    frozen_statistics: bool = True  # BN keeps the statistics it starts with; for pretrained weights

    @property
    def backbone_norm(self) -> str:
        """What the backbone of a pretraining must have, for its weights to fit."""
        return self.norm


class SVDNet(nn.Module):
    """The whole network, the identity classifier included."""

    def __init__(self, cfg: SVDNetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = resnet50(cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        if not 1 <= cfg.d <= C:
            raise UsageError(f"SVDNet: d must be 1 to {C}, the backbone's channels, got {cfg.d}")
        self.eigenlayer = nn.Linear(C, cfg.d, bias=False)
        self.classifier = nn.Linear(cfg.d, cfg.ids)
        # Decorrelations done so far. It belongs to the state, so that a resumed training goes on
        # with the right one.
        self.register_buffer("decorrelations", torch.zeros((), dtype=torch.int64))
        self._stage = ""
        use_norm(self, cfg.norm, cfg.groups)

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Begin with the backbone of a pretrained network; raises RuntimeError if it is another."""
        load_backbone(self.backbone, state)

    def train(self, mode: bool = True) -> "SVDNet":
        super().train(mode)
        if self.cfg.frozen_statistics:
            freeze_statistics(self.backbone)
        return self

    @property
    def W(self) -> Tensor:
        """The Eigenlayer's weight vectors as columns, float (C, d)."""
        return self.eigenlayer.weight.T

    def embed(self, images: Tensor) -> Tensor:
        """f: images (B, 3, h, w), normalized -> float (B, d), compared by Euclidean distance."""
        return self.eigenlayer(self._pooled(images))

    forward = embed

    def logits(self, images: Tensor, restraint: bool = False) -> Tensor:
        """Images (B, 3, h, w) -> float (B, Q). With `restraint` W gets no gradient."""
        W = self.eigenlayer.weight
        f = F.linear(self._pooled(images), W.detach() if restraint else W)
        return self.classifier(F.dropout(f, self.cfg.dropout, self.training))

    def _pooled(self, images: Tensor) -> Tensor:
        return self.backbone(images).mean((2, 3))  # (B, C)

    def enter(self, stage: str) -> None:
        """Decorrelate W where the training enters an iteration; nothing within one."""
        if stage == self._stage:
            return
        iteration = _iteration(stage)
        if iteration > int(self.decorrelations):
            with torch.no_grad():
                self.eigenlayer.weight.copy_(decorrelated(self.W).T)
                self.decorrelations.fill_(iteration)
        self._stage = stage


def _iteration(stage: str) -> int:
    found = re.fullmatch(r"(?:restraint|relaxation) ([1-9]\d*)", stage)
    if found is None and stage != FIRST_STAGE:
        raise UsageError(
            f"SVDNet: unknown stage {stage!r}: expected {FIRST_STAGE!r}, 'restraint <t>' or "
            "'relaxation <t>'"
        )
    return int(found[1]) if found else 0


NETWORK = SVDNet


def losses(model: SVDNet, batch: ImageBatch, stage: Stage) -> dict[str, Tensor]:
    """The identity loss of a batch; its first call in an iteration decorrelates W before it."""
    model.enter(stage.name)
    logits = model.logits(batch.images, restraint=stage.name.startswith("restraint"))
    return {"id": identity_loss(logits, batch.labels)}


# ------------------------------------------------------------------ matrices


@torch.no_grad()
def orthogonality(W: Tensor) -> Tensor:
    """S(W) = sum_i |g_ii| / sum_ij |g_ij| of G = W^T W: a scalar, 1/d where all columns are
    equal, up to 1 where they are orthogonal. W: float (C, d).

    Source: SVDNet's metric S(W); absolute values in both sums, as in the authors' code.
    """
    W = W.double()
    G = (W.T @ W).abs()
    return G.diagonal().sum() / G.sum()


@torch.no_grad()
def decorrelated(W: Tensor) -> Tensor:
    """U S of W = U S V^T, in the order and with the signs of W's own columns: float (C, d).

    Distances between embeddings stay: |W^T x|^2 = x^T U S V^T V S U^T x = |(U S)^T x|^2.
    Column after column of W takes the column of U S, among those not yet taken,
    that is nearest in angle, turned to its side: the singular value decomposition says nothing
    about order and signs, and the layer behind W is used to them.
    Computed in double precision on the CPU.
    """
    exact = W.detach().double().cpu()
    U, S, _ = torch.linalg.svd(exact, full_matrices=False)
    US = U * S  # (C, d)
    cos = F.normalize(exact, dim=0).T @ F.normalize(US, dim=0)  # (d, d): old columns x new ones
    chosen = torch.empty_like(US)
    closeness = cos.abs()
    for i in range(len(cos)):
        j = int(closeness[i].argmax())
        chosen[:, i] = -US[:, j] if cos[i, j] < 0 else US[:, j]
        closeness[:, j] = -1.0  # taken
    return chosen.to(W)
