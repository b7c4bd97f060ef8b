"""Random changes of training images."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from snnjax.data.transforms.auto_augment import auto_augment, rand_augment


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Moves each image (B, H, W, C) by up to ``padding`` pixels each way; black comes in.

    The same as padding with zeros on every side and cropping back to the old size at random.
    """
    batch, height, width, _ = images.shape
    top, left = rng.integers(0, 2 * padding, (2, batch), endpoint=True)
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    return padded[np.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors each image (B, H, W, C) left to right with probability one half."""
    flipped = rng.integers(0, 2, len(images)).astype(bool)
    return np.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def erase_rectangle(
    image: np.ndarray, rng: np.random.Generator, max_pixel: int = 255
) -> np.ndarray:
    """Fills a rectangle of an image (H, W, C) uint8 with random pixels (Zhong et al. 2020).

    It has 2 to 33 % of the area, and an aspect ratio from 0.3 to 3.3; where that does not fit ten
    times, nothing is erased.

    Args:
      image: the image.
      rng: the generator that the rectangle and its pixels are drawn from.
      max_pixel: the largest value of a pixel.
    """
    height, width, channels = image.shape
    for _ in range(10):
        area = height * width * rng.uniform(0.02, 1 / 3)
        ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        h, w = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            image = image.copy()
            image[top : top + h, left : left + w] = rng.integers(
                0, max_pixel, (h, w, channels), dtype=np.uint8, endpoint=True
            )
            return image
    return image


@dataclasses.dataclass(frozen=True)
class ImageAugmentation:
    """Random changes of an RGB image that keep its size.

    Attributes:
      flip: mirror left to right with probability one half.
      auto_augment: name of a policy, see `snnjax.data.transforms.auto_augment.policy`; '' for none.
      rand_augment: changes of RandAugment; 0 for none.
      rand_augment_magnitude: 0 to 30.
      random_erasing: probability of `erase_rectangle`.
      max_pixel: the largest value of a pixel.
    """

    flip: bool = False
    auto_augment: str = ''
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    random_erasing: float = 0.0
    max_pixel: int = 255

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed image; both are (H, W, 3) uint8."""
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self.auto_augment or self.rand_augment:
            image = Image.fromarray(pixels)
            if self.auto_augment:
                image = auto_augment(image, self.auto_augment, rng)
            if self.rand_augment:
                image = rand_augment(image, self.rand_augment, self.rand_augment_magnitude, rng)
            pixels = np.asarray(image)
        if self.random_erasing and rng.random() < self.random_erasing:
            pixels = erase_rectangle(pixels, rng, self.max_pixel)
        return pixels
