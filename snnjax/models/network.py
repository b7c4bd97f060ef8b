"""The base class of all networks: its options, input checks and neurons."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from snnjax.models.activations import ACTIVATIONS, activation_option_names
from snnjax.models.layers import SpikingNeurons, dropout
from snnjax.models.poisson import PoissonInput
from snnjax.models.pooling import GATES
from snnjax.models.rollouts import ImageNode
from snnjax.neurons import NEURONS, SURROGATES, Neuron
from snnjax.neurons.registry import REQUIRED, as_neuron
from snnjax.spelling import did_you_mean

DEFAULT_NUM_STEPS = 6
"""Default number of time steps of a static image; the value of the paper (B.3)."""

CODINGS = ('direct', 'poisson')

_OPTION_OF_FIELD = {
    **{name: name for name in ('decay', 'decay_input', 'threshold', 'reset', 'soft_reset')},
    **{name: name for name in ('strict', 'detach_reset', 'surrogate')},
    'surrogate_width': 'width',
}
"""The neuron's option that each field of a network sets."""


class Network(nn.Module):
    """A network of spiking neurons, or of activations, that classifies images or event streams.

    A static image is constant in time up to the first layer of neurons. The layers before it run
    once per image, and their gradient sums over all time steps. A network of activations runs once
    as a whole.

    Attributes:
      num_classes: the number of classes, and of logits per image.
      num_steps: the number of time steps T of a static image; None for 6. A sequence brings its
        own T, which must equal ``num_steps`` if that is given.
      in_channels: the number of image channels.
      step_logits: True to return the logits of every time step, ``(B, T, num_classes)``, instead of
        their mean over time.
      coding: 'direct' to present a static image unchanged in each time step, or 'poisson' to encode
        it as spikes (`snnjax.models.poisson.PoissonInput`). Sequences are never encoded.
      dropout: the share of the inputs of fully connected layers that training drops. The mask is
        the same in all time steps and needs an rng 'dropout'.
      activation: a key of `snnjax.models.activations.ACTIVATIONS` for an ANN, or '' for spiking
        neurons. The options from ``neuron`` to ``detach_reset`` apply to spiking neurons only.
      activation_options: a dict of options of the activation, by name.
      neuron: a key of `snnjax.neurons.NEURONS`. The neuron takes the options below that it
        supports; all others must keep their defaults.
      neuron_options: a dict of options of the neuron that have no field here, by name.
      pool_gate: the rule of max pooling for neurons whose spikes encode a rate, a value of
        `snnjax.models.pooling.GATES`. Other networks must keep the default.
      learnable: the names of the neuron's options that training changes, separated by commas. Each
        layer of neurons has its own parameter for each option. If the neuron accepts an array,
        'threshold per channel' or 'threshold per neuron' learns one value per channel or neuron.
      decay: the decay of the membrane potential, ``tau_mem``. The defaults of the neuron's options
        are those of table 6. A decay of 1 gives integrate-and-fire neurons without a leak.
      decay_input: True to multiply the input current by ``1 - decay`` (`snnjax.neurons.lif`).
      threshold: the firing threshold, ``V_th``, which is also the initial scale of the
        normalization.
      reset: the membrane potential after a spike, ``V_reset``.
      soft_reset: True to subtract the threshold after a spike (`snnjax.neurons.lif`).
      learnable_decay: True to learn one decay per layer of neurons.
      learnable_threshold: True to learn one threshold per layer of neurons.
      surrogate: a key of `snnjax.neurons.SURROGATES`.
      surrogate_width: the width of the surrogate gradient, ``a``.
      strict: True to fire if ``u > V_th``, False if ``u >= V_th`` (`snnjax.neurons.lif`).
      detach_reset: True to stop the gradient through the reset (`snnjax.neurons.lif`).
      dtype: the dtype of activations and convolutions; None for the dtype of the images.
        Parameters, statistics and membrane potentials do not follow it and stay float32.
      rollout: True to let every edge take one time step (`snnjax.models.rollouts`). The variables
        are those of the sequential network. The mean over time begins at the first response.

    Raises:
      ValueError: if a name is unknown, a number or dtype is invalid, or ``rollout`` is set for a
        network that has no rollout.
    """

    num_classes: int = 10
    num_steps: int | None = None
    in_channels: int = 3
    step_logits: bool = False
    coding: str = 'direct'
    dropout: float = 0.0
    activation: str = ''
    activation_options: Mapping[str, Any] = FrozenDict()
    neuron: str = 'lif'
    neuron_options: Mapping[str, Any] = FrozenDict()
    pool_gate: str = 'winner'
    learnable: str = ''
    decay: float = 0.25
    decay_input: bool = False
    threshold: float = 0.5
    reset: float = 0.0
    soft_reset: bool = False
    learnable_decay: bool = False
    learnable_threshold: bool = False
    surrogate: str = 'rectangular'
    surrogate_width: float = 1.0
    strict: bool = False
    detach_reset: bool = True
    dtype: Any = None
    rollout: bool = False

    def __post_init__(self) -> None:
        self._check_names(neuron=NEURONS, surrogate=SURROGATES, coding=CODINGS, pool_gate=GATES)
        self._check_positive('num_classes', 'in_channels', largest=2**20)
        if self.num_steps is not None:
            self._check_positive('num_steps', largest=2**16)
        learnable = 'above 0 and below 1 to be learned'
        for option, expected, holds in (
            ('num_steps', 'at least 1', self.num_steps is None or self.num_steps >= 1),
            ('dropout', 'at least 0 and below 1', 0 <= self.dropout < 1),
            ('decay', 'from 0 to 1', 0 <= self.decay <= 1),
            ('decay', learnable, not self.learnable_decay or 0 < self.decay < 1),
            ('threshold', 'above 0', self.threshold > 0),
            ('surrogate_width', 'above 0', self.surrogate_width > 0),
            ('dtype', "a floating-point type, such as 'bfloat16'", _is_floating(self.dtype)),
        ):
            if not holds:
                raise ValueError(f'{option}={getattr(self, option)} must be {expected}')
        self.neuron_options = FrozenDict(self.neuron_options)
        self._check_neuron()
        self.activation_options = FrozenDict(self.activation_options)
        self._check_activation()
        if self.rollout and self.path_lengths is None:
            raise ValueError(
                f'rollout: {self._describe_kind()} has no rollout because the lengths of its paths '
                f'are not known; use a ResNet, VGG or DenseNet, or set rollout to false'
            )
        super().__post_init__()

    @property
    def scans_layers(self) -> bool:
        """Returns True if repeated blocks are scanned on this machine."""
        return False

    @property
    def is_spiking(self) -> bool:
        """Returns True if the network has spiking neurons, False if it has activations."""
        return not self._activation

    @property
    def _activation(self) -> str:
        """Returns the name of the network's activation, '' for spiking neurons."""
        return self.activation

    @property
    def block_names(self) -> list[str]:
        """Returns the names of the blocks, ``stage1/block1``, in order; empty without blocks."""
        return []

    @property
    def path_lengths(self) -> tuple[int, int] | None:
        """Returns the number of edges of the shortest and the longest path; None if not known.

        Paths lead from the images to the logits. `snnjax.models.rollouts` defines edges.
        """
        return None

    @property
    def first_response(self) -> int:
        """Returns the index of the first time step whose logits depend on the images.

        It is 0 unless the network is a rollout.
        """
        return self.path_lengths[0] if self.rollout and self.path_lengths else 0

    @property
    def default_image_size(self) -> int:
        """Returns the height and width of the images that the network was designed for."""
        return 128 if self.in_channels == 2 else 32

    @property
    def flattened(self) -> tuple[str, int] | None:
        """Returns the layer that reads flattened pixels, and their channels; None without one."""
        return None

    @nn.nowrap
    def unrolled(self) -> Self:
        """Returns the model with scanning and rematerialization disabled.

        Its variables are unstacked (`snnjax.models.params`).
        """
        return self

    @nn.nowrap
    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError if images are too small; networks of this class accept all sizes."""
        del height, width

    @nn.nowrap
    def image_size(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Returns a height and width of images that fit the parameters; all sizes fit here."""
        del params
        return 64, 64

    @nn.nowrap
    def _check_names(self, **known: Collection[str]) -> None:
        """Raises ValueError if an option has a value that is not one of its known names."""
        for option, choices in known.items():
            value = getattr(self, option)
            if value not in choices:
                raise ValueError(f'unknown {option} {value!r}; {did_you_mean(value, choices)}')

    @nn.nowrap
    def _check_positive(self, *options: str, largest: int = 2**14) -> None:
        """Raises ValueError for a number, or a tuple with a number, below 1 or above ``largest``.

        Larger numbers are mistakes: JAX would trace for hours or run out of memory.
        """
        for option in options:
            value = getattr(self, option)
            numbers = value if isinstance(value, tuple) else (value,)
            if min(numbers, default=1) < 1:
                raise ValueError(f'{option}={value} must be at least 1')
            if max(numbers, default=1) > largest:
                raise ValueError(f'{option}={value} must be at most {largest}')

    @nn.nowrap
    def _check_lengths(self, *options: str, of: str = 'stage') -> None:
        """Raises ValueError if tuples do not have one number for each stage, or other part.

        Args:
          *options: the names of options that are tuples.
          of: the name of one part.
        """
        if len({len(getattr(self, option)) for option in options}) > 1:
            *given, last = (f'{option}={getattr(self, option)}' for option in options)
            raise ValueError(f'{", ".join(given)} and {last} must each have one number per {of}')

    @nn.nowrap
    def _check_neuron(self) -> None:
        """Raises ValueError if an option is given that the neuron does not have."""
        options = self._neuron.options
        fields = {option: field for field, option in _OPTION_OF_FIELD.items()}
        for option in self.neuron_options:
            if option in fields:
                field = fields[option]
                raise ValueError(f'neuron_options: set {option!r} with the option {field!r}')
            if option not in options:
                others = options.keys() - fields.keys()
                raise ValueError(
                    f'neuron_options: the neuron {self.neuron!r} has no option {option!r}; '
                    + (
                        did_you_mean(option, others)
                        if others
                        else 'all of its options are options of the network'
                    )
                )
            value, default = self.neuron_options[option], options[option]
            if isinstance(default, float) and not _is_number(value):
                raise ValueError(f'neuron_options: {option}={value!r} must be a number')
        for field, option in _OPTION_OF_FIELD.items():
            value = getattr(self, field)
            if option not in options and value != _default(type(self), field):
                raise ValueError(
                    f'{field}={value}: the neuron {self.neuron!r} has no option {option!r}; keep '
                    f'the default {field}={_default(type(self), field)}'
                )
        given = self._options_of_neuron()
        for option, default in options.items():
            if option not in given and default is REQUIRED:
                raise ValueError(
                    f'the neuron {self.neuron!r} has no default for {option!r}: give it in '
                    f"neuron_options, for example {{'{option}': 0.5}}"
                )
        if self.pool_gate != 'winner' and not self._is_rate_coded:
            raise ValueError(
                f'pool_gate={self.pool_gate}: the spikes of this network do not encode a rate; '
                f'keep the default pool_gate=winner'
            )
        self._check_learnable()

    @nn.nowrap
    def _check_activation(self) -> None:
        """Raises ValueError if the activation is unknown or does not have an option."""
        name = self._activation
        if name and name not in ACTIVATIONS:
            raise ValueError(f'unknown activation {name!r}; {did_you_mean(name, ACTIVATIONS)}')
        known = activation_option_names(name) if name else []
        for option in self.activation_options:
            if option not in known:
                what = f'the activation {name!r}' if name else 'a network without an activation'
                raise ValueError(
                    f'activation_options: {what} has no option {option!r}; '
                    + (did_you_mean(option, known) if known else 'leave it out')
                )
        if name:
            ACTIVATIONS[name](**self.activation_options)

    @nn.nowrap
    def _check_learnable(self) -> None:
        """Raises ValueError if an option cannot be learned."""
        neuron = self._neuron
        for option, shape in self._learned_shapes.items():
            if shape not in ('channel', 'neuron') or option not in neuron.arrays:
                arrays = ', '.join(f'{name} per channel' for name in neuron.arrays)
                raise ValueError(
                    f"learnable: '{option} per {shape}': the neuron {self.neuron!r} has "
                    + (f'{arrays}, or per neuron' if arrays else 'no options that can be arrays')
                )
        for option in ('decay', 'threshold'):
            if option in _words(self.learnable):
                raise ValueError(
                    f'learnable={self.learnable!r}: set learnable_{option} instead of {option!r}'
                )
        for option in self._learned_options:
            if option not in neuron.learnable:
                raise ValueError(
                    f'{option!r} of the neuron {self.neuron!r} cannot be learned; '
                    + (
                        did_you_mean(option, neuron.learnable)
                        if neuron.learnable
                        else 'the neuron has no learnable options'
                    )
                )
            value = self._options_of_neuron().get(option, neuron.options[option])
            if option in neuron.shares and not 0 < value < 1:
                raise ValueError(f'{option}={value} must be above 0 and below 1 to be learned')

    @property
    def _neuron(self) -> Neuron:
        return as_neuron(NEURONS[self.neuron])

    @property
    def _learned_options(self) -> tuple[str, ...]:
        """Returns the neuron's options that are parameters of each layer."""
        by_field = {'decay': self.learnable_decay, 'threshold': self.learnable_threshold}
        own = [option for option, learned in by_field.items() if learned]
        named = [word.split(' per ')[0].strip() for word in _words(self.learnable)]
        return tuple(dict.fromkeys([*own, *named]))

    @property
    def _learned_shapes(self) -> dict[str, str]:
        """Returns 'channel' or 'neuron' for each option with one value per channel or neuron."""
        words = [word.partition(' per ') for word in _words(self.learnable) if ' per ' in word]
        return {option.strip(): shape.strip() for option, _, shape in words}

    @property
    def _pool_gate(self) -> str:
        """Returns the gate of max pooling: '' unless the neurons' spikes encode a constant rate.

        The inputs of a rollout change, so the highest spike count is not the highest rate.
        """
        return self.pool_gate if self._is_rate_coded and not self.rollout else ''

    @property
    def _is_rate_coded(self) -> bool:
        """Returns True if the neurons' spikes encode a rate (`snnjax.neurons.Neuron`)."""
        return self.is_spiking and self._neuron.rate_coded

    @nn.nowrap
    def _options_of_neuron(self) -> dict[str, Any]:
        """Returns the options that the network passes to its neuron."""
        known = self._neuron.options
        options = {
            option: getattr(self, field)
            for field, option in _OPTION_OF_FIELD.items()
            if option in known
        }
        if 'surrogate' in options:
            options['surrogate'] = SURROGATES[self.surrogate]
        return options | dict(self.neuron_options)

    @nn.nowrap
    def _spike(self, num_steps: int) -> Callable[..., nn.Module]:
        """Returns a constructor of the network's neurons or activation that lacks only a name.

        All non-linearities of a network come from here, except pooling and the gates of
        `snnjax.models.efficientnets`.
        """
        if self._activation:
            activation = functools.partial(ACTIVATIONS[self._activation], **self.activation_options)
            return functools.partial(activation, delay=True) if self.rollout else activation
        return functools.partial(
            SpikingNeurons,
            num_steps,
            self._neuron,
            options=FrozenDict(self._options_of_neuron()),
            learnable=self._learned_options,
            shapes=FrozenDict(self._learned_shapes),
            delay=self.rollout,
        )

    @nn.nowrap
    def _answers(self, x: jax.Array) -> jax.Array:
        """Returns the time steps of (B, T, ...) that enter the mean over time.

        A rollout leaves out the steps before its first response.

        Raises:
          ValueError: if a rollout has no response within T time steps.
        """
        first = 0 if self.step_logits else self.first_response
        if first and x.shape[1] <= first:
            raise ValueError(
                f'num_steps={x.shape[1]}: this rollout first responds after {first} time steps, '
                f'so num_steps must be at least {first + 1}'
            )
        return x[:, first:]

    @nn.nowrap
    def _describe_kind(self) -> str:
        """Returns the class and the kind of blocks, for an error message."""
        kind = getattr(self, 'kind', '')
        return type(self).__name__ + (f' of kind {kind!r}' if kind else '')

    @nn.nowrap
    def apply_dropout(self, x: jax.Array, *, train: bool, share: float | None = None) -> jax.Array:
        """Applies dropout with the same mask in all time steps.

        Args:
          x: a float array of shape (B, features) or (B, T, ..., features).
          train: False to return ``x`` unchanged.
          share: the share of values to drop; None for ``dropout``.
        """
        share = self.dropout if share is None else share
        return dropout(x, share, train=train, alike=(1,) if x.ndim > 2 else ())

    @nn.nowrap
    def _stream(self, images: jax.Array) -> tuple[jax.Array, int]:
        """Checks the images; returns them with a time axis, and the number of time steps."""
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f'images must be normalized floating-point values, got {images.dtype}')
        if images.ndim not in (4, 5):
            raise ValueError(f'images must be (B, H, W, C) or (B, T, H, W, C), got {images.shape}')
        if images.shape[-1] != self.in_channels:
            raise ValueError(
                f'images of shape {images.shape}: the number of channels is {images.shape[-1]}, '
                f'but the model has in_channels={self.in_channels}'
            )
        images = images.astype(self.dtype or images.dtype)
        if images.ndim == 4:
            num_steps = self.num_steps or DEFAULT_NUM_STEPS + self.first_response
            x = images[:, None]
            if self.coding == 'poisson':
                x = PoissonInput(num_steps, name='input')(x)
            return self._delayed(x, num_steps), num_steps
        if self.num_steps not in (None, images.shape[1]):
            raise ValueError(
                f'images of shape {images.shape}: the number of time steps is {images.shape[1]}, '
                f'but the model has num_steps={self.num_steps}'
            )
        return self._delayed(images, images.shape[1]), images.shape[1]

    @nn.nowrap
    def _delayed(self, images: jax.Array, num_steps: int) -> jax.Array:
        """Returns the images as the first layers of the network read them."""
        return ImageNode(num_steps, name='images')(images) if self.rollout else images


def block_names(blocks: Sequence[int]) -> list[str]:
    """Returns the names of blocks in stages, ``stage1/block1``, in order.

    Args:
      blocks: the number of blocks of each stage.
    """
    return [
        f'stage{stage}/block{block}'
        for stage, number in enumerate(blocks, start=1)
        for block in range(1, number + 1)
    ]


def _default(network: type[nn.Module], field: str) -> Any:
    return next(f.default for f in dataclasses.fields(cast(Any, network)) if f.name == field)


def _words(text: str) -> list[str]:
    """Returns the parts of a text between commas, without surrounding spaces."""
    return [word.strip() for word in text.split(',') if word.strip()]


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_floating(dtype: Any) -> bool:
    try:
        return dtype is None or bool(jnp.issubdtype(jnp.dtype(dtype), jnp.floating))
    except TypeError:
        return False
