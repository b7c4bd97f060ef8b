"""Training: the loop, and all that belongs to it."""
