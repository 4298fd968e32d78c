"""The procedural world of pedestrians: identities, shots, images, captions, dataset writers."""
