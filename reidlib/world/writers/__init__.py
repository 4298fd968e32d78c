"""Datasets of the world in the real formats, one writer each."""
