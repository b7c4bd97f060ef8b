"""Spike and synaptic-operation counts over a whole data split."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.analysis.trained import ModelOnData
from snnjax.models.convolution import Conv
from snnjax.models.few_spike_layers import FewSpikes
from snnjax.models.observation import NEURONS, SYNAPSES, Call, capture_layers
from snnjax.models.summary import LayerSummary, summarize


@dataclasses.dataclass(frozen=True)
class NeuronActivity:
    """The spike counts of a layer of neurons.

    Attributes:
      name: the path of the layer, for example ``stage1/block1/spike1``.
      spikes: the number of spikes of each neuron over all images and time steps, an int64 array
        of shape (H, W, C).
      steps: the number of time steps times the number of images, the largest possible count.
    """

    name: str
    spikes: np.ndarray
    steps: int

    @property
    def firing_rate(self) -> float:
        """Returns the mean number of spikes per neuron and time step (section 5.3)."""
        return float(self.spikes.mean()) / self.steps

    @property
    def dead(self) -> int:
        """Returns the number of neurons that never fired."""
        return int((self.spikes == 0).sum())

    @property
    def saturated(self) -> int:
        """Returns the number of neurons that fired at every time step of every image."""
        return int((self.spikes == self.steps).sum())


@dataclasses.dataclass(frozen=True)
class SynapseActivity:
    """The synaptic operations of a convolution or a fully connected layer.

    Attributes:
      name: the path of the layer, for example ``stage1/block1/conv1/conv``.
      input_rate: the share of nonzero inputs, between 0 and 1.
      operations: the mean number of multiplications by a nonzero input per image. All time steps
        count; if the input is constant over time, it counts once. Padding does not count.
    """

    name: str
    input_rate: float
    operations: float


@dataclasses.dataclass(frozen=True)
class Activity:
    """The counts of a model over a data split.

    Attributes:
      images: the number of images.
      confusion: the number of images by (class, predicted class), an int64 array of shape
        (classes, classes).
      neurons: the layers of neurons, in execution order.
      synapses: the convolutions and the classifier, in execution order.
    """

    images: int
    confusion: np.ndarray
    neurons: list[NeuronActivity]
    synapses: list[SynapseActivity]

    @property
    def accuracy(self) -> float:
        """Returns the top-1 accuracy, between 0 and 1."""
        return float(np.trace(self.confusion)) / self.images

    @property
    def firing_rate(self) -> float:
        """Returns the firing rate, averaged over all neurons of the network."""
        spikes = sum(int(layer.spikes.sum()) for layer in self.neurons)
        return spikes / sum(layer.spikes.size * layer.steps for layer in self.neurons)


def measure_activity(trained: ModelOnData) -> Activity:
    """Counts spikes and synaptic operations over all examples of a loaded model.

    The counts are exact: they are integers on the device and on the host.

    Args:
      trained: the model and its examples. In an ANN, an output above zero counts as a spike.

    Raises:
      DecodeError: if a photo cannot be decoded.
    """
    model, num_classes = trained.model, trained.dataset.num_classes

    def step(variables: Any, batch: Mapping[str, jax.Array]) -> Any:
        mask = batch['mask']
        with capture_layers(*NEURONS, *SYNAPSES) as calls:
            logits: Any = model.apply(variables, trained.normalized(batch))
        neurons = [_count_spikes(call, mask) for call in calls if isinstance(call.module, NEURONS)]
        few: dict[int, Any] = {
            id(call.output): call.module.apply(call.variables, call.input, method='fire')[1]
            for call in calls
            if isinstance(call.module, FewSpikes)
        }
        synapses = [
            _count_inputs(call, mask, few.get(id(call.input)))
            for call in calls
            if isinstance(call.module, SYNAPSES)
        ]
        predicted = jnp.where(mask, jnp.argmax(logits, axis=-1), num_classes)
        cells = jnp.zeros((num_classes, num_classes), jnp.int32)
        confusion = cells.at[batch['label'], predicted].add(1, mode='drop')
        return {'images': jnp.sum(mask), 'confusion': confusion}, neurons, synapses

    results = trained.measure(step, 'counting spikes')
    totals, neurons, synapses = functools.reduce(_add, results)
    images = int(totals['images'])
    layers = summarize(model, trained.image_shape)
    return Activity(
        images=images,
        confusion=totals['confusion'],
        neurons=[
            NeuronActivity(layer.name, counts['spikes'], int(counts['steps']))
            for layer, counts in zip(
                _of(layers, 'neurons', 'ReLU', 'activation'), neurons, strict=True
            )
        ],
        synapses=[
            SynapseActivity(
                layer.name,
                input_rate=float(counts['nonzero'].sum() / counts['inputs'].sum()),
                operations=float(counts['reached'].sum() * layer.shape[-1] / layer.groups / images),
            )
            for layer, counts in zip(_of(layers, 'convolution', 'dense'), synapses, strict=True)
        ],
    )


def _of(layers: Sequence[LayerSummary], *kinds: str) -> list[LayerSummary]:
    return [layer for layer in layers if layer.kind in kinds]


def _add(total: Any, counts: Any) -> Any:
    """Adds the counts of a batch to the totals in int64."""
    return jax.tree.map(lambda a, b: np.int64(a) + np.int64(b), total, counts)


def _count_spikes(call: Call, mask: jax.Array) -> dict[str, jax.Array]:
    """Counts the spikes of each neuron over unmasked images, and the largest possible count."""
    spikes = call.output
    if isinstance(call.module, FewSpikes):
        counts: Any = call.module.apply(call.variables, call.input, method='fire')[1]
        return {
            'spikes': jnp.sum(counts * _over(mask, counts), axis=(0, 1), dtype=jnp.int32),
            'steps': jnp.sum(mask, dtype=jnp.int32) * call.module.num_spikes,
        }
    fired = (spikes > 0) & _over(mask, spikes)
    return {
        'spikes': jnp.sum(fired, axis=(0, 1), dtype=jnp.int32),
        'steps': jnp.sum(mask, dtype=jnp.int32) * spikes.shape[1],
    }


def _count_inputs(
    call: Call, mask: jax.Array, spikes: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Counts inputs, nonzero inputs, and pairs of a nonzero input and an output pixel it reaches.

    Each count has shape (B,). If ``spikes`` gives spikes per input, each spike counts.
    """
    x = call.input
    nonzero = (x != 0 if spikes is None else spikes) * _over(mask, x)
    if isinstance(call.module, Conv):
        size, stride = call.module.kernel_size, call.module.stride
        reached = jax.lax.reduce_window(
            jnp.sum(nonzero, axis=-1, dtype=jnp.int32),
            0,
            jax.lax.add,
            window_dimensions=(1, 1, size, size),
            window_strides=(1, 1, stride, stride),
            padding=((0, 0), (0, 0), (size // 2, size // 2), (size // 2, size // 2)),
        )
    else:
        reached = nonzero
    return {
        'inputs': jnp.where(mask, x[0].size, 0),
        'nonzero': _sum_by_image(nonzero),
        'reached': _sum_by_image(reached),
    }


def _sum_by_image(x: jax.Array) -> jax.Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)), dtype=jnp.int32)


def _over(mask: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.expand_dims(mask, range(1, x.ndim))
