"""Dual Path: dual-path convolutional image-text embedding with instance loss (Zheng et al., TOMM
2020), as SSAN Table IV compares it.

Image: ResNet-50, global average, two linear layers of 2,048, each with batch normalization and
ReLU. Text: a one-dimensional residual CNN over a window of 56 words with convolutions of width 2
that look back, average over time, one such layer. Both share a classifier. Stage 1 trains with the
instance (identity) loss alone (the authors freeze the image CNN, which is the training loop's to
do), stage 2 adds a ranking loss with margin 1.

An epoch runs over the images, each with a random caption of the person, as in the authors' code. In
training, a caption stands at a random place in the window; in the test, in its middle (the
authors average all places and the flipped image). Words are not initialized by word2vec, and learn
at the full rate. One random negative per pair, of another person of the batch, stands for the
authors' half batch of drawn negatives. Retrieval compares, as the authors' test does, the features
before the last ReLU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.data.batches.samplers import shuffled
from reidlib.devices import send
from reidlib.errors import DataError
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import backbone, scaled_channels
from reidlib.models.parts.codes import (
    GlobalCodes,
    cosines,
    global_evaluations,
    global_similarities,
)

NEEDS: tuple[str, ...] = ()
PHRASES = False
evaluations, similarities = global_evaluations, global_similarities


@dataclass(frozen=True)
class DualPathConfig:
    """Settings; the defaults are the authors'. `width` scales both networks."""

    ids: int
    vocabulary: int
    backbone: str = "resnet50"
    width: float = 1.0
    depths: tuple[int, ...] | None = None
    last_stride: int = 2
    text_units: tuple[int, int, int, int] = (3, 4, 6, 1)  # residual units of 256 .. 2,048 channels
    V: int = 300
    window: int = 56
    dropout: float = 0.8  # before the classifier
    margin: float = 1.0
    weights: tuple[float, float, float] = (2.0, 1.0, 0.5)  # ranking, image, text; stage 2


class TextUnit(nn.Module):
    """Bottleneck unit over time: float (B, inputs, n) -> (B, outputs, n / stride)."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.body = nn.Sequential(
            nn.Conv1d(inputs, middle, 1, bias=False),
            nn.BatchNorm1d(middle),
            nn.ReLU(inplace=True),
            nn.ConstantPad1d((1, 0), 0.0),  # a word sees itself and the one before
            nn.Conv1d(middle, middle, 2, stride=stride, bias=False),
            nn.BatchNorm1d(middle),
            nn.ReLU(inplace=True),
            nn.Conv1d(middle, outputs, 1, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm1d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def text_cnn(cfg: DualPathConfig) -> nn.Sequential:
    """Words (B, V, window) -> (B, 2,048 x width, window / 4): stages of 256, 512, 1,024, 2,048."""
    units: list[nn.Module] = []
    inputs = cfg.V
    # Channels of a stage, of the middle of its first unit and of the others, and its stride.
    stages = ((256, 128, 64, 1), (512, 512, 128, 2), (1024, 1024, 256, 2), (2048, 2048, 512, 1))
    for (outputs, first, others, stride), depth in zip(stages, cfg.text_units, strict=True):
        outputs, first, others = (scaled_channels(c, cfg.width) for c in (outputs, first, others))
        units.append(TextUnit(inputs, first, outputs, stride))
        units += [TextUnit(outputs, others, outputs) for _ in range(depth - 1)]
        inputs = outputs
    return nn.Sequential(*units)


class DualPath(nn.Module):
    """The whole network, the shared classifier included."""

    def __init__(self, cfg: DualPathConfig) -> None:
        super().__init__()
        self.cfg = cfg
        P = scaled_channels(2048, cfg.width)
        self.backbone = backbone(cfg.backbone, cfg.width, cfg.depths, cfg.last_stride)
        self.image_fc = nn.Sequential(
            nn.Linear(self.backbone.out_channels, P, bias=False),
            nn.BatchNorm1d(P),
            nn.ReLU(inplace=True),
            nn.Linear(P, P, bias=False),
            nn.BatchNorm1d(P),
        )
        self.W_e = nn.Embedding(cfg.vocabulary, cfg.V, padding_idx=0)  # padding: a zero one-hot
        self.bias = nn.Parameter(torch.zeros(cfg.V))
        self.word_norm = nn.BatchNorm1d(cfg.V)
        self.text_cnn = text_cnn(cfg)
        self.text_fc = nn.Sequential(nn.Linear(P, P, bias=False), nn.BatchNorm1d(P))
        self.W_share = nn.Linear(P, cfg.ids)

    def encode_images(self, images: Tensor) -> GlobalCodes:
        """Images float (B, 3, h, w), normalized."""
        return GlobalCodes(self.image_fc(self.backbone(images).mean((2, 3))))

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> GlobalCodes:
        """Captions int64 (B, L), padded, and their lengths int64 (B,), on the CPU.

        Words beyond the window are left out. Raises DataError for a caption without words.
        """
        words = place_in_window(tokens, lengths, self.cfg.window, at_random=self.training)
        x = (self.W_e(words) + self.bias).transpose(1, 2)  # (B, V, window)
        x = self.text_cnn(self.word_norm(x)).mean(2)
        return GlobalCodes(self.text_fc(x))

    def loss(
        self, images: GlobalCodes, texts: GlobalCodes, labels: Tensor, ranking: bool = True
    ) -> dict[str, Tensor]:
        """Weighted losses of B matched pairs; labels int64 (B,). Their sum is to be minimized.

        ranking: False in stage 1, where the identity losses stand alone, with weight 1.
        """
        v, t = F.relu(images.f_g), F.relu(texts.f_g)
        rank, image, text = self.cfg.weights if ranking else (0.0, 1.0, 1.0)
        drop = self.cfg.dropout
        terms = {
            "id_v": image * identity_loss(self.W_share(F.dropout(v, drop, self.training)), labels),
            "id_t": text * identity_loss(self.W_share(F.dropout(t, drop, self.training)), labels),
        }
        if ranking:
            terms["rank"] = rank * random_ranking_loss(cosines(v, t), labels, self.cfg.margin)
        return terms

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        labels: Tensor,
        ranking: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of one training batch."""
        texts = self.encode_text(tokens, lengths)
        return self.loss(self.encode_images(images), texts, labels, ranking)

    def text_cost(self, words: int) -> int:
        """Multiply-adds of the text CNN for a caption, about, forward: it reads its whole window,
        however many `words` are in it."""
        cost, places = 0, self.cfg.window
        for unit in self.text_cnn:
            places //= unit.stride
            cost += places * sum(p.numel() for p in unit.parameters())
        return cost


