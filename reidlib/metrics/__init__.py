"""Evaluation: ranks of the right images, Top-k, CMC and both kinds of mAP."""
