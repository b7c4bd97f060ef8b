"""The built-in data sets, and the data sets that the user has prepared."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from snnjax.data import records
from snnjax.data.metadata import PreparedDataError, is_column
from snnjax.data.options import DataOptions
from snnjax.data.records import Plan, Prepared, Records
from snnjax.data.sources import cifar, event_sets, image_sets
from snnjax.data.sources.event_files import MAX_SIDE, is_side
from snnjax.data.sources.fake_photos import FakePhotos
from snnjax.data.splits import (
    ArraySplit,
    EvaluationPhoto,
    EventSplit,
    PhotoSplit,
    Split,
    TrainingPhoto,
)
from snnjax.data.transforms.augment import ImageAugmentation
from snnjax.data.transforms.frames import EventAugmentation
from snnjax.data.transforms.framing import Framing
from snnjax.spelling import did_you_mean


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set of labeled images or recordings, opened with the options of a configuration.

    Attributes:
      name: the name in configurations.
      image_shape: the shape of a training image, (H, W, C), or (T, H, W, C) for frames of events.
      num_classes: the number of classes; labels are 0 to ``num_classes - 1``.
      mean: the mean of the training images by channel, in units of the stored pixels.
      std: the standard deviation of the training images by channel, in units of the stored pixels.
      load: a function from 'train' or 'test' to the examples of the split.
    """

    name: str
    image_shape: tuple[int, ...]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Callable[[str], Split]


PLANS: dict[str, Callable[..., Plan]] = {
    **{name: functools.partial(cifar.plan, name, d) for name, d in cifar.DOWNLOADS.items()},
    'imagenet': image_sets.plan_imagenet,
    'folder': image_sets.plan_folder,
    'nmnist': event_sets.plan_nmnist,
    'cifar10_dvs': event_sets.plan_cifar10_dvs,
    'dvs_gesture': event_sets.plan_dvs_gesture,
    'events_folder': event_sets.plan_events_folder,
}
"""The data sets that `snnjax.tools.prepare` makes: functions ``source -> plan`` by name.

The functions of `NAMED_BY_USER` take a name, too.
"""

NAMED_BY_USER = ('folder', 'events_folder')
STATISTICS = {name: (download.mean, download.std) for name, download in cifar.DOWNLOADS.items()}
"""The mean and standard deviation of the training pixels by channel, by data set."""
SMALL_IMAGES = (*STATISTICS, 'digits')
"""The data sets whose images are used at their stored size."""
# 255 times the values in common use for ImageNet, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
_PHOTO_STATISTICS = ((123.675, 116.280, 103.530), (58.395, 57.120, 57.375))


def open_dataset(options: DataOptions, num_steps: int | None = None) -> Dataset:
    """Opens the data set that a configuration names, without reading its examples.

    Args:
      options: the data options of the configuration.
      num_steps: the number of frames T of an event recording; needed for event data only.

    Raises:
      ValueError: if the name is unknown (the message suggests similar names), or if options do not
        apply to the data set.
      DatasetNotPreparedError: if the data set must be prepared first; the message has the command.
      PreparedDataError: if the prepared data set is damaged.
    """
    if options.name in READY:
        _check_split(options, official=True)
        return READY[options.name](options)
    makers = [name for name in PLANS if name not in NAMED_BY_USER]
    if options.name not in makers and not records.is_prepared(options.dir, options.name):
        known = [*makers, *READY, *records.prepared_names(options.dir)]
        hint = did_you_mean(options.name, known)
        raise ValueError(
            f'unknown data set {options.name!r}; {hint} Prepare your own data set with '
            f'python -m snnjax.tools.prepare folder --name={options.name} --source=FOLDER'
        )
    prepared = Prepared(options.dir, options.name)
    _check_split(options, official='undivided' not in prepared.sizes)
    kind = _kind_of(prepared)
    classes = prepared.features['label'].num_classes
    if kind == 'events':
        return _open_events(options, prepared, classes, num_steps)
    if kind == 'photos':
        return _open_photos(options, classes, lambda split: _divide(prepared, options.split, split))
    return _open_arrays(options, prepared, classes)


def class_names(options: DataOptions) -> list[str] | None:
    """Returns the class names of a data set by label, or None if it has no names.

    Args:
      options: the options of a data set that `open_dataset` can open.
    """
    if options.name in READY:
        return None
    return list(Prepared(options.dir, options.name).features['label'].names)


