"""MIA: multi-granularity image-text alignments (Niu et al., TIP 2020), as SSAN Tables IV and V
compare it; the base of IMG-Net.

Global: average of the ResNet-50 map, and last states of a bi-GRU over the sentence, each through a
linear layer to P = 1,024 dimensions. Parts: 6 horizontal stripes and up to 10 noun phrases of up to
6 words, each through an MLP. Relation-guided attention weights stripes by their cosine with the
caption, and phrases by theirs with the image. Stage 1 trains with identity losses alone (the
authors freeze the backbone, which is the training loop's to do); stage 2 adds the triplet losses
of (image, caption), (stripes, caption) and (image, phrases). Score: global + half of each of the
other two.

Follows the public, unofficial implementation, but captions get captions as negatives. The paper's
third step, attention between stripes and phrases, is not part of it, nor of this one.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32, send
from reidlib.losses import identity_loss, ranking_loss
from reidlib.models.parts.backbones import backbone
from reidlib.models.parts.codes import cosines, draw_shuffled
from reidlib.models.parts.gru import last_states
from reidlib.models.parts.packing import pack

NEEDS: tuple[str, ...] = ()
PHRASES = True
draw = draw_shuffled


@dataclass(frozen=True)
class MIAConfig:
    """Settings; the defaults are the public implementation's."""

    ids: int
    vocabulary: int
    backbone: str = "resnet50"
    width: float = 1.0
    depths: tuple[int, ...] | None = None
    last_stride: int = 2
    k: int = 6  # stripes
    phrases: int = 10  # of a caption, at most
    phrase_words: int = 6  # of a phrase, at most
    E: int = 300  # size of a word
    P: int = 1024
    part: int = 256  # channels of a stripe
    margin: float = 0.2


def evaluations(config: MIAConfig) -> dict[str, dict[str, float]]:
    """Sg image - caption, Sl stripes - caption, Sp image - phrases."""
    return {
        "Sg": {"Sg": 1.0},
        "Sg+Sl": {"Sg": 1.0, "Sl": 0.5},
        "Sg+Sp": {"Sg": 1.0, "Sp": 0.5},
        "Sg+Sl+Sp": {"Sg": 1.0, "Sl": 0.5, "Sp": 0.5},
    }


class ImageCodes(NamedTuple):
    """f_g float (B, P), global; f_l float (B, k, P), stripes."""

    f_g: Tensor
    f_l: Tensor


class TextCodes(NamedTuple):
    """f_g float (B, P), captions; f_p float (B, n, P), phrases; real bool (B, n), no padding."""

    f_g: Tensor
    f_p: Tensor
    real: Tensor


class MIA(nn.Module):
    """The whole network, the identity classifier included."""

    def __init__(self, cfg: MIAConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        C, P = self.backbone.out_channels, cfg.P
        self.image_fc = nn.Linear(C, P)
        self.part_conv = nn.Linear(C, cfg.part)  # 1x1 convolution, before or after averaging
        self.part_mlp = _mlp(cfg.part, P)
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.E)
        nn.init.uniform_(self.W_e.weight, -0.1, 0.1)
        self.gru = nn.GRU(cfg.E, P, batch_first=True, bidirectional=True)
        self.sentence_fc, self.phrase_fc = nn.Linear(2 * P, P), nn.Linear(2 * P, P)
        self.phrase_mlp = _mlp(P, P)
        self.W_id = nn.Linear(P, cfg.ids)

    def encode_images(self, images: Tensor) -> ImageCodes:
        """Images float (B, 3, h, w), normalized."""
        X = self.backbone(images)
        stripes = F.adaptive_avg_pool2d(X, (self.cfg.k, 1)).squeeze(3).transpose(1, 2)
        return ImageCodes(self.image_fc(X.mean((2, 3))), self.part_mlp(self.part_conv(stripes)))

    def encode_text(
        self,
        tokens: Tensor,
        lengths: Tensor,
        phrases: Tensor,
        phrase_lengths: Tensor,
        phrase_offsets: Tensor,
    ) -> TextCodes:
        """Captions int64 (B, L) and phrases int64 (R, Lp), padded; the phrases of caption i are
        rows phrase_offsets[i] up to phrase_offsets[i + 1]. Lengths int64 (B,) and (R,) and offsets
        int64 (B + 1,) on the CPU. All are read in one pass over their words.
        """
        cfg, B = self.cfg, len(tokens)
        rows, real = first_phrases(phrase_offsets - phrase_offsets[0], cfg.phrases)
        kept = rows[real]
        phrases = phrases[send(kept, phrases.device), : cfg.phrase_words]
        phrase_lengths = phrase_lengths[kept].clamp_max(cfg.phrase_words)
        packed = pack([(tokens, lengths), (phrases, phrase_lengths)])
        h = last_states(self.gru, self.W_e(packed.tokens), packed)  # (B + R, 2 P)
        f = self.phrase_mlp(self.phrase_fc(h[B:]))
        real = send(real, f.device)
        f_p = f.new_zeros(*real.shape, cfg.P).masked_scatter(real[:, :, None], f)
        return TextCodes(self.sentence_fc(h[:B]), f_p, real)

    def loss(
        self, images: ImageCodes, texts: TextCodes, labels: Tensor, ranking: bool = True
    ) -> dict[str, Tensor]:
        """Losses of B matched pairs; labels int64 (B,). Their sum is to be minimized.

        ranking: False in stage 1, which has no triplet losses.
        """
        terms = {
            "id_v": identity_loss(self.W_id(images.f_g), labels),
            "id_t": identity_loss(self.W_id(texts.f_g), labels),
        }
        if ranking:
            other = labels[:, None] != labels[None, :]
            stripes = attended(images.f_l, texts.f_g)
            phrases = attended(texts.f_p, images.f_g, texts.real)
            pairs = {
                "rank_g": (images.f_g, texts.f_g),
                "rank_l": (stripes, texts.f_g),
                "rank_p": (images.f_g, phrases),
            }
            for name, (v, t) in pairs.items():
                terms[name] = ranking_loss(cosines(v, t), self.cfg.margin, other)
        return terms

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        phrases: Tensor,
        phrase_lengths: Tensor,
        phrase_offsets: Tensor,
        labels: Tensor,
        ranking: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of one training batch."""
        texts = self.encode_text(tokens, lengths, phrases, phrase_lengths, phrase_offsets)
        return self.loss(self.encode_images(images), texts, labels, ranking)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the GRU for a caption of so many words, forward, without phrases."""
        return words * sum(p.numel() for p in self.gru.parameters())


