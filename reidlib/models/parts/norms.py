"""Group normalization (GN, Wu & He, ECCV 2018) in place of batch normalization (BN).

BN normalizes a channel with its mean and variance over the batch, in evaluation with running
averages of these; GN normalizes a group of neighboring channels of one image, always with that
image's own numbers. Both then multiply by a weight and add a bias per channel.

Instance normalization is none of this module's business: it stays where it is.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reidlib.errors import UsageError

NORMS = ("bn", "gn")
GROUPS = 32  # the default of Wu & He

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def group_count(channels: int, groups: int = GROUPS, least: int = 2) -> int:
    """Groups of a GN layer: the largest divisor of `channels` up to `groups` for which a group
    holds at least `least` channels; 1 if there is none.

    Where `groups` does not divide `channels` there are fewer: 24 of 48 channels with least = 2,
    1 of 7. `least` matters to narrow networks only. On maps, a group of one channel would be
    instance normalization, which wipes out how strong a channel is in the whole image; of
    ResNet-50's, the smallest with 32 groups has two. On vectors, groups of one or two numbers
    would leave nothing but zeros or signs, so that callers ask for 8.
    """
    limit = max(1, min(groups, channels // least))
    return next(g for g in range(limit, 0, -1) if channels % g == 0)


class GroupNorm(nn.GroupNorm):
    """torch's GN; on the CPU, maps whose channels lie last are copied to its fast layout and back.

    torch 2.11 normalizes channels-last maps on the CPU 10 to 25 times slower than contiguous ones,
    forward and backward (`benchmarks/group_norm.py`); the two copies cost less than BN does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape, in the same memory format."""
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if x.device.type != "cpu" or not last or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def batch_to_group(module: nn.Module, groups: int = GROUPS, keep_affine: bool = True) -> nn.Module:
    """Replace every BN of `module`, in place, by GN; returns it (a new module if it is a BN).

    The number of groups is `group_count`'s: at least 2 channels in each, at least 8 where the BN
    is one of vectors (BatchNorm1d). eps, dtype, device, and whether weights are trained stay.

    What becomes of a trained BN: weight and bias per channel are kept, or with
    `keep_affine=False` are 1 and 0 again. Its running statistics are dropped, there is no GN that
    computes the same: BN has brought each channel to its own mean and variance over the training
    images, GN brings a group to those of one image. So kept weights are no more than a starting
    point, and a network trained with BN does not give the same features before it is trained on.

    Names of parameters stay, so that weights of a network trained with GN load by name.
    """
    if isinstance(module, _BATCH_NORMS):
        return _group_norm(module, groups, keep_affine)
    for name, child in list(module.named_children()):
        setattr(module, name, batch_to_group(child, groups, keep_affine))
    return module


def _group_norm(bn: nn.Module, groups: int, keep_affine: bool) -> GroupNorm:
    least = 8 if isinstance(bn, nn.BatchNorm1d) else 2
    count = group_count(bn.num_features, groups, least)
    gn = GroupNorm(count, bn.num_features, eps=bn.eps, affine=bn.affine)
    if bn.affine:
        gn.to(bn.weight)
        for mine, old in zip(gn.parameters(), bn.parameters(), strict=True):
            mine.requires_grad_(old.requires_grad)
            if keep_affine:
                mine.data.copy_(old.data)
    return gn.train(bn.training)


def use_norm(module: nn.Module, norm: str, groups: int = GROUPS) -> None:
    """Make the normalization of a module built with BN what `norm` says: "bn" | "gn".

    Raises UsageError for another word, and for less than 1 group.
    """
    if norm not in NORMS or groups < 1:
        raise UsageError(
            f"norm {norm!r} with {groups} groups: expected {' or '.join(NORMS)}, at least 1 group"
        )
    if norm == "gn":
        batch_to_group(module, groups)


def without_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network with BN as one with GN can load it: its running statistics dropped."""
    return {
        name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in _STATISTICS
    }


def load_backbone(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the entries `backbone.*` of a trained network's state into a backbone with BN or GN.

    One with GN also takes the weights of one with BN, without the statistics: see `batch_to_group`
    for what that comes to. Raises RuntimeError if they do not fit.
    """
    prefix = "backbone."
    body = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not any(isinstance(part, _BATCH_NORMS) for part in backbone.modules()):
        body = without_statistics(body)
    backbone.load_state_dict(body)


def freeze_statistics(module: nn.Module) -> None:
    """Set every BN of `module` to its running statistics; weight and bias are trained all the same.

    Holds until `module.train()` is called. GN has none: nothing changes.
    """
    for part in module.modules():
        if isinstance(part, _BATCH_NORMS):
            part.eval()
