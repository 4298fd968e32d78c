"""SSAN and the five methods that it is compared with: see `reidlib.papers.driver` for the names."""

from reidlib.papers.driver import About
from reidlib.papers.ssan.rows import cells
from reidlib.papers.text_to_image import batches, build, evaluate, losses, prepare

__all__ = ["ABOUT", "batches", "build", "cells", "evaluate", "losses", "prepare"]

ABOUT = About(
    title="SSAN",
    citation="Z. Ding, C. Ding, Z. Shao, D. Tao: Semantically self-aligned network for "
    "text-to-image part-aware person re-identification. arXiv:2107.12666, 2021.",
    notebook="02_ssan.ipynb",
)
