"""Attention Driven re-ID: see `reidlib.papers.driver` for the seven names."""

from reidlib.papers.attention_driven.method import batches, build, evaluate, losses, prepare
from reidlib.papers.attention_driven.rows import cells
from reidlib.papers.driver import About

__all__ = ["ABOUT", "batches", "build", "cells", "evaluate", "losses", "prepare"]

ABOUT = About(
    title="Attention Driven re-ID",
    citation="F. Yang, K. Yan, S. Lu, H. Jia, X. Xie, W. Gao: Attention driven person "
    "re-identification. Pattern Recognition 86, 143-155, 2019.",
    notebook="04_attention_driven.ipynb",
)
