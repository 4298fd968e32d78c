"""GLA: see `reidlib.papers.driver` for the seven names."""

from reidlib.papers.driver import About
from reidlib.papers.gla.method import batches, build, evaluate, losses, prepare
from reidlib.papers.gla.rows import cells

__all__ = ["ABOUT", "batches", "build", "cells", "evaluate", "losses", "prepare"]

ABOUT = About(
    title="GLA",
    citation="D. Chen, H. Li, X. Liu, Y. Shen, J. Shao, Z. Yuan, X. Wang: Improving deep visual "
    "representation for person re-identification by global and local image-language association. "
    "European Conference on Computer Vision (ECCV), 2018.",
    notebook="03_gla.ipynb",
)
