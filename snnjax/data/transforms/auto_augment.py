"""AutoAugment and RandAugment: learned and random policies of image changes.

Sources: Cubuk et al. 2019 (tables 7 and 9) for AutoAugment, Cubuk et al. 2020 for RandAugment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# The gray that fills the parts which a change moves into an image.
_FILL = (128, 128, 128)


def _affine(image: Image.Image, *coefficients: float) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        coefficients,
        resample=Image.Resampling.NEAREST,
        fillcolor=_FILL,
    )


def _shear_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, 1, 0.3 * strength, 0, 0, 1, 0)


def _shear_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, 1, 0, 0, 0.3 * strength, 1, 0)


# The paper moves images of 331 pixels by up to 150.
def _translate_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, 1, 0, int(150 / 331 * image.width * strength), 0, 1, 0)


def _translate_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, 1, 0, 0, 0, 1, int(150 / 331 * image.height * strength))


def _rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(30 * strength, Image.Resampling.NEAREST, fillcolor=_FILL)


def _posterize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * strength))


def _solarize(image: Image.Image, strength: float) -> Image.Image:
    # Strength 0 gives the highest threshold, which changes nothing; strength 1 inverts all pixels.
    return ImageOps.solarize(image, 255 * (1 - strength))  # type: ignore[arg-type]


def _enhance(kind: Callable[..., Any]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


SIGNED: Mapping[str, Callable[[Image.Image, float], Image.Image]] = {
    'ShearX': _shear_x,
    'ShearY': _shear_y,
    'TranslateX': _translate_x,
    'TranslateY': _translate_y,
    'Rotate': _rotate,
    'Brightness': _enhance(ImageEnhance.Brightness),
    'Color': _enhance(ImageEnhance.Color),
    'Contrast': _enhance(ImageEnhance.Contrast),
    'Sharpness': _enhance(ImageEnhance.Sharpness),
}
"""Changes with a strength from -1 to 1, by name."""

UNSIGNED: Mapping[str, Callable[[Image.Image, float], Image.Image]] = {
    'Posterize': _posterize,
    'Solarize': _solarize,
    'AutoContrast': lambda image, strength: ImageOps.autocontrast(image),
    'Equalize': lambda image, strength: ImageOps.equalize(image),
    'Invert': lambda image, strength: ImageOps.invert(image),
    'Identity': lambda image, strength: image,
}
"""Changes with a strength from 0 to 1, or without a strength, by name."""


# Each line is a sub-policy: two changes in sequence, each with its probability and level (0 to 9).
_POLICIES = {
    'imagenet': """
        Posterize 0.4 8     Rotate 0.6 9
        Solarize 0.6 5      AutoContrast 0.6 5
        Equalize 0.8 8      Equalize 0.6 3
        Posterize 0.6 7     Posterize 0.6 6
        Equalize 0.4 7      Solarize 0.2 4
        Equalize 0.4 4      Rotate 0.8 8
        Solarize 0.6 3      Equalize 0.6 7
        Posterize 0.8 5     Equalize 1.0 2
        Rotate 0.2 3        Solarize 0.6 8
        Equalize 0.6 8      Posterize 0.4 6
        Rotate 0.8 8        Color 0.4 0
        Rotate 0.4 9        Equalize 0.6 2
        Equalize 0.0 7      Equalize 0.8 8
        Invert 0.6 4        Equalize 1.0 8
        Color 0.6 4         Contrast 1.0 8
        Rotate 0.8 8        Color 1.0 2
        Color 0.8 8         Solarize 0.8 7
        Sharpness 0.4 7     Invert 0.6 8
        ShearX 0.6 5        Equalize 1.0 9
        Color 0.4 0         Equalize 0.6 3
        Equalize 0.4 7      Solarize 0.2 4
        Solarize 0.6 5      AutoContrast 0.6 5
        Invert 0.6 4        Equalize 1.0 8
        Color 0.6 4         Contrast 1.0 8
        Equalize 0.8 8      Equalize 0.6 3
    """,
    'cifar10': """
        Invert 0.1 7        Contrast 0.2 6
        Rotate 0.7 2        TranslateX 0.3 9
        Sharpness 0.8 1     Sharpness 0.9 3
        ShearY 0.5 8        TranslateY 0.7 9
        AutoContrast 0.5 8  Equalize 0.9 2
        ShearY 0.2 7        Posterize 0.3 7
        Color 0.4 3         Brightness 0.6 7
        Sharpness 0.3 9     Brightness 0.7 9
        Equalize 0.6 5      Equalize 0.5 1
        Contrast 0.6 7      Sharpness 0.6 5
        Color 0.7 7         TranslateX 0.5 8
        Equalize 0.3 7      AutoContrast 0.4 8
        TranslateY 0.4 3    Sharpness 0.2 6
        Brightness 0.9 6    Color 0.2 8
        Solarize 0.5 2      Invert 0.0 3
        Equalize 0.2 0      AutoContrast 0.6 0
        Equalize 0.2 8      Equalize 0.6 4
        Color 0.9 9         Equalize 0.6 6
        AutoContrast 0.8 4  Solarize 0.2 8
        Brightness 0.1 3    Color 0.7 0
        Solarize 0.4 5      AutoContrast 0.9 3
        TranslateY 0.9 9    TranslateY 0.7 9
        AutoContrast 0.9 2  Solarize 0.8 3
        Equalize 0.8 8      Invert 0.1 3
        TranslateY 0.7 9    AutoContrast 0.9 1
    """,
}

Change = tuple[str, float, int]


@functools.cache
def policy(name: str) -> tuple[tuple[Change, Change], ...]:
    """Returns the 25 sub-policies of 'imagenet' or 'cifar10'.

    Each sub-policy has two changes in sequence: (change, probability, level from 0 to 9).
    """
    lines = [line.split() for line in _POLICIES[name].strip().splitlines()]
    return tuple(
        ((a, float(p), int(level)), (b, float(q), int(other))) for a, p, level, b, q, other in lines
    )


def apply(image: Image.Image, change: str, strength: float) -> Image.Image:
    """Applies a change to an RGB image.

    Args:
      image: the image.
      change: the name of the change, a key of `SIGNED` or `UNSIGNED`.
      strength: a number from -1 to 1 for a change of `SIGNED`, from 0 to 1 for one of `UNSIGNED`.
    """
    return (SIGNED.get(change) or UNSIGNED[change])(image, strength)


def auto_augment(image: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    """Applies a random sub-policy of the policy ``name`` to an RGB image."""
    sub_policies = policy(name)
    for change, probability, level in sub_policies[rng.integers(len(sub_policies))]:
        if rng.random() < probability:
            image = apply(image, change, _directed(change, level / 9, rng))
    return image


_RAND_AUGMENT = [*sorted(SIGNED), *sorted(UNSIGNED.keys() - {'Invert'})]


def rand_augment(
    image: Image.Image, number: int, magnitude: int, rng: np.random.Generator
) -> Image.Image:
    """Applies ``number`` random changes of a ``magnitude`` from 0 to 30 to an RGB image."""
    for choice in rng.integers(len(_RAND_AUGMENT), size=number):
        change = _RAND_AUGMENT[choice]
        image = apply(image, change, _directed(change, magnitude / 30, rng))
    return image


def _directed(change: str, strength: float, rng: np.random.Generator) -> float:
    return -strength if change in SIGNED and rng.random() < 0.5 else strength
