"""Preprocessing of files and pixels to test images, as in an evaluation.

The settings are stored in ``model.json``, so that weights can be used without their data set.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snnjax.data.datasets import Dataset
from snnjax.data.options import FRAME_VALUES, FRAMINGS, DataOptions
from snnjax.data.sources import event_files
from snnjax.data.sources.event_files import MAX_SIDE, EventFileError, Events
from snnjax.data.sources.event_sets import MAX_RECORDING_BYTES
from snnjax.data.sources.packed_photos import MAX_IMAGE_BYTES
from snnjax.data.splits import ArraySplit, EventSplit, PhotoSplit, Split
from snnjax.data.transforms.framing import Framing
from snnjax.data.transforms.images import DecodeError, crop_center, decode
from snnjax.errors import UserError

# These limit the memory that a file from an untrusted source can ask for.
_MAX_NUMBERS = 2**24
_MAX_SIDE = 8192
_FRAMING = ('frames_by', 'frame_window', 'frame_values', 'frame_decay', 'frame_downsample')


class InputError(UserError, ValueError):
    """An input that cannot be read; the message names it and the reason."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The conversion of a photo to a test image, or of an event recording to frames.

    Attributes:
      shape: the shape of an image, (H, W, C), or of frames, (T, H, W, 2).
      mean: the mean of the stored pixels by channel.
      std: the standard deviation of the stored pixels by channel.
      resize: the shorter side of a photo, in pixels, before its center is cropped.
      white: the stored value of a white pixel.
      frames_by: the way to divide a recording into frames, as in `snnjax.data.DataOptions`.
      frame_window: the length of a frame in microseconds, as in `snnjax.data.DataOptions`.
      frame_values: the content of a frame, as in `snnjax.data.DataOptions`.
      frame_decay: the time in which a time surface decays to 1/e, in microseconds, as in
        `snnjax.data.DataOptions`.
      frame_downsample: the side, in pixels of the camera, of the square that becomes one pixel of a
        frame.

    Raises:
      ValueError: if the sizes, statistics or framing are invalid.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int = 0
    white: int = 255
    frames_by: str = 'number'
    frame_window: int = 0
    frame_values: str = 'counts'
    frame_decay: int = 0
    frame_downsample: int = 1

    def __post_init__(self) -> None:
        whole = (
            *(*self.shape, self.resize, self.white),
            *(self.frame_window, self.frame_decay, self.frame_downsample),
        )
        statistics = (*self.mean, *self.std)
        channels = self.shape[-1] if len(self.shape) in (3, 4) else 0
        sound = (
            all(type(number) is int and number >= 0 for number in whole)
            and 0 < math.prod(self.shape) <= _MAX_NUMBERS
            and len(self.mean) == len(self.std) == channels
            and all(type(number) in (int, float) for number in statistics)
            and all(map(math.isfinite, statistics))
            and min(self.std) > 0
            and 0 < self.white <= 255
            and self.frames_by in FRAMINGS
            and self.frame_values in FRAME_VALUES
            and 1 <= self.frame_downsample <= MAX_SIDE
            and (channels == 2 if self.is_events else channels in (1, 3))
            and (self.is_events or min(self.shape[:2]) <= self.resize <= _MAX_SIDE)
        )
        if not sound:
            raise ValueError(
                f'invalid preprocessing {self.to_json()}: check the shape, the statistics and the '
                f'framing'
            )

    @property
    def is_events(self) -> bool:
        """Returns true for event recordings, false for photos."""
        return len(self.shape) == 4

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON entries ``images`` (shape and statistics) and ``preprocessing``."""
        form = ('shape', 'mean', 'std')
        made = _FRAMING if self.is_events else ('resize', 'white')
        return {
            'images': {key: list(getattr(self, key)) for key in form},
            'preprocessing': {key: getattr(self, key) for key in made},
        }

    def read(self, path: Path) -> np.ndarray:
        """Reads a photo or an event recording as a uint8 array of `shape`.

        Args:
          path: the file.

        Raises:
          InputError: if the file is missing, too large, or not a photo or recording as expected.
        """
        limit = MAX_RECORDING_BYTES if self.is_events else MAX_IMAGE_BYTES
        try:
            if not path.is_file():
                raise InputError(f'{path}: {"a folder" if path.is_dir() else "no such file"}')
            with path.open('rb') as file:
                content = file.read(limit + 1)
            if len(content) > limit:
                raise InputError(f'{path} has more than {limit:,} bytes')
            if self.is_events:
                height, width = (side * self.frame_downsample for side in self.shape[1:3])
                return self._frames(_read_events(content, path.suffix, (height, width)))
            return self._image(decode(content))
        except (DecodeError, EventFileError) as error:
            raise InputError(f'{path}: {error}') from error
        except OSError as error:
            raise InputError(f'{path}: {error.strerror}') from error

    def convert(self, pixels: Any) -> np.ndarray:
        """Converts pixels to a uint8 array of `shape`.

        Args:
          pixels: uint8 array. An array of `shape` is returned unchanged; it must be in the units of
            the data set. Any other array is a photo of shape (H, W, 3) or (H, W), 0 to 255.

        Raises:
          InputError: if the array has another dtype or shape.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise InputError(f'pixels must be uint8, got {pixels.dtype}')
        if pixels.shape == self.shape:
            return pixels
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        if self.is_events or pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
            kind = 'frames' if self.is_events else 'a photo (H, W, 3), or an image'
            raise InputError(f'pixels of shape {pixels.shape}: expected {kind} of {self.shape}')
        return self._image(pixels)

    def _image(self, photo: np.ndarray) -> np.ndarray:
        height, width, channels = self.shape
        image = crop_center(photo, self.resize, height, width)
        if channels == 1:
            image = np.asarray(Image.fromarray(image).convert('L'))[..., None]
        if self.white != 255:
            image = np.round(image.astype(np.float32) * (self.white / 255)).astype(np.uint8)
        return image

    def _frames(self, events: Events) -> np.ndarray:
        return Framing.of(self, self.shape[0])(events)