_PLACES = ('uint8', 'uint16')
_EVENT_COLUMNS = {'x': _PLACES, 'y': _PLACES, 'on': ('uint8',), 'elapsed': ('int32',)}


def _kind_of(prepared: Prepared) -> str:
    """Returns the kind of a prepared data set: 'events', 'photos' or 'small images'.

    Raises:
      PreparedDataError: if the examples are of no known kind, or the metadata does not fit them.
    """
    features = dict(prepared.features.items())
    kind = None
    if isinstance(features.get('label'), tfds.features.ClassLabel):
        image = features.get('image')
        if isinstance(image, tfds.features.Image):
            kind = 'photos' if isinstance(features.get('name'), tfds.features.Text) else None
        elif isinstance(image, tfds.features.Tensor):
            known = prepared.folder.parent.name in STATISTICS and image.np_dtype == np.uint8
            kind = 'small images' if known and len(image.shape) == 3 else None
        elif all(
            name in features and is_column(features[name]) and features[name].np_dtype in dtypes
            for name, dtypes in _EVENT_COLUMNS.items()
        ):
            sides = [prepared.metadata.get(key) for key in ('height', 'width')]
            kind = 'events' if all(map(is_side, sides)) else None
    if kind is None:
        raise PreparedDataError(
            f'{prepared.folder} is not a data set that snnjax.tools.prepare writes: its examples '
            f'have {sorted(features)}, which fit no kind of data set, or its camera does not have '
            f'sides of 1 to {MAX_SIDE:,} pixels; prepare it again'
        )
    if 'undivided' in prepared.sizes:
        _check_class_sizes(prepared, features['label'].num_classes)
    return kind


def _check_class_sizes(prepared: Prepared, classes: int) -> None:
    """Checks the class sizes, which determine the training examples of an undivided data set."""
    sizes = prepared.metadata.get('class_sizes')
    sizes = sizes.get('undivided') if isinstance(sizes, dict) else None
    if (
        not isinstance(sizes, list)
        or len(sizes) != classes
        or not all(type(size) is int and size >= 0 for size in sizes)
        or sum(sizes) != prepared.sizes['undivided']
    ):
        raise PreparedDataError(
            f'{prepared.folder / "metadata.json"} does not have sizes of {classes} classes with a '
            f'sum of {prepared.sizes["undivided"]:,} examples: prepare the data set again'
        )


def _check_split(options: DataOptions, official: bool) -> None:
    if official != (options.split == 'official'):
        raise ValueError(
            f'data.split={options.split}: {options.name} has '
            + (
                'an official split; use official'
                if official
                else 'no official split; use by_order or random:SEED'
            )
        )


def _divide(prepared: Prepared, how: str, split: str) -> tuple[Records, np.ndarray]:
    """Returns the records that contain a split, and the indices of its examples in them.

    Args:
      prepared: a data set with 'train' and 'test', or with 'undivided', sorted by class.
      how: the way to divide: 'official' for 'train' and 'test'; for 'undivided', 'by_order' (the
        first nine tenths of each class are for training) or 'random:SEED' (nine tenths of each
        class, at random).
      split: the split, 'train' or 'test'.
    """
    if how == 'official':
        return _all_of(prepared.records(split))
    rng = np.random.default_rng(int(how.partition(':')[2])) if how != 'by_order' else None
    numbers, first = [], 0
    for size in prepared.metadata['class_sizes']['undivided']:
        of_class = first + (np.arange(size) if rng is None else rng.permutation(size))
        boundary = size * 9 // 10
        numbers.append(np.sort(of_class[:boundary] if split == 'train' else of_class[boundary:]))
        first += size
    return prepared.records('undivided'), np.concatenate(numbers)


def _all_of(examples: Records) -> tuple[Records, np.ndarray]:
    return examples, np.arange(len(examples))


def _augmentation(
    options: DataOptions, mean: tuple[float, ...], *, flip: bool, max_pixel: int = 255
) -> ImageAugmentation:
    return ImageAugmentation(
        flip,
        options.auto_augment,
        options.rand_augment,
        options.rand_augment_magnitude,
        options.random_erasing,
        options.cutout,
        mean,
        max_pixel,
    )


def _array_split(
    options: DataOptions,
    images: np.ndarray,
    labels: np.ndarray,
    mean: tuple[float, ...],
    max_pixel: int = 255,
) -> ArraySplit:
    made = _augmentation(options, mean, flip=False, max_pixel=max_pixel)
    augment = made if made.needs_pillow or made.erases else None
    return ArraySplit(images, labels, options.crop_padding, options.flip, augment)


