"""PAN: pedestrian alignment network (Zheng et al., 2017: Pedestrian alignment network for
large-scale person re-identification), as IMG-Net Table 4 compares it.

Two ResNet-50s, one behind the other. The base branch is trained to tell people apart. Where it
looks at an image is where the person is, so that its features say how the detector's box should
have been cut: from the map of its third stage a grid network predicts an affine transformation,
and the map of its first stage, resampled with it, is what the alignment branch sees.

    base        image -> stages 1..4 -> average -> dropout -> FC          trained first, then fixed
    grid        map 3 -> a stage 4 of its own -> average -> 128 -> theta (2 x 3)
    alignment   map 1 resampled by theta -> stages 2..4 of its own -> average -> dropout -> FC

Shapes: B images of h x w pixels, c channels of map 1 (256), C of map 4 (2048), Q persons.

Follows the authors' MatConvNet code. The grid network and the alignment branch begin with the
pretrained weights that the base branch begins with; theta begins as a zoom to 0.8 of height and
width. The resampled map is as large as map 1 (56 x 56 of 224 x 224 pixels).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlib.devices import in_fp32
from reidlib.errors import UsageError
from reidlib.experiment import Stage
from reidlib.losses import identity_loss
from reidlib.models.parts.backbones import ResNet, resnet50
from reidlib.models.parts.batches import ImageBatch
from reidlib.models.parts.norms import load_backbone, use_norm

METRIC = "cosine"  # a gallery is ranked by
PER_PERSON = 0  # images of each person in a batch; 0 = any
STAGES = ("base", "alignment")


@dataclass(frozen=True)
class PANConfig:
    """Settings; the defaults are the authors'."""

    ids: int  # Q, persons in the training set
    width: float = 1.0  # of the backbone, a ResNet-50
    depths: tuple[int, ...] | None = None  # of the backbone; None = full depth
    last_stride: int = 2  # of its last stage
    grid: int = 128  # units between the average of the grid network and theta
    zoom: float = 0.8  # theta at the start: [[zoom, 0, 0], [0, zoom, 0]]
    grid_lr: float = 1e-5  # learning rate of theta's layer, as a factor
    branch_lr: float = 1.0  # of the pretrained parts of both branches behind the base branch
    dropout: float = 0.75  # of the base branch
    align_dropout: float = 0.9  # of the alignment branch
    norm: str = "bn"  # "bn" | "gn": of all layers that normalize by either, the backbone's too
    groups: int = 32  # of GN, at most

    @property
    def backbone_norm(self) -> str:
        """What the backbone of a pretraining must have, for its weights to fit."""
        return self.norm


