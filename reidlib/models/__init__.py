"""Networks: the backbones, and one module per paper."""
