"""Who walks through the world, what they wear, how they stand."""
