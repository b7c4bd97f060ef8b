"""Photos that nobody took: JPEG files of the size of ImageNet's, made when they are first read."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from snnjax.data.records import Example, Records


class FakePhotos(Records):
    """Stands in for the records of ImageNet, for speed tests and machines without it.

    There are `DIFFERENT` photos, which come again and again: making one takes longer than decoding.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __reduce__(self) -> tuple[type[FakePhotos], tuple[int]]:
        return FakePhotos, (self._size,)

    def __len__(self) -> int:
        return self._size

    def read(self, numbers: Sequence[int]) -> list[Example]:
        """The examples of these numbers."""
        return [
            {
                'image': fake_photo(int(number) % DIFFERENT),
                'label': int(number) % 1000,
                'name': f'fake_{number}.JPEG'.encode(),
            }
            for number in numbers
        ]


DIFFERENT = 128


@functools.lru_cache(maxsize=DIFFERENT)
def fake_photo(number: int) -> bytes:
    """A JPEG of 500x375 pixels, of the detail and so about of the size of a real one."""
    rng = np.random.default_rng(number)
    # Detail falls off with its frequency, as in photos.
    photo = np.zeros((375, 500, 3))
    for cells in (2, 4, 8, 16, 32, 64, 128, 375):
        noise = rng.normal(128, 110, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        layer = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        photo += (np.asarray(layer, float) - 128) / cells**0.35
    stream = io.BytesIO()
    Image.fromarray((photo / 2 + 128).clip(0, 255).astype(np.uint8)).save(
        stream, 'JPEG', quality=90
    )
    return stream.getvalue()
