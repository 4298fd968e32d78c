"""IMG-Net: inner-cross-modal attentional multigranular network (Wang et al., J. Electron. Imaging
2020), in the paper's order, with its equation numbers and names.

Shapes: B images, M captions, k stripes, n noun phrases of a caption (R in all captions together),
h x w x c backbone map (24 x 8 x 512 for VGG-16 at 384 x 128), P = 1024, E = 300, W words, Q people.

Where the paper leaves a choice: GN has 32 groups; the spatial branch, and the attention layers in
general, have no normalization and no bias (Eq 2 ends in ReLU, as printed); the FCs of the local
and the phrase branch are shared by all stripes and all phrases; sentences and phrases share one
embedding and one bi-GRU; the indicator of Eq 12 and 14 is a constant for the gradient, and what it
keeps is not normalized again; it reads alpha >= 1/n - 1e-6, because with the printed ">" a caption
with a single phrase, or with equal scores, would keep nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32, send
from reidlib.errors import DataError, UsageError
from reidlib.losses import identity_loss, ranking_loss
from reidlib.metrics.first_match import first_match_ranks
from reidlib.models.parts.backbones import BACKBONES, backbone
from reidlib.models.parts.codes import draw_shuffled, fuse
from reidlib.models.parts.gru import last_states
from reidlib.models.parts.norms import GroupNorm, group_count
from reidlib.models.parts.packing import pack

NEEDS: tuple[str, ...] = ()
PHRASES = True
draw = draw_shuffled

# Eq 18, and its parts (Table 3). A part keeps the weights of the whole.
EVALUATIONS = {
    "GS": {"GS": 1.0},
    "LS": {"LS": 0.5},
    "GP": {"GP": 0.5},
    "GS+LS": {"GS": 1.0, "LS": 0.5},
    "GS+GP": {"GS": 1.0, "GP": 0.5},
    "LS+GP": {"LS": 0.5, "GP": 0.5},
    "GS+LS+GP": {"GS": 1.0, "LS": 0.5, "GP": 0.5},
}

_EPS = 1e-8  # smallest norm in a cosine


@dataclass(frozen=True)
class IMGNetConfig:
    """What distinguishes one IMG-Net from another; the defaults are the paper's VGG-16 model."""

    ids: int  # Q, people in the training set
    vocabulary: int  # W, rows of the embedding table (padding and unknown word included)
    backbone: str = "vgg16"  # | "vgg16_bn" | "resnet50"; the paper takes k = 8 for ResNet-50
    width: float = 1.0  # of the backbone
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 1  # of ResNet-50's layer4
    k: int = 6  # stripes
    P: int = 1024  # size of V^G, of each M^V_i and M^P_i, and of T^S
    E: int = 300  # size of a word embedding
    r: int = 16  # reduction of the channel attention
    channel: bool = True  # attention to channels (Eq 2); with neither, the module is left out
    spatial: bool = True  # attention to places (Eq 3)
    pooling: str = "fused"  # "fused" | "avg" | "max"
    norm: str = "gn"  # "gn" | "bn", of the heads; the backbone keeps its own
    groups: int = 32  # of GN, at most; fewer where they would hold less than 8 numbers each
    norm_in_attention: str = "none"  # "none" | "gn" | "bn" after every attention convolution
    gs: bool = True  # ranking loss of whole image and sentence, S_GS (Eq 15) in use
    ls: bool = True  # the same of stripes and sentence, S_LS (Eq 16)
    gp: bool = True  # the same of whole image and noun phrases, S_GP (Eq 17)
    margin: float = 0.2  # alpha of Eq 21
    reduction: str = "mean"  # of Eq 21 over the matched pairs: "mean" | "sum" (as printed)
    tolerance: float = 1e-6  # of the threshold of Eq 12 and 14

    def __post_init__(self) -> None:
        choices = {
            "backbone": BACKBONES,
            "pooling": ("fused", "avg", "max"),
            "norm": ("gn", "bn"),
            "norm_in_attention": ("none", "gn", "bn"),
            "reduction": ("mean", "sum"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise UsageError(f"IMG-Net: {name} must be one of {allowed}, got {value!r}")
        for name in ("ids", "vocabulary", "k", "P", "E", "r", "groups"):
            if getattr(self, name) < 1:
                raise UsageError(f"IMG-Net: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.tolerance < 1e-3:
            raise UsageError(f"IMG-Net: tolerance must be in 0..0.001, got {self.tolerance}")
        if self.P % 2:
            raise UsageError(f"IMG-Net: P must be even (two GRU directions), got {self.P}")


def evaluations(config: IMGNetConfig) -> dict[str, dict[str, float]]:
    """Eq 18 and its parts; the last is the sum of those similarities that were trained."""
    used = "+".join(name for name in ("GS", "LS", "GP") if getattr(config, name.lower()))
    return {name: w for name, w in EVALUATIONS.items() if name != used} | {used: EVALUATIONS[used]}


class ImageCodes(NamedTuple):
    """Images, encoded: VG float (B, P), MV float (B, k, P) or None where it was not asked for."""

    VG: Tensor
    MV: Tensor | None


class TextCodes(NamedTuple):
    """Captions, encoded: TS float (M, P), MP float (R, P) or None where it was not asked for.

    The phrases of caption i are MP[offsets[i]:offsets[i + 1]]; offsets int64 (M + 1,), on the CPU.
    """

    TS: Tensor
    MP: Tensor | None
    offsets: Tensor


# ------------------------------------------------------------------ normalization


def _norm(kind: str, channels: int, groups: int, dims: int = 1) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "gn":
        # At full size every group has 8 numbers or more; so it has in narrow members.
        return GroupNorm(group_count(channels, groups, least=8), channels)
    return nn.BatchNorm1d(channels) if dims == 1 else nn.BatchNorm2d(channels)


# ------------------------------------------------------------------ 3.1 inner-modal self-attention


class SelfAttention(nn.Module):
    """Section 3.1: X (B, c, h, w) -> mask A, broadcastable to X, in 0..1 (Eq 1-4)."""

    def __init__(self, c: int, cfg: IMGNetConfig) -> None:
        super().__init__()
        self.channel, self.spatial = cfg.channel, cfg.spatial
        kind, groups = cfg.norm_in_attention, cfg.groups
        # c/r as printed; narrow members keep 16 units, because a bottleneck of a few ReLUs without
        # bias dies in training, and with C = 0 the mask is 1/2 everywhere.
        reduced = max(min(16, c), c // cfg.r)
        self.W_A = nn.Linear(c, c, bias=False)
        self.norm_A = _norm(kind, c, groups, dims=2)
        # All are drawn, so that a layer starts alike in every row that has it.
        W_ex1 = nn.Linear(c, reduced, bias=False)
        W_ex2 = nn.Linear(reduced, c, bias=False)
        conv_3x3 = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
        conv_1x1 = nn.Conv2d(1, 1, 1, bias=False)
        # He's initialization, as in the backbones. PyTorch's own shrinks what passes a layer, and
        # the logits have passed five: the mask would be 1/2 everywhere, its gradient 500 times
        # smaller than the backbone's, and the attention would never come to life.
        for layer in (self.W_A, W_ex1, W_ex2, conv_3x3, conv_1x1):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if self.channel:
            self.W_ex1, self.W_ex2 = W_ex1, W_ex2
            self.norm_ex1 = _norm(kind, reduced, groups)
            self.norm_ex2 = _norm(kind, c, groups)
        if self.spatial:
            self.conv_3x3, self.conv_1x1 = conv_3x3, conv_1x1
            self.norm_3x3 = _norm(kind, 1, groups, dims=2)
            self.norm_1x1 = _norm(kind, 1, groups, dims=2)

    def forward(self, X: Tensor) -> Tensor:
        if self.channel:
            X_squ = X.mean((2, 3))  # (B, c), Eq 1
            C = F.relu(self.norm_ex1(self.W_ex1(X_squ)))
            C = F.relu(self.norm_ex2(self.W_ex2(C)))  # (B, c), Eq 2
        else:
            C = X.new_ones(1, X.shape[1])
        # Eq 4 convolves the product S * C with the 1x1 kernel W^A. S has one channel and C one
        # position, so W^A (S * C) = S * (W^A C): one matrix-vector product instead of h * w.
        logits = self.W_A(C)[:, :, None, None]
        if self.spatial:
            X_avg = X.mean(1, keepdim=True)  # (B, 1, h, w), Eq 3
            S = self.norm_3x3(self.conv_3x3(X_avg))  # (B, 1, h/2, w/2)
            S = F.interpolate(S, X.shape[2:], mode="bilinear", align_corners=False)
            S = self.norm_1x1(self.conv_1x1(S))  # (B, 1, h, w)
            logits = S * logits
        return torch.sigmoid(self.norm_A(logits))  # (B, c, h, w) or (B, c, 1, 1), Eq 4


# ------------------------------------------------------------------ 3.2 multigranular features


class TwoFC(nn.Module):
    """Normalization, FC, ReLU, FC, on vectors (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, outputs: int, cfg: IMGNetConfig) -> None:
        super().__init__()
        self.norm = _norm(cfg.norm, inputs, cfg.groups)
        self.fc1 = nn.Linear(inputs, inputs)
        self.fc2 = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.norm(x.reshape(-1, x.shape[-1]))
        return self.fc2(F.relu(self.fc1(flat))).unflatten(0, x.shape[:-1])


class IMGNet(nn.Module):
    """The whole network.

    The layers of Tables 1, 2, 5 and 6 that only some rows have, or have in another size, come last:
    under one seed, all rows start from the same weights in whatever they share.
    """

    def __init__(self, cfg: IMGNetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        c, P = self.backbone.out_channels, cfg.P
        self.local_conv = nn.Linear(c, c // 2, bias=False)  # 1x1 convolution of k x 1 x c
        self.local_head = TwoFC(c // 2, P, cfg)
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.E)
        self.gru = nn.GRU(cfg.E, P // 2, batch_first=True, bidirectional=True)
        self.sentence_norm = _norm(cfg.norm, P, cfg.groups)
        self.sentence_fc = nn.Linear(P, P)
        self.phrase_head = TwoFC(P, P, cfg)
        self.id_norm_v = _norm(cfg.norm, P, cfg.groups)
        self.id_norm_t = _norm(cfg.norm, P, cfg.groups)
        self.W_ID = nn.Linear(P, cfg.ids, bias=False)
        attention = SelfAttention(c, cfg)
        self.self_attention = attention if cfg.channel or cfg.spatial else None
        self.global_norm = _norm(cfg.norm, cfg.k * c, cfg.groups)
        self.global_fc = nn.Linear(cfg.k * c, P)  # its size is k's

    def attention(self, images: Tensor) -> Tensor:
        """Mask A of Eq 4 for images (B, 3, H, W): float (B, c, h, w)."""
        if self.self_attention is None:
            raise UsageError("this IMG-Net has neither channel nor spatial attention")
        X = self.backbone(images)
        return self.self_attention(X).expand_as(X)

    def encode_images(self, images: Tensor, parts: bool = True) -> ImageCodes:
        """Images (B, 3, H, W), normalized, -> V^G and, with `parts`, M^V."""
        X = self.backbone(images)  # (B, c, h, w)
        if self.self_attention is not None:
            X = X * (1 + self.self_attention(X))  # Eq 5
        phi = stripes(X, self.cfg.k, self.cfg.pooling)  # (B, k, c), Eq 6
        VG = self.global_fc(self.global_norm(phi.flatten(1)))  # (B, P)
        MV = self.local_head(self.local_conv(phi)) if parts else None  # (B, k, P)
        return ImageCodes(VG, MV)

    def encode_text(
        self,
        tokens: Tensor,
        lengths: Tensor,
        phrases: Tensor,
        phrase_lengths: Tensor,
        phrase_offsets: Tensor,
        parts: bool = True,
    ) -> TextCodes:
        """Captions -> T^S and, with `parts`, the M^P of all their phrases.

        tokens int64 (M, L) padded, lengths int64 (M,), phrases int64 (R, Lp) padded,
        phrase_lengths int64 (R,), phrase_offsets int64 (M + 1,); lengths and offsets on the CPU,
        tokens and phrases on any one device. Offsets may start anywhere, as in a slice of a longer
        list; phrases[0] belongs to the first caption.
        Sentences and phrases go through the GRU together, in one pass over their words.
        """
        texts = [(tokens, lengths), (phrases, phrase_lengths)]
        packed = pack(texts if parts else texts[:1])
        x = self.W_e(send(packed.tokens, self.W_e.weight.device))  # (words, E), Eq 7
        e = last_states(self.gru, x, packed)  # (M + R, P), Eq 8-10
        M = len(tokens)
        TS = self.sentence_fc(self.sentence_norm(e[:M]))  # (M, P)
        MP = self.phrase_head(e[M:]) if parts else None  # (R, P)
        return TextCodes(TS, MP, phrase_offsets - phrase_offsets[0])

    def loss(
        self,
        images: ImageCodes,
        texts: TextCodes,
        labels: Tensor,
        image_ids: Tensor,
        ranking: bool = True,
    ) -> dict[str, Tensor]:
        """Named losses of B matched pairs, to be summed: Eq 22, with `ranking` Eq 23.

        labels int64 (B,) in 0..Q-1; image_ids int64 (B,): two captions of one image are not
        negatives of each other, every other pair is, the same person's included.
        """
        terms = {
            "id_v": identity_loss(self.W_ID(self.id_norm_v(images.VG)), labels),  # Eq 19
            "id_t": identity_loss(self.W_ID(self.id_norm_t(texts.TS)), labels),  # Eq 20
        }
        if ranking:
            negatives = image_ids[:, None] != image_ids[None, :]
            for name, similarity in self.pair_similarities(images, texts).items():
                terms[f"rank_{name.lower()}"] = ranking_loss(
                    similarity, self.cfg.margin, negatives, reduction=self.cfg.reduction
                )  # Eq 21
        return terms

    def pair_similarities(self, images: ImageCodes, texts: TextCodes) -> dict[str, Tensor]:
        """Similarities of a training batch under the ranking losses in use: "GS", "LS", "GP"
        float (B, M), differentiable. LS and GP need the codes' parts.
        """
        cfg = self.cfg
        return pair_similarities(images, texts, cfg.gs, cfg.ls, cfg.gp, cfg.tolerance)

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        phrases: Tensor,
        phrase_lengths: Tensor,
        phrase_offsets: Tensor,
        labels: Tensor,
        image_ids: Tensor,
        ranking: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of one training batch (see `loss`); what they do not need is not run."""
        image_codes = self.encode_images(images, parts=ranking and self.cfg.ls)
        text_codes = self.encode_text(
            tokens, lengths, phrases, phrase_lengths, phrase_offsets, parts=ranking and self.cfg.gp
        )
        return self.loss(image_codes, text_codes, labels, image_ids, ranking)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the GRU for a caption of so many words, forward, without phrases."""
        return words * sum(p.numel() for p in self.gru.parameters())


NETWORK = IMGNet


def losses(model: IMGNet, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs, see `reidlib.models`: Eq 22 in "stage 1", then Eq 23."""
    ranking = stage.name != "stage 1"
    return model(batch.images, *batch.text, batch.labels, batch.image_ids, ranking=ranking)


def stripes(X: Tensor, k: int, pooling: str = "fused") -> Tensor:
    """Eq 6: map (B, c, h, w) -> k horizontal stripes (B, k, c); "fused" adds average and maximum.

    Where k does not divide h, stripes overlap by a row (adaptive pooling).
    """
    pooled = 0
    if pooling in ("fused", "avg"):
        pooled = pooled + F.adaptive_avg_pool2d(X, (k, 1))
    if pooling in ("fused", "max"):
        pooled = pooled + F.adaptive_max_pool2d(X, (k, 1))
    return pooled.squeeze(3).transpose(1, 2)


# ------------------------------------------------------------------ 3.3 hard-region attention
#
# V^L of a pair depends on its text and T^P on its image, so a vector per pair would be needed. But
# with dots d_i = <M_i, T> and the Gram matrix G_ij = <M_i, M_j> of one image's stripes,
#
#   cos(V^L, T) = sum_i a_i d_i / (|T| sqrt(sum_ij a_i a_j G_ij)),   a_i = kept alpha_i (Eq 12),
#
# and all dots of many images and texts are one matrix product. Likewise for the phrases.


class Regions(NamedTuple):
    """Stripes of B images, or phrases of B captions (padded), ready for `attended_cosine`."""

    unit: Tensor  # (B, n, P) M_i / |M_i|; 0 in padding
    norm: Tensor  # (B, n, 1) |M_i|
    gram: Tensor  # (B, n, n) <M_i, M_j> of one image or caption
    floor: Tensor | float  # (B, 1, 1) or a number: 1/n - tolerance
    real: Tensor | None  # (B, n, 1) 1 for regions, 0 for padding; None = no padding


def image_regions(MV: Tensor, tolerance: float = 1e-6) -> Regions:
    """M^V (B, k, P) as Regions."""
    return _regions(MV, 1 / MV.shape[1] - tolerance, None)


def phrase_regions(MP: Tensor, offsets: Tensor, tolerance: float = 1e-6) -> Regions:
    """M^P (R, P) of captions with the given offsets (M + 1,) as Regions of M captions."""
    MP, counts = MP.float(), offsets.diff()
    if len(counts) and counts.min() < 1:
        raise DataError("a caption without phrases: expected at least one (the whole sentence)")
    most = int(counts.max()) if len(counts) else 0
    if len(MP) == len(counts) * most:  # all captions have as many
        return _regions(MP.unflatten(0, (-1, most)), 1 / most - tolerance, None)
    real = torch.arange(most) < counts[:, None]  # (M, n)
    slots = send(real.flatten().nonzero().squeeze(1), MP.device)
    padded = MP.new_zeros(real.numel(), MP.shape[1]).index_copy(0, slots, MP)
    floor = send(1 / counts - tolerance, MP.device)[:, None, None]
    shown = send(real, MP.device).to(MP)[:, :, None]
    return _regions(padded.unflatten(0, real.shape), floor, shown)


def _regions(M: Tensor, floor: Tensor | float, real: Tensor | None) -> Regions:
    M = M.float()  # the threshold is too fine for half precision
    norm = M.norm(dim=2, keepdim=True)
    unit = M / norm.clamp_min(_EPS)
    return Regions(unit, norm, M @ M.transpose(1, 2), floor, real)


def kept_attention(cosines: Tensor, floor: Tensor | float, real: Tensor | None = None) -> Tensor:
    """Eq 11-12 or 13-14: alpha over dimension 1 of cosines (B, n, C), 0 where it is below `floor`.

    floor: 1/n - tolerance, a number or (B, 1, 1), above 0; real: (B, n, 1), 0 for padding.
    """
    kept = over_floor(cosines, floor, real) * floor
    return kept if real is None else kept * real


def over_floor(cosines: Tensor, floor: Tensor | float, real: Tensor | None) -> Tensor:
    """`kept_attention` in units of `floor`; anything may stand in padding."""
    e = cosines.exp()  # no overflow: cosines are in -1..1
    total = e.sum(1, keepdim=True) if real is None else real.transpose(1, 2) @ e
    # alpha / floor against 1: with a number for a threshold this is one pass, and its gradient is
    # that of the kept alpha alone.
    return F.threshold(e * (total * floor).reciprocal(), 1.0, 0.0)


def attended_cosine(regions: Regions, unit: Tensor) -> Tensor:
    """cos(sum of kept alpha_i M_i, T) for B images and C texts (or captions and images): (B, C).

    unit: float (C, P), vectors of length 1. Differentiable; holds a few (B, n, C) at a time.
    """
    B, n, _ = regions.unit.shape
    cosines = (regions.unit.flatten(0, 1) @ unit.T).view(B, n, -1)  # cos(M_i, T)
    # The unit of alpha makes no difference to a direction; in padding M_i is 0.
    alpha = over_floor(cosines, regions.floor, regions.real)
    dots = regions.norm.transpose(1, 2) @ (alpha * cosines)  # sum of alpha_i |M_i| cos(M_i, T)
    square = (regions.gram @ alpha * alpha).sum(1)  # |V^L|^2
    return dots.squeeze(1) * square.clamp_min(_EPS**2).rsqrt()


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=1, eps=_EPS)


# ------------------------------------------------------------------ 3.4 image-text matching


def pair_similarities(
    images: ImageCodes,
    texts: TextCodes,
    gs: bool = True,
    ls: bool = True,
    gp: bool = True,
    tolerance: float = 1e-6,
) -> dict[str, Tensor]:
    """Eq 15-17 of all pairs: those asked for of "GS", "LS", "GP", float32 (B, M), differentiable.

    For a training batch; `similarity_blocks` scores a test split. Always in full precision: the
    threshold of Eq 12 is too fine for half precision.
    """
    with in_fp32(images.VG):
        VG, TS = _unit(images.VG), _unit(texts.TS)
        out = {}
        if gs:
            out["GS"] = VG @ TS.T
        if ls:
            out["LS"] = attended_cosine(image_regions(images.MV, tolerance), TS)
        if gp:
            regions = phrase_regions(texts.MP, texts.offsets, tolerance)
            out["GP"] = attended_cosine(regions, VG).T
        return out


@torch.no_grad()
def similarity_blocks(
    images: ImageCodes,
    texts: TextCodes,
    tolerance: float = 1e-6,
    captions_per_block: int = 1024,
    tile: int = 128,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Eq 15-17 of all captions against all images, a block of captions at a time.

    Yields (positions of the block's captions int64 (b,), {"GS", "LS", "GP"} float32 (b, images)).
    Captions come sorted by their number of phrases, so that little is padded. Work is cut into
    tiles (of `tile` images, or as many regions) that stay in the processor's cache.
    """
    VG, TS = _unit(images.VG), _unit(texts.TS)
    stripe_tiles = [image_regions(MV, tolerance) for MV in images.MV.split(tile)]
    image_tiles = VG.split(4 * tile)
    order = texts.offsets.diff().argsort(stable=True)

    def fill_ls(columns: Tensor, regions: Regions, T: Tensor) -> None:
        columns.copy_(attended_cosine(regions, T).T)

    def fill_gp(rows: Tensor, captions: Tensor) -> None:
        regions = phrase_regions(*_phrases_of(texts, captions), tolerance)
        for cell, V in zip(rows.split(4 * tile, 1), image_tiles, strict=True):
            cell.copy_(attended_cosine(regions, V))

    with _each_in_one_thread(VG.device) as run:
        for block in order.split(captions_per_block):
            T = TS[block.to(TS.device)]
            GS, LS, GP = (T.new_empty(len(block), len(VG)) for _ in range(3))
            torch.matmul(T, VG.T, out=GS)
            run(fill_ls, LS.split(tile, 1), stripe_tiles, [T] * len(stripe_tiles))
            run(fill_gp, GP.split(tile // 2 or 1), block.split(tile // 2 or 1))
            yield block, {"GS": GS, "LS": LS, "GP": GP}


@contextmanager
def _each_in_one_thread(device: torch.device) -> Iterator[Callable[..., None]]:
    """A `map` that is done when it returns. On a CPU, calls run side by side, one thread each.

    PyTorch would rather split every operation over its threads and wait for the last at its end.
    For thousands of small operations that costs more, and where other processes compete for the
    cores, many times more.
    """
    threads = torch.get_num_threads()

    def call(work: Callable[..., None], *arguments: object) -> None:
        with torch.inference_mode():  # threads do not inherit the caller's mode
            work(*arguments)

    if device.type != "cpu" or threads == 1:
        yield lambda *job: deque(map(partial(call, job[0]), *job[1:]), maxlen=0)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda *job: deque(pool.map(partial(call, job[0]), *job[1:]), maxlen=0)
    finally:
        torch.set_num_threads(threads)


def _phrases_of(texts: TextCodes, captions: Tensor) -> tuple[Tensor, Tensor]:
    counts = texts.offsets.diff()[captions]
    offsets = F.pad(counts.cumsum(0), (1, 0))
    shift = texts.offsets[captions] - offsets[:-1]
    rows = torch.arange(int(offsets[-1])) + shift.repeat_interleave(counts)
    return texts.MP[rows.to(texts.MP.device)], offsets


@torch.no_grad()
def similarities(
    images: ImageCodes, texts: TextCodes, config: IMGNetConfig | None = None
) -> dict[str, Tensor]:
    """Eq 15-17 of all captions with all images: "GS", "LS", "GP" float32 (captions, images)."""
    found = {
        name: torch.empty(len(texts.TS), len(images.VG), device=images.VG.device)
        for name in ("GS", "LS", "GP")
    }
    tolerance = (config or IMGNetConfig).tolerance
    for block, part in similarity_blocks(images, texts, tolerance):
        for name, similarity in part.items():
            found[name][block] = similarity
    return found


def ranks_of_all_pairs(
    images: ImageCodes,
    texts: TextCodes,
    query_pids: Sequence[int],
    gallery_pids: Sequence[int],
    tolerance: float = 1e-6,
) -> dict[str, np.ndarray]:
    """Rank of the first correct image of every caption, under each of EVALUATIONS: int32 (M,).

    One pass over blocks; see `reidlib.metrics.first_match.first_match_ranks`.
    """
    pids = np.asarray(query_pids)
    if len(pids) != len(texts.TS):
        raise UsageError(f"{len(texts.TS)} captions but {len(pids)} query pids")
    ranks = {name: np.empty(len(pids), dtype=np.int32) for name in EVALUATIONS}
    for block, part in similarity_blocks(images, texts, tolerance):
        rows = block.numpy()
        for name, weights in EVALUATIONS.items():
            scores = fuse(part, weights)
            ranks[name][rows] = first_match_ranks(scores, pids[rows], gallery_pids)
    return ranks


# ------------------------------------------------------------------ for reports


@torch.no_grad()
def attention_maps(model: IMGNet, images: Tensor) -> Tensor:
    """Mask A of Eq 4 averaged over channels, for figures: images (B, 3, H, W) -> (B, h, w)."""
    return model.attention(images).mean(1)


def parameter_counts(model: IMGNet) -> dict[str, int]:
    """Parameters of each part of the network, and "total"."""
    att = model.self_attention

    def count(*modules: nn.Module | None) -> int:
        return sum(p.numel() for m in modules if m is not None for p in m.parameters())

    def attention_part(*names: str) -> int:
        return count(*(getattr(att, name, None) for name in names))

    counts = {
        "backbone": count(model.backbone),
        "channel attention": attention_part("W_ex1", "W_ex2", "norm_ex1", "norm_ex2"),
        "spatial attention": attention_part("conv_3x3", "conv_1x1", "norm_3x3", "norm_1x1"),
        "fuse convolution W_A": attention_part("W_A", "norm_A"),
        "global branch": count(model.global_norm, model.global_fc),
        "local 1x1 convolution": count(model.local_conv),
        "local branch": count(model.local_head),
        "word embedding": count(model.W_e),
        "bi-GRU": count(model.gru),
        "sentence branch": count(model.sentence_norm, model.sentence_fc),
        "phrase branch": count(model.phrase_head),
        "identity classifier": count(model.id_norm_v, model.id_norm_t, model.W_ID),
    }
    return counts | {"total": count(model)}
