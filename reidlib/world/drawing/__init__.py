"""From a person and a moment to a picture."""
