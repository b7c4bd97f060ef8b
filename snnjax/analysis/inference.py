"""Trained networks with the preprocessing and class names that classifying files needs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.analysis.trained import data_as_trained
from snnjax.data import DataOptions, DatasetNotPreparedError, open_dataset
from snnjax.data.datasets import class_names
from snnjax.data.transforms.preprocessing import Preprocessing, preprocessing_of, read_preprocessing
from snnjax.errors import UserError, WeightsError
from snnjax.models import Network, compiler_options, mean_firing_rate
from snnjax.models.network import DEFAULT_NUM_STEPS
from snnjax.paths import expand
from snnjax.train.config import ConfigError
from snnjax.train.step import normalize
from snnjax.weights.folder import open_weights
from snnjax.weights.source import find_weights

TOP = 5
"""The number of classes in a `Result`."""


class Guess(NamedTuple):
    """A predicted class.

    Attributes:
      label: the label of the class, an integer from 0.
      name: the name of the class.
      probability: the softmax probability of the class, between 0 and 1.
    """

    label: int
    name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The prediction of a network for one image or recording.

    Attributes:
      top: the most likely classes in descending order, at most `TOP`.
      probabilities: the softmax probabilities, a float32 array of shape (classes,).
      firing_rate: the number of spikes per neuron and time step, averaged over the network.
    """

    top: list[Guess]
    probabilities: np.ndarray
    firing_rate: float

    @property
    def name(self) -> str:
        """Returns the name of the most likely class."""
        return self.top[0].name

    @property
    def probability(self) -> float:
        """Returns the probability of the most likely class."""
        return self.top[0].probability


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A trained network with its variables, class names and preprocessing, made by `load`.

    Attributes:
      model: the Flax module; ``model.apply(variables, preprocess(files))`` returns logits.
      variables: the variables ``{'params': ..., 'batch_stats': ...}`` as NumPy arrays.
      class_names: the class names by label.
      preprocessing: the preprocessing that turns files into images.
      notes: the assumptions made because the weights lack information, one sentence each.
    """

    model: Network
    variables: Mapping[str, Any]
    class_names: list[str]
    preprocessing: Preprocessing
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def num_steps(self) -> int:
        """Returns the number of time steps T per image."""
        return self.model.num_steps or DEFAULT_NUM_STEPS

    def preprocess(self, inputs: Any) -> jax.Array:
        """Returns normalized images, the input of the network.

        Args:
          inputs: the path of a photo or recording, an array of pixels (in a format that
            `snnjax.data.transforms.preprocessing.Preprocessing.convert` takes), or a sequence of
            paths and arrays.

        Returns:
          A float32 array of shape (B, H, W, C), or (B, T, H, W, 2) for recordings.

        Raises:
          InputError: if an input cannot be read; the message names it.
        """
        pixels = [self._pixels(one) for one in self._each(inputs)]
        shape = self.preprocessing.shape
        stacked = np.stack(pixels) if pixels else np.zeros((0, *shape), np.uint8)
        return normalize(jnp.asarray(stacked), self.preprocessing)

    def classify(self, inputs: Any, *, batch_size: int = 32) -> list[Result]:
        """Classifies photos of any size, or recordings.

        Args:
          inputs: the photos or recordings, as `preprocess` takes them.
          batch_size: the number of images per forward pass.

        Returns:
          A `Result` per input.

        Raises:
          InputError: if an input cannot be read; the message names it.
        """
        return list(self.classify_each(inputs, batch_size=batch_size))

    def classify_each(self, inputs: Any, *, batch_size: int = 32) -> Iterator[Result]:
        """Yields the results of `classify` batch by batch."""
        each = self._each(inputs)
        size = max(1, min(batch_size, len(each)))
        for first in range(0, len(each), size):
            chosen = each[first : first + size]
            images = self.preprocess(chosen)
            # Padding the last batch to the common size avoids a second compilation.
            padding = [(0, size - len(chosen))] + [(0, 0)] * (images.ndim - 1)
            outputs = self._infer(self.variables, jnp.pad(images, padding))
            for probabilities, rate in itertools.islice(
                zip(*jax.device_get(outputs), strict=True), len(chosen)
            ):
                order = np.argsort(-probabilities, kind='stable')[:TOP].tolist()
                top = [Guess(n, self.class_names[n], float(probabilities[n])) for n in order]
                yield Result(top, probabilities, float(rate))

    @functools.cached_property
    def _infer(self) -> Any:
        def infer(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, updates = self.model.apply(variables, images, mutable=['firing_rates'])
            probabilities = jax.nn.softmax(logits.astype(jnp.float32))
            return probabilities, mean_firing_rate(updates['firing_rates'])

        return jax.jit(infer, compiler_options=compiler_options(jax.default_backend()))

    def _pixels(self, one: Any) -> np.ndarray:
        if isinstance(one, str | Path):
            return self.preprocessing.read(expand(one))
        return self.preprocessing.convert(one)

    def _each(self, inputs: Any) -> Sequence[Any]:
        """Returns the inputs as a sequence."""
        if isinstance(inputs, str | Path):
            return [inputs]
        if not hasattr(inputs, 'shape') and isinstance(inputs, Iterable):
            return inputs if isinstance(inputs, Sequence) else list(inputs)
        pixels = np.asarray(inputs)
        shape = self.preprocessing.shape
        is_one = pixels.shape == shape or (len(shape) == 3 and pixels.ndim < 4)
        return [pixels] if is_one else list(pixels)


def load(
    weights: str | Path,
    *,
    num_steps: int | None = None,
    checkpoint: str | int = 'newest',
    data: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Loads a trained network that classifies photos or recordings.

    Example::

      loaded = snnjax.load('runs/flowers')
      for result in loaded.classify(['daisy.jpg', 'rose.png']):
          print(result.name, result.probability, result.firing_rate)

    Class names and preprocessing come from ``model.json``, or else from the data set of the run. If
    neither is known, photos are prepared as for ImageNet, and `LoadedModel.notes` says so.

    Args:
      weights: the work directory of a run, or a folder of weights.
      num_steps: the number of time steps; None for that of training.
      checkpoint: the checkpoint of a run: 'newest', 'best' or a step.
      data: the fields of `snnjax.data.DataOptions` of another data set, to prepare images as for
        that data set.

    Raises:
      ConfigError: if the preprocessing is not known, or an argument is wrong.
      DatasetNotPreparedError: if ``data`` names a data set that is not prepared.
      WeightsError: if there are no weights, or they do not fit the model.
    """
    if num_steps is not None and num_steps < 1:
        raise ConfigError(f'num_steps={num_steps} must be at least 1')
    model, variables = open_weights(weights, num_steps, checkpoint)
    about = describe_inputs(weights, model, data or {})
    preprocessing, names = about.preprocessing, about.class_names
    notes = []
    if preprocessing is None:
        if data or model.in_channels != 3:
            raise ConfigError(f'{weights} does not say how to prepare images: {about.reason}')
        photos = open_dataset(DataOptions(name='fake_imagenet'))
        preprocessing = preprocessing_of(photos, photos.load('test'), DataOptions())
        notes.append(
            'the weights do not say how to prepare images: photos are prepared as for ImageNet, '
            f'{preprocessing.shape[0]} pixels; name another data set with --dataset'
        )
    shape = jax.ShapeDtypeStruct((1, *preprocessing.shape), 'float32')
    try:
        jax.eval_shape(model.apply, variables, shape)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{weights}: {error}') from error
    if names is None:
        names = [str(label) for label in range(model.num_classes)]
        notes.append('the class names are not known: classes are shown as numbers')
    return LoadedModel(model, variables, names, preprocessing, notes)


