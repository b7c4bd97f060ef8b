"""Encoded photos -> RGB pixels: decoding, cropping, resizing."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 2**27
"""Larger images are refused before they are decoded; the largest of ImageNet has a quarter."""

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF')
# Pillow finds a format by name only once all of its readers are loaded.
Image.init()


class DecodeError(ValueError):
    """Bytes that are no image, or one that is broken."""


def open_image(data: bytes) -> Image.Image:
    """Reads what comes before the pixels, whatever the file is called.

    Raises:
      DecodeError: where that is no image, or a larger one than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        KeyError,
        IndexError,
        TypeError,
        OverflowError,
    ) as error:
        raise DecodeError(f'not an image: {error}') from error
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(f'{image.width}x{image.height} are more than {MAX_PIXELS:,} pixels')
    return image


def decode(data: bytes) -> np.ndarray:
    """An upright image (H, W, 3) uint8 of whatever was encoded: gray, CMYK, with transparency, …

    Raises:
      DecodeError: where it is broken or ends early.
    """
    return np.asarray(_load(_upright(open_image(data))))


def random_resized_crop(
    data: bytes,
    size: int,
    rng: np.random.Generator,
    min_scale: float = 0.08,
    draft: bool = True,
) -> Image.Image:
    """A random part of an image, brought to ``size`` x ``size`` (Szegedy et al. 2015).

    Its area is a share of the image's between ``min_scale`` and 1, uniformly, and its aspect ratio
    between 3/4 and 4/3, uniformly in its logarithm; where that does not fit ten times, the largest
    part of the centre is taken that does.

    Args:
      data: an encoded image.
      size: of the result.
      rng: for the part.
      min_scale: 1 for as much as the aspect ratio lets be.
      draft: decode a JPEG at a half, a quarter or an eighth of its size where the part still has
        ``size`` pixels each way then. It changes pixels by 2 of 255 in the mean, or less.

    Raises:
      DecodeError: where the image is broken or ends early.
    """
    image = _upright(open_image(data))
    box = _random_box(image.width, image.height, rng, min_scale)
    return _crop(image, box, (size, size), draft)


def centre_crop(data: bytes, resize: int, size: int) -> Image.Image:
    """The centre, ``size`` x ``size``, of an image whose shorter side is brought to ``resize``.

    Raises:
      DecodeError: where the image is broken or ends early.
    """
    image = _upright(open_image(data))
    short = min(image.size)
    width, height = (max(resize, int(side * resize / short)) for side in image.size)
    image = _load(image).resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _random_box(
    width: int, height: int, rng: np.random.Generator, min_scale: float
) -> tuple[float, float, float, float]:
    lowest, highest = np.log(3 / 4), np.log(4 / 3)
    for _ in range(10):
        area = width * height * rng.uniform(min_scale, 1)
        ratio = np.exp(rng.uniform(lowest, highest))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _crop(
    image: Image.Image, box: tuple[float, ...], size: tuple[int, int], draft: bool
) -> Image.Image:
    width, height = image.size
    if draft and image.format in ('JPEG', 'MPO'):
        # Reads fewer coefficients; does nothing once the pixels are there.
        needed = (width * size[0] / (box[2] - box[0]), height * size[1] / (box[3] - box[1]))
        image.draft(None, (int(np.ceil(needed[0])), int(np.ceil(needed[1]))))
    image = _load(image)
    x, y = image.width / width, image.height / height
    scaled = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
    return image.resize(size, Image.Resampling.BILINEAR, box=scaled)


_ORIENTATION = 0x0112


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; damaged EXIF data says nothing."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) not in (None, 1)
    except Exception:  # Whatever a parser trips over in a part that pixels do not depend on.
        turned = False
    return ImageOps.exif_transpose(_load(image, convert=False)) if turned else image


def _load(image: Image.Image, convert: bool = True) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image.load()
            if image.mode.startswith('I;16') or (image.mode == 'I' and image.format == 'PNG'):
                # 16 bits a pixel, of which a conversion would keep the values and cut off the rest.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return image.convert('RGB') if convert and image.mode != 'RGB' else image
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        KeyError,
        IndexError,
        TypeError,
        OverflowError,
        EOFError,
        Image.DecompressionBombError,
    ) as error:
        raise DecodeError(f'cannot be decoded: {error}') from error
