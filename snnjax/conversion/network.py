"""The ANN to convert, and the spiking network with its weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.errors import UserError
from snnjax.models import Network
from snnjax.models.activations import Activation
from snnjax.models.observation import Call, capture_layers
from snnjax.models.params import by_name, nested
from snnjax.models.pooling import MaxPool

Variables = Mapping[str, Any]

NEURON = 'integrate_and_fire'
"""The neuron of converted networks, a key of `snnjax.neurons.NEURONS`."""


class ConversionError(UserError, ValueError):
    """A network or an option that a conversion method does not support; the message says why."""


def check_count(option: str, value: Any, least: int) -> None:
    """Raises ConversionError if an option is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConversionError(f'{option}={value!r} must be a whole number of at least {least}')


class Batch(NamedTuple):
    """A batch of images for a conversion.

    Attributes:
      images: a normalized float array of shape (B, H, W, C), or (B, T, H, W, C) for a rollout of
        frames.
      labels: an integer array of shape (B,).
      mask: a boolean array of shape (B,), False for padding.
    """

    images: Any
    labels: Any
    mask: Any


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The training images of a conversion, which can be iterated any number of times.

    Attributes:
      batches: a function that returns an iterator over all images, in batches of one size.
      count: the number of images, without padding.
      watch: a function ``(items, what, total) -> items`` that shows progress; ``total`` is the
        number of items, or None for the number of batches.
    """

    batches: Callable[[], Iterator[Batch]]
    count: int
    watch: Callable[[Iterator[Any], str, int | None], Iterator[Any]] = lambda items, *_: items

    def iterate(self, what: str) -> Iterator[Batch]:
        """Yields the batches and shows progress under the name ``what``."""
        yield from self.watch(self.batches(), what, None)

    def first(self) -> Batch:
        """Returns the first batch."""
        return next(iter(self.batches()))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of activations, which becomes a layer of neurons.

    Attributes:
      name: the path of the layer, such as ``stage1/block1/spike1``.
      module: the layer, unbound from the network.
      shape: the shape (H, W, C) of its outputs.
      steps: the number of time steps of its outputs, which is 1 unless the network is a rollout.
    """

    name: str
    module: Activation
    shape: tuple[int, ...]
    steps: int = 1

    @property
    def kind(self) -> str:
        """Returns the name of the layer's class in `snnjax.models.activations`, such as 'ReLU'."""
        return type(self.module).__name__


@dataclasses.dataclass(frozen=True)
class Ann:
    """A trained ANN.

    Attributes:
      model: a network of activations.
      variables: the variables of the network, unstacked.
      image_shape: the image shape (H, W, C), or (T, H, W, C) for a rollout of frames. The spiking
        network then has the same time steps.

    Raises:
      ConversionError: if the network spikes or has no activations, or if there are frames but the
        network is not a rollout.
    """

    model: Network
    variables: Variables
    image_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.model.is_spiking:
            raise ConversionError(
                'the network spikes already: use the weights of an ANN, such as relu_resnet20'
            )
        if len(self.image_shape) != 3 and not self.model.rollout:
            raise ConversionError(
                'networks of events can be converted only if they are rollouts, such as '
                'rollout_densenet; others need static images'
            )
        if not self.layers:
            raise ConversionError('the network has no activations that neurons can replace')

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Returns the layers of activations in forward order."""
        calls = trace(self.model, self.image_shape, Activation)
        return tuple(
            Layer('/'.join(call.path), call.module, call.output.shape[2:], call.output.shape[1])  # type: ignore[arg-type]
            for call in calls
        )

    @functools.cached_property
    def pools_by_largest(self) -> tuple[str, ...]:
        """Returns the names of the max-pooling layers."""
        calls = trace(self.model, self.image_shape, MaxPool)
        return tuple('/'.join(call.path) for call in calls)

    def check_pools_by_mean(self, method: str) -> None:
        """Raises ConversionError for max pooling, on behalf of a method that lacks support."""
        if self.pools_by_largest:
            raise ConversionError(
                f'{self.pools_by_largest[0]} is a max-pooling layer, which {method} does not '
                f'support: train the ANN with average pooling (--config.model.pooling=average)'
            )

    @property
    def biases(self) -> list[str]:
        """Returns the names of all biases of layers, and scales and biases of normalization."""
        names = by_name(self.variables['params'])
        return [name for name in names if name.rpartition('/')[2] in ('bias', 'scale')]

    def activations(self, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the logits, and the outputs (B, 1 or T, H, W, C) of all layers by name."""
        return _activations(self.model)(self.variables, images)


@functools.lru_cache(maxsize=8)
def _activations(model: Network) -> Any:
    @jax.jit
    def run(variables: Variables, images: jax.Array) -> Any:
        with capture_layers(Activation) as calls:
            logits = model.apply(variables, images)
        return logits, {'/'.join(call.path): call.output for call in calls}

    return run


