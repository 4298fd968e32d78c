"""GLA: global and local image-language association (Chen et al., ECCV 2018), in the paper's order,
with its equation numbers and names.

Shapes: B images or descriptions of a batch, R noun phrases of all of them, K bins of the feature
map (16 x 8 for images of 256 x 128 and stride 1), d = 256, E = H = 512, D words in the
vocabulary, Q persons.

Language is for training: a person is searched by phi(I) alone, with the Euclidean distance.

Where the paper leaves a choice: the 1x1 convolution that makes Psi is linear (differences with
text features need both signs) and maps to d channels, so that W_phi is d x d; the last stage of
ResNet-50 has stride 1; descriptions and phrases share the word embedding and the LSTM; the
decoder has its own LSTM and its own word embedding, of size d because psi_hat_P enters it as
if it were a word; word 0, the padding, stands for both the start and the end of a phrase. The
ranking losses are averaged over the pairs of pairs they compare; their margin and weight are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32, send
from reidlib.errors import DataError, UsageError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import backbone

# Table 1: the losses of each method, as switches of GLAConfig. L_I is always on.
METHODS: Mapping[str, Mapping[str, bool | str]] = MappingProxyType(
    {
        "basel.": {"L_T": False, "L_dis": False, "L_rec": False, "L_rank": "none"},
        "basel. + rank1": {"L_T": True, "L_dis": False, "L_rec": False, "L_rank": "rank1"},
        "basel. + rank2": {"L_T": True, "L_dis": False, "L_rec": False, "L_rank": "rank2"},
        "basel. + GDA": {"L_T": True, "L_dis": True, "L_rec": False, "L_rank": "none"},
        "basel. + LRA": {"L_T": False, "L_dis": False, "L_rec": True, "L_rank": "none"},
        "proposed": {"L_T": True, "L_dis": True, "L_rec": True, "L_rank": "none"},
    }
)


@dataclass(frozen=True)
class GLAConfig:
    """What distinguishes one GLA from another; the defaults are the paper's "proposed"."""

    ids: int  # Q, persons in the training set
    vocabulary: int  # D, rows of the word embedding (padding and unknown word included)
    backbone: str = "resnet50"  # "resnet50" | "vgg16"
    width: float = 1.0  # of the backbone
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 1  # of ResNet-50's layer4
    d: int = 256  # size of psi_k, phi, theta^g, theta^l
    E: int = 512  # size of a word embedding
    H: int = 512  # size of a hidden state, of both LSTMs
    pool: int = 2  # neighboring bins averaged for the local association: pool x pool; 1 = none
    L_T: bool = True  # identity loss of descriptions in use (Table 1)
    L_dis: bool = True  # discriminative loss of matched and other descriptions, in use
    L_rec: bool = True  # loss of phrases reconstructed from where they are looked for, in use
    L_rank: str = "none"  # "none" | "rank1" (pairs of a tuple) | "rank2" (pairs of a person)
    lambda_T: float = 0.1  # weight of L_T beside that of images (Eq 8, Table 3)
    lambda_dis: float = 1.0  # weight of L_dis (Eq 8)
    lambda_rec: float = 1.0  # weight of L_rec (Eq 8)
    lambda_rank: float = 1.0  # weight of L_rank, which is ours
    alpha: float = 0.2  # margin of Eq 6
    negatives: int = 3  # sampled negative pairs per positive pair

    def __post_init__(self) -> None:
        if self.backbone not in ("resnet50", "vgg16"):
            raise UsageError(f"GLA: backbone must be resnet50 or vgg16, got {self.backbone!r}")
        if self.L_rank not in ("none", "rank1", "rank2"):
            raise UsageError(f"GLA: L_rank must be none, rank1 or rank2, got {self.L_rank!r}")
        for name in ("ids", "vocabulary", "d", "E", "H", "pool", "negatives"):
            if getattr(self, name) < 1:
                raise UsageError(f"GLA: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("lambda_T", "lambda_dis", "lambda_rec", "lambda_rank"):
            if getattr(self, name) < 0:
                raise UsageError(f"GLA: {name} must not be negative, got {getattr(self, name)}")

    @property
    def descriptions(self) -> bool:
        """Whether a loss needs theta^g(T)."""
        return self.L_T or self.L_dis or self.L_rank != "none"


class Visual(NamedTuple):
    """B images, encoded (section 3.1)."""

    Psi: Tensor  # (B, d, h, w), the K = h * w bins psi_k
    psi_bar: Tensor  # (B, d), their mean
    phi: Tensor  # (B, d), what persons are searched by


class GLA(nn.Module):
    """The whole network; it has only the parts that the losses in use need."""

    def __init__(self, cfg: GLAConfig) -> None:
        super().__init__()
        self.cfg = cfg
        # Every layer is drawn, and left out again where no loss in use needs it: so the methods of
        # Table 1 start from the same weights under one seed, in whatever they share.
        # 3.1 visual representation
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        self.conv_Psi = nn.Conv2d(self.backbone.out_channels, cfg.d, 1)
        self.W_phi = nn.Linear(cfg.d, cfg.d)
        self.W_I = nn.Linear(cfg.d, cfg.ids, bias=False)  # w_i of Eq 2
        # 3.1 linguistic representation
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.E)
        self.lstm = nn.LSTM(cfg.E, cfg.H, batch_first=True)
        self.W_g = nn.Linear(cfg.H, cfg.d)
        self.W_T = nn.Linear(cfg.d, cfg.ids, bias=False)  # v_i of Eq 3
        # 3.2 global discriminative association
        self.w_s = nn.Linear(cfg.d, 1)
        # 3.3 local reconstructive association
        self.W_l = nn.Linear(cfg.H, cfg.d)
        self.w_r = nn.Linear(cfg.d, 1)
        self.decoder_W_e = nn.Embedding(cfg.vocabulary, cfg.d)
        self.decoder_lstm = nn.LSTM(cfg.d, cfg.H, batch_first=True)
        self.W_oh = nn.Linear(cfg.H, cfg.vocabulary, bias=False)
        self.W_oe = nn.Linear(cfg.d, cfg.vocabulary, bias=False)
        needed = {
            "W_e lstm": cfg.descriptions or cfg.L_rec,
            "W_g": cfg.descriptions,
            "W_T": cfg.L_T,
            "w_s": cfg.L_dis,
            "W_l w_r decoder_W_e decoder_lstm W_oh W_oe": cfg.L_rec,
        }
        for names, kept in needed.items():
            for name in () if kept else names.split():
                delattr(self, name)

    # -------------------------------------------------------------- 3.1 representations

    def encode_images(self, images: Tensor) -> Visual:
        """Images (B, 3, height, width), normalized -> Psi, psi_bar and phi."""
        Psi = self.conv_Psi(self.backbone(images))  # (B, d, h, w)
        psi_bar = Psi.mean((2, 3))
        return Visual(Psi, psi_bar, self.W_phi(psi_bar))  # Eq 1

    def encode_descriptions(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """theta^g: tokens int64 (B, L), padded, and lengths int64 (B,) -> (B, d)."""
        self._need(self.cfg.descriptions, "encodes no descriptions")
        return self.W_g(self._last_hidden(tokens, lengths))

    def encode_phrases(self, phrases: Tensor, phrase_lengths: Tensor) -> Tensor:
        """theta^l: phrases int64 (R, Lp), padded, and lengths int64 (R,) -> (R, d)."""
        self._need(self.cfg.L_rec, "encodes no phrases")
        return self.W_l(self._last_hidden(phrases, phrase_lengths))

    def _last_hidden(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """h_F: hidden state behind the last word, (rows, H)."""
        if len(lengths) == 0 or lengths.min() < 1:
            raise DataError("GLA: a description or phrase without words, or none at all")
        parts, groups = [], length_groups(lengths.cpu())
        for rows, ends in groups:
            e = self.W_e(tokens[send(rows, tokens.device), : int(ends.max())])
            h = _states(self.lstm, e)
            parts.append(h[torch.arange(len(h), device=h.device), send(ends - 1, h.device)])
        return _in_order(parts, groups)

    def _need(self, there: bool, what: str) -> None:
        if not there:
            raise UsageError(f"this GLA {what}: the losses it is made for need none")

    # -------------------------------------------------------------- 3.2 global association

    def relevance_logits(self, psi_bar: Tensor, theta_g: Tensor) -> Tensor:
        """w_s . varphi(I, T) + b_s of all pairs (Eq 4): (B, d), (M, d) -> float32 (B, M).

        varphi is the squared difference, so that this is three products instead of a vector per
        pair. Its sigmoid is s(I, T); rank by this, because the sigmoid runs into ties.
        """
        self._need(self.cfg.L_dis, "has no relevance s(I, T)")
        with in_fp32(psi_bar):
            w, b = self.w_s.weight[0].float(), self.w_s.bias.float()
            return weighted_squares(psi_bar.float(), theta_g.float(), w) + b

    # -------------------------------------------------------------- 3.3 local association

    def attend(self, Psi: Tensor, theta_l: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Phrase-guided attention: r (R, h', w'), which sums to 1, and psi_hat_P (R, d).

        Psi: (B, d, h, w); theta_l: (R, d); owner: int64 (R,), the image a phrase belongs to.
        """
        self._need(self.cfg.L_rec, "has no attention")
        Psi = pool_neighbors(Psi, self.cfg.pool)  # (B, d, h', w')
        size = Psi.shape[2:]
        psi = Psi.flatten(2).transpose(1, 2).index_select(0, owner)  # (R, K', d)
        r_bar = self.w_r((psi - theta_l[:, None]).square())  # (R, K', 1)
        r = r_bar.float().softmax(1).to(psi)
        psi_hat = (r * psi).sum(1)  # (R, d)
        return r.squeeze(2).unflatten(1, size), psi_hat

    def phrase_nll(self, psi_hat: Tensor, phrases: Tensor, phrase_lengths: Tensor) -> Tensor:
        """-log p(P | psi_hat_P), float32 (R,), in nats: the sum over the M words and the end.

        psi_hat: (R, d); phrases int64 (R, Lp), padded with 0; phrase_lengths int64 (R,), on the
        CPU. The padding behind a phrase is its end, and 0 before the first word is the start.
        """
        self._need(self.cfg.L_rec, "reconstructs no phrases")
        parts, groups = [], length_groups(phrase_lengths)
        for rows, M in groups:
            on_device = send(rows, phrases.device)
            P, start = phrases[on_device, : int(M.max())], psi_hat[on_device, None]
            e = self.decoder_W_e(F.pad(P, (1, 0)))  # e_0 (start) ... e_M, (n, longest + 1, d)
            h = _states(self.decoder_lstm, torch.cat((start.to(e), e), 1))[
                :, 1:
            ]  # h_1 ... h_{M+1}: what follows psi_hat alone predicts nothing
            real = torch.arange(e.shape[1]) <= M[:, None]  # (n, longest + 1)
            row, step = (send(index, e.device) for index in real.nonzero(as_tuple=True))
            logits = self.W_oh(h[row, step]) + self.W_oe(e[row, step])  # (words and ends, D)
            targets = F.pad(P, (0, 1))[row, step]  # o_1 ... o_M, end
            nll = F.cross_entropy(logits.float(), targets, reduction="none")
            parts.append(nll.new_zeros(len(P)).index_add(0, row, nll))
        return _in_order(parts, groups)

    # -------------------------------------------------------------- 3.4 training

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        phrases: Tensor,
        phrase_lengths: Tensor,
        phrase_offsets: Tensor,
    ) -> dict[str, Tensor]:
        """The weighted terms of Eq 8 for a batch of B tuples (I_n, T_n, P(T_n), l_n), by name.

        images float (B, 3, height, width); labels int64 (B,) in 0..Q-1; tokens int64 (B, L) and
        phrases int64 (R, Lp), padded with 0, on the images' device; lengths int64 (B,),
        phrase_lengths int64 (R,) and phrase_offsets int64 (B + 1,), on the CPU. The phrases of
        T_n are phrases[phrase_offsets[n]:phrase_offsets[n + 1]]; offsets may start anywhere.
        Negative pairs are drawn with torch's global generator.
        """
        cfg = self.cfg
        visual = self.encode_images(images)
        terms = {"L_I": identity_loss(self.W_I(visual.phi), labels)}  # Eq 2
        if cfg.descriptions:
            theta_g = self.encode_descriptions(tokens, lengths)
            if cfg.L_T and cfg.lambda_T > 0:
                terms["L_T"] = cfg.lambda_T * identity_loss(self.W_T(theta_g), labels)  # Eq 3
            if cfg.L_dis:
                loss = self.discriminative_loss(visual.psi_bar, theta_g, labels)
                terms["L_dis"] = cfg.lambda_dis * loss
            if cfg.L_rank != "none":
                loss = self.ranking_loss(visual.psi_bar, theta_g, labels)
                terms["L_rank"] = cfg.lambda_rank * loss
        if cfg.L_rec:
            loss = self.reconstruction_loss(visual.Psi, phrases, phrase_lengths, phrase_offsets)
            terms["L_rec"] = cfg.lambda_rec * loss
        return terms

    forward = losses

    def discriminative_loss(self, psi_bar: Tensor, theta_g: Tensor, labels: Tensor) -> Tensor:
        """L_dis, Eq 5: binary cross-entropy over the sampled pairs of images and descriptions."""
        positive, negative = sample_pairs(labels, self.cfg.negatives)
        logits = self.relevance_logits(psi_bar, theta_g)
        loss = F.binary_cross_entropy_with_logits(logits, positive.to(logits), reduction="none")
        sampled = (positive | negative).to(loss)
        return (loss * sampled).sum() / sampled.sum()

    def ranking_loss(self, psi_bar: Tensor, theta_g: Tensor, labels: Tensor) -> Tensor:
        """L_rank, Eq 6, in the variant of Table 2 that L_rank names.

        rank1: a positive pair is a tuple, and all other tuples of the batch are its negatives,
        those of the same person included. rank2: positive pairs are all pairs of a person, and
        negatives are sampled among other persons, the same ones as for L_dis.
        """
        k = F.normalize(psi_bar.float()) @ F.normalize(theta_g.float()).T
        if self.cfg.L_rank == "rank1":
            positive = torch.eye(len(k), dtype=torch.bool, device=k.device)
            return bidirectional_ranking(k, positive, ~positive, self.cfg.alpha)
        positive, negative = sample_pairs(labels, self.cfg.negatives)
        return bidirectional_ranking(k, positive, negative, self.cfg.alpha)

    def reconstruction_loss(
        self, Psi: Tensor, phrases: Tensor, phrase_lengths: Tensor, phrase_offsets: Tensor
    ) -> Tensor:
        """L_rec, Eq 7: mean over tuples of the mean of -log p(P | psi_hat_P) over their phrases."""
        counts = phrase_offsets.diff()
        if len(counts) != len(Psi) or counts.min() < 1:
            raise DataError("GLA: expected at least one phrase for each of the images")
        owner = phrase_owner(phrase_offsets)
        weight = send(1 / (len(counts) * counts[owner]), Psi.device)
        theta_l = self.encode_phrases(phrases, phrase_lengths)
        _, psi_hat = self.attend(Psi, theta_l, send(owner, Psi.device))
        return (weight * self.phrase_nll(psi_hat, phrases, phrase_lengths)).sum()

    # ------------------------------------------------------------------ tensors to tensors

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the LSTMs for a description of so many words, forward; its phrases have
        some 15 words in all, which are encoded and decoded."""
        cell = 4 * self.cfg.H * (self.cfg.E + self.cfg.H)
        return cell * (words * self.cfg.descriptions + 2 * 15 * self.cfg.L_rec)


def weighted_squares(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """sum_d w_d (a_id - b_jd)^2 of all pairs: (B, d), (M, d), (d,) -> (B, M)."""
    # Moving both by the same vector changes no difference, but keeps the squares small.
    center = b.mean(0)
    a, b = a - center, b - center
    return (a.square() @ w)[:, None] - 2 * (a * w) @ b.T + b.square() @ w


def length_groups(lengths: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Short rows and long rows: of each group the rows, int64 (n,), and their lengths, int64 (n,).

    Cut where least padding is read if each group is padded to its longest row. Most phrases have
    two or three words, and one in a hundred is a sentence; PyTorch's LSTM is several times faster
    on padded rows than on packed ones, on a CPU. lengths: int64 (R,), at least 1, on the CPU.
    """
    order = lengths.argsort(stable=True)
    ascending = lengths[order]
    R, longest = len(order), int(ascending[-1])
    short = torch.arange(R)  # number of rows in the first group; 0: there is one group
    read = short * ascending.roll(1) + (R - short) * longest
    cut = int(read.argmin())
    return [
        (rows, ends)
        for rows, ends in zip(
            order.split((cut, R - cut)), ascending.split((cut, R - cut)), strict=True
        )
        if len(rows)
    ]


def _states(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """All hidden states: (rows, words, E) -> (rows, words, H). Under autocast cuDNN would compute
    in fp16, whatever was asked for."""
    with in_fp32(x):
        return lstm(x.float())[0]


def _in_order(parts: list[Tensor], groups: list[tuple[Tensor, Tensor]]) -> Tensor:
    """What was computed group by group, in the order of the rows again."""
    back = torch.cat([rows for rows, _ in groups]).argsort()
    return torch.cat(parts)[send(back, parts[0].device)]


def pool_neighbors(Psi: Tensor, pool: int) -> Tensor:
    """Average of pool x pool neighboring bins: (B, d, h, w) -> (B, d, h / pool, w / pool).

    Of sizes that `pool` does not divide, or below it, the bins overlap (adaptive pooling).
    """
    h, w = (max(1, size // pool) for size in Psi.shape[2:])
    return F.adaptive_avg_pool2d(Psi, (h, w))


def phrase_owner(phrase_offsets: Tensor) -> Tensor:
    """int64 (R,): the number of the description that each phrase belongs to, from offsets (B + 1,).

    phrase_offsets on the CPU; they may start anywhere, phrase 0 belongs to the first description.
    """
    counts = phrase_offsets.diff()
    return torch.arange(len(counts)).repeat_interleave(counts)


def sample_pairs(
    labels: Tensor, negatives: int = 3, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Positive and negative pairs of images (rows) and descriptions (columns): two bool (B, B).

    All pairs of a person are positive. For each image, `negatives` times as many descriptions of
    other persons are drawn without replacement, as far as there are any. With 32 persons and two
    tuples of each: 128 positive and 384 negative pairs (section 3.4). labels: int64 (B,).
    """
    positive = labels[:, None] == labels[None, :]
    numbers = torch.rand(positive.shape, device=labels.device, generator=generator)
    # Position of every description in a random order of those of other persons (own ones last).
    place = numbers.masked_fill(positive, 2.0).argsort(1).argsort(1)
    negative = (place < negatives * positive.sum(1, keepdim=True)) & ~positive
    return positive, negative


def bidirectional_ranking(k: Tensor, positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
    """Eq 6: mean hinge over positive pairs (i, p) and the negatives j of i, in both directions.

    k: float (B, B), similarity of image i (row) and description j (column); positive, negative:
    bool (B, B). Image i and its description p are compared with description j where
    negative[i, j], and with image j where negative[p, j]: max(0, k_ij - k_ip + alpha) +
    max(0, k_jp - k_ip + alpha). Holds B^3 numbers.
    """
    hinge_texts = (k[:, None, :] - k[:, :, None] + alpha).clamp_min(0)  # [i, p, j]
    hinge_images = (k.T[None, :, :] - k[:, :, None] + alpha).clamp_min(0)  # [i, p, j]
    texts = positive[:, :, None] & negative[:, None, :]
    images = positive[:, :, None] & negative[None, :, :]
    # Both directions of rank1 and of rank2 have as many terms, N^. A batch of one person has none.
    N_texts, N_images = texts.sum().clamp_min(1), images.sum().clamp_min(1)
    return (hinge_texts * texts).sum() / N_texts + (hinge_images * images).sum() / N_images


# ------------------------------------------------------------------ searching, and reports


@torch.no_grad()
def text_to_image_scores(model: GLA, psi_bar: Tensor, theta_g: Tensor) -> Tensor:
    """Scores of M descriptions against B images for ranking (section 4.4): float32 (M, B).

    psi_bar (B, d), theta_g (M, d). They are the logits of s(I, T), Eq 4; a model with L_rank
    instead of L_dis scores by cosine.
    """
    if model.cfg.L_dis:
        return model.relevance_logits(psi_bar, theta_g).T
    return F.normalize(theta_g.float()) @ F.normalize(psi_bar.float()).T


@torch.no_grad()
def phrase_heat_maps(
    model: GLA, images: Tensor, phrases: Tensor, phrase_lengths: Tensor, owner: Tensor
) -> Tensor:
    """Attention r_k(P, I) of R phrases laid over their images (Fig. 5): float32 (R, height, width).

    images (B, 3, height, width), normalized; phrases int64 (R, Lp), padded; owner int64 (R,): the
    image of each phrase, so that any phrase can be looked for in any image. Bilinear between the
    centers of the bins; a map sums to 1 over bins before it is enlarged.
    """
    Psi = model.encode_images(images).Psi
    r, _ = model.attend(Psi, model.encode_phrases(phrases, phrase_lengths), owner)
    size = images.shape[2:]
    return F.interpolate(r[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def reconstruction_by_source(
    model: GLA, images: Tensor, phrases: Tensor, phrase_lengths: Tensor, owner: Tensor
) -> dict[str, Tensor]:
    """What a phrase is reconstructed from: -log p(P | psi_hat_P) in nats, float32 (R,), where
    psi_hat_P comes from

    "own picture": as in training; "another picture": the next one of the batch, with the attention
    to the phrase there; "no attention": its own picture, all bins alike.

    Eq 7 does not ask that the picture matters: theta^l(P) enters r, so that psi_hat_P says which
    phrase it was made with, whatever the picture shows. Arguments as of `phrase_heat_maps`, of at
    least two images.
    """
    Psi = model.encode_images(images).Psi
    theta_l = model.encode_phrases(phrases, phrase_lengths)
    sources = {
        "own picture": model.attend(Psi, theta_l, owner)[1],
        "another picture": model.attend(Psi, theta_l, (owner + 1) % len(images))[1],
        "no attention": pool_neighbors(Psi, model.cfg.pool).mean((2, 3))[owner],
    }
    return {
        name: model.phrase_nll(psi_hat, phrases, phrase_lengths)
        for name, psi_hat in sources.items()
    }


def parameter_counts(model: GLA) -> dict[str, int]:
    """Parameters of each part that the network has, and "total"."""
    parts = {
        "backbone": ("backbone",),
        "1x1 convolution Psi": ("conv_Psi",),
        "projection phi": ("W_phi",),
        "image identity classifier": ("W_I",),
        "word embedding": ("W_e",),
        "LSTM": ("lstm",),
        "projection theta^g": ("W_g",),
        "text identity classifier": ("W_T",),
        "relevance w_s": ("w_s",),
        "projection theta^l": ("W_l",),
        "attention w_r": ("w_r",),
        "decoder word embedding": ("decoder_W_e",),
        "decoder LSTM": ("decoder_lstm",),
        "decoder outputs": ("W_oh", "W_oe"),
    }
    counts = {
        part: sum(p.numel() for name in names for p in getattr(model, name).parameters())
        for part, names in parts.items()
        if all(hasattr(model, name) for name in names)
    }
    return counts | {"total": sum(p.numel() for p in model.parameters())}