def _open_digits(options: DataOptions) -> Dataset:
    options.require_meaning('small images')
    options.require_sides(8, 8)
    if options.auto_augment or options.rand_augment:
        raise ValueError(
            'data.auto_augment and data.rand_augment are for RGB images, but digits are gray: '
            'leave them out'
        )

    mean = (4.8834,)

    def load(split: str) -> Split:
        pixels, labels = _read_digits()
        # Every fifth image is a test image.
        is_test = np.arange(len(labels)) % 5 == 0
        chosen = is_test if split == 'test' else ~is_test
        return _array_split(options, pixels[chosen], labels[chosen], mean, max_pixel=16)

    return Dataset('digits', (8, 8, 1), 10, mean, std=(6.0211,), load=load)


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns the digits of scikit-learn: uint8 images (1797, 8, 8, 1) and int32 labels (1797,)."""
    # Read without importing scikit-learn, which takes longer than all other imports together.
    package = importlib.util.find_spec('sklearn')
    folder = Path(package.origin).parent if package and package.origin else Path()
    file = folder / 'datasets/data/digits.csv.gz'
    if file.is_file():
        table = np.loadtxt(file, np.uint8, delimiter=',')
        return table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int32)
    # Another version of scikit-learn may keep them elsewhere.
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    return digits.images[..., None].astype(np.uint8), digits.target.astype(np.int32)


def _open_fake_photos(options: DataOptions) -> Dataset:
    sizes = {'train': 1_281_167, 'test': 5_000}
    return _open_photos(options, 1000, lambda split: _all_of(FakePhotos(sizes[split])))


READY: dict[str, Callable[[DataOptions], Dataset]] = {
    'digits': _open_digits,
    'fake_imagenet': _open_fake_photos,
}
"""The data sets that need no preparation, as functions from options to a data set."""


def _open_arrays(options: DataOptions, prepared: Prepared, classes: int) -> Dataset:
    options.require_meaning('small images')
    mean, std = STATISTICS[options.name]

    def load(split: str) -> Split:
        examples, numbers = _divide(prepared, options.split, split)
        read = examples.read(numbers)  # type: ignore[arg-type]
        images = np.stack([example['image'] for example in read])
        labels = np.array([example['label'] for example in read], np.int32)
        return _array_split(options, images, labels, mean)

    shape = tuple(prepared.features['image'].shape)
    options.require_sides(*shape[:2])
    return Dataset(options.name, shape, classes, mean, std, load)


def _open_events(
    options: DataOptions, prepared: Prepared, classes: int, num_steps: int | None
) -> Dataset:
    options.require_meaning('events')
    if num_steps is None:
        raise ValueError(
            f'{options.name} has event recordings, which need num_steps, the number of frames'
        )
    frame = Framing.of(options, num_steps)
    augment = EventAugmentation(
        options.flip, options.crop_padding, options.crop_scale, options.event_drop
    )
    height, width = prepared.metadata['height'], prepared.metadata['width']
    options.require_sides(height, width)

    def load(split: str) -> Split:
        examples, numbers = _divide(prepared, options.split, split)
        return EventSplit(examples, numbers, height, width, frame, augment)

    # Event counts are used as they are; other values are stored in units of 1 / scale.
    sides = height // frame.downsample, width // frame.downsample
    shape, std = (num_steps, *sides, 2), (frame.scale, frame.scale)
    return Dataset(options.name, shape, classes, mean=(0.0, 0.0), std=std, load=load)


def _open_photos(
    options: DataOptions,
    classes: int,
    find: Callable[[str], tuple[Records, np.ndarray]],
) -> Dataset:
    options.require_meaning('photos')
    options.require_sides(options.image_size, options.image_size)
    mean, std = _PHOTO_STATISTICS
    augment = _augmentation(options, mean, flip=options.flip)
    eval_size, eval_resize = options.eval_shape

    def load(split: str) -> Split:
        examples, numbers = find(split)
        return PhotoSplit(
            examples,
            numbers,
            train=TrainingPhoto(options.image_size, options.crop_scale, augment),
            test=EvaluationPhoto(eval_size, eval_resize),
            skip=options.on_decode_error == 'skip',
        )

    size = options.image_size
    return Dataset(options.name, (size, size, 3), classes, mean, std, load)
