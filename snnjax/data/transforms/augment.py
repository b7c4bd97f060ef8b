"""Random changes of training images."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from snnjax.data.transforms.auto_augment import auto_augment, rand_augment


def draw_offsets(count: int, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Returns random offsets for `crop`, rows and columns, as an int32 array (B, 2)."""
    offsets = rng.integers(0, 2 * padding, (2, count), endpoint=True)
    return offsets.T.astype(np.int32)


def crop(images: np.ndarray, offsets: np.ndarray, padding: int) -> np.ndarray:
    """Moves each image (B, H, W, C) by up to ``padding`` pixels each way; black comes in.

    The same as padding with zeros on every side and cropping back to the old size.

    Args:
      images: The images.
      offsets: int array (B, 2), the row and column of the padded image at which the crop begins.
      padding: The number of pixels that are added on every side.
    """
    batch, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = offsets[:, :1] + np.arange(height)
    columns = offsets[:, 1:] + np.arange(width)
    return padded[np.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def draw_flips(count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a bool array (B,) of the images to mirror, each with probability one half."""
    return rng.integers(0, 2, count).astype(bool)


def flip(images: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Mirrors the images (B, H, W, C) left to right whose ``flipped`` (B,) is true."""
    return np.where(flipped[:, None, None, None], images[:, :, ::-1], images)


class Erased(NamedTuple):
    """Holds a rectangle of an image and its new pixels.

    Attributes:
      top: The first row.
      left: The first column.
      pixels: uint8 array (h, w, C).
    """

    top: int
    left: int
    pixels: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Returns the first row, the row after the last, and the same for columns."""
        height, width = self.pixels.shape[:2]
        return self.top, self.top + height, self.left, self.left + width


def draw_erased(
    shape: tuple[int, ...], rng: np.random.Generator, max_pixel: int = 255
) -> Erased | None:
    """Draws a rectangle of random pixels for random erasing (Zhong et al. 2020).

    The rectangle has 2 to 33 % of the area and an aspect ratio from 0.3 to 3.3. If ten draws do not
    fit into the image, nothing is erased, and the result is None.

    Args:
      shape: The shape of the image, (H, W, C).
      rng: The generator of the rectangle and its pixels.
      max_pixel: The largest value of a pixel.
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


@dataclasses.dataclass(frozen=True)
class ImageAugmentation:
    """Random changes of an RGB image that keep its size.

    Attributes:
      flip: mirror left to right with probability one half.
      auto_augment: name of a policy, see `snnjax.data.transforms.auto_augment.policy`; '' for none.
      rand_augment: changes of RandAugment; 0 for none.
      rand_augment_magnitude: 0 to 30.
      random_erasing: probability that `draw_erased` erases a part.
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
        """Returns whether Pillow makes some changes: AutoAugment or RandAugment."""
        return bool(self.auto_augment or self.rand_augment)

    def draw_erased(self, shape: tuple[int, ...], rng: np.random.Generator) -> Erased | None:
        """Draws the rectangle to erase from an image of shape (H, W, C), or None for none."""
        if self.random_erasing and rng.random() < self.random_erasing:
            return draw_erased(shape, rng, self.max_pixel)
        return None
