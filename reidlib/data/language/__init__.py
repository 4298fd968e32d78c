"""Captions as words, tags, noun phrases and numbers."""
