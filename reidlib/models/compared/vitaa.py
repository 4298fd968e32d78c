"""ViTAA*: ViTAA (Wang et al., ECCV 2020: visual-textual attribute alignment) with SSAN's word
attention module in place of attribute phrases, as SSAN Tables II and IV compare it.

Image: ResNet-50 up to layer3; a global branch, and one local branch for each of 5 parts (head,
upper body, lower body, shoes, carried things) that a shared segmentation head makes look at its
part. Text: a bi-directional LSTM; the maximum over words is the global feature, and the maxima over
words weighted by SSAN's Eq 8, one weight per part, are the attributes' features.

Follows the authors' code, with the backward LSTM reading words, not captions, in reverse, the
k-reciprocal neighbors looked up by sample, and maxima over real words only. All parts and
attributes count as present.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.data.batches.samplers import identity_batches
from reidlib.devices import in_fp32
from reidlib.errors import UsageError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import resnet50, scaled_channels
from reidlib.models.parts.codes import cosines
from reidlib.models.parts.lstm import attended_row_maxima, row_maxima, word_states
from reidlib.models.parts.packing import pack

PARTS = ("head", "upper body", "lower body", "shoes", "carried things")  # labels 1 to 5 of a mask
NEEDS = ("masks",)
PHRASES = False
PER_PERSON = 4  # pairs of each person in a batch


@dataclass(frozen=True)
class ViTAAConfig:
    """Settings; the defaults are the authors'. `width` scales backbone and branches."""

    backbone: ClassVar[str] = "resnet50"
    last_stride: ClassVar[int] = 2  # of the stage that is left out

    ids: int
    vocabulary: int
    width: float = 1.0
    depths: tuple[int, ...] | None = None  # of ResNet-50's four stages; the last is left out
    V: int = 512  # size of a word
    H: int = 512  # states per LSTM direction
    P: int = 256  # size of a feature
    scale: float = 28.0  # of the cosines in the identity loss
    neighbors: int = 8  # k of the k-reciprocal ones


def evaluations(config: ViTAAConfig) -> dict[str, dict[str, float]]:
    """Sg global, Sl parts - attributes."""
    return {"Sg": {"Sg": 1.0}, "Sl": {"Sl": 1.0}, "Sg+Sl": {"Sg": 1.0, "Sl": 1.0}}


class ImageCodes(NamedTuple):
    """f_g float (B, P), global; f_l float (B, 5, P), parts; masks float (B, 5, 6, 2h, 2w), logits
    of the segmentation of each branch, in training, else None."""

    f_g: Tensor
    f_l: Tensor
    masks: Tensor | None


class TextCodes(NamedTuple):
    """f_g float (B, P), global; f_l float (B, 5, P), attributes."""

    f_g: Tensor
    f_l: Tensor


