"""Convolutional backbones: VGG-16 and ResNet-50 without their classifiers.

Layers and parameter names are torchvision's, so torchvision's ImageNet weights load into the
full-size members. `width` and `depths` make narrow and shallow members of the same families for
small machines; those are trained from scratch.

All convolutions start with He et al.'s normal initialization (fan out, ReLU), as in torchvision.
That is what lets the plain VGG (no batch normalization) train from scratch; it does so with Adam
at 1e-3 or less, while plain SGD needs a warm-up.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from reidlib.errors import DataError, UsageError
from reidlib.files import check_named_digest

VGG16_DEPTHS = (2, 2, 3, 3, 3)
RESNET50_DEPTHS = (3, 4, 6, 3)
BACKBONES = ("vgg16", "vgg16_bn", "resnet50")

# (network, weights) -> file name; the hex digits are the start of the file's SHA-256.
IMAGENET_FILES = {
    ("vgg16", "V1"): "vgg16-397923af.pth",
    ("vgg16_bn", "V1"): "vgg16_bn-6c64b313.pth",
    ("vgg19", "V1"): "vgg19-dcbb9e9d.pth",  # for the front of FGSAM's pose resolve net
    ("resnet50", "V1"): "resnet50-0676ba61.pth",
    ("resnet50", "V2"): "resnet50-11ad3fa6.pth",
}


def scaled_channels(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to the nearest multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def _check(name: str, width: float, depths: Sequence[int], stages: int) -> None:
    if width <= 0:
        raise UsageError(f"{name}: width must be above 0, got {width}")
    if len(depths) != stages or any(d < 1 for d in depths):
        raise UsageError(f"{name}: depths must be {stages} numbers >= 1, got {tuple(depths)}")


def _he_init(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


class VGG(nn.Module):
    """The convolutions of VGG-16 (Simonyan & Zisserman 2015), configuration D, without pool5.

    Images (N, 3, H, W) float -> maps (N, out_channels, H // 16, W // 16), not negative.
    `batch_norm` puts batch normalization behind every convolution, as torchvision's vgg16_bn.
    """

    def __init__(
        self,
        width: float = 1.0,
        depths: Sequence[int] = VGG16_DEPTHS,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        _check("vgg16", width, depths, stages=5)
        channels = [scaled_channels(c, width) for c in (64, 128, 256, 512, 512)]
        # Convolutions have torchvision's numbers. At the end of a stage, pooling comes before the
        # ReLU: the two commute, and a quarter of the numbers is left for the ReLU.
        layers: list[nn.Module] = []
        inputs = 3
        for stage, (c, depth) in enumerate(zip(channels, depths, strict=True)):
            for i in range(depth):
                layers.append(nn.Conv2d(inputs, c, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(c))
                if i == depth - 1 and stage < 4:
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU(inplace=True))
                inputs = c
        self.features = nn.Sequential(*layers)
        self.out_channels = inputs
        _he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class ResNet(nn.Module):
    """ResNet-50 (He et al. 2016; stride in the 3x3 convolution, as torchvision) up to layer4.

    Images (N, 3, H, W) float -> maps (N, out_channels, H / 32, W / 32), rounded up, not negative;
    with `last_stride=1` layer4 keeps the size of layer3, H / 16 x W / 16.
    """

    def __init__(
        self, width: float = 1.0, depths: Sequence[int] = RESNET50_DEPTHS, last_stride: int = 2
    ) -> None:
        super().__init__()
        _check("resnet50", width, depths, stages=4)
        if last_stride not in (1, 2):
            raise UsageError(f"resnet50: last_stride must be 1 or 2, got {last_stride}")
        planes = [scaled_channels(c, width) for c in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, planes[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(planes[0], planes[0], depths[0], stride=1)
        self.layer2 = _stage(planes[0] * 4, planes[1], depths[1], stride=2)
        self.layer3 = _stage(planes[1] * 4, planes[2], depths[2], stride=2)
        self.layer4 = _stage(planes[2] * 4, planes[3], depths[3], stride=last_stride)
        self.out_channels = planes[3] * 4
        _he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the planes, and the shortcut: maps (N, inputs,
    h, w) -> (N, 4 planes, h / stride, w / stride).

    torchvision's block of this name, written out: importing torchvision takes longer than all of
    torch, and a notebook that shows finished runs needs nothing else of it.
    """

    def __init__(
        self, inputs: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def _stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, planes * 4, 1, stride=stride, bias=False), nn.BatchNorm2d(planes * 4)
    )
    first = Bottleneck(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(planes * 4, planes) for _ in range(blocks - 1)))


