"""SCAN (Lee et al., ECCV 2018: stacked cross attention) in SSAN's frame, as SSAN Tables II to V
compare it: SSAN's image side, global branch, optimizer and losses, but the text side of a part is
found by cross-modal attention instead of the word attention module.

Image-to-text attention: each of the K parts of an image attends over the n words of a caption. The
K part features are the regions; words are projected to the parts' M dimensions by one convolution.

The paper says no more than that; what it leaves open is taken from SCAN's published settings
(lambda_softmax 4, LeakyReLU 0.1 and l2 normalization over the regions before the softmax) and from
SSAN (identity losses on parts and attended words of matched pairs, semi-hard negatives, weights 1
and 0.5). The part similarities are averaged. The words' weighted sum is that of the projected words
for the identity loss, and of their unit vectors for the similarity, as in SCAN.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32, send
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import backbone
from reidlib.models.parts.codes import cosines, draw_shuffled
from reidlib.models.parts.lstm import row_maxima, word_states
from reidlib.models.parts.packing import pack
from reidlib.models.ssan import (
    PartClassifiers,
    PartConvs,
    compound_ranking_losses,
    part_maxima,
)

NEEDS: tuple[str, ...] = ()
PHRASES = False
draw = draw_shuffled


@dataclass(frozen=True)
class SCANConfig:
    """Settings; names and defaults are SSAN's where it has them."""

    ids: int
    vocabulary: int
    backbone: str = "resnet50"
    width: float = 1.0
    depths: tuple[int, ...] | None = None
    last_stride: int = 2
    K: int = 6
    V: int = 512
    M: int = 1024
    alpha1: float = 0.2  # margin
    dropout: float = 0.3
    max_tokens: int = 100
    lambda_softmax: float = 4.0


def evaluations(config: SCANConfig) -> dict[str, dict[str, float]]:
    """Sg global, Sl parts - words."""
    return {"Sg": {"Sg": 1.0}, "Sl": {"Sl": 1.0}, "Sg+Sl": {"Sg": 1.0, "Sl": 1.0}}


class ImageCodes(NamedTuple):
    """f_g float (B, M), global; f_l float (B, K, M), parts."""

    f_g: Tensor
    f_l: Tensor


class TextCodes(NamedTuple):
    """f_g float (B, M), global; words float (B, n, M), projected; real bool (B, n), no padding."""

    f_g: Tensor
    words: Tensor
    real: Tensor


