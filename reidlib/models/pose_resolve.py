"""The pose resolve net of FGSAM (Zhou et al., TIP 2020, Section III-A): part confidence maps H and
part affinity fields C of the people in a picture, re-weighted channel by channel.

Layers are those of OpenPose's COCO model (Cao et al., CVPR 2017), which the paper builds on: the
first ten convolutions of VGG-19 and two more, then three stages of two streams each. Stage k sees
the features and the maps of stage k - 1. Each stream of each stage ends in a channel parse block.

Shapes: B images of height x width pixels, multiples of 8; U = 19 confidence maps (18 joints and the
background), V = 38 affinity fields (x and y of 19 limbs), all of h x w = height/8 x width/8.

Joints, in OpenPose's order: 0 nose, 1 neck, 2-4 right shoulder, elbow, wrist, 5-7 left, 8-10 right
hip, knee, ankle, 11-13 left, 14 right eye, 15 left eye, 16 right ear, 17 left ear, 18 background.
Limbs, whose fields are channels 2i and 2i + 1, are those of `reidlib.data.batches.pose_targets`.

Where the paper leaves a choice: the reduction of the channel parse blocks is 4, because SE's 16
would leave them one or two channels; the blocks stand behind both streams of all three stages; they
are added for re-identification, after the pre-training on key points, and begin at weights near 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidlib.errors import UsageError
from reidlib.models.parts.backbones import scaled_channels

U, V = 19, 38  # confidence maps and affinity fields
STRIDE = 8
STAGES = 3
BACKGROUND = 18
_CONV4_2 = 21  # its number among the layers of VGG-19

# Section III-C: six parts; which joints and limbs belong to each is not printed. Every limb is in
# one part, a joint in the parts of its limbs; the background is in none.
PART_JOINTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "head": (0, 14, 15, 16, 17),
        "upper body": (1, 2, 5, 8, 11),
        "upper arm": (2, 3, 5, 6),
        "lower arm": (3, 4, 6, 7),
        "upper leg": (8, 9, 11, 12),
        "lower leg": (9, 10, 12, 13),
    }
)
PART_LIMBS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "head": (14, 15, 16, 17, 18),
        "upper body": (0, 3, 6, 9, 10, 13),
        "upper arm": (7, 11),
        "lower arm": (8, 12),
        "upper leg": (1, 4),
        "lower leg": (2, 5),
    }
)
PARTS = tuple(PART_JOINTS)


def part_channels(part: str) -> tuple[int, ...]:
    """The channels of [H, C], concatenated in this order, that belong to one of `PARTS`.

    Example:
        >>> part_channels("upper arm")
        (2, 3, 5, 6, 33, 34, 41, 42)
    """
    fields = tuple(U + 2 * limb + xy for limb in PART_LIMBS[part] for xy in (0, 1))
    return PART_JOINTS[part] + fields


@dataclass(frozen=True)
class PoseConfig:
    """The size of a pose resolve net; `width` scales the channels of all hidden layers."""

    width: float = 1.0

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise UsageError(f"pose resolve net: width must be above 0, got {self.width}")

    @property
    def backbone(self) -> str:
        """The network whose ImageNet weights the front can start from."""
        return "vgg19"


class Maps(NamedTuple):
    """What a stage gives: H float (B, 19, h, w) and C float (B, 38, h, w)."""

    H: Tensor
    C: Tensor


class ChannelParseBlock(nn.Module):
    """CPB (Fig. 4): a weight in 0..1 per channel from the channels' means; (B, C, h, w) as is.

    Squeeze and excitation with 1x1 convolutions for its fully connected layers. The last bias is 3,
    so that all weights are near sigmoid(3) = 0.95 at first and the maps are those pre-trained; the
    first is 0.2, because the few units are given means near 0 and would soon be dead without.
    """

    def __init__(self, channels: int, r: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // r)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        nn.init.constant_(self.squeeze.bias, 0.2)
        nn.init.constant_(self.excite.bias, 3.0)

    def weights(self, x: Tensor) -> Tensor:
        """(B, C, 1, 1) in 0..1."""
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x)


def _conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return [layer, nn.ReLU(inplace=True)]


def _last(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _stream(inputs: int, outputs: int, stage: int, width: float) -> nn.Sequential:
    """The convolutions of one stream of one stage: five in the first, seven in the others."""
    c = scaled_channels(128, width)
    if stage == 0:
        wide = scaled_channels(512, width)
        layers = [*_conv(inputs, c, 3), *_conv(c, c, 3), *_conv(c, c, 3), *_conv(c, wide, 1)]
        return nn.Sequential(*layers, _last(wide, outputs))
    layers = [layer for i in range(5) for layer in _conv(c if i else inputs, c, 7)]
    return nn.Sequential(*layers, *_conv(c, c, 1), _last(c, outputs))


class PoseResolveNet(nn.Module):
    """Images float (B, 3, height, width), normalized -> the `Maps` of the three stages.

    `front` has the layers and, up to conv4_2, the parameter names of torchvision's VGG-19
    (`features`), so that its ImageNet weights load into the full-size net.
    """

    def __init__(self, cfg: PoseConfig) -> None:
        super().__init__()
        self.cfg = cfg
        widths = [scaled_channels(c, cfg.width) for c in (64, 128, 256, 512)]
        layers: list[nn.Module] = []
        inputs = 3
        for i, (c, depth) in enumerate(zip(widths, (2, 2, 4, 2), strict=True)):
            if i:
                layers.append(nn.MaxPool2d(2))
            for _ in range(depth):
                layers += _conv(inputs, c, 3)
                inputs = c
        for c in (256, 128):  # conv4_3 and conv4_4
            layers += _conv(inputs, scaled_channels(c, cfg.width), 3)
            inputs = scaled_channels(c, cfg.width)
        self.front = nn.Sequential(*layers)
        sizes = [inputs, *[inputs + U + V] * (STAGES - 1)]
        self.S1 = nn.ModuleList(_stream(n, U, k, cfg.width) for k, n in enumerate(sizes))
        self.S2 = nn.ModuleList(_stream(n, V, k, cfg.width) for k, n in enumerate(sizes))
        self.parse_H: nn.ModuleList | None = None
        self.parse_C: nn.ModuleList | None = None

    def add_cpbs(self) -> None:
        """Put a channel parse block behind both streams of all stages."""
        self.parse_H = nn.ModuleList(ChannelParseBlock(U) for _ in range(STAGES))
        self.parse_C = nn.ModuleList(ChannelParseBlock(V) for _ in range(STAGES))

    @property
    def backbone(self) -> nn.Sequential:
        """What a training on key points takes for its backbone."""
        return self.front

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Take over VGG-19's convolutions up to conv4_2, "backbone.features.*"; those behind start
        anew. Raises `KeyError` or `RuntimeError` if they are not there or do not fit."""
        own = self.front.state_dict()
        shared = [name for name in own if int(name.partition(".")[0]) <= _CONV4_2]
        taken = {name: state[f"backbone.features.{name}"] for name in shared}
        self.front.load_state_dict(own | taken)

    def forward(self, images: Tensor) -> list[Maps]:
        """The maps (H^k, C^k) of all stages k = 1, 2, 3; the last are those of Eq 2."""
        features = self.front(images)
        stages: list[Maps] = []
        x = features
        for k in range(STAGES):
            H, C = self.S1[k](x), self.S2[k](x)
            if self.parse_H is not None and self.parse_C is not None:
                H, C = self.parse_H[k](H), self.parse_C[k](C)
            stages.append(Maps(H, C))
            x = torch.cat((C, H, features), 1)  # 38 + 19 + 128 channels, in OpenPose's order
        return stages