def vgg16(width: float = 1.0, depths: Sequence[int] | None = None, batch_norm: bool = False) -> VGG:
    """VGG-16 body; `depths` is the number of convolutions in each of its five stages."""
    return VGG(width, VGG16_DEPTHS if depths is None else depths, batch_norm)


def resnet50(
    width: float = 1.0, depths: Sequence[int] | None = None, last_stride: int = 2
) -> ResNet:
    """ResNet-50 body; `depths` is the number of bottleneck blocks in each of its four stages."""
    return ResNet(width, RESNET50_DEPTHS if depths is None else depths, last_stride)


def backbone(
    name: str, width: float = 1.0, depths: Sequence[int] | None = None, last_stride: int = 2
) -> VGG | ResNet:
    """The backbone called `name`, one of `BACKBONES`; `last_stride` is ResNet's alone.

    "vgg16_bn" is for training from scratch: the plain VGG learns slowly without ImageNet weights.
    """
    if name in ("vgg16", "vgg16_bn"):
        return vgg16(width, depths, batch_norm=name == "vgg16_bn")
    if name == "resnet50":
        return resnet50(width, depths, last_stride)
    raise UsageError(f"unknown backbone {name!r}: expected one of {', '.join(BACKBONES)}")


def imagenet_path(name: str, weights: str = "V1") -> Path:
    """Where torch.hub would keep the file: $TORCH_HOME/hub/checkpoints/<file>."""
    if (name, weights) not in IMAGENET_FILES:
        known = ", ".join(f"{n} {w}" for n, w in IMAGENET_FILES)
        raise UsageError(f"no ImageNet weights {weights!r} for {name!r}: known are {known}")
    return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILES[name, weights]


def find_imagenet(name: str, weights: str = "V1") -> Path:
    """`imagenet_path`, if the file is there; raises DataError if it is not."""
    path = imagenet_path(name, weights)
    if not path.is_file():
        prefix = path.stem.rpartition("-")[2]
        raise DataError(
            f"ImageNet weights of {name} ({weights}) not found: expected the file {path.name} in "
            f"{path.parent} (SHA-256 starting with {prefix}). It is torchvision's file of "
            "that name; put it there under that very name. The environment variable TORCH_HOME "
            "moves the folder."
        )
    return path


def imagenet_state(name: str, weights: str = "V1", verify: bool = False) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of a full-size backbone, without the classifier, from a file.

    Nothing is downloaded. `weights` is torchvision's version: re-identification papers start from
    "V1". With `verify`, the file's SHA-256 is compared with the prefix in its name.

    Raises DataError if the file is missing or damaged.
    """
    path = find_imagenet(name, weights)
    if verify:
        check_named_digest(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(RuntimeError, LookupError, TypeError, ValueError, AttributeError, EOFError, OSError),
        pickle.UnpicklingError,
    ) as error:
        raise DataError(f"{path}: not a readable weight file, expected {name}: {error}") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: expected a state dict of {name}, found {type(state).__name__}")
    return {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}


def load_imagenet(module: nn.Module, name: str, weights: str = "V1", verify: bool = False) -> None:
    """`imagenet_state`, loaded into a backbone; raises DataError if it does not fit `module`."""
    try:
        module.load_state_dict(imagenet_state(name, weights, verify))
    except RuntimeError as error:
        raise DataError(
            f"{imagenet_path(name, weights)} does not fit this network; ImageNet weights exist "
            f"only for the full-size {name} (width 1, default depths): {error}"
        ) from error
