"""Files and pixels of any size as test images, the way an evaluation makes them.

What is needed for it fits in ``model.json``, so that weights can be used without their data set.
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
from snnjax.data.transforms.images import DecodeError, crop_centre, decode
from snnjax.errors import UserError

# A file from elsewhere may ask for images of any size.
_MAX_NUMBERS = 2**24
_MAX_SIDE = 8192
_FRAMING = ('frames_by', 'frame_window', 'frame_values', 'frame_decay', 'frame_downsample')


class InputError(UserError, ValueError):
    """An input of a network that cannot be read; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Makes a test image of a photo, or frames of a recording of events.

    Attributes:
      shape: (H, W, C) of an image, or (T, H, W, 2) of frames.
      mean: mean of the stored pixels by channel.
      std: standard deviation of the stored pixels by channel.
      resize: pixels that the shorter side of a photo is brought to before its center is cut out.
      white: stored value of a white pixel.
      frames_by: way to divide a recording into frames, see `snnjax.data.DataOptions`.
      frame_window: length of a frame in microseconds, likewise.
      frame_values: what a frame holds, likewise.
      frame_decay: time in which a time surface falls to 1/e, in microseconds, likewise.
      frame_downsample: pixels of the camera each way that become one pixel of a frame.

    Raises:
      ValueError: when built with sizes, statistics or a framing that cannot be.
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
            raise ValueError(f'images cannot be made as {self.to_json()} says')

    @property
    def is_events(self) -> bool:
        """True for recordings of events, false for photos."""
        return len(self.shape) == 4

    def to_json(self) -> dict[str, Any]:
        """Returns ``images``, the form of the images, and ``preprocessing``, how they are made."""
        form = ('shape', 'mean', 'std')
        made = _FRAMING if self.is_events else ('resize', 'white')
        return {
            'images': {key: list(getattr(self, key)) for key in form},
            'preprocessing': {key: getattr(self, key) for key in made},
        }

    def read(self, path: Path) -> np.ndarray:
        """Reads a photo or a recording as an array of uint8 of `shape`.

        Raises:
          InputError: for a file that is missing, too large, or neither.
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
        """Converts pixels to an array of uint8 of `shape`.

        Args:
          pixels: array of uint8. One of `shape` is taken as it is, in the units of the data set;
            another one is a photo, (H, W, 3) or (H, W) of 0 to 255.

        Raises:
          InputError: for an array of another dtype or shape.
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
        image = crop_centre(photo, self.resize, height, width)
        if channels == 1:
            image = np.asarray(Image.fromarray(image).convert('L'))[..., None]
        if self.white != 255:
            image = np.round(image.astype(np.float32) * (self.white / 255)).astype(np.uint8)
        return image

    def _frames(self, events: Events) -> np.ndarray:
        return Framing.of(self, self.shape[0])(events)


def preprocessing_of(dataset: Dataset, examples: Split, options: DataOptions) -> Preprocessing:
    """Returns how the test images of a data set are made.

    Args:
      dataset: the data set.
      examples: its test examples.
      options: options that the data set was opened with.

    Raises:
      ValueError: for examples of a kind that is not known.
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
            raise ValueError(f'{dataset.name} has examples of no kind that files are read as')
    return Preprocessing(tuple(map(int, shape)), dataset.mean, dataset.std, **how)


def read_preprocessing(description: Mapping[str, Any]) -> Preprocessing | None:
    """Returns what a ``model.json`` says of images; None if it does not.

    Raises:
      ValueError: if it says what cannot be.
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
    raise ValueError('what it says of images and their preprocessing cannot be read')


def _read_events(content: bytes, suffix: str, size: tuple[int, ...]) -> Events:
    """Raises EventFileError for a format that is not known, or a camera of another size."""
    height, width = size
    if content.startswith(b'#!AER-DAT2'):
        events = event_files.read_aedat2(content)
    elif content.startswith(b'#!AER-DAT3'):
        events = event_files.read_aedat3(content, height=height, width=width)
    elif suffix.lower() == '.bin':
        events = event_files.read_nmnist(content, height=height, width=width)
    else:
        raise EventFileError('no recording of AEDAT 2.0, AEDAT 3.1 or 40 bits an event (.bin)')
    if (events.height, events.width) != (height, width):
        raise EventFileError(
            f'a camera of {events.width} columns and {events.height} rows; the network was trained '
            f'on {width} columns and {height} rows'
        )
    return events
