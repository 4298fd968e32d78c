"""What the public functions of the metrics take: tensors, NumPy arrays or lists."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from reidlib.errors import UsageError

Numbers = Tensor | ArrayLike
Ids = Sequence[int] | np.ndarray | Tensor


def to_tensor(values: Numbers) -> Tensor:
    """Numbers as a floating-point tensor. Tensors stay on their device, others are on the CPU.

    Nothing is copied unless it has to be. Raises UsageError for what is not an array of numbers.
    """
    if not isinstance(values, Tensor):
        try:
            # PyTorch shares the memory of arrays that are contiguous and may be written to.
            values = torch.from_numpy(np.require(values, requirements=("C", "W")))
        except (TypeError, ValueError) as error:
            raise UsageError(f"expected a tensor or an array of numbers: {error}") from error
    return values if values.is_floating_point() else values.double()


def to_ids(values: Ids) -> np.ndarray:
    """Identities or camera numbers as a NumPy array on the CPU."""
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values)
