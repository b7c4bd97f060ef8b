"""Synthetic JPEG photos of about the size of ImageNet's, made on first access."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from snnjax.data.records import Example, Records


class FakePhotos(Records):
    """Synthetic records with the form of ImageNet's, for speed tests and for machines without it.

    Making a photo takes longer than decoding it, so only `DIFFERENT` photos are made and repeated.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __reduce__(self) -> tuple[type[FakePhotos], tuple[int]]:
        return FakePhotos, (self._size,)

    def __len__(self) -> int:
        return self._size

    def read(self, numbers: Sequence[int]) -> list[Example]:
        """Returns the examples at ``numbers``, a sequence of indices."""
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
    """Returns a JPEG file of 500x375 pixels with the detail, and so about the size, of a photo."""
    rng = np.random.default_rng(number)
    # Finer detail has less contrast, as in photos.
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
