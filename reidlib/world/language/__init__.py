"""From a person and what is visible to sentences."""
