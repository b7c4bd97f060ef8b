"""What a configuration says of its data."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from snnjax.spelling import did_you_mean

_ALL = ('name', 'dir', 'split', 'workers', 'on_device', 'mixup', 'cutmix')
_CHANGES = ('flip', 'auto_augment', 'rand_augment', 'rand_augment_magnitude', 'random_erasing')
_PHOTOS = ('crop_scale', 'image_size', 'eval_size', 'eval_resize', 'on_decode_error', 'max_skipped')
_FRAMES = ('frames_by', 'frame_window', 'frame_values', 'frame_decay', 'frame_downsample')
_EVENTS = ('crop_padding', 'flip', 'crop_scale', 'event_drop', *_FRAMES)
USED_FOR = {
    'small images': {*_ALL, *_CHANGES, 'crop_padding'},
    'photos': {*_ALL, *_CHANGES, *_PHOTOS},
    'events': {*_ALL, *_EVENTS},
}
"""The options that have a meaning for each kind of data set."""

EVALUATION = {
    *('name', 'dir', 'split', 'workers', 'image_size', 'eval_size', 'eval_resize'),
    *('on_decode_error', 'max_skipped', *_FRAMES),
}
"""The options that have a meaning for test examples."""


def max_workers() -> int:
    """Returns how many processes may make batches on this machine: 64, or four a core."""
    return max(64, 4 * (os.cpu_count() or 1))


AUTO_AUGMENT_POLICIES = ('imagenet', 'cifar10')
FRAMINGS = ('number', 'time')
FRAME_VALUES = ('counts', 'time_surface', 'voxel_grid')
_LARGEST = {
    # Pixels each way, of one image: 200 MB.
    **dict.fromkeys(('image_size', 'eval_size', 'eval_resize'), 8192),
    # Changes one after the other.
    'rand_augment': 100,
    # From here on a beta distribution is all but constant.
    **dict.fromkeys(('mixup', 'cutmix'), 1000),
    # Microseconds: eleven days.
    **dict.fromkeys(('frame_window', 'frame_decay'), 10**12),
    # Pixels each way, of the largest camera.
    'frame_downsample': 2048,
}


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The keys of a configuration's ``data``.

    Raises:
      ValueError: when built with a value that cannot be; the message begins with the key.
    """

    name: str = 'cifar10'
    # Where `snnjax.tools.prepare` put it.
    dir: str = '~/snnjax_data'
    # How it is divided: 'official'; or for a data set without a division of its own 'by_order', the
    # first nine tenths of each class for training, or 'random:SEED', nine tenths at random.
    split: str = 'official'
    # Processes that make batches; 0 for threads of this one.
    workers: int = 0
    # Where batches of small images, and of events that are mirrored at most, are made: 'true', on
    # the devices, which then have all of them; 'false', on the host; 'auto', on accelerators that
    # have room. The batches are the same.
    on_device: str = 'auto'
    # Of the training examples. Small images: pixels that one is moved by at most, up or down, left
    # or right; likewise frames of events.
    crop_padding: int = 0
    # Mirror half of them.
    flip: bool = False
    # Photos and events: the part that is cropped and brought to full size has this share of the
    # area, or more.
    crop_scale: float = 1.0
    # Photos: pixels of a training image, and of a test image (0: the same), which is the centre of
    # the photo with its shorter side brought to `eval_resize` (0: an 8/7 of it).
    image_size: int = 224
    eval_size: int = 0
    eval_resize: int = 0
    # A policy of AutoAugment, 'imagenet' or 'cifar10'; or RandAugment, so many changes of a
    # strength of 0 to 30.
    auto_augment: str = ''
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    # Probability that a rectangle of an image is erased.
    random_erasing: float = 0.0
    # Blend each image with its neighbour in the batch, or paste a part of the neighbour; the
    # parameter of the beta distribution of the share. With both, each batch has one of them.
    mixup: float = 0.0
    cutmix: float = 0.0
    # Photos that cannot be decoded: 'raise', or 'skip', which leaves them out of their batches, up
    # to `max_skipped` times in a phase of a run, and in an evaluation.
    on_decode_error: str = 'raise'
    max_skipped: int = 100
    # Events: frames of equally many events, 'number', or of equal length, 'time'; then of so many
    # microseconds each (0: all of a recording).
    frames_by: str = 'number'
    frame_window: int = 0
    # What a frame holds: 'counts' of events; 'time_surface', how long ago each pixel had its last
    # event, which falls to 1/e in `frame_decay` microseconds (0: the length of a frame); or
    # 'voxel_grid', which divides each event between two frames by its time, with frames_by=time.
    frame_values: str = 'counts'
    frame_decay: int = 0
    # Pixels of the camera each way that become one pixel of a frame.
    frame_downsample: int = 1
    # Share of the events of a recording that is left out at most.
    event_drop: float = 0.0

    def __post_init__(self) -> None:
        self._require('image_size', 'at least 1', self.image_size >= 1)
        for key in ('crop_padding', 'workers', 'max_skipped', *_LARGEST):
            self._require(key, 'at least 0', getattr(self, key) >= 0)
        for key, largest in _LARGEST.items():
            self._require(key, f'at most {largest:,}', getattr(self, key) <= largest)
        most = max_workers()
        self._require(
            'workers',
            f'at most {most} on this machine, a process of some 400 MB each',
            self.workers <= most,
        )
        self._require('crop_scale', 'above 0 and at most 1', 0 < self.crop_scale <= 1)
        self._require('rand_augment_magnitude', '0 to 30', 0 <= self.rand_augment_magnitude <= 30)
        self._require('random_erasing', '0 to 1', 0 <= self.random_erasing <= 1)
        self._require('event_drop', 'at least 0 and below 1', 0 <= self.event_drop < 1)
        self._choose('frames_by', FRAMINGS)
        self._choose('frame_values', FRAME_VALUES)
        self._require('frame_downsample', 'at least 1', self.frame_downsample >= 1)
        self._require(
            'frame_values',
            'left out, or given with data.frames_by=time: it divides events by their time',
            self.frame_values != 'voxel_grid' or self.frames_by == 'time',
        )
        self._require(
            'frame_decay',
            'left out, or given with data.frame_values=time_surface',
            self.frame_values == 'time_surface' or not self.frame_decay,
        )
        self._choose('on_decode_error', ('raise', 'skip'))
        self._choose('on_device', ('auto', 'true', 'false'))
        for key in ('auto_augment', 'rand_augment'):
            self._require(
                key,
                'left out where data.on_device=true: Pillow makes these changes, on the host',
                self.on_device != 'true' or not getattr(self, key),
            )
        if self.auto_augment:
            self._choose('auto_augment', AUTO_AUGMENT_POLICIES)
        kind, _, seed = self.split.partition(':')
        is_seed = seed.isdecimal() and len(seed) <= 20
        known = self.split in ('official', 'by_order') or (kind == 'random' and is_seed)
        self._require('split', 'official, by_order or random:SEED, as random:0', known)
        size, resize = self.eval_shape
        self._require('eval_resize', f'at least eval_size={size}', resize >= size)

    @property
    def eval_shape(self) -> tuple[int, int]:
        """Pixels of a test image, and of the shorter side of the photo that it is cut from."""
        size = self.eval_size or self.image_size
        return size, self.eval_resize or round(size * 8 / 7)

    def require_meaning(self, kind: str) -> None:
        """Raises ValueError for an option, other than its default, that ``kind`` has no use for."""
        if kind == 'photos' and self.on_device == 'true':
            raise ValueError(
                f'data.on_device=true is for small images and events, {self.name} has photos, '
                "which are decoded on the host: leave it at 'auto'"
            )
        changes = self.crop_padding or self.event_drop or self.crop_scale != 1
        if kind == 'events' and self.on_device == 'true' and changes:
            raise ValueError(
                'data.on_device=true: crop_padding, crop_scale and event_drop change events before '
                "they are framed, on the host; leave them out, or leave it at 'auto'"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name not in USED_FOR[kind]:
                users = ' and '.join(k for k, used in USED_FOR.items() if field.name in used)
                raise ValueError(
                    f'data.{field.name}={value} is for {users}, {self.name} has {kind}: leave it '
                    f'at {field.default!r}'
                )

    def require_sides(self, height: int, width: int) -> None:
        """Raises ValueError for a `crop_padding` that would move all of an image away."""
        largest = min(height, width) - 1
        self._require(
            'crop_padding',
            f'at most {largest} for images of {height}x{width}',
            self.crop_padding <= largest,
        )
        self._require(
            'frame_downsample',
            f'a divisor of both sides of {height}x{width}',
            height % self.frame_downsample == 0 and width % self.frame_downsample == 0,
        )

    def _require(self, key: str, expected: str, holds: bool) -> None:
        if not holds:
            raise ValueError(f'data.{key}={getattr(self, key)} must be {expected}')

    def _choose(self, key: str, choices: tuple[str, ...]) -> None:
        value: Any = getattr(self, key)
        if value not in choices:
            raise ValueError(f'unknown data.{key}={value!r}; {did_you_mean(value, choices)}')
