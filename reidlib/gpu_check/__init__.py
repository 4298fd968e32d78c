"""`python -m reidlib gpu-check`: does the suite run on this GPU as on the CPU, and how fast."""
