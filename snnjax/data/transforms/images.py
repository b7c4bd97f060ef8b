"""Encoded photos -> RGB pixels: decoding, cropping, resizing.

Pillow says what a file is, and reads whatever it is. Sound JPEG files, nearly all there are, are
decoded by simplejpeg to the very same pixels, and random parts are resized by OpenCV to nearly the
same ones: both are faster.
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
"""Larger images are refused before they are decoded; the largest of ImageNet has a quarter."""

DRAFT_MARGIN = 1.25
"""See `random_resized_crop`; with less, the smaller image would be blurred already."""

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF')
# Pillow finds a format by name only once all of its readers are loaded.
Image.init()
# Pillow's remarks on odd but readable files would come from any number of threads.
warnings.filterwarnings('ignore', module='PIL')
# Photos are what is done in parallel, not the pixels of one.
cv2.setNumThreads(0)


class DecodeError(UserError, ValueError):
    """Bytes that are no image, or one that is broken."""


def decode(data: bytes) -> np.ndarray:
    """An upright image (H, W, 3) uint8 of whatever was encoded: gray, CMYK, with transparency, …

    Raises:
      DecodeError: where it is broken or ends early.
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
    """A random part of an image, brought to (size, size, 3) uint8 (Szegedy et al. 2015).

    Its area is a share of the image's between ``min_scale`` and 1, uniformly, and its aspect ratio
    between 3/4 and 4/3, uniformly in its logarithm; where that does not fit ten times, the largest
    part of the centre is taken that does.

    Args:
      data: an encoded image.
      size: of the result.
      rng: for the part.
      min_scale: 1 for as much as the aspect ratio lets be.
      draft: decode a JPEG at a half, a quarter or an eighth of its size where the part still has
        `DRAFT_MARGIN` times ``size`` pixels each way then. It changes pixels by less than 2 of 255
        in the mean.

    Raises:
      DecodeError: where the image is broken or ends early.
    """
    image = _open(data)
    orientation = _orientation(image)
    width, height = image.size[::-1] if orientation in _ON_ITS_SIDE else image.size
    left, top, right, bottom = _random_box(width, height, rng, min_scale)
    short = min(right - left, bottom - top)
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or short >= DRAFT_MARGIN * f * size)
    # To whole pixels at the scale that is decoded.
    left, top, right, bottom = (side // factor for side in (left, top, right, bottom))
    pixels = _turn(_pixels(image, data, factor if draft else 1), orientation)
    if factor > 1 and pixels.shape[:2] == (height, width):
        left, top, right, bottom = (side * factor for side in (left, top, right, bottom))
        factor = 1
    return _resize(pixels[top:bottom, left:right], size, factor)


def centre_crop(data: bytes, resize: int, size: int) -> np.ndarray:
    """The centre (size, size, 3) uint8 of an image whose shorter side is brought to ``resize``.

    Raises:
      DecodeError: where the image is broken or ends early.
    """
    return crop_centre(decode(data), resize, size, size)


def crop_centre(pixels: np.ndarray, resize: int, height: int, width: int) -> np.ndarray:
    """Returns the centre of an image whose shorter side is brought to ``resize``.

    Args:
      pixels: array (H, W, 3) of uint8.
      resize: pixels of the shorter side.
      height: rows of the result.
      width: columns of the result.
    """
    old_height, old_width = pixels.shape[:2]
    short = min(old_height, old_width)
    # The whole image would have these sides; only the part of it that is seen is made. Resized by
    # Pillow, as nearly all published accuracies were evaluated.
    new_height, new_width = (
        max(resize, int(side * resize / short)) for side in (old_height, old_width)
    )
    top, left = round((new_height - height) / 2), round((new_width - width) / 2)
    y, x = old_height / new_height, old_width / new_width
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(image)


# Whatever a parser may trip over in bytes of any kind.
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
    """Reads what comes before the pixels, whatever the file is called."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _BROKEN as error:
        raise DecodeError(f'not an image: {error}') from error
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f'{image.width}x{image.height} are more than {MAX_PIXELS:,} pixels')
    return image


def _pixels(image: Image.Image, data: bytes, factor: int = 1) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8 as they are stored, or (⌈H / factor⌉, ⌈W / factor⌉, 3).

    Args:
      image: opened, for what it is.
      data: the same, encoded.
      factor: 2, 4 or 8 for a smaller image, where that is possible: of a JPEG.
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
            pass  # Anything out of the ordinary is for Pillow to judge.
    try:
        image.load()
        if image.mode.startswith('I;16') or (image.mode == 'I' and image.format == 'PNG'):
            # 16 bits a pixel, of which a conversion would keep the values and cut off the rest.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return np.asarray(image.convert('RGB'))
    except _BROKEN as error:
        raise DecodeError(f'cannot be decoded: {error}') from error


_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


def _orientation(image: Image.Image) -> int:
    """How EXIF data says that the camera was held; damaged EXIF data says nothing."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Whatever a parser trips over in a part that pixels do not depend on.
        return 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The upright image; a value that EXIF does not have changes nothing."""
    if orientation in _ON_ITS_SIDE:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _random_box(
    width: int, height: int, rng: np.random.Generator, min_scale: float
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom."""
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
    """Brings a part (h, w, 3) of an image, decoded at 1 / ``factor``, to (size, size, 3).

    Blurs as much as Pillow's bilinear filter, whose variance is s²/6 for s pixels in one, beyond
    what decoding at 1/f and linear interpolation blur already: (f² - 1)/12 and f²/6.
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
    """Of a Gaussian whose samples at whole numbers have about this variance."""
    if variance > 0.5:
        return float(np.sqrt(variance))
    # Three samples, of which the outer ones have half of the variance each.
    outer = max(variance, 0.001) / 2
    return float(1 / np.sqrt(-2 * np.log(outer / (1 - 2 * outer))))
