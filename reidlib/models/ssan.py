"""SSAN: semantically self-aligned network (Ding et al., arXiv 2107.12666), in the paper's order,
with its equation numbers and names.

Shapes: B images or captions, C channels of the backbone map and states of the LSTM, K parts, n
words of a caption, V = 512 the size of a word, M = 1024, M' = 512, N = 512, Q people.

Two readings. "official" is what the authors' code does, where it goes beyond or against the paper:
two word embeddings, for the global and the part branches; words packed into 100 places, the empty
ones of which count as zeros in the global RMP; LeakyReLU(0.25) between PFL and PRL, which being in
place also changes the part features that the losses and S_l see; MV-NLN with LeakyReLU after
theta, phi and gamma, batch normalization after gamma, and normalized phi in the sum of Eq 15;
semi-hard negatives chosen at random; D'_n instead of D_n in Eq 19; no weak term for pairs with
lambda below 0.6; and a fixed margin of alpha_1 / 2 in the weak terms of the first epochs. "paper"
is the equations as printed: one embedding, linear projections, hardest negatives, Eq 19 to 21. What
neither the equations nor the text settle is the official code's in both readings: dropout on the
embeddings, no biases, identity losses averaged over parts, ranking losses summed over the batch,
lambda a constant for the gradient.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.data.batches.samplers import shuffled
from reidlib.devices import send
from reidlib.errors import UsageError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import BACKBONES, backbone
from reidlib.models.parts.codes import cosines
from reidlib.models.parts.lstm import attended_row_maxima, row_maxima, word_states
from reidlib.models.parts.packing import Packed, pack

# The rows of Table I, as settings of SSANConfig.
VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {"pfl": False, "prl": "none", "cr": False},
    "pfl": {"pfl": True, "prl": "none", "cr": False},
    "pfl+prl": {"pfl": True, "prl": "mv-nln", "cr": False},
    "pfl+conv": {"pfl": True, "prl": "conv", "cr": False},
    "cr": {"pfl": False, "prl": "none", "cr": True},
    "ssan": {"pfl": True, "prl": "mv-nln", "cr": True},
}
NEEDS: tuple[str, ...] = ()
PHRASES = False
WEIGHTS = {"g": 1.0, "l": 0.5, "n": 0.5}  # of the losses on the three kinds of features

_SLOPE = 0.25
_LEAST_LAMBDA = 0.6  # below it (alpha_2 < 0.16) the official code leaves the weak terms out


@dataclass(frozen=True)
class SSANConfig:
    """What distinguishes one SSAN from another; the defaults are the paper's ResNet-50 model."""

    ids: int  # Q, people in the training set
    vocabulary: int  # rows of a word embedding (padding and unknown word included)
    backbone: str = "resnet50"  # "resnet50" | "vgg16" | "vgg16_bn"
    width: float = 1.0  # of the backbone; the LSTM is as wide as the backbone's map
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 2  # of ResNet-50's layer4
    K: int = 6  # parts
    V: int = 512  # size of an embedded word
    M: int = 1024  # size of global features, v_g and t_g, and of each part's, v_l and t_l
    M_: int = 512  # M', inner size of part relation learning (Eq 13-15)
    N: int = 512  # size of each part's features after part relation learning, v_n and t_n
    pfl: bool = True  # part-specific feature learning
    prl: str = "mv-nln"  # part relation learning: "mv-nln" | "conv" (only W_n) | "none"
    cr: bool = True  # compound ranking loss; without it, beta = 0
    shared: bool = True  # one W_g for both modalities
    alpha1: float = 0.2  # alpha_1, margin of the strong terms (Eq 18 and 19)
    alpha2: float | None = None  # margin of the weak terms; None = adaptive (Eq 20, Figure 7)
    beta: float = 0.1  # weight of the weak terms, beside 1 of the strong ones (Eq 19)
    fixed_epochs: int = 5  # first epochs with alpha_2 = alpha_1 / 2 (official reading only)
    dropout: float = 0.3  # on the embedded words
    max_tokens: int = 100  # places for words (official reading)
    reading: str = "official"  # "official" | "paper"

    def __post_init__(self) -> None:
        choices = {
            "backbone": BACKBONES,
            "prl": ("mv-nln", "conv", "none"),
            "reading": ("official", "paper"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise UsageError(f"SSAN: {name} must be one of {allowed}, got {value!r}")
        for name in ("ids", "vocabulary", "K", "V", "M", "M_", "N", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"SSAN: {name} must be at least 1, got {getattr(self, name)}")
        if self.prl != "none" and not self.pfl:
            raise UsageError(f"SSAN: prl={self.prl!r} relates the part features of pfl=True")
        if self.prl == "mv-nln" and self.K < 2:
            raise UsageError("SSAN: MV-NLN relates each part to the others: K must be at least 2")


def evaluations(cfg: SSANConfig) -> dict[str, dict[str, float]]:
    """Name -> weights of the similarities that rank the gallery: each similarity alone, and the
    sums; the last is that of the test stage ("Sg+Sl+Sn", or what there is of it).
    """
    names = ["Sg", *(["Sl"] if cfg.pfl else []), *(["Sn"] if cfg.prl != "none" else [])]
    sums = [names[:i] for i in range(2, len(names) + 1)]
    return {"+".join(s): dict.fromkeys(s, 1.0) for s in [*([n] for n in names), *sums]}


class Codes(NamedTuple):
    """Features of B images (v in the paper) or captions (t in the paper).

    f_g float (B, M), global; f_l (B, K, M), of the parts, and f_n (B, K, N), related, or None.
    """

    f_g: Tensor
    f_l: Tensor | None
    f_n: Tensor | None


# ------------------------------------------------------------------ layers
#
# Weights are kept as (K, inputs, outputs), the transpose of the paper's: so their gradients come
# out of the batched product as they are stored, and need not be copied.


class PartConvs(nn.Module):
    """K 1x1 convolutions without bias, one per part: float (B, K, inputs) -> (B, K, outputs)."""

    def __init__(self, K: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(K, inputs, outputs))
        nn.init.normal_(self.weight, std=math.sqrt(2 / outputs))  # He et al., fan out

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1)


class PartClassifiers(nn.Module):
    """K linear classifiers, one per part: float (B, K, inputs) -> logits (K, B, Q)."""

    def __init__(self, K: int, inputs: int, ids: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(K, inputs, ids))
        self.bias = nn.Parameter(torch.zeros(K, 1, ids))
        nn.init.normal_(self.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.transpose(0, 1), self.weight)


def part_maxima(feature_map: Tensor, K: int) -> Tensor:
    """GMP(F_k) of K horizontal parts: (B, C, h, w) -> (B, K, C); their maximum is GMP(F)."""
    return F.adaptive_max_pool2d(feature_map, (K, 1)).squeeze(3).transpose(1, 2)


class MVNLN(nn.Module):
    """Multi-view non-local network (Eq 13-16): v_l (B, K, M) -> v_n (B, K, N).

    Its parameters are shared between the modalities.
    """

    def __init__(self, cfg: SSANConfig) -> None:
        super().__init__()
        K, M, M_ = cfg.K, cfg.M, cfg.M_
        self.official = cfg.reading == "official"
        self.W_n = PartConvs(K, M, cfg.N)  # first, as the only layer that "conv" has, too
        self.W_theta, self.W_phi = PartConvs(K, M, M_), PartConvs(K, M, M_)
        self.W_gamma = PartConvs(K, M_, M)
        self.norm = nn.BatchNorm1d(K * M) if self.official else nn.Identity()

    def relate(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """alpha (B, K, K), rows k summing to 1 over i != k (Eq 13-14), and phi (B, K, M')."""
        theta, phi = self.activate(self.W_theta(v)), self.activate(self.W_phi(v))
        unit = F.normalize(phi, dim=2)
        S = F.normalize(theta, dim=2) @ unit.transpose(1, 2)  # (B, K, K), Eq 13
        itself = torch.eye(S.shape[1], dtype=torch.bool, device=S.device)
        alpha = S.masked_fill(itself, -torch.inf).softmax(2)  # Eq 14
        return alpha, unit if self.official else phi

    def forward(self, v: Tensor) -> Tensor:
        alpha, phi = self.relate(v)
        v_lin = self.W_gamma(alpha @ phi)  # (B, K, M), Eq 15
        v_lin = self.activate(self.norm(v_lin.flatten(1)).view_as(v_lin))
        return self.W_n(v + v_lin)  # (B, K, N), Eq 16

    def activate(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, _SLOPE) if self.official else x


# ------------------------------------------------------------------ III. the network


class SSAN(nn.Module):
    """The whole network, its identity classifiers included.

    The official margin of the weak terms depends on the epoch: `draw` counts those that have begun,
    and the count is kept with the model's state.
    """

    def __init__(self, cfg: SSANConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.official = cfg.reading == "official"
        K, M = cfg.K, cfg.M
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        self.lstm = nn.LSTM(cfg.V, C, bidirectional=True, bias=False)
        self.W_g = PartConvs(1, C, M)
        self.id_g = PartClassifiers(1, M, cfg.ids)
        # From here on, rows of Table I differ; what they share starts alike under one seed.
        # One table per copy of the words: for the global and, officially, for the part branches.
        self.copies = 2 if cfg.pfl and self.official else 1
        tables = [nn.Embedding(cfg.vocabulary, cfg.V).weight for _ in range(self.copies)]
        self.W_e = nn.Embedding.from_pretrained(torch.cat(tables), freeze=False)
        if cfg.pfl:
            self.W_p = nn.Linear(C, K, bias=False)
            self.W_l = PartConvs(K, C, M)
            self.id_l = PartClassifiers(K, M, cfg.ids)
        if cfg.prl != "none":
            self.id_n = PartClassifiers(K, cfg.N, cfg.ids)
            self.prl = MVNLN(cfg) if cfg.prl == "mv-nln" else PartConvs(K, M, cfg.N)
        self.W_g_text = None if cfg.shared else PartConvs(1, C, M)
        self.adaptive = True
        self.register_buffer("epoch", torch.tensor(-1))  # of the training, from 0

    def begin_epoch(self) -> None:
        """Say that an epoch of training begins: the first `fixed_epochs` have a fixed alpha_2."""
        self.epoch += 1
        self.adaptive = not self.official or int(self.epoch) >= self.cfg.fixed_epochs

    # III-A, B and C

    def encode_images(self, images: Tensor) -> Codes:
        """Images float (B, 3, h, w), normalized -> v_g, v_l and v_n."""
        parts = part_maxima(self.backbone(images), self.cfg.K)  # (B, K, C)
        v_g = self.W_g(parts.amax(1, keepdim=True)).squeeze(1)  # (B, M), Eq 5
        return self._codes(v_g, self.W_l(parts) if self.cfg.pfl else None)  # Eq 10

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> Codes:
        """Captions int64 (B, L), padded, and their lengths int64 (B,), on the CPU -> t_g, ..."""
        return self.encode_texts([(tokens, lengths)])[0]

    def encode_texts(self, texts: Sequence[tuple[Tensor, Tensor]]) -> list[Codes]:
        """Several sets of captions, read in one pass over their words."""
        cfg = self.cfg
        packed, e = self.read(texts)
        captions = sum(len(tokens) for tokens, _ in texts)
        full, part = packed.slots[:captions], packed.slots[-captions:]  # the same if one copy
        E_g = row_maxima(e, full)
        if self.official:  # places without a word count as zeros
            lengths = torch.cat([lengths for _, lengths in texts])
            short = send(lengths < cfg.max_tokens, E_g.device)[:, None]
            E_g = torch.where(short, E_g.clamp_min(0), E_g)
        W_g = self.W_g if cfg.shared else self.W_g_text
        t_g = W_g(E_g[:, None]).squeeze(1)  # (B, M), Eq 6
        t_l = None
        if cfg.pfl:
            t_l = self.W_l(attended_row_maxima(e, self.attend(e), part))  # (B, K, M), Eq 11
        # Batch normalization in PRL sees the sets one by one.
        sizes = [len(tokens) for tokens, _ in texts]
        split_l = [None] * len(sizes) if t_l is None else t_l.split(sizes)
        return [self._codes(*f) for f in zip(t_g.split(sizes), split_l, strict=True)]

    def read(self, texts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Packed, Tensor]:
        """The packed words of `texts`, and e_i of each: float (words, C)."""
        packed = pack(texts, self.copies)
        x = self.W_e(packed.tokens + packed.copy * self.cfg.vocabulary)
        x = F.dropout(x, self.cfg.dropout, self.training)
        return packed, word_states(self.lstm, x, packed.batch_sizes).mean(0)  # Eq 1-3

    def attend(self, e: Tensor) -> Tensor:
        """Word attention module: s_i^k in 0..1, float (words, K) (Eq 8)."""
        return torch.sigmoid(self.W_p(e))

    def _codes(self, f_g: Tensor, f_l: Tensor | None) -> Codes:
        if f_l is not None and self.official:
            f_l = F.leaky_relu(f_l, _SLOPE)
        return Codes(f_g, f_l, None if self.cfg.prl == "none" else self.prl(f_l))

    # IV

    def loss(
        self, images: Codes, texts: Codes, labels: Tensor, weak: Codes | None = None
    ) -> dict[str, Tensor]:
        """Losses of B matched pairs, weighted 1, 0.5 and 0.5: identity and (compound) ranking
        losses of the global, PFL and PRL features. Their sum is to be minimized.

        labels: int64 (B,) in 0..Q-1. weak: the captions D' of other images of the same people, for
        the CR loss; raises UsageError if it is missing there.
        """
        cfg, terms = self.cfg, {}
        if cfg.cr and weak is None:
            raise UsageError("SSAN: the CR loss needs the captions of other images (weak)")
        for name, weight in WEIGHTS.items():
            v, t = getattr(images, f"f_{name}"), getattr(texts, f"f_{name}")
            if v is None:
                continue
            v, t = (x if x.dim() == 3 else x[:, None] for x in (v, t))  # (B, parts, size)
            logits = getattr(self, f"id_{name}")(torch.cat((v, t)))
            # The sum of the two modalities' means, averaged over parts.
            both = identity_loss(logits.flatten(0, 1), labels.repeat(2 * len(logits)))
            terms[f"id_{name}"] = 2 * weight * both
            S = cosines(v, t)
            S_weak = cosines(v, getattr(weak, f"f_{name}")) if cfg.cr else None
            terms[f"rank_{name}"] = weight * self._ranking(S, S_weak, labels)
        return terms

    def _ranking(self, S: Tensor, S_weak: Tensor | None, labels: Tensor) -> Tensor:
        cfg = self.cfg
        alpha2 = cfg.alpha2
        if alpha2 is None and not self.adaptive:
            alpha2 = cfg.alpha1 / 2
        losses = compound_ranking_losses(
            S, S_weak, labels, cfg.alpha1, alpha2, cfg.beta, cfg.reading
        )
        return losses.sum()

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        labels: Tensor,
        weak_tokens: Tensor | None = None,
        weak_lengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one training batch; D' is read only if the CR loss is in use."""
        texts = [(tokens, lengths)]
        if self.cfg.cr:
            if weak_tokens is None or weak_lengths is None:
                raise UsageError("SSAN: the CR loss needs the captions of other images (weak)")
            texts.append((weak_tokens, weak_lengths))
        image_codes, text_codes = self.encode_images(images), self.encode_texts(texts)
        return self.loss(image_codes, text_codes[0], labels, *text_codes[1:])

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the LSTM for a pair's captions of so many words, forward."""
        captions = self.copies * (2 if self.cfg.cr else 1)
        return captions * words * sum(p.numel() for p in self.lstm.parameters())


NETWORK = SSAN


def losses(model: SSAN, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch of pairs, see `reidlib.models`."""
    weak = () if batch.weak is None else batch.weak[:2]
    return model(batch.images, *batch.text[:2], batch.labels, *weak)


# ------------------------------------------------------------------ IV. the losses


def compound_ranking_losses(
    S: Tensor,
    S_weak: Tensor | None,
    labels: Tensor,
    alpha1: float = 0.2,
    alpha2: float | None = None,
    beta: float = 0.1,
    reading: str = "official",
) -> Tensor:
    """CR loss (Eq 19) of each of B pairs, or the ordinary one (Eq 18): float (B,).

    S: float (B, B), images by captions, the diagonal matched. S_weak: the same with D'_p, a caption
    of another image of the same person, in place of each caption; None leaves the weak terms out.
    alpha2: a fixed margin of the weak terms, or None for the adaptive one (Eq 20-21).
    Pairs of people with different labels are negatives.
    """
    other = labels[:, None] != labels[None, :]
    positive = S.diagonal()
    official = reading == "official"
    hinge = semi_hard_hinge if official else hardest_hinge
    margin = torch.full_like(positive, alpha1)
    losses = hinge(positive, S, margin, other) + hinge(positive, S.T, margin, other)
    if S_weak is None:
        return losses
    weak = S_weak.diagonal()
    used = torch.ones_like(weak)
    if alpha2 is None:
        ratio = weakness(positive.detach(), weak.detach(), official)
        margin = (ratio + 1) * alpha1 / 2  # Eq 20
        if official:
            used = (ratio >= _LEAST_LAMBDA).to(weak.dtype)
    else:
        margin = torch.full_like(weak, alpha2)
    images = hinge(weak, S_weak if official else S, margin, other)  # D'_n or D_n
    texts = hinge(weak, S_weak.T, margin, other)
    return losses + beta * used * (images + texts)


def weakness(positive: Tensor, weak: Tensor, absolute: bool = False) -> Tensor:
    """lambda = min(S(I_p, D'_p) / S(I_p, D_p), 1), float (B,) (Eq 21; of absolute values if so)."""
    if absolute:
        positive, weak = positive.abs(), weak.abs()
    tiny = torch.full_like(positive, 1e-8)
    return (weak / torch.where(positive.abs() < tiny, tiny, positive)).clamp_max(1)


def hardest_hinge(positive: Tensor, similarity: Tensor, margin: Tensor, other: Tensor) -> Tensor:
    """[margin - positive + hardest negative]_+ of each anchor (row): float (B,) (Eq 18)."""
    negative = similarity.masked_fill(~other, -torch.inf).amax(1)
    return (margin - positive + negative).clamp_min(0)


def semi_hard_hinge(positive: Tensor, similarity: Tensor, margin: Tensor, other: Tensor) -> Tensor:
    """As `hardest_hinge`, with a negative drawn at random among those with 0 < hinge < margin.

    An anchor without any such negative adds 0.
    """
    hinge = similarity + (margin - positive)[:, None]
    candidates = semi_hard(hinge.detach(), margin, other)
    noise = torch.rand_like(hinge).masked_fill(~candidates, -1)
    chosen = hinge.gather(1, noise.argmax(1, keepdim=True)).squeeze(1)
    return torch.where(candidates.any(1), chosen, 0)


def semi_hard(hinge: Tensor, margin: Tensor, other: Tensor) -> Tensor:
    """Which negatives are semi-hard: bool (B, B); hinge (B, B), margin (B,), other bool (B, B)."""
    return other & (hinge > 0) & (hinge < margin[:, None])


# ------------------------------------------------------------------ batches, captions D'


def draw(
    model: SSAN, split: Any, generator: torch.Generator, batch_size: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """One epoch of shuffled pairs with, for the CR loss, the captions D'; see `reidlib.models`."""
    model.begin_epoch()
    weak = WeakCaptions.build(split.image_of, split.labels) if model.cfg.cr else None
    for captions in shuffled(len(split.labels), generator, batch_size):
        yield captions, None if weak is None else weak.draw(captions, generator)


@dataclass(frozen=True)
class WeakCaptions:
    """Draws D': for a caption, another one of the same person that describes another image.

    order int64 (captions,): captions sorted by person and image; place, their places in it; person
    and image int64 (captions, 2): where the caption's person and image begin and end in it.
    """

    order: Tensor
    place: Tensor
    person: Tensor
    image: Tensor

    @classmethod
    def build(cls, image_of: Tensor, labels: Tensor) -> "WeakCaptions":
        """image_of int64 (captions,): the image of each caption; labels int64 (captions,)."""
        by_image = image_of.argsort(stable=True)
        order = by_image[labels[by_image].argsort(stable=True)]
        return cls(
            order, order.argsort(), _runs(labels[order], order), _runs(image_of[order], order)
        )

    def draw(self, captions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One caption for each of `captions` int64 (B,), uniformly; itself for people of whom
        there is one image only (the official code leaves these people out of the training set).
        """
        (first, last), (start, end) = self.person[captions].T, self.image[captions].T
        others = (last - first) - (end - start)
        noise = torch.rand(len(captions), generator=generator, dtype=torch.float64)
        place = first + (noise * others).long()
        place = torch.where(place >= start, place + (end - start), place)
        return self.order[torch.where(others > 0, place, self.place[captions])]


def _runs(values: Tensor, order: Tensor) -> Tensor:
    """Begin and end of each element's run of equal values, in the elements' original order."""
    _, run, counts = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
    end = counts.cumsum(0)
    runs = torch.empty(len(values), 2, dtype=torch.int64)
    runs[order] = torch.stack((end - counts, end), 1)[run]
    return runs


# ------------------------------------------------------------------ testing stage, reports


@torch.no_grad()
def similarities(
    images: Codes, texts: Codes, config: SSANConfig | None = None
) -> dict[str, Tensor]:
    """ "Sg", "Sl" and "Sn" (those there are) of every caption with every image: float32
    (captions, images), one matrix product each. Captions are rows: they are the queries.
    """
    kinds = zip(WEIGHTS, texts, images, strict=True)
    return {f"S{name}": cosines(t, v) for name, t, v in kinds if t is not None}


@torch.no_grad()
def word_attention(model: SSAN, tokens: Tensor, lengths: Tensor) -> Tensor:
    """s_i^k of Eq 8 for figures: captions int64 (B, L) -> float (B, n, K), 0 behind the end."""
    packed, e = model.read([(tokens, lengths)])
    slots = packed.slots[-len(tokens) :]
    real = torch.arange(slots.shape[1]) < lengths[:, None]
    return model.attend(e)[slots] * send(real, e.device)[:, :, None]


def parameter_counts(model: SSAN) -> dict[str, int]:
    """Parameters of each part of the network; "network" is without classifiers, "total" with."""

    def count(*names: str) -> int:
        modules = (getattr(model, name, None) for name in names)
        return sum(p.numel() for m in modules if m is not None for p in m.parameters())

    counts = {
        "backbone": count("backbone"),
        "word embeddings": count("W_e"),
        "Bi-LSTM": count("lstm"),
        "W_g": count("W_g", "W_g_text"),
        "W_l": count("W_l"),
        "word attention module": count("W_p"),
        "part relation learning": count("prl"),
    }
    classifiers = count("id_g", "id_l", "id_n")
    network = sum(counts.values())
    return counts | {
        "network": network,
        "identity classifiers": classifiers,
        "total": network + classifiers,
    }