class Inputs(NamedTuple):
    """The preprocessing and the class names of a network, as far as they are known.

    Attributes:
      preprocessing: the preprocessing that turns files into images; None if not known.
      class_names: the class names by label; None if not known.
      reason: the reason why one of them is not known; empty if there is none.
    """

    preprocessing: Preprocessing | None
    class_names: list[str] | None
    reason: str = ''

    def to_json(self) -> dict[str, Any]:
        """Returns the preprocessing and the class names as entries of ``model.json``."""
        about = self.preprocessing.to_json() if self.preprocessing else {}
        return about | ({'classes': self.class_names} if self.class_names else {})


def describe_inputs(weights: str | Path, model: Network, data: Mapping[str, Any]) -> Inputs:
    """Returns the preprocessing and the class names of a network.

    Args:
      weights: the work directory of a run, or a folder of weights. Its ``model.json`` takes
        precedence over the data set.
      model: the network.
      data: the fields of `snnjax.data.DataOptions` that differ from training. If not empty, the
        preprocessing of the data set takes precedence.

    Raises:
      ConfigError: if an option in ``data`` is wrong.
      DatasetNotPreparedError: if ``data`` names a data set that is not prepared.
      WeightsError: if ``model.json`` describes an invalid preprocessing.
    """
    path = find_weights(weights) / 'model.json'
    description = json.loads(path.read_text())
    try:
        preprocessing = read_preprocessing(description)
    except ValueError as error:
        raise WeightsError(f'{path}: {error}') from error
    names = description.get('classes')
    if not (
        isinstance(names, list)
        and len(names) == model.num_classes
        and all(isinstance(name, str) for name in names)
    ):
        names = None
    if preprocessing and preprocessing.is_events and model.num_steps:
        shape = (model.num_steps, *preprocessing.shape[1:])
        preprocessing = dataclasses.replace(preprocessing, shape=shape)
    if preprocessing and names and not data:
        return Inputs(preprocessing, names)
    try:
        options = DataOptions(**data_as_trained(str(weights), data))
        dataset = open_dataset(options, model.num_steps or DEFAULT_NUM_STEPS)
        found = preprocessing_of(dataset, dataset.load('test'), options)
        found_names = class_names(options) or [str(n) for n in range(dataset.num_classes)]
    except (DatasetNotPreparedError, ValueError) as error:
        if not data:
            return Inputs(preprocessing, names, str(error))
        if isinstance(error, UserError):
            raise
        raise ConfigError(str(error)) from error
    if len(found_names) == model.num_classes:
        names = names or found_names
    return Inputs(found if data else preprocessing or found, names)