def pose_losses(stages: list[Maps], G: Maps, W: Tensor) -> dict[str, Tensor]:
    """L_S1 and L_S2 of all stages (Eq 3 and 4): squared distances to the true maps, summed over
    channels and places, averaged over the batch.

    G: the true maps, as the predicted; W: float (B, 1, h, w), 0 where nothing is known, else 1.
    """
    terms = {}
    for t, stage in enumerate(stages, start=1):
        for name, predicted, true in (("S1", stage.H, G.H), ("S2", stage.C, G.C)):
            squares = (predicted.float() - true).square() * W
            terms[f"L_{name}^{t}"] = squares.sum((1, 2, 3)).mean()
    return terms


def joints_of(H: Tensor, threshold: float = 0.1) -> Tensor:
    """The place and height of every joint's highest peak: float (B, 18, 3) of x, y and confidence.

    H: confidence maps (B, 19, h, w). x and y are pixels of the image that the maps belong to,
    refined between cells by the slopes beside the peak (a quarter of a cell); where no value
    reaches `threshold`, the confidence is 0. For pictures with one person.

    Example:
        >>> H = torch.zeros(1, 19, 4, 4)
        >>> H[0, 0, 1, 2] = 1.0
        >>> joints_of(H)[0, 0].tolist()
        [19.5, 11.5, 1.0]
    """
    maps = H[:, :BACKGROUND].float()
    h, w = maps.shape[2:]
    height, place = maps.flatten(2).max(2)
    y, x = place // w, place % w

    def slope(across: bool) -> Tensor:
        """Sign of the difference of the neighbors; 0 at the border, where one is missing."""
        at, size, step = (x, w, 1) if across else (y, h, w)
        inner = (at > 0) & (at < size - 1)
        beside = [maps.flatten(2).gather(2, (place + d * inner)[..., None]) for d in (step, -step)]
        return (beside[0] - beside[1])[..., 0].sign()

    cells = torch.stack((x + 0.25 * slope(True), y + 0.25 * slope(False)), 2)
    # Cell g is centered at pixel 8 g + 3.5, counted from the center of the first pixel.
    pixels = cells * STRIDE + (STRIDE - 1) / 2
    return torch.cat((pixels, height.where(height >= threshold, 0.0)[..., None]), 2)
