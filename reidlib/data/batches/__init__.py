"""From a loaded dataset to batches on the device: pairs of text and image, tuples, samplers."""
