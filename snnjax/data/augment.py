"""Random changes of training images, on whole batches of uint8 pixels (B, H, W, C)."""

from __future__ import annotations

import numpy as np


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Moves each image by up to ``padding`` pixels each way; black comes in at the border.

    The same as padding with zeros on every side and cropping back to the old size at random.
    """
    batch, height, width, _ = images.shape
    top, left = rng.integers(0, 2 * padding, (2, batch), endpoint=True)
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    return padded[np.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors each image left to right with probability one half."""
    flipped = rng.integers(0, 2, len(images)).astype(bool)
    return np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
