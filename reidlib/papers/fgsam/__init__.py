"""FGSAM's tables, claims and notes, as data; its networks are `reidlib.models.fgsam`."""