def preprocessing_of(dataset: Dataset, examples: Split, options: DataOptions) -> Preprocessing:
    """Returns the preprocessing of the test images of a data set.

    Args:
      dataset: the data set.
      examples: the test examples.
      options: the options that the data set was opened with.

    Raises:
      ValueError: if the examples are of an unknown kind.
    """
    shape: tuple[int, ...]
    how: dict[str, Any]
    match examples:
        case PhotoSplit():
            size = examples.test.size
            shape, how = (size, size, 3), {'resize': examples.test.resize}
        case ArraySplit():
            shape = examples.images.shape[1:]
            how = {'resize': min(shape[:2]), 'white': 16 if dataset.name == 'digits' else 255}
        case EventSplit():
            shape = dataset.image_shape
            how = {key: getattr(options, key) for key in _FRAMING}
        case _:
            raise ValueError(
                f'{dataset.name} has examples of type {type(examples).__name__}, expected '
                f'PhotoSplit, ArraySplit or EventSplit'
            )
    return Preprocessing(tuple(map(int, shape)), dataset.mean, dataset.std, **how)


def read_preprocessing(description: Mapping[str, Any]) -> Preprocessing | None:
    """Reads the preprocessing from a ``model.json``.

    Args:
      description: the content of the file.

    Returns:
      The preprocessing, or None if the file has none.

    Raises:
      ValueError: if the entries are invalid.
    """
    match description:
        case {'images': None} | {'preprocessing': None}:
            return None
        case {
            'images': {'shape': [*shape], 'mean': [*mean], 'std': [*std]},
            'preprocessing': dict(how),
        }:
            known = {field.name for field in dataclasses.fields(Preprocessing)}
            if how.keys() <= known - {'shape', 'mean', 'std'}:
                return Preprocessing(tuple(shape), tuple(mean), tuple(std), **how)
        case {'preprocessing': _}:
            pass
        case _:
            return None
    raise ValueError('invalid preprocessing: the entries images and preprocessing cannot be read')


def _read_events(content: bytes, suffix: str, size: tuple[int, ...]) -> Events:
    """Reads an event recording of a known format.

    Raises:
      EventFileError: if the format is unknown, or the camera has another ``size`` (H, W).
    """
    height, width = size
    if content.startswith(b'#!AER-DAT2'):
        events = event_files.read_aedat2(content)
    elif content.startswith(b'#!AER-DAT3'):
        events = event_files.read_aedat3(content, height=height, width=width)
    elif suffix.lower() == '.bin':
        events = event_files.read_nmnist(content, height=height, width=width)
    else:
        raise EventFileError(
            'not an event recording: expected AEDAT 2.0, AEDAT 3.1, or 40 bits per event (.bin)'
        )
    if (events.height, events.width) != (height, width):
        raise EventFileError(
            f'the camera has {events.width} columns and {events.height} rows, but the network was '
            f'trained on {width} columns and {height} rows'
        )
    return events
