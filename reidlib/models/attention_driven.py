"""Attention driven person re-identification (Yang et al., Pattern Recognition 2019), in the paper's
order, with its equation numbers and names.

Shapes: B images, G parallel branches of one kind (G = 1: whole body; G = 4: head, upper body, upper
legs, lower legs), c channels of a branch, H x W pixels of the whole-body image, h = H / 4 rows of a
part, Q people.

The four part branches have weights of their own and the same shapes, so they run as one: their
channels stand side by side, (B, 4 c, ...), and every convolution has four groups. No weight, no
statistic and no gradient is shared by that; it is four passes in one call.

Of what the paper leaves open (its notes say why): bottlenecks have a projection where size or
channels change, with the stride in their first convolution, as in the first ResNet; every
convolution of a feature path has batch normalization; the attention path of a block is one
bottleneck without shortcut at the size of a_i, with max pooling 2, 1 and 1 times; FC_reduce is
linear; predictions have no bias, as in Eq 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import scaled_channels

PARTS = ("head", "upper body", "upper legs", "lower legs")
FUSIONS = ("concatenation", "fc", "inter")
EVALUATIONS = ("global+part", "global", *PARTS, "part fusion")  # rows of Table 7

STEM = 32  # channels of Conv1
WHOLE = (32, 64, 128, 256)  # of the 3x3 convolutions in Conv2x ... Conv5x; a unit gives twice these
PART = (16, 32, 64, 128)
EXPANSION = 2

# The rows of Tables 6, 8 and 9, as settings of AttentionDrivenConfig.
VARIANTS: dict[str, dict[str, object]] = {
    "baseline": {"aligned": False, "intra": False, "fusion": "concatenation"},
    "aligned": {"intra": False, "fusion": "concatenation"},
    "intra": {"fusion": "concatenation"},
    "inter": {"intra": False},
    "intra+inter": {},
    "without decomposition": {"decomposed": False},
    "fc fusion": {"intra": False, "fusion": "fc"},
}


@dataclass(frozen=True)
class AttentionDrivenConfig:
    """What distinguishes one model from another; the defaults are the paper's Intra+inter."""

    ids: int  # Q, people in the training set
    width: float = 1.0  # of all channels
    units: tuple[int, ...] = (3, 3, 3, 3)  # bottlenecks in Conv2x ... Conv5x
    E_g: int = 256  # size of the feature of the whole body
    E_p: int = 128  # of each part
    E_f: int = 512  # of the fully-connected fusion (Table 9)
    aligned: bool = True  # body and parts cut out by key points (Eq 1-2); else image and strips
    beta: float = 5.0  # overlap of neighboring regions, in 48ths of the body's height H
    intra: bool = True  # intra-attention in Blocks 2 to 4
    decomposed: bool = True  # attention = spatial x channel; else one h x w x c map (Table 8)
    fusion: str = "inter"  # "concatenation" when testing | "fc" | "inter"
    lambda_: float = 0.5  # weight of the five losses of single branches (Eq 11)
    dropout: float = 0.5  # before every prediction layer

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise UsageError(
                f"AttentionDriven: fusion must be one of {FUSIONS}, got {self.fusion!r}"
            )
        if self.width <= 0:
            raise UsageError(f"AttentionDriven: width must be above 0, got {self.width}")
        if len(self.units) != len(WHOLE) or any(n < 1 for n in self.units):
            raise UsageError(f"AttentionDriven: units must be 4 numbers >= 1, got {self.units}")
        for name in ("ids", "E_g", "E_p", "E_f"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"AttentionDriven: {name} must be at least 1, got {getattr(self, name)}"
                )
        if self.beta < 0 or self.lambda_ < 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                "AttentionDriven: beta and lambda_ must be 0 or above and dropout in [0, 1), got "
                f"{self.beta}, {self.lambda_} and {self.dropout}"
            )
        if self.fusion == "concatenation" and self.lambda_ == 0:
            raise UsageError(
                "AttentionDriven: with fusion 'concatenation' the losses of single branches are "
                "the only ones: lambda_ must be above 0"
            )


