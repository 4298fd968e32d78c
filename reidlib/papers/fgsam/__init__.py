"""FGSAM: see `reidlib.papers.driver` for the seven names."""

from reidlib.papers.driver import About
from reidlib.papers.fgsam.method import batches, build, evaluate, losses, prepare
from reidlib.papers.fgsam.rows import cells

__all__ = ["ABOUT", "batches", "build", "cells", "evaluate", "losses", "prepare"]

ABOUT = About(
    title="FGSAM",
    citation="Q. Zhou, B. Zhong, X. Lan, G. Sun, Y. Zhang, B. Zhang, R. Ji: Fine-grained spatial "
    "alignment model for person re-identification with focal triplet loss. IEEE Transactions on "
    "Image Processing 29, 2020.",
    notebook="05_fgsam.ipynb",
)