class SCAN(nn.Module):
    """The whole network, its identity classifiers included."""

    def __init__(self, cfg: SCANConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        self.W_e = nn.Embedding(2 * cfg.vocabulary, cfg.V)  # global branch, then part branches
        self.lstm = nn.LSTM(cfg.V, C, bidirectional=True, bias=False)
        self.W_g = PartConvs(1, C, cfg.M)
        self.W_l = PartConvs(cfg.K, C, cfg.M)
        self.W_w = PartConvs(1, C, cfg.M)
        self.id_g = PartClassifiers(1, cfg.M, cfg.ids)
        self.id_l = PartClassifiers(cfg.K, cfg.M, cfg.ids)

    def encode_images(self, images: Tensor) -> ImageCodes:
        """Images float (B, 3, h, w), normalized."""
        parts = part_maxima(self.backbone(images), self.cfg.K)
        return ImageCodes(self.W_g(parts.amax(1, keepdim=True)).squeeze(1), self.W_l(parts))

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> TextCodes:
        """Captions int64 (B, L), padded, and their lengths int64 (B,), on the CPU."""
        packed = pack([(tokens, lengths)], copies=2)
        x = self.W_e(packed.tokens + packed.copy * self.cfg.vocabulary)
        x = F.dropout(x, self.cfg.dropout, self.training)
        e = word_states(self.lstm, x, packed.batch_sizes).mean(0)  # (words, C)
        first, second = packed.slots.chunk(2)
        E_g = row_maxima(e, first)
        short = send(lengths < self.cfg.max_tokens, e.device)[:, None]
        E_g = torch.where(short, E_g.clamp_min(0), E_g)  # as in SSAN, empty places count as zeros
        # Projected before they are laid out by caption: no product is spent on padding.
        words = self.W_w(e[:, None]).squeeze(1)[second]
        real = torch.arange(second.shape[1]) < lengths[:, None]
        return TextCodes(self.W_g(E_g[:, None]).squeeze(1), words, send(real, e.device))

    def loss(self, images: ImageCodes, texts: TextCodes, labels: Tensor) -> dict[str, Tensor]:
        """Weighted losses of B matched pairs; labels int64 (B,). Their sum is to be minimized."""
        cfg = self.cfg
        attended = attended_words(images.f_l, texts, cfg.lambda_softmax)  # (B, K, M)
        S = {
            "g": cosines(images.f_g, texts.f_g),
            "l": attended_cosines(images.f_l, texts, cfg.lambda_softmax),
        }
        logits = {
            "g": self.id_g(torch.cat((images.f_g, texts.f_g))[:, None]),
            "l": self.id_l(torch.cat((images.f_l, attended))),
        }
        terms = {}
        for name, weight in (("g", 1.0), ("l", 0.5)):
            everyone = labels.repeat(2 * len(logits[name]))
            terms[f"id_{name}"] = 2 * weight * identity_loss(logits[name].flatten(0, 1), everyone)
            ranking = compound_ranking_losses(S[name], None, labels, cfg.alpha1)
            terms[f"rank_{name}"] = weight * ranking.sum()
        return terms

    def forward(
        self, images: Tensor, tokens: Tensor, lengths: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Losses of one training batch."""
        return self.loss(self.encode_images(images), self.encode_text(tokens, lengths), labels)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the LSTM for a caption of so many words, read twice, forward."""
        return 2 * words * sum(p.numel() for p in self.lstm.parameters())


NETWORK = SCAN


def losses(model: SCAN, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs, see `reidlib.models`."""
    return model(batch.images, *batch.text[:2], batch.labels)


# ------------------------------------------------------------------ stacked cross attention


def attention(s: Tensor, real: Tensor, lambda_softmax: float = 4.0) -> Tensor:
    """Weights of the words for each part: cosines s (..., K, n) -> alpha (..., K, n).

    Negative cosines are reduced to a tenth, then each word's are normalized over the K parts. real:
    bool, broadcastable to s, False for padding, which gets weight 0.
    """
    s = F.normalize(F.leaky_relu(s, 0.1), dim=-2, eps=1e-8)
    return (lambda_softmax * s).masked_fill(~real, -torch.inf).softmax(-1)


def attended_words(parts: Tensor, texts: TextCodes, lambda_softmax: float = 4.0) -> Tensor:
    """Each part's weighted sum of the matched caption's words: (B, K, M)."""
    s = _unit(parts) @ _unit(texts.words).transpose(1, 2)  # (B, K, n)
    return attention(s, texts.real[:, None], lambda_softmax) @ texts.words.float()


def attended_cosines(parts: Tensor, texts: TextCodes, lambda_softmax: float = 4.0) -> Tensor:
    """Mean over parts of cos(v_k, sum_i alpha_ki w_i), of all pairs: (B images, B' captions).

    No weighted sum is formed: its product with v_k is that of alpha with the cosines, and its
    length follows from the cosines among a caption's words.
    """
    with in_fp32(parts):
        v, w = _unit(parts), _unit(texts.words)
        B, K, _ = v.shape
        captions, n, _ = w.shape
        s = (w.flatten(0, 1) @ v.flatten(0, 1).T).view(captions, n, B, K)
        s = s.permute(0, 2, 3, 1)  # (captions, B, K, n)
        alpha = attention(s, texts.real[:, None, None], lambda_softmax)
        gram = w @ w.transpose(1, 2)  # (captions, n, n)
        square = ((alpha.flatten(1, 2) @ gram).view_as(alpha) * alpha).sum(3)
        return ((alpha * s).sum(3) * square.clamp_min(1e-16).rsqrt()).mean(2).T


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=2, eps=1e-8)


@torch.no_grad()
def similarities(
    images: ImageCodes,
    texts: TextCodes,
    config: SCANConfig | None = None,
    captions_per_block: int = 16,
) -> dict[str, Tensor]:
    """ "Sg" and "Sl" of every caption with every image: float32 (captions, images)."""
    lambda_softmax = (config or SCANConfig).lambda_softmax
    blocks = zip(*(x.split(captions_per_block) for x in texts), strict=True)
    rows = []
    for block in blocks:
        text = TextCodes(*block)
        longest = int(text.real.sum(1).max())
        text = TextCodes(text.f_g, text.words[:, :longest], text.real[:, :longest])
        rows.append(attended_cosines(images.f_l, text, lambda_softmax).T)
    return {"Sg": cosines(texts.f_g, images.f_g), "Sl": torch.cat(rows)}
