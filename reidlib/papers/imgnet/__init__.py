"""IMG-Net: see `reidlib.papers.driver` for the seven names."""

from reidlib.papers.driver import About
from reidlib.papers.imgnet.method import batches, build, cells, evaluate, losses, prepare

__all__ = ["ABOUT", "batches", "build", "cells", "evaluate", "losses", "prepare"]

ABOUT = About(
    title="IMG-Net",
    citation="Z. Wang, A. Zhu, Z. Zheng, J. Jin, Z. Xue, G. Hua: IMG-Net: inner-cross-modal "
    "attentional multigranular network for description-based person re-identification. "
    "Journal of Electronic Imaging, 2020.",
    notebook="01_imgnet.ipynb",
)
