"""Random augmentation of training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from snnjax.data.transforms.auto_augment import auto_augment, rand_augment


def draw_offsets(count: int, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Draws offsets for `crop`, rows and columns, as an int32 array of shape (B, 2)."""
    offsets = rng.integers(0, 2 * padding, (2, count), endpoint=True)
    return offsets.T.astype(np.int32)


def crop(images: np.ndarray, offsets: np.ndarray, padding: int) -> np.ndarray:
    """Pads images with zeros on every side, and crops each back to its size at an offset.

    Each image moves by up to ``padding`` pixels, vertically and horizontally.

    Args:
      images: array of shape (B, H, W, C).
      offsets: int array of shape (B, 2), the first row and column of each crop in the padded image.
      padding: the number of pixels that are added on every side.
    """
    batch, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = offsets[:, :1] + np.arange(height)
    columns = offsets[:, 1:] + np.arange(width)
    return padded[np.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def draw_flips(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the images to mirror, each with probability one half, as a bool array of shape (B,)."""
    return rng.integers(0, 2, count).astype(bool)


def flip(images: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Mirrors the images (B, H, W, C) left to right for which ``flipped`` (B,) is true."""
    return np.where(flipped[:, None, None, None], images[:, :, ::-1], images)


class Erased(NamedTuple):
    """A rectangle of an image and its new pixels.

    Attributes:
      top: the first row.
      left: the first column.
      pixels: uint8 array of shape (h, w, C).
    """

    top: int
    left: int
    pixels: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Returns first row, row after the last, first column and column after the last."""
        height, width = self.pixels.shape[:2]
        return self.top, self.top + height, self.left, self.left + width


def draw_erased(
    shape: tuple[int, ...], rng: np.random.Generator, max_pixel: int = 255
) -> Erased | None:
    """Draws a rectangle of random pixels for random erasing (Zhong et al. 2020).

    The rectangle has 2 to 33 % of the area and an aspect ratio from 0.3 to 3.3.

    Args:
      shape: the shape of the image, (H, W, C).
      rng: the generator of the rectangle and its pixels.
      max_pixel: the largest value of a pixel.

    Returns:
      The rectangle, or None if ten draws did not fit into the image.
    """
    height, width, channels = shape
    for _ in range(10):
        area = height * width * rng.uniform(0.02, 1 / 3)
        ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        h, w = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            pixels = rng.integers(0, max_pixel, (h, w, channels), dtype=np.uint8, endpoint=True)
            return Erased(int(top), int(left), pixels)
    return None


def draw_cutout(
    shape: tuple[int, ...], side: int, color: Sequence[float], rng: np.random.Generator
) -> Erased:
    """Draws a square of one color for Cutout (DeVries and Taylor 2017).

    Its center is a random pixel, so that a part of the square may lie outside of the image.

    Args:
      shape: the shape of the image, (H, W, C).
      side: the side of the square in pixels.
      color: the C values of the new pixels, rounded to integers.
      rng: the generator of the center.
    """
    height, width, _ = shape
    first_row = int(rng.integers(0, height)) - side // 2
    first_column = int(rng.integers(0, width)) - side // 2
    top, left = max(first_row, 0), max(first_column, 0)
    size = min(first_row + side, height) - top, min(first_column + side, width) - left
    pixels = np.empty((*size, len(color)), np.uint8)
    pixels[:] = np.rint(color)
    return Erased(top, left, pixels)


@dataclasses.dataclass(frozen=True)
class ImageAugmentation:
    """Random changes of an RGB image that keep its size.

    Attributes:
      flip: true to mirror left to right with probability one half.
      auto_augment: the name of a policy, as in `snnjax.data.transforms.auto_augment.policy`; '' for
        none.
      rand_augment: the number of RandAugment changes; 0 for none.
      rand_augment_magnitude: the magnitude of the RandAugment changes, 0 to 30.
      random_erasing: the probability that a rectangle is erased.
      cutout: the side of the square of the color ``mean`` that covers a part of each image; 0 for
        none.
      mean: the mean pixel of the training images by channel.
      max_pixel: the largest value of a pixel.
    """

    flip: bool = False
    auto_augment: str = ''
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    random_erasing: float = 0.0
    cutout: int = 0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    max_pixel: int = 255

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the changed image, (H, W, 3) uint8.

        Args:
          pixels: uint8 array of shape (H, W, 3).
          rng: the generator of the changes.
        """
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self.needs_pillow:
            image = Image.fromarray(pixels)
            if self.auto_augment:
                image = auto_augment(image, self.auto_augment, rng)
            if self.rand_augment:
                image = rand_augment(image, self.rand_augment, self.rand_augment_magnitude, rng)
            pixels = np.asarray(image)
        erased = self.draw_erased(pixels.shape, rng)
        if erased:
            top, bottom, left, right = erased.box
            pixels = pixels.copy()
            pixels[top:bottom, left:right] = erased.pixels
        return pixels

    @property
    def needs_pillow(self) -> bool:
        """Returns true if Pillow makes some of the changes: with AutoAugment or RandAugment."""
        return bool(self.auto_augment or self.rand_augment)

    @property
    def erases(self) -> bool:
        """Returns true if a rectangle of images is replaced."""
        return bool(self.random_erasing or self.cutout)

    def draw_erased(self, shape: tuple[int, ...], rng: np.random.Generator) -> Erased | None:
        """Draws the rectangle to erase from an image of ``shape`` (H, W, C), or None for none."""
        if self.cutout:
            return draw_cutout(shape, self.cutout, self.mean, rng)
        if self.random_erasing and rng.random() < self.random_erasing:
            return draw_erased(shape, rng, self.max_pixel)
        return None
