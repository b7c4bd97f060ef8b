"""Decoding, cropping and resizing of encoded photos.

Pillow determines the format and can read every supported one. Two faster libraries do most of the
work: simplejpeg decodes undamaged JPEG files to the same pixels as Pillow, and OpenCV resizes
random crops to nearly the same pixels.
"""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from snnjax.errors import UserError

MAX_PIXELS = 2**27
"""The largest number of pixels that is decoded: four times that of ImageNet's largest image."""

DRAFT_MARGIN = 1.25
"""The margin of ``draft`` in `random_resized_crop`; a smaller one would blur the crop."""

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF')
# Pillow finds a format by name only after all of its readers have been loaded.
Image.init()
# Pillow's warnings about unusual but readable files would come from many threads.
warnings.filterwarnings('ignore', module='PIL')
# Photos are processed in parallel, so OpenCV needs no threads of its own.
cv2.setNumThreads(0)


class DecodeError(UserError, ValueError):
    """Bytes that are not an image, or a damaged image."""


def decode(data: bytes) -> np.ndarray:
    """Decodes an image to upright RGB pixels, (H, W, 3) uint8.

    Gray, CMYK and transparent images are converted to RGB, and the EXIF orientation is applied.

    Args:
      data: the encoded image.

    Raises:
      DecodeError: if the image is damaged, truncated, or larger than `MAX_PIXELS`.
    """
    image = _open(data)
    return _turn(_pixels(image, data), _orientation(image))


