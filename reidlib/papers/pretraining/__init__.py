"""Pretrainings: what the small profiles' backbones start from; see `reidlib.papers.driver`.

All five papers start from ImageNet weights, which exist for full-size backbones only. So narrow
ones are trained once, on strangers (or on a folder of ImageNet itself), and every row of every
paper that has a backbone of this shape, at this picture size, starts from that one run.
"""

from reidlib.papers.driver import About
from reidlib.papers.pretraining.method import batches, build, evaluate, losses, prepare
from reidlib.papers.pretraining.rows import STARTS, cells, pretraining_of, started, starts

__all__ = [
    "ABOUT",
    "STARTS",
    "batches",
    "build",
    "cells",
    "evaluate",
    "losses",
    "prepare",
    "pretraining_of",
    "started",
    "starts",
]

ABOUT = About(
    title="Pretraining",
    citation="K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition. "
    "CVPR, 2016; K. Simonyan, A. Zisserman: Very deep convolutional networks for large-scale image "
    "recognition. ICLR, 2015.",
    notebook="",
)