def trace(model: Network, image_shape: tuple[int, ...], *kinds: type) -> list[Call]:
    """Returns all calls of modules for one image, without computing anything.

    Args:
      model: the network, with unrolled layers.
      image_shape: the image shape (H, W, C).
      *kinds: the classes of modules.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with capture_layers(*kinds) as calls:
        jax.eval_shape(model.init, jax.random.key(0), images)
    return calls


@dataclasses.dataclass(frozen=True)
class Converted:
    """A spiking network that was converted from an ANN.

    Attributes:
      model: the network, in which each layer of neurons has its own thresholds.
      options: the options of the model that differ from those of the ANN.
      variables: a dict ``{'params': ..., 'batch_stats': ...}``.
      thresholds: the thresholds by layer, of shape () or (C,).
      about: the facts about the conversion, as values that JSON can represent.
    """

    model: Network
    options: dict[str, Any]
    variables: Variables
    thresholds: Mapping[str, np.ndarray]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)


def spiking_options(
    ann: Ann,
    *,
    num_steps: int,
    per_channel: bool = False,
    soft_reset: bool = True,
    initial_per_neuron: bool = False,
    coding: str = 'direct',
    pool_gate: str = 'winner',
    **of_neuron: float,
) -> dict[str, Any]:
    """Returns the model options that replace an ANN's activations by neurons.

    Args:
      ann: the ANN.
      num_steps: the number of time steps T.
      per_channel: True for one threshold per channel.
      soft_reset: True to subtract the threshold after a spike, False to reset to 0.
      initial_per_neuron: True to make the membrane potential before the first step a parameter of
        each neuron.
      coding: 'direct' or 'poisson', see `snnjax.models.Network`.
      pool_gate: the max pooling of spikes, a value of `snnjax.models.pooling.GATES`.
      **of_neuron: further options of `snnjax.neurons.amplitude.integrate_and_fire`.
    """
    learnable = ['threshold per channel'] if per_channel else []
    learnable += ['initial per neuron'] if initial_per_neuron else []
    options: dict[str, Any] = {
        'activation': '',
        'activation_options': {},
        'neuron': NEURON,
        'neuron_options': {name: value for name, value in of_neuron.items() if value is not None},
        'learnable': ', '.join(learnable),
        'learnable_threshold': not per_channel,
        'soft_reset': soft_reset,
        'num_steps': num_steps,
        'coding': coding,
        'pool_gate': pool_gate,
    }
    # MS-ResNet is the spiking network with the structure of this ANN.
    return options | ({'kind': 'ms'} if getattr(ann.model, 'kind', '') == 'ann' else {})


def to_spiking(
    ann: Ann,
    thresholds: Mapping[str, Any],
    *,
    num_steps: int,
    initials: Mapping[str, Any] | None = None,
    variables: Variables | None = None,
    input_scale: float = 1.0,
    **options: Any,
) -> Converted:
    """Returns the spiking network of an ANN with given thresholds and unchanged weights.

    Args:
      ann: the ANN.
      thresholds: the thresholds by the names of all layers, above 0; numbers, or arrays of shape
        (C,).
      num_steps: the number of time steps T.
      initials: the membrane potentials before the first step, as shares of the thresholds, float
        arrays of shape (H, W, C) by layer.
      variables: the variables that replace those of the ANN, if any.
      input_scale: the value that a spike of a Poisson input represents.
      **options: the options of `spiking_options`.

    Raises:
      ConversionError: if there is no time step, or a threshold is not above 0.
    """
    if num_steps < 1:
        raise ConversionError(f'num_steps={num_steps}: a network needs at least 1 time step')
    arrays = {name: np.asarray(value, np.float32) for name, value in thresholds.items()}
    per_channel = any(array.ndim for array in arrays.values())
    arrays = {
        layer.name: np.broadcast_to(arrays[layer.name], layer.shape[-1:] if per_channel else ())
        for layer in ann.layers
    }
    # A channel that is never above 0 needs some threshold above 0; the value does not matter.
    arrays = {
        name: np.where(array > 0, array, array.max()) if array.ndim else array
        for name, array in arrays.items()
    }
    for name, array in arrays.items():
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise ConversionError(
                f'{name} never fires on the calibration images: its threshold would be '
                f'{array.min():g}. Use more images, or train the ANN further'
            )
    chosen = spiking_options(
        ann,
        num_steps=num_steps,
        per_channel=per_channel,
        initial_per_neuron=initials is not None,
        **options,
    )
    model = ann.model.clone(**chosen)
    placed = _with_neurons(model, ann, variables, arrays, initials, input_scale)
    return Converted(model, chosen, placed, arrays)


def _with_neurons(
    model: Network,
    ann: Ann,
    variables: Variables | None,
    thresholds: Mapping[str, np.ndarray],
    initials: Mapping[str, Any] | None,
    input_scale: float,
) -> Variables:
    given = by_name({**ann.variables, **(variables or {})})
    for name, array in thresholds.items():
        given[f'params/{name}/threshold'] = array
    for name, array in (initials or {}).items():
        given[f'params/{name}/initial'] = np.asarray(array, np.float32)
    given['params/input/scale'] = np.float32(input_scale)
    names = _names(model, ann.image_shape)
    found: dict[str, Any] = nested({name: given[name] for name in names})
    return {'params': found['params'], 'batch_stats': found.get('batch_stats', {})}


@functools.lru_cache(maxsize=16)
def _names(model: Network, image_shape: tuple[int, ...]) -> list[str]:
    """Returns the names of all variables, without those that only activations have."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    expected = by_name(jax.eval_shape(model.unrolled().init, jax.random.key(0), images))
    return [name for name in expected if name.split('/')[0] in ('params', 'batch_stats')]
