"""Pose pretraining: FGSAM's pose resolve net on COCO's key points; see `reidlib.papers.driver`.

All three data sets of FGSAM, and all its rows, take the pose net of this one run.
"""

from reidlib.papers.driver import About
from reidlib.papers.pose_pretraining.method import batches, build, evaluate, losses, prepare
from reidlib.papers.pose_pretraining.rows import cells, pose_pretraining_of

__all__ = [
    "ABOUT",
    "batches",
    "build",
    "cells",
    "evaluate",
    "losses",
    "pose_pretraining_of",
    "prepare",
]

ABOUT = About(
    title="Pose pretraining",
    citation="Z. Cao, T. Simon, S.-E. Wei, Y. Sheikh: Realtime multi-person 2D pose estimation "
    "using part affinity fields. CVPR, 2017.",
    notebook="",
)