def channels(cfg: AttentionDrivenConfig) -> dict[str, tuple[int, ...]]:
    """Channels of the 3x3 convolutions of Conv2x ... Conv5x, of "whole" and of each of "parts"."""
    return {
        name: tuple(scaled_channels(c, cfg.width) for c in full)
        for name, full in (("whole", WHOLE), ("parts", PART))
    }


class Features(NamedTuple):
    """What the five branches give: E_g float (B, 256) and E_1 ... E_4 as E, float (B, 4, 128)."""

    E_g: Tensor
    E: Tensor


# ------------------------------------------------------------------ 3.1 base network


def conv(G: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Conv2d:
    """A convolution in each of G branches: (B, G inputs, ...) -> (B, G outputs, ...)."""
    made = nn.Conv2d(
        G * inputs, G * outputs, kernel, stride, padding=kernel // 2, groups=G, bias=False
    )
    # He et al., fan out of one branch.
    nn.init.normal_(made.weight, std=(2 / (outputs * kernel**2)) ** 0.5)
    return made


def normalized(conv: nn.Conv2d, bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """bn(conv(x)). When testing, normalization is a factor and an offset of each channel, and the
    convolution does both: one pass over the maps less."""
    if bn.training:
        return bn(conv(x))
    factor = bn.weight * (bn.running_var + bn.eps).rsqrt()
    weight = conv.weight * factor[:, None, None, None]
    bias = bn.bias - bn.running_mean * factor
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)


class Unit(nn.Module):
    """Residual unit of Table 1, in G branches: [1x1, c; 3x3, c; 1x1, 2c] and its shortcut.

    Without `shortcut` it is the unit of the attention path.
    """

    def __init__(self, G: int, inputs: int, c: int, stride: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        outputs = EXPANSION * c
        self.conv1, self.bn1 = conv(G, inputs, c, 1, stride), nn.BatchNorm2d(G * c)
        self.conv2, self.bn2 = conv(G, c, c, 3), nn.BatchNorm2d(G * c)
        self.conv3, self.bn3 = conv(G, c, outputs), nn.BatchNorm2d(G * outputs)
        self.projection: nn.Sequential | None = None
        if shortcut and (stride > 1 or inputs != outputs):
            self.projection = nn.Sequential(
                conv(G, inputs, outputs, 1, stride), nn.BatchNorm2d(G * outputs)
            )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(normalized(self.conv1, self.bn1, x), inplace=True)
        y = F.relu(normalized(self.conv2, self.bn2, y), inplace=True)
        y = normalized(self.conv3, self.bn3, y)
        if self.shortcut:
            y += x if self.projection is None else normalized(*self.projection, x)
        return F.relu(y, inplace=True)


class Stream(nn.Module):
    """Everything of G branches behind Conv1: (B, G 32, h, w) -> features (B, G, E).

    `pool` is the stride of the max pooling in Conv2x. The blocks B_1 ... B_4 of Fig. 5 are Conv2x
    ... Conv5x; the last has no down-sampling.
    """

    def __init__(
        self, G: int, stem: int, c: tuple[int, ...], units: tuple[int, ...], pool: tuple[int, int],
        E: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.G = G
        self.pool = nn.MaxPool2d(3, pool, padding=1)
        blocks, inputs = [], stem
        for size, depth, stride in zip(c, units, (1, 2, 2, 1), strict=True):
            first = Unit(G, inputs, size, stride)
            inputs = EXPANSION * size
            blocks.append(nn.Sequential(first, *(Unit(G, inputs, size) for _ in range(depth - 1))))
        self.B = nn.ModuleList(blocks)
        self.FC_reduce = nn.Parameter(torch.empty(G, inputs, E))
        nn.init.normal_(self.FC_reduce, std=inputs**-0.5)

    def forward(self, x: Tensor, intra: nn.ModuleList | None) -> tuple[Tensor, list[Tensor]]:
        """Features, and m_2 ... m_4, each float (B, G c, h, w), if `intra` is given."""
        v, masks = self.B[0](self.pool(x)), []
        for i in range(1, len(self.B)):
            a = self.B[i](v)  # Eq 3
            if intra is None:
                v = a
            else:
                m = intra[i - 1](v)  # Eq 4
                v = (1 + m) * a  # Eq 7
                masks.append(m)
        mean = v.mean((2, 3)).unflatten(1, (self.G, -1))  # AP: (B, G, c)
        return torch.bmm(mean.transpose(0, 1), self.FC_reduce).transpose(0, 1), masks


class Base(nn.Module):
    """The base network of Table 1: five branches that share Conv1.

    Its normalization is not shared: that of the whole body and that of the parts see pictures of
    different sizes.
    """

    def __init__(self, cfg: AttentionDrivenConfig) -> None:
        super().__init__()
        stem, c = scaled_channels(STEM, cfg.width), channels(cfg)
        self.conv1 = conv(1, 3, stem, 3, 2)
        self.bn1_whole, self.bn1_parts = nn.BatchNorm2d(stem), nn.BatchNorm2d(stem)
        self.whole = Stream(1, stem, c["whole"], cfg.units, (2, 2), cfg.E_g)
        self.parts = Stream(len(PARTS), stem, c["parts"], cfg.units, (1, 2), cfg.E_p)

    def forward(
        self,
        whole: Tensor,
        parts: Tensor | None = None,
        intra_whole: nn.ModuleList | None = None,
        intra_parts: nn.ModuleList | None = None,
    ) -> tuple[Features, tuple[list[Tensor], list[Tensor]]]:
        """whole float (B, 3, H, W), parts float (B, 4, 3, h, W), normalized; without parts, they
        are the four strips of `whole`."""
        parts = strips(whole) if parts is None else parts
        x = F.relu(normalized(self.conv1, self.bn1_whole, whole), inplace=True)
        E_g, masks_whole = self.whole(x, intra_whole)
        x = normalized(self.conv1, self.bn1_parts, parts.flatten(0, 1))  # (4B, 32, ...)
        x = F.relu(x, inplace=True)
        E, masks_parts = self.parts(side_by_side(x, len(PARTS)), intra_parts)
        return Features(E_g[:, 0], E), (masks_whole, masks_parts)


def strips(images: Tensor) -> Tensor:
    """Four strips of the same height: (B, 3, H, W) -> (B, 4, 3, H / 4, W)."""
    return images.unflatten(2, (len(PARTS), -1)).transpose(1, 2)


def side_by_side(x: Tensor, G: int) -> Tensor:
    """(B G, c, h, w) -> (B, G c, h, w), in the memory format that it has."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        rows = x.permute(0, 2, 3, 1).unflatten(0, (-1, G))  # (B, G, h, w, c)
        return rows.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)
    return x.unflatten(0, (-1, G)).flatten(1, 2)


# ------------------------------------------------------------------ 3.3 intra-attention


class Intra(nn.Module):
    """M of Eq 4: the attention path of block `i` (2, 3 or 4), in G branches: v_i -> m_i.

    Encoder-decoder with a skip connection, max pooling twice in Block 2 and once in Blocks 3 and 4:

        Block 2: pool - unit - pool - up + skip      Block 3: pool - unit
        Block 4: unit - pool - up + skip

    The unit works at the size of a_i: a first pooling is what takes v_i there.
    """

    def __init__(self, i: int, G: int, inputs: int, c: int, decomposed: bool) -> None:
        super().__init__()
        outputs = EXPANSION * c
        self.i, self.G = i, G
        self.unit = Unit(G, inputs, c, shortcut=False)
        # All are drawn and some are kept, so that what two models share starts the same.
        spatial, channel = (_conv_in(G, outputs, n) for n in (1, outputs))
        fuse, full = _conv_in(G, outputs, outputs), _conv_in(G, outputs, outputs, 3)
        self.decomposed = decomposed
        if decomposed:
            self.spatial, self.channel, self.fuse = spatial, channel, fuse
        else:
            self.full = full

    def forward(self, v: Tensor) -> Tensor:
        A = self.encode_decode(v)  # (B, G c, h, w)
        if not self.decomposed:
            return torch.sigmoid(self.full(A))
        S = self.spatial(A)  # (B, G, h, w), Eq 6
        C = self.channel(A.mean((2, 3), keepdim=True))  # (B, G c, 1, 1)
        # The last convolution is linear, sees one position at a time, and S is one number there:
        # that of S x C is S x that of C, and need not be done at every position.
        return torch.sigmoid(outer(S, self.fuse(C)))

    def encode_decode(self, v: Tensor) -> Tensor:
        """A_i, the initial attention score: (B, G c, h, w), of the size of a_i."""
        A = self.unit(v if self.i == 4 else half(v))
        if self.i == 3:
            return A
        up = F.interpolate(half(A), A.shape[2:], mode="bilinear", align_corners=False)
        return up.add_(A)


def outer(S: Tensor, C: Tensor) -> Tensor:
    """S x C in each of G branches: (B, G, h, w) and (B, G c, 1, 1) -> (B, G c, h, w), channels
    last, as what it is multiplied with."""
    c = C.flatten(1).unflatten(1, (S.shape[1], -1))  # (B, G, c)
    rows = S.permute(0, 2, 3, 1)[..., None] * c[:, None, None]  # (B, h, w, G, c)
    return rows.flatten(3).permute(0, 3, 1, 2)


def half(x: Tensor) -> Tensor:
    """Max pooling to half the size, rounded up, as a convolution of stride 2 does it."""
    return F.max_pool2d(x, 3, 2, padding=1)


def _conv_in(G: int, inputs: int, outputs: int, kernel: int = 1) -> nn.Conv2d:
    """A convolution that keeps the scale of what comes in: S and C are multiplied, and a product of
    two small numbers would leave the sigmoid at 1/2."""
    made = conv(G, inputs, outputs, kernel)
    nn.init.normal_(made.weight, std=(2 / (inputs * kernel**2)) ** 0.5)
    return made


def intra_attention(cfg: AttentionDrivenConfig, G: int, c: tuple[int, ...]) -> nn.ModuleList:
    """The attention paths of Blocks 2 to 4."""
    return nn.ModuleList(
        Intra(i, G, EXPANSION * c[i - 2], c[i - 1], cfg.decomposed) for i in (2, 3, 4)
    )


# ------------------------------------------------------------------ 3.4 inter-attention


class Inter(nn.Module):
    """Eq 8 and 9: (1 + mu_i) E_i, float (B, 4, 128) -> (B, 4, 128)."""

    def __init__(self, E: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(len(PARTS), E))
        self.b = nn.Parameter(torch.zeros(len(PARTS)))
        nn.init.normal_(self.w, std=E**-0.5)

    def mu(self, E: Tensor) -> Tensor:
        """Weights of the parts, float (B, 4) in 0..1 (Eq 8)."""
        return torch.sigmoid((E * self.w).sum(2) + self.b)

    def forward(self, E: Tensor) -> Tensor:
        return (1 + self.mu(E))[:, :, None] * E  # Eq 9


# ------------------------------------------------------------------ the network


class AttentionDriven(nn.Module):
    """The whole network, its prediction layers included.

    What two rows of a table have in common starts from the same numbers under the same seed: all
    that any row has is drawn in one order, and a row keeps its own.
    """

    def __init__(self, cfg: AttentionDrivenConfig) -> None:
        super().__init__()
        self.cfg = cfg
        E_p = len(PARTS) * cfg.E_p
        self.backbone = Base(cfg)
        self.predict_g = _prediction(1, cfg.E_g, cfg.ids)
        self.predict_p = _prediction(len(PARTS), cfg.E_p, cfg.ids)
        c = channels(cfg)
        intra = {
            "intra_whole": intra_attention(cfg, 1, c["whole"]),
            "intra_parts": intra_attention(cfg, len(PARTS), c["parts"]),
        }
        inter, predict = Inter(cfg.E_p), _prediction(1, cfg.E_g + E_p, cfg.ids)
        for name, paths in intra.items():
            setattr(self, name, paths if cfg.intra else None)
        if cfg.fusion == "inter":
            self.inter, self.predict = inter, predict
        elif cfg.fusion == "fc":
            self.fuse = nn.Linear(cfg.E_g + E_p, cfg.E_f)
            self.predict = _prediction(1, cfg.E_f, cfg.ids)

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Take the base network of a pretraining; every row starts from it."""
        prefix = "backbone."
        mine = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        self.backbone.load_state_dict(mine)

    def encode(self, whole: Tensor, parts: Tensor) -> Features:
        """whole float (B, 3, H, W) and parts float (B, 4, 3, h, W), normalized -> E_g and E_i."""
        return self.backbone(whole, parts, self.intra_whole, self.intra_parts)[0]

    def masks(self, whole: Tensor, parts: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """m_2, m_3 and m_4 of the whole body, float (B, c, h, w), and of the parts, float
        (B, 4, c, h, w); empty lists for a model without intra-attention."""
        of_whole, of_parts = self.backbone(whole, parts, self.intra_whole, self.intra_parts)[1]
        return of_whole, [m.unflatten(1, (len(PARTS), -1)) for m in of_parts]

    def E_l(self, E: Tensor) -> Tensor:
        """The fused part feature, float (B, 512): Eq 9; without inter-attention [E_1 ... E_4]."""
        return (self.inter(E) if self.cfg.fusion == "inter" else E).flatten(1)

    def fused(self, features: Features) -> Tensor:
        """X of the prediction of l_inter: [E_g, E_l], or the fully-connected fusion of it."""
        X = torch.cat((features.E_g, self.E_l(features.E)), 1)
        return self.fuse(X) if self.cfg.fusion == "fc" else X

    # 3.5

    def loss(self, features: Features, labels: Tensor) -> dict[str, Tensor]:
        """Eq 11: "intra", lambda times the five losses of single branches, and "inter". Their sum
        is to be minimized. labels: int64 (B,) in 0..Q-1."""
        cfg = self.cfg
        X_g = F.dropout(features.E_g, cfg.dropout, self.training)
        X_p = F.dropout(features.E, cfg.dropout, self.training)
        logits = torch.bmm(X_p.transpose(0, 1), self.predict_p)  # (4, B, Q)
        l_g = identity_loss(X_g @ self.predict_g[0], labels)
        # The mean over 4 B predictions, times 4: the sum of the parts' own means.
        l_p = len(PARTS) * identity_loss(logits.flatten(0, 1), labels.repeat(len(PARTS)))
        terms = {"intra": cfg.lambda_ * (l_g + l_p)}
        if cfg.fusion != "concatenation":
            X = F.dropout(self.fused(features), cfg.dropout, self.training)
            terms["inter"] = identity_loss(X @ self.predict[0], labels)
        return terms

    def forward(self, whole: Tensor, parts: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of B images: `loss` of what `encode` gives."""
        return self.loss(self.encode(whole, parts), labels)

    # 3.4, last paragraph, and Table 7

    def embeddings(self, features: Features) -> dict[str, Tensor]:
        """What the gallery is ranked by, for each of `EVALUATIONS`: float (B, ...), to be compared
        by Euclidean distance. "global+part" gives E_g and E_l, each of length 1, the same weight.
        """
        E_l = self.E_l(features.E)
        if self.cfg.fusion == "fc":
            whole = F.normalize(self.fused(features))
        else:
            whole = torch.cat((F.normalize(features.E_g), F.normalize(E_l)), 1)
        parts = dict(zip(PARTS, F.normalize(features.E, dim=2).unbind(1), strict=True))
        found = {"global+part": whole, "global": F.normalize(features.E_g), **parts}
        return {**found, "part fusion": F.normalize(E_l)}


def _prediction(G: int, inputs: int, ids: int) -> nn.Parameter:
    """W of Eq 10, in G branches: float (G, inputs, Q)."""
    return nn.Parameter(torch.randn(G, inputs, ids) * 0.001)


# ------------------------------------------------------------------ reports


def parameter_counts(model: AttentionDriven) -> dict[str, int]:
    """Parameters of each part that the network has, and "total"."""

    def count(*found: nn.Module | nn.Parameter | None) -> int:
        total = 0
        for part in found:
            if isinstance(part, nn.Parameter):
                total += part.numel()
            elif part is not None:
                total += sum(p.numel() for p in part.parameters())
        return total

    base = model.backbone
    counts = {
        "Conv1": count(base.conv1, base.bn1_whole, base.bn1_parts),
        "branch of the whole body": count(base.whole),
        "four branches of parts": count(base.parts),
        "intra-attention": count(model.intra_whole, model.intra_parts),
        "inter-attention": count(getattr(model, "inter", None)),
        "fully-connected fusion": count(getattr(model, "fuse", None)),
        "prediction layers": count(
            model.predict_g, model.predict_p, getattr(model, "predict", None)
        ),
    }
    counts = {name: number for name, number in counts.items() if number}
    return counts | {"total": count(model)}
