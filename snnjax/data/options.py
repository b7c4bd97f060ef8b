"""The options in the ``data`` section of a configuration."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from snnjax.spelling import did_you_mean

_ALL = ('name', 'dir', 'split', 'workers', 'on_device', 'mixup', 'cutmix')
_CHANGES = (
    *('flip', 'auto_augment', 'rand_augment', 'rand_augment_magnitude'),
    *('random_erasing', 'cutout'),
)
_PHOTOS = ('crop_scale', 'image_size', 'eval_size', 'eval_resize', 'on_decode_error', 'max_skipped')
_FRAMES = ('frames_by', 'frame_window', 'frame_values', 'frame_decay', 'frame_downsample')
_EVENTS = ('crop_padding', 'flip', 'crop_scale', 'event_drop', *_FRAMES)
USED_FOR = {
    'small images': {*_ALL, *_CHANGES, 'crop_padding'},
    'photos': {*_ALL, *_CHANGES, *_PHOTOS},
    'events': {*_ALL, *_EVENTS},
}
"""The options that apply to each kind of data set."""

EVALUATION = {
    *('name', 'dir', 'split', 'workers', 'image_size', 'eval_size', 'eval_resize'),
    *('on_decode_error', 'max_skipped', *_FRAMES),
}
"""The options that apply to test examples."""


def max_workers() -> int:
    """Returns the largest allowed number of worker processes: 64, or 4 per core if that is more."""
    return max(64, 4 * (os.cpu_count() or 1))


AUTO_AUGMENT_POLICIES = ('imagenet', 'cifar10')
FRAMINGS = ('number', 'time')
FRAME_VALUES = ('counts', 'time_surface', 'voxel_grid')
_LARGEST = {
    # The side of an image in pixels; one image of this size takes 200 MB.
    **dict.fromkeys(('image_size', 'eval_size', 'eval_resize'), 8192),
    # The side of a square in pixels.
    'cutout': 8192,
    # The number of changes applied to an image.
    'rand_augment': 100,
    # Above this value a beta distribution is almost constant.
    **dict.fromkeys(('mixup', 'cutmix'), 1000),
    # Eleven days in microseconds.
    **dict.fromkeys(('frame_window', 'frame_decay'), 10**12),
    # The side of the largest camera in pixels.
    'frame_downsample': 2048,
}


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The keys of a configuration's ``data`` section.

    Raises:
      ValueError: if a value is invalid; the message names its key.
    """

    name: str = 'cifar10'
    # The folder of the prepared data sets, as written by `snnjax.tools.prepare`.
    dir: str = '~/snnjax_data'
    # The division into training and test examples: 'official'; or, for a data set without official
    # splits, 'by_order' (the first nine tenths of each class are for training) or 'random:SEED'
    # (nine tenths of each class, at random).
    split: str = 'official'
    # The number of processes that make batches; 0 for threads of the main process.
    workers: int = 0
    # The place where batches of small images are made, and batches of events without other
    # augmentation than mirroring: 'true' for the devices, which then hold the whole data set;
    # 'false' for the host; 'auto' for accelerators with enough memory. The batches are the same.
    on_device: str = 'auto'
    # Training, small images and events: the largest random shift in pixels, vertical or horizontal.
    crop_padding: int = 0
    # Training: mirror half of the examples left to right.
    flip: bool = False
    # Training, photos and events: the smallest share of the area that a random crop covers. The
    # crop is resized to full size.
    crop_scale: float = 1.0
    # Photos: the side of a training image, and of a test image (0: the same), in pixels. A test
    # image is the center of the photo after its shorter side was resized to `eval_resize` pixels
    # (0: 8/7 of the side of a test image).
    image_size: int = 224
    eval_size: int = 0
    eval_resize: int = 0
    # Training: the AutoAugment policy, 'imagenet' or 'cifar10'; or the number of RandAugment
    # changes and their magnitude, 0 to 30.
    auto_augment: str = ''
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    # Training: the probability that a rectangle of an image is erased.
    random_erasing: float = 0.0
    # Training: the side of a square that covers a random part of each image with the mean color
    # (Cutout), in pixels; 0 for none.
    cutout: int = 0
    # Training: the parameter of the beta distribution for blending each image with its neighbor in
    # the batch (mixup), and for pasting a part of the neighbor (CutMix). With both, each batch uses
    # one of them.
    mixup: float = 0.0
    cutmix: float = 0.0
    # Photos that cannot be decoded: 'raise' an error, or 'skip' them, up to `max_skipped` times in
    # a phase of a run and in an evaluation.
    on_decode_error: str = 'raise'
    max_skipped: int = 100
    # Events: 'number' for frames with equally many events; 'time' for frames of equal length,
    # `frame_window` microseconds (0: divide the whole recording).
    frames_by: str = 'number'
    frame_window: int = 0
    # The content of a frame: 'counts' of events; 'time_surface', the time since the last event of
    # each pixel, as a value that decays to 1/e in `frame_decay` microseconds (0: the length of a
    # frame); or 'voxel_grid', which divides each event between two frames by its time and needs
    # frames_by=time.
    frame_values: str = 'counts'
    frame_decay: int = 0
    # The side, in pixels of the camera, of the square that becomes one pixel of a frame.
    frame_downsample: int = 1
    # Training, events: the largest share of the events of a recording that is dropped.
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
            f'at most {most} on this machine: each process takes about 400 MB',
            self.workers <= most,
        )
        self._require('crop_scale', 'above 0 and at most 1', 0 < self.crop_scale <= 1)
        self._require('rand_augment_magnitude', '0 to 30', 0 <= self.rand_augment_magnitude <= 30)
        self._require('random_erasing', '0 to 1', 0 <= self.random_erasing <= 1)
        self._require(
            'cutout',
            'left out if data.random_erasing is given: each of them covers a part of an image',
            not (self.cutout and self.random_erasing),
        )
        self._require('event_drop', 'at least 0 and below 1', 0 <= self.event_drop < 1)
        self._choose('frames_by', FRAMINGS)
        self._choose('frame_values', FRAME_VALUES)
        self._require('frame_downsample', 'at least 1', self.frame_downsample >= 1)
        self._require(
            'frame_values',
            'left out, or given with data.frames_by=time: voxel grids divide events by their time',
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
                'left out if data.on_device=true: Pillow makes these changes on the host',
                self.on_device != 'true' or not getattr(self, key),
            )
        if self.auto_augment:
            self._choose('auto_augment', AUTO_AUGMENT_POLICIES)
        kind, _, seed = self.split.partition(':')
        is_seed = seed.isdecimal() and len(seed) <= 20
        known = self.split in ('official', 'by_order') or (kind == 'random' and is_seed)
        self._require('split', 'official, by_order or random:SEED, such as random:0', known)
        size, resize = self.eval_shape
        self._require('eval_resize', f'at least eval_size={size}', resize >= size)

    @property
    def eval_shape(self) -> tuple[int, int]:
        """Returns the side of a test image, and the shorter side of the photo, both in pixels."""
        size = self.eval_size or self.image_size
        return size, self.eval_resize or round(size * 8 / 7)

    def require_meaning(self, kind: str) -> None:
        """Raises ValueError if an option is set that does not apply to data sets of ``kind``."""
        if kind == 'photos' and self.on_device == 'true':
            raise ValueError(
                f'data.on_device=true is for small images and events, but {self.name} has photos, '
                "which are decoded on the host: leave it at 'auto'"
            )
        changes = self.crop_padding or self.event_drop or self.crop_scale != 1
        if kind == 'events' and self.on_device == 'true' and changes:
            raise ValueError(
                'data.on_device=true excludes crop_padding, crop_scale and event_drop for events: '
                'they change events on the host, before frames are made; leave them out, or set '
                "data.on_device to 'auto'"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name not in USED_FOR[kind]:
                users = ' and '.join(k for k, used in USED_FOR.items() if field.name in used)
                raise ValueError(
                    f'data.{field.name}={value} is for {users}, but {self.name} has {kind}: leave '
                    f'it at {field.default!r}'
                )

    def require_sides(self, height: int, width: int) -> None:
        """Raises ValueError if options do not fit images of ``height`` x ``width`` pixels.

        A `crop_padding` must leave a part of the image visible, and so must a `cutout`.
        `frame_downsample` must divide both sides.
        """
        largest = min(height, width) - 1
        self._require(
            'crop_padding',
            f'at most {largest} for images of {height}x{width}',
            self.crop_padding <= largest,
        )
        self._require(
            'cutout', f'at most {largest} for images of {height}x{width}', self.cutout <= largest
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