NETWORK = MIA


def losses(model: MIA, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs, see `reidlib.models`; "stage 1" has no triplet losses."""
    return model(batch.images, *batch.text, batch.labels, ranking=stage.name != "stage 1")


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))


def first_phrases(offsets: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Rows of the first `most` phrases of each caption int64 (B, n), and which are real (B, n)."""
    counts = offsets.diff().clamp_max(most)
    place = torch.arange(int(counts.max()))
    real = place < counts[:, None]
    return torch.where(real, offsets[:-1, None] + place, 0), real


# ------------------------------------------------------------------ relation-guided attention


def attended(parts: Tensor, whole: Tensor, real: Tensor | None = None) -> Tensor:
    """Each row's parts float (B, n, P), weighted by a softmax over their cosines with whole (B, P),
    and summed: float (B, P). real: bool (B, n), False for padding.
    """
    with in_fp32(parts):
        parts, whole = parts.float(), whole.float()
        s = (_unit(parts) * _unit(whole)[:, None]).sum(2)
        if real is not None:
            s = s.masked_fill(~real, -torch.inf)
        return (s.softmax(1)[:, :, None] * parts).sum(1)


def attended_cosines(parts: Tensor, whole: Tensor, real: Tensor | None = None) -> Tensor:
    """cos(attended parts, whole) of all pairs: parts (B, n, P), whole (C, P) -> (B, C).

    No weighted sum is formed: its product with `whole` follows from the cosines, and its length
    from those among one row's parts.
    """
    parts, whole = parts.float(), _unit(whole.float())
    unit, length = _unit(parts), parts.norm(dim=2, keepdim=True)  # (B, n, P), (B, n, 1)
    s = (unit.flatten(0, 1) @ whole.T).view(*parts.shape[:2], -1)  # (B, n, C)
    weights = s if real is None else s.masked_fill(~real[:, :, None], -torch.inf)
    a = weights.softmax(1) * length
    square = (torch.bmm(unit @ unit.transpose(1, 2), a) * a).sum(1)
    return (a * s).sum(1) * square.clamp_min(1e-16).rsqrt()


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1, eps=1e-8)


@torch.no_grad()
def similarities(
    images: ImageCodes,
    texts: TextCodes,
    config: MIAConfig | None = None,
    rows_per_block: int = 256,
) -> dict[str, Tensor]:
    """ "Sg", "Sl" and "Sp" of every caption with every image: float32 (captions, images)."""
    stripes = [attended_cosines(f, texts.f_g).T for f in images.f_l.split(rows_per_block)]
    blocks = zip(texts.f_p.split(rows_per_block), texts.real.split(rows_per_block), strict=True)
    phrases = [attended_cosines(f, images.f_g, real) for f, real in blocks]
    return {
        "Sg": cosines(texts.f_g, images.f_g),
        "Sl": torch.cat(stripes, 1),
        "Sp": torch.cat(phrases),
    }
