"""Figures as HTML, each with alternative text and a caption: `figures.gallery(...)`."""

from reidlib.report.figures.attention import (
    attention_grid,
    phrase_maps,
    stripes_and_phrases,
    word_parts,
)
from reidlib.report.figures.basics import (
    BLUE,
    GRAY,
    GREEN,
    MARKERS,
    ORANGE,
    RED,
    SERIES,
    chart,
    figure,
    new_figure,
)
from reidlib.report.figures.comparison import comparison
from reidlib.report.figures.curves import caption_lengths, curves
from reidlib.report.figures.forest import forest
from reidlib.report.figures.galleries import contact_sheet, gallery, image_search, picture_rows
from reidlib.report.figures.poses import body_parts
from reidlib.report.figures.sweeps import against_reference, sweep
from reidlib.report.figures.world import drawn_shot

__all__ = [
    "BLUE",
    "GRAY",
    "GREEN",
    "MARKERS",
    "ORANGE",
    "RED",
    "SERIES",
    "against_reference",
    "attention_grid",
    "body_parts",
    "caption_lengths",
    "chart",
    "comparison",
    "contact_sheet",
    "curves",
    "drawn_shot",
    "figure",
    "forest",
    "gallery",
    "image_search",
    "new_figure",
    "phrase_maps",
    "picture_rows",
    "stripes_and_phrases",
    "sweep",
    "word_parts",
]