def random_resized_crop(
    data: bytes,
    size: int,
    rng: np.random.Generator,
    min_scale: float = 0.08,
    draft: bool = True,
) -> np.ndarray:
    """Crops a random part of an image and resizes it to (size, size, 3) uint8.

    The share of the area is uniform between ``min_scale`` and 1, and the logarithm of the aspect
    ratio is uniform between those of 3/4 and 4/3 (Szegedy et al. 2015). If ten draws do not fit
    into the image, the crop is the largest centered part with an aspect ratio in that range.

    Args:
      data: the encoded image.
      size: the side of the result in pixels.
      rng: the generator of the crop.
      min_scale: the smallest share of the area, above 0 and at most 1.
      draft: true to decode a JPEG file at a half, a quarter or an eighth of its size if the crop
        then still has `DRAFT_MARGIN` times ``size`` pixels on each side. This changes pixels by
        less than 2 of 255 on average.

    Raises:
      DecodeError: if the image is damaged, truncated, or larger than `MAX_PIXELS`.
    """
    image = _open(data)
    orientation = _orientation(image)
    width, height = image.size[::-1] if orientation in _ON_ITS_SIDE else image.size
    left, top, right, bottom = _random_box(width, height, rng, min_scale)
    short = min(right - left, bottom - top)
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or short >= DRAFT_MARGIN * f * size)
    # Rounded down to whole pixels at the decoded scale.
    left, top, right, bottom = (side // factor for side in (left, top, right, bottom))
    pixels = _turn(_pixels(image, data, factor if draft else 1), orientation)
    if factor > 1 and pixels.shape[:2] == (height, width):
        left, top, right, bottom = (side * factor for side in (left, top, right, bottom))
        factor = 1
    return _resize(pixels[top:bottom, left:right], size, factor)


def center_crop(data: bytes, resize: int, size: int) -> np.ndarray:
    """Decodes an image, resizes its shorter side, and crops the center.

    Args:
      data: the encoded image.
      resize: the shorter side of the resized image in pixels.
      size: the side of the crop in pixels.

    Returns:
      uint8 array of shape (size, size, 3).

    Raises:
      DecodeError: if the image is damaged, truncated, or larger than `MAX_PIXELS`.
    """
    return crop_center(decode(data), resize, size, size)


def crop_center(pixels: np.ndarray, resize: int, height: int, width: int) -> np.ndarray:
    """Resizes the shorter side of an image and crops the center.

    Args:
      pixels: uint8 array of shape (H, W, 3).
      resize: the shorter side of the resized image in pixels.
      height: the number of rows of the crop.
      width: the number of columns of the crop.

    Returns:
      uint8 array of shape (height, width, 3).
    """
    old_height, old_width = pixels.shape[:2]
    short = min(old_height, old_width)
    # The resized image would have these sides; only the crop is computed. Pillow resizes it, as in
    # the evaluation of nearly all published accuracies.
    new_height, new_width = (
        max(resize, int(side * resize / short)) for side in (old_height, old_width)
    )
    top, left = round((new_height - height) / 2), round((new_width - width) / 2)
    y, x = old_height / new_height, old_width / new_width
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(image)


# The exceptions that Pillow's parsers may raise for arbitrary bytes.
_BROKEN = (
    Image.DecompressionBombError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    UnidentifiedImageError,
    ValueError,
    struct.error,
)


def _open(data: bytes) -> Image.Image:
    """Opens an image and reads its header; the format is that of the bytes, not of a file name."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _BROKEN as error:
        raise DecodeError(f'not an image: {error}') from error
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f'{image.width}x{image.height} are more than {MAX_PIXELS:,} pixels')
    return image


def _pixels(image: Image.Image, data: bytes, factor: int = 1) -> np.ndarray:
    """Returns RGB pixels in their stored orientation.

    Args:
      image: the opened image.
      data: the encoded image.
      factor: 1, 2, 4 or 8; the divisor of the sides, which only JPEG files support.

    Returns:
      uint8 array of shape (⌈H / factor⌉, ⌈W / factor⌉, 3), or (H, W, 3) if ``factor`` is not
      supported.
    """
    if image.format in ('JPEG', 'MPO') and image.mode in ('RGB', 'L'):
        rows, columns = (-(-side // factor) for side in (image.height, image.width))
        try:
            pixels = simplejpeg.decode_jpeg(
                data, 'RGB', min_height=rows, min_width=columns, min_factor=factor, strict=True
            )
            if pixels.shape[:2] == (rows, columns):
                return pixels
        except ValueError:
            pass  # Pillow handles every JPEG file that simplejpeg refuses.
    try:
        image.load()
        if image.mode.startswith('I;16') or (image.mode == 'I' and image.format == 'PNG'):
            # Pillow's conversion would clip 16-bit values to 255 instead of scaling them.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return np.asarray(image.convert('RGB'))
    except _BROKEN as error:
        raise DecodeError(f'cannot be decoded: {error}') from error


_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 for upright; 1 if there is none or the data is damaged."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # The pixels do not depend on the EXIF data, so no error in it matters.
        return 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns the upright image; an orientation that EXIF does not define changes nothing."""
    if orientation in _ON_ITS_SIDE:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _random_box(
    width: int, height: int, rng: np.random.Generator, min_scale: float
) -> tuple[int, int, int, int]:
    """Draws the left, top, right and bottom of a crop; see `random_resized_crop`."""
    lowest, highest = np.log(3 / 4), np.log(4 / 3)
    for _ in range(10):
        area = width * height * rng.uniform(min_scale, 1)
        ratio = np.exp(rng.uniform(lowest, highest))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * 4 / 3)))
    h = max(1, min(height, round(width * 4 / 3)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _resize(pixels: np.ndarray, size: int, factor: int = 1) -> np.ndarray:
    """Resizes a crop (h, w, 3) of an image that was decoded at 1 / ``factor`` to (size, size, 3).

    The total blur equals that of Pillow's bilinear filter, a variance of s²/6 for s pixels per new
    pixel. Decoding at 1/f and linear interpolation contribute variances of (f² - 1)/12 and f²/6; a
    Gaussian filter contributes the rest.
    """
    f2 = factor**2
    spread_y, spread_x = (
        ((side * factor / size) ** 2 / 6 - (f2 - 1) / 12 - f2 / 6) / f2 for side in pixels.shape[:2]
    )
    pixels = np.ascontiguousarray(pixels)
    largest = max(spread_y, spread_x)
    if largest > 0.01:
        taps = 3 if largest <= 0.5 else 2 * round(2.5 * np.sqrt(largest)) + 1
        sigma_y, sigma_x = _gaussian_sigma(spread_y), _gaussian_sigma(spread_x)
        pixels = cv2.GaussianBlur(pixels, (taps, taps), sigma_x, sigmaY=sigma_y)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)


def _gaussian_sigma(variance: float) -> float:
    """Returns the sigma of a Gaussian whose samples at integers have about this variance."""
    if variance > 0.5:
        return float(np.sqrt(variance))
    # Three samples; each of the two outer ones contributes half of the variance.
    outer = max(variance, 0.001) / 2
    return float(1 / np.sqrt(-2 * np.log(outer / (1 - 2 * outer))))
