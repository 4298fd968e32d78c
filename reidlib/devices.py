"""Moving tensors to the device."""

import torch
from torch import Tensor


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x`, from the CPU, on `device`; the CPU does not wait for what a GPU has still to do."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
