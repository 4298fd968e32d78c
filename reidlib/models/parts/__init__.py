"""What networks of several papers are made of: backbones, recurrent encoders, packing."""