class Block(nn.Module):
    """ResNet's basic block, for K branches side by side in groups of channels."""

    def __init__(self, inputs: int, outputs: int, K: int, shared_input: bool) -> None:
        super().__init__()
        groups = 1 if shared_input else K
        self.conv1 = nn.Conv2d(inputs, K * outputs, 3, padding=1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(K * outputs)
        self.conv2 = nn.Conv2d(K * outputs, K * outputs, 3, padding=1, groups=K, bias=False)
        self.bn2 = nn.BatchNorm2d(K * outputs)
        convs = [self.conv1, self.conv2]
        self.shortcut = nn.Identity()
        if shared_input:
            conv = nn.Conv2d(inputs, K * outputs, 1, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(K * outputs))
            convs.append(conv)
        for conv in convs:  # He et al., fan out of one branch
            nn.init.normal_(conv.weight, std=math.sqrt(2 / (outputs * conv.kernel_size[0] ** 2)))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def branches(inputs: int, outputs: int, K: int = 1) -> nn.Sequential:
    """K branches of two basic blocks on one map: (B, inputs, h, w) -> (B, K outputs, h, w)."""
    return nn.Sequential(
        Block(inputs, outputs, K, shared_input=True),
        Block(K * outputs, outputs, K, shared_input=False),
    )


class ViTAA(nn.Module):
    """The whole network, the identity classifier included."""

    def __init__(self, cfg: ViTAAConfig) -> None:
        super().__init__()
        self.cfg = cfg
        K, P = len(PARTS), cfg.P
        self.backbone = resnet50(cfg.width, cfg.depths)
        C = self.backbone.layer3[-1].conv3.out_channels
        self.backbone.layer4 = nn.Identity()
        self.backbone.out_channels = C
        whole, part = scaled_channels(2048, cfg.width), scaled_channels(256, cfg.width)
        self.global_branch = branches(C, whole)
        self.local_branches = branches(C, part, K)
        self.segmentation = nn.Sequential(
            nn.ConvTranspose2d(part, part, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(part, K + 1, 1),
        )
        nn.init.normal_(self.segmentation[2].weight, std=math.sqrt(2 / (K + 1)))
        nn.init.zeros_(self.segmentation[2].bias)
        self.visual_fc, self.part_fc = _fc(whole, P), _fc(part, P)
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.V)
        self.lstm = nn.LSTM(cfg.V, cfg.H, bidirectional=True, bias=False)
        self.W_p = nn.Linear(2 * cfg.H, K, bias=False)  # word attention module
        self.textual_fc, self.attribute_fc = _fc(2 * cfg.H, P), _fc(2 * cfg.H, P)
        self.W = nn.Parameter(torch.empty(P, cfg.ids))
        nn.init.xavier_uniform_(self.W)

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Take over the backbone of `state`, its entries `backbone.*`, without its last stage."""
        body = {
            name.removeprefix("backbone."): value
            for name, value in state.items()
            if name.startswith("backbone.") and not name.startswith("backbone.layer4.")
        }
        self.backbone.load_state_dict(body)

    def encode_images(self, images: Tensor) -> ImageCodes:
        """Images float (B, 3, h, w), normalized."""
        X = self.backbone(images)
        f_g = self.visual_fc(self.global_branch(X).mean((2, 3)))
        local = self.local_branches(X).unflatten(1, (len(PARTS), -1))  # (B, 5, c, h, w)
        masks = None
        if self.training:
            masks = self.segmentation(local.flatten(0, 1)).unflatten(0, (-1, len(PARTS)))
        return ImageCodes(f_g, self.part_fc(local.amax((3, 4))), masks)

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> TextCodes:
        """Captions int64 (B, L), padded, and their lengths int64 (B,), on the CPU."""
        packed = pack([(tokens, lengths)])
        e = word_states(self.lstm, self.W_e(packed.tokens), packed.batch_sizes)
        e = e.transpose(0, 1).flatten(1)  # (words, 2 H)
        s = torch.sigmoid(self.W_p(e))  # (words, 5), SSAN Eq 8
        f_l = self.attribute_fc(attended_row_maxima(e, s, packed.slots))
        return TextCodes(self.textual_fc(row_maxima(e, packed.slots)), f_l)

    def loss(
        self, images: ImageCodes, texts: TextCodes, labels: Tensor, masks: Tensor
    ) -> dict[str, Tensor]:
        """Losses of B matched pairs. Their sum is to be minimized.

        labels int64 (B,); masks uint8 (B, h, w), of any size: 0 background, 1 to 5 as PARTS. Raises
        UsageError for codes that were not made in training mode.
        """
        if images.masks is None:
            raise UsageError("ViTAA: the loss needs codes that were made in training mode")
        same = labels[:, None] == labels[None, :]
        with in_fp32(labels):
            W = F.normalize(self.W, dim=0)
            S_l = _unit(images.f_l).transpose(0, 1) @ _unit(texts.f_l).permute(1, 2, 0)  # (5, B, B)
            return {
                "id_v": identity_loss(self.cfg.scale * _unit(images.f_g) @ W, labels),
                "id_t": identity_loss(self.cfg.scale * _unit(texts.f_g) @ W, labels),
                "mask": mask_loss(images.masks.float(), masks),
                "align_g": align_loss(cosines(images.f_g, texts.f_g), same),
                "align_l": align_loss(S_l, same | reciprocal(S_l, self.cfg.neighbors)),
            }

    def forward(
        self, images: Tensor, tokens: Tensor, lengths: Tensor, labels: Tensor, masks: Tensor
    ) -> dict[str, Tensor]:
        """Losses of one training batch."""
        codes = self.encode_images(images), self.encode_text(tokens, lengths)
        return self.loss(*codes, labels, masks)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the LSTM for a caption of so many words, forward."""
        return words * sum(p.numel() for p in self.lstm.parameters())


NETWORK = ViTAA


def losses(model: ViTAA, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs with masks, see `reidlib.models`."""
    return model(batch.images, *batch.text[:2], batch.labels, batch.masks)


def draw(
    model: ViTAA, split: Any, generator: torch.Generator, batch_size: int
) -> Iterator[tuple[Tensor, None]]:
    """One epoch of batches with `PER_PERSON` pairs of each person; see `reidlib.models`."""
    persons = batch_size // PER_PERSON
    for captions in identity_batches(split.labels, generator, persons=persons, images=PER_PERSON):
        yield captions, None


def _fc(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / outputs))
    nn.init.zeros_(layer.bias)
    return layer


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)


# ------------------------------------------------------------------ losses


def align_loss(S: Tensor, positive: Tensor) -> Tensor:
    """Alignment loss of cosines S float (..., B, B) with positive pairs bool (..., B, B).

    sum over positives of log(1 + exp(-10 (s - 0.6))) and over negatives of log(1 + exp(40 (s -
    0.4))), once for each row's and once for each column's anchor, divided by B; mean over the
    leading dimensions.
    """
    terms = torch.where(positive, F.softplus(-10 * (S - 0.6)), F.softplus(40 * (S - 0.4)))
    return 2 * terms.sum((-1, -2)).mean() / S.shape[-1]


def reciprocal(S: Tensor, k: int) -> Tensor:
    """Pairs that are among the k best of each other: S float (..., B, B) -> bool (..., B, B)."""
    k = min(k, S.shape[-1])
    among = torch.zeros_like(S, dtype=torch.bool)
    return among.scatter(-1, S.topk(k, -1).indices, True) & among.scatter(
        -2, S.topk(k, -2).indices, True
    )


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Segmentation loss: cross-entropy of each branch against its own part, sum over the branches.

    logits float (B, K, K + 1, h, w); masks integer (B, H, W), brought to h x w by taking nearest
    pixels. Branch k is to see label k + 1 where the mask has it and background everywhere else.
    """
    K, size = logits.shape[1], logits.shape[3:]
    masks = F.interpolate(masks[:, None].float(), size, mode="nearest-exact").long()  # (B, 1, h, w)
    part = torch.arange(1, K + 1, device=masks.device)[:, None, None]
    target = torch.where(masks == part, part, 0)  # (B, K, h, w)
    return K * F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))


@torch.no_grad()
def similarities(
    images: ImageCodes, texts: TextCodes, config: ViTAAConfig | None = None
) -> dict[str, Tensor]:
    """ "Sg", and "Sl", the mean of the part cosines, of every caption with every image: float32
    (captions, images)."""
    parts = _unit(texts.f_l).flatten(1) @ _unit(images.f_l).flatten(1).T
    return {"Sg": cosines(texts.f_g, images.f_g), "Sl": parts / len(PARTS)}