class PAN(nn.Module):
    """The whole network, both identity classifiers included. `backbone` is the base branch."""

    def __init__(self, cfg: PANConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = resnet50(cfg.width, cfg.depths, cfg.last_stride)
        C = self.backbone.out_channels
        self.classifier = nn.Linear(C, cfg.ids)
        # The parts of two more ResNets; of each, what stands before is the base branch's.
        self.grid_layer4 = self._stages()["layer4"]
        self.grid_fc = nn.Linear(C, cfg.grid)
        self.theta = nn.Linear(cfg.grid, 6)
        nn.init.zeros_(self.theta.weight)
        self.theta.bias.data = torch.tensor([cfg.zoom, 0, 0, 0, cfg.zoom, 0])
        self.align = self._stages()
        self.align_classifier = nn.Linear(C, cfg.ids)
        use_norm(self, cfg.norm, cfg.groups)

    def _stages(self) -> nn.ModuleDict:
        cfg = self.cfg
        other = resnet50(cfg.width, cfg.depths, cfg.last_stride)
        return nn.ModuleDict(
            {name: getattr(other, name) for name in ("layer2", "layer3", "layer4")}
        )

    @property
    def lr_factors(self) -> Mapping[str, float]:
        """Parameters whose learning rate is another one: start of the name -> factor."""
        branch = self.cfg.branch_lr
        return MappingProxyType(
            {"theta.": self.cfg.grid_lr, "grid_layer4.": branch, "align.": branch}
        )

    def load_start(self, state: Mapping[str, Tensor]) -> None:
        """Begin with a pretrained backbone, in all three branches; raises RuntimeError if it is
        another one."""
        load_backbone(self.backbone, state)
        self.grid_layer4.load_state_dict(self.backbone.layer4.state_dict())
        for name, stage in self.align.items():
            stage.load_state_dict(getattr(self.backbone, name).state_dict())

    # -------------------------------------------------------------- base branch

    def base_maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, h, w) -> map 1 (B, c, h/4, w/4), 3 (B, 4c, h/16, w/16), 4 (B, C, ...)."""
        net: ResNet = self.backbone
        map1 = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        map3 = net.layer3(net.layer2(map1))
        return map1, map3, net.layer4(map3)

    # -------------------------------------------------------------- alignment branch

    def transformation(self, map3: Tensor) -> Tensor:
        """theta of each image from map 3 of the base branch: float32 (B, 2, 3)."""
        pooled = self.grid_layer4(map3).mean((2, 3))  # (B, C)
        with in_fp32(pooled):  # a grid needs all digits
            return self.theta(self.grid_fc(pooled.float())).unflatten(1, (2, 3))

    def aligned(self, map1: Tensor, map3: Tensor) -> Tensor:
        """What the alignment branch makes of the base branch's maps: float (B, C)."""
        x = resample(map1, self.transformation(map3))
        for stage in self.align.values():
            x = stage(x)
        return x.mean((2, 3))

    # -------------------------------------------------------------- training and test

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, 3, h, w), normalized -> float (B, 2C), compared by cosine: half of the base
        branch's feature, half of the alignment branch's. Each is that of the image plus that of its
        mirror image, all of unit length."""
        both = [self._features(view) for view in (images, images.flip(3))]
        summed = (F.normalize(one) + F.normalize(two) for one, two in zip(*both, strict=True))
        return torch.cat([F.normalize(f) / 2 for f in summed], 1)

    forward = embed

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        map1, map3, map4 = self.base_maps(images)
        return map4.mean((2, 3)).float(), self.aligned(map1, map3).float()


NETWORK = PAN


def losses(model: PAN, batch: ImageBatch, stage: Stage) -> dict[str, Tensor]:
    """The identity loss of the branch that a stage trains, of `STAGES`.

    In "alignment" the base branch gets no gradient. Its stage should freeze the backbone, so that
    its batch statistics stay, too.
    """
    if stage.name not in STAGES:
        raise UsageError(f"PAN: unknown stage {stage.name!r}: expected one of {', '.join(STAGES)}")
    cfg = model.cfg
    if stage.name == "base":
        f = model.backbone(batch.images).mean((2, 3))
        logits = model.classifier(F.dropout(f, cfg.dropout, model.training))
        return {"id base": identity_loss(logits, batch.labels)}
    with torch.no_grad():
        map1, map3, _ = model.base_maps(batch.images)
    f = F.dropout(model.aligned(map1, map3), cfg.align_dropout, model.training)
    return {"id alignment": identity_loss(model.align_classifier(f), batch.labels)}


def resample(maps: Tensor, theta: Tensor) -> Tensor:
    """The affine sampler: maps float (B, c, h, w), theta float (B, 2, 3) -> float (B, c, h, w).

    Position (x, y) of the result, from -1 at the center of the first column or row to 1 at that of
    the last, shows what is at theta (x, y, 1) of the map; bilinear, 0 outside. A diagonal below 1
    zooms in. Source: Jaderberg et al., Spatial transformer networks (2015), Eq 1 and 5.
    """
    with in_fp32(maps):  # bf16 would move positions by a twentieth of a pixel
        grid = F.affine_grid(theta.float(), list(maps.shape), align_corners=True)
        return F.grid_sample(maps.to(grid), grid, align_corners=True).to(maps)
