"""What the losses of image-to-image models are given."""

from typing import Protocol

from torch import Tensor


class ImageBatch(Protocol):
    """B images of people. There may be more to a batch; this is what every model can rely on."""

    @property
    def images(self) -> Tensor:
        """float (B, 3, h, w), normalized."""

    @property
    def labels(self) -> Tensor:
        """int64 (B,) in 0..Q-1, the person on each."""
