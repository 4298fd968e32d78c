"""FGSAM: fine-grained spatial alignment model (Zhou et al., TIP 2020), in the paper's order, with
its equation numbers and names.

Shapes: B images; F float (B, 2048, h, w) of ResNet-50; H and C, 19 confidence maps and 38 affinity
fields of the pose resolve net (`reidlib.models.pose_resolve`); D, size of a sketch; N_i, classes of
attribute i; Q, people in the training set.

One class is the networks of all three training phases, which are also the rows of Table IV:

    baseline      F, averaged, and an identity classifier                   (pose=False)
    intermediate  F and [H, C] joined by compact bilinear pooling, with     (lram=False)
                  attributes or, as in "Base + Pose", without
    final         locally reinforced alignment: six part branches, which recognize attributes,
                  and the plenary branch, which recognizes persons; with the focal triplet loss or,
                  as in "Base + Pose + LRAM", without

A phase starts from the weights of the one before (`load_start`): of the backbone, the pose resolve
net and its channel parse blocks. Classifiers and branches start anew, as their inputs are others.

Where the paper leaves a choice: the text joins "feature maps" by bilinear pooling in one place and
"features after the pool5 layer" in another; here products are formed place by place and averaged
(fusion="maps", pose maps averaged down to the size of F), because features that were averaged over
the picture before cannot be aligned with parts of it; fusion="pooled" is the other reading. Batch
normalization has no scale and shift, as Eq 6 to 8 print it. D = 2048. Branches are linear.
Distances are Euclidean between normalized embeddings; of each anchor the farthest positive and the
nearest negative of the batch count (batch hard, the paper's reference [26]); the gradient flows
through lambda. A person is searched by the seven embeddings, each normalized as in the losses, and
concatenated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F_
from torch import Tensor, nn

from reidlib.devices import in_fp32
from reidlib.errors import UsageError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import backbone
from reidlib.models.parts.bilinear import CompactBilinear
from reidlib.models.pose_resolve import PARTS, PoseConfig, PoseResolveNet, U, V, part_channels

UNLABELED = -1  # an attribute that nothing is known of: not part of any loss

# Section III-C assigns "different attributes to their related parts" without a list; names are
# those of Table I.
PART_OF: Mapping[str, str] = MappingProxyType(
    {
        "gender": "head",
        "hair": "head",
        "hat": "head",
        "age": "head",
        "C.up": "upper body",
        "L.up": "upper body",
        "B.pack": "upper body",
        "L.slv": "upper arm",
        "bag": "lower arm",
        "H.bag": "lower arm",
        "C.low": "upper leg",
        "T.low": "upper leg",
        "L.low": "lower leg",
        "C.shoes": "lower leg",
        "boots": "lower leg",
    }
)


@dataclass(frozen=True)
class FGSAMConfig:
    """What distinguishes one FGSAM from another; the defaults are the paper's final model."""

    ids: int  # Q
    attributes: tuple[tuple[str, int], ...] = ()  # (name as in Table I, number of classes) each
    backbone: str = "resnet50"
    width: float = 1.0  # of the backbone
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 2  # of ResNet-50's layer4
    pose_width: float = 1.0  # of the pose resolve net
    pose: bool = True  # join the pose resolve net
    cpb: bool = True  # channel parse blocks in it (Table V)
    lram: bool = True  # locally reinforced alignment mode
    ftl: bool = True  # focal triplet losses
    fusion: str = "maps"  # "maps" | "pooled": products place by place, or of averaged features
    D: int = 2048  # size of a sketch
    d_part: int = 256
    d_plenary: int = 512
    alpha: float = 0.5  # margin of Eq 9
    beta: float = 0.01  # greatest distance within a person that costs nothing (Eq 10)
    gamma: float = 2.0  # exponent of Eq 10
    flow: bool = True  # whether the gradient flows through lambda

    def __post_init__(self) -> None:
        if self.fusion not in ("maps", "pooled"):
            raise UsageError(f"FGSAM: fusion must be maps or pooled, got {self.fusion!r}")
        for name in ("ids", "D", "d_part", "d_plenary"):
            if getattr(self, name) < 1:
                raise UsageError(f"FGSAM: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("alpha", "beta", "gamma"):
            if getattr(self, name) < 0:
                raise UsageError(f"FGSAM: {name} must not be negative, got {getattr(self, name)}")
        if not self.pose and (self.lram or self.attributes):
            raise UsageError("FGSAM: the baseline (pose=False) has neither parts nor attributes")
        if self.ftl and not self.lram:
            raise UsageError("FGSAM: focal triplet losses are those of the branches of lram=True")
        for name, classes in self.attributes:
            if name not in PART_OF or classes < 2:
                raise UsageError(
                    f"FGSAM: attribute {name!r} with {classes} classes; expected at least 2, and "
                    f"one of {', '.join(PART_OF)}"
                )


class Codes(NamedTuple):
    """B encoded images.

    plenary: float (B, E), what recognizes persons: the averaged F of the baseline, the sketch of
    the intermediate model, the 512-dimensional embedding of the final one. parts: (6, B, 256), the
    embeddings of `PARTS`, of the final model only.
    """

    plenary: Tensor
    parts: Tensor | None


class FGSAM(nn.Module):
    """The network of one phase. Layers that only some rows have come last."""

    def __init__(self, cfg: FGSAMConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        features = self.backbone.out_channels
        if not cfg.pose:
            self.W_id = nn.Linear(features, cfg.ids)
            return
        self.pose = PoseResolveNet(PoseConfig(cfg.pose_width))
        self.norm_F, self.norm_H, self.norm_C = (
            nn.BatchNorm2d(c, affine=False) for c in (features, U, V)
        )
        channels = {part: part_channels(part) for part in PARTS} if cfg.lram else {}
        groups = (U + V, *(len(mine) for mine in channels.values()))
        self.pooling = CompactBilinear(features, groups, cfg.D)
        if cfg.lram:
            for part, mine in channels.items():
                self.register_buffer(_buffer(part), torch.tensor(mine), persistent=False)
            # "For the different parts, there is a 1x1 convolution layer which achieves
            # cross-channel information integration"; the plenary branch has one, too.
            self.integrate = nn.ModuleList(nn.Conv2d(n, n, 1) for n in groups)
            self.W_plenary = nn.Linear(cfg.D, cfg.d_plenary)
            self.W_parts = nn.Parameter(torch.empty(len(PARTS), cfg.D, cfg.d_part))
            self.b_parts = nn.Parameter(torch.zeros(len(PARTS), 1, cfg.d_part))
            nn.init.normal_(self.W_parts, std=cfg.D**-0.5)
        self.W_id = nn.Linear(cfg.d_plenary if cfg.lram else cfg.D, cfg.ids)
        inputs = cfg.d_part if cfg.lram else cfg.D
        self.W_attributes = nn.ModuleList(nn.Linear(inputs, n) for _, n in cfg.attributes)
        if cfg.cpb:
            self.pose.add_cpbs()

    @property
    def beside(self) -> tuple[nn.Module, ...]:
        """What sees the image beside the backbone."""
        return (self.pose,) if self.cfg.pose else ()

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Take over what an earlier phase, or a training on key points, has learned.

        `state`: that of an FGSAM of an earlier phase, of a backbone ("backbone.*"), or of a
        `PoseResolveNet`. What this network does not have is left out. Raises `RuntimeError` if a
        part does not fit, `KeyError` if there is none.
        """
        if "front.0.weight" in state:
            state = {f"pose.{name}": value for name, value in state.items()}
        found = False
        for name in ("backbone", "pose", "norm_F", "norm_H", "norm_C"):
            part = {k.removeprefix(f"{name}."): v for k, v in state.items()
                    if k.startswith(f"{name}.")}  # fmt: skip
            if not part:
                continue
            found = True
            module = getattr(self, name, None)
            if module is None:
                continue
            if name == "pose":  # an earlier phase may be without channel parse blocks, or this
                own = module.state_dict()
                part = {k: v for k, v in part.items() if k in own or not k.startswith("parse_")}
                part |= {k: v for k, v in own.items() if k.startswith("parse_") and k not in part}
            module.load_state_dict(part)
        if not found:
            raise KeyError("neither a backbone nor a pose resolve net in it")

    # -------------------------------------------------------------- III-A, III-B

    def normalized_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """F (B, 2048, h, w) and [H^3, C^3] (B, 57, h, w), of unit variance, in one size."""
        F = self.backbone(images)  # Eq 1
        H, C = self.pose(images)[-1]  # Eq 2
        if self.cfg.fusion == "pooled":
            F = F.mean((2, 3), keepdim=True)
        maps = torch.cat((self.norm_H(H), self.norm_C(C)), 1)  # Eq 7, 8
        size = tuple(F.shape[2:])
        if self.cfg.fusion == "maps":
            maps = F_.adaptive_avg_pool2d(maps, size)
        return self.norm_F(F), maps  # Eq 6

    # -------------------------------------------------------------- III-C

    def branch_maps(self, maps: Tensor) -> list[Tensor]:
        """The pose maps of the plenary branch and of the six parts, (B, n, h, w) each."""
        own = [maps, *(maps.index_select(1, getattr(self, _buffer(part))) for part in PARTS)]
        return [conv(x) for conv, x in zip(self.integrate, own, strict=True)]

    def encode(self, images: Tensor) -> Codes:
        """Images float (B, 3, height, width), normalized -> what persons and attributes are
        recognized by."""
        if not self.cfg.pose:
            return Codes(self.backbone(images).mean((2, 3)), None)
        F, maps = self.normalized_maps(images)
        groups = self.branch_maps(maps) if self.cfg.lram else [maps]
        if self.cfg.fusion == "pooled":
            groups = [group.mean((2, 3), keepdim=True) for group in groups]
        whole, *parts = self.pooling(F, groups)  # sketches, (B, D) each
        if not self.cfg.lram:
            return Codes(whole, None)
        embedded = torch.baddbmm(self.b_parts, torch.stack(parts), self.W_parts)
        return Codes(self.W_plenary(whole), embedded)

    def embed(self, images: Tensor) -> Tensor:
        """What persons are searched by: float32 (B, E), of length 1."""
        plenary, parts = self.encode(images)
        every = [plenary] if parts is None else [plenary, *parts]
        return F_.normalize(torch.cat([F_.normalize(part.float()) for part in every], 1))

    def attribute_logits(self, codes: Codes) -> list[Tensor]:
        """(B, N_i) for each attribute; in the final model of the branch of its part."""
        logits = []
        for (name, _), W in zip(self.cfg.attributes, self.W_attributes, strict=True):
            x = codes.plenary if codes.parts is None else codes.parts[PARTS.index(PART_OF[name])]
            logits.append(W(x))
        return logits

    # -------------------------------------------------------------- III-D

    def losses(
        self, images: Tensor, labels: Tensor, attributes: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The three sums of Eq 11, as far as the phase has them; their sum is to be minimized.

        labels: int64 (B,) in 0..Q-1, several images of each person. attributes: int64 (B, number
        of attributes), 0-based classes or `UNLABELED`; needed where the network has attributes.
        """
        codes = self.encode(images)
        terms = {"L_CEL^ID": identity_loss(self.W_id(codes.plenary), labels)}
        if self.cfg.attributes:
            if attributes is None:
                raise UsageError("FGSAM: attribute losses need the attributes of the images")
            pairs = zip(self.attribute_logits(codes), attributes.unbind(1), strict=True)
            terms["L_CEL"] = torch.stack([attribute_loss(z, q) for z, q in pairs]).sum()  # Eq 5
        if self.cfg.ftl:
            rule = (labels, self.cfg.alpha, self.cfg.beta, self.cfg.gamma, self.cfg.flow)
            whole = focal_triplet_loss(codes.plenary, *rule)
            terms["L_FTL"] = whole + focal_triplet_loss(codes.parts, *rule).sum()
        return terms

    forward = losses


def _buffer(part: str) -> str:
    return f"channels_{part.replace(' ', '_')}"


# ------------------------------------------------------------------ tensors to tensors


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of one attribute over the images that have it (Eq 5); 0 if none has.

    logits: float (B, N); labels: int64 (B,), `UNLABELED` where nothing is known.
    """
    total = F_.cross_entropy(logits.float(), labels, ignore_index=UNLABELED, reduction="sum")
    return total / (labels != UNLABELED).sum().clamp_min(1)


def focal_triplet(
    d_ap: Tensor, d_an: Tensor, alpha: float, beta: float, gamma: float, flow: bool = True
) -> Tensor:
    """Eq 9 and 10 for distances of anchors from positives and negatives, of any shape.

    lambda is never below 1: easy triplets have weight 1, not less as the text says.

    Example:
        >>> focal_triplet(torch.tensor(0.8), torch.tensor(0.6), 0.5, 0.01, 2.0)
        tensor(1.7980)
    """
    triplet = (d_ap - d_an + alpha).clamp_min(0)
    lambda_ = (d_ap - d_an + 1).clamp_min(1)
    if not flow:
        lambda_ = lambda_.detach()
    return lambda_**gamma * triplet + (d_ap - beta).clamp_min(0)


def focal_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    gamma: float,
    flow: bool = True,
) -> Tensor:
    """L_FTL of a batch: float (..., B, d) and labels int64 (B,) -> float32 (...).

    Distances are Euclidean between normalized embeddings. Every image is an anchor once, with its
    farthest positive and its nearest negative; the mean over anchors. Anchors without a positive
    or without a negative do not count; if there are none, the loss is 0.
    """
    with in_fp32(embeddings):
        x = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        x = F_.normalize(x, dim=-1)
        # Without the matrix product, which loses small distances to rounding.
        d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        same = labels[:, None] == labels
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        d_ap = d.masked_fill(~same | itself, -torch.inf).amax(-1)
        d_an = d.masked_fill(same, torch.inf).amin(-1)
        counts = (same & ~itself).any(1) & (~same).any(1)
        d_ap, d_an = (side.where(counts, 0.0) for side in (d_ap, d_an))
        losses = focal_triplet(d_ap, d_an, alpha, beta, gamma, flow) * counts
        return losses.sum(-1) / counts.sum().clamp_min(1)