NETWORK = DualPath


def losses(model: DualPath, batch: Any, stage: Any) -> dict[str, Tensor]:
    """Losses of a batch as of `draw`, see `reidlib.models`; "stage 1" has no ranking loss."""
    ranking = stage.name != "stage 1"
    return model(batch.images, *batch.weak[:2], batch.labels, ranking=ranking)


def draw(
    model: DualPath, split: Any, generator: torch.Generator, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of the images, given by a caption of theirs, and a random caption of the person."""
    of_image = split.image_of.argsort(stable=True)
    _, counts = split.image_of[of_image].unique_consecutive(return_counts=True)
    some_caption = of_image[counts.cumsum(0) - counts]  # of every image that has one
    by_person = split.labels.argsort(stable=True)
    captions = split.labels.bincount()
    first = captions.cumsum(0) - captions
    for images in shuffled(len(some_caption), generator, batch_size):
        own = some_caption[images]
        person = split.labels[own]
        # A float64 below 1 times a small count, cut off, is a fair draw below the count.
        noise = torch.rand(len(own), generator=generator, dtype=torch.float64)
        yield own, by_person[first[person] + (noise * captions[person]).long()]


def place_in_window(
    tokens: Tensor, lengths: Tensor, window: int = 56, at_random: bool = False
) -> Tensor:
    """Captions (B, L) in a window with 0 before and behind: int64 (B, window).

    They stand in its middle, or at a place drawn uniformly from those that hold all words.
    """
    if lengths.min() < 1:
        raise DataError("a caption without words: expected at least one token in each")
    lengths = lengths.cpu().clamp_max(window)
    room = window - lengths
    noise = torch.rand(len(room), dtype=torch.float64)
    start = (noise * (room + 1)).long() if at_random else room // 2
    column = torch.arange(window) - start[:, None]  # word of each place
    inside = (column >= 0) & (column < lengths[:, None])
    column, inside = (send(x, tokens.device) for x in (torch.where(inside, column, 0), inside))
    return torch.where(inside, tokens.gather(1, column), 0)


def random_ranking_loss(S: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over B pairs of [margin - S_ii + S_ij]_+ + [margin - S_ii + S_ki]_+, with one text j and
    one image k of other people drawn at random for each pair. S (B, B): images by captions.

    A pair without other people in the batch adds 0.
    """
    other = labels[:, None] != labels[None, :]

    def one_way(S: Tensor) -> Tensor:
        noise = torch.rand_like(S).masked_fill(~other, -1)
        negative = S.gather(1, noise.argmax(1, keepdim=True)).squeeze(1)
        hinge = (margin - S.diagonal() + negative).clamp_min(0)
        return torch.where(other.any(1), hinge, 0)

    return (one_way(S) + one_way(S.T)).mean()
