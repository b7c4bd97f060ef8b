"""The weight-normalized form of converted networks, with thresholds and spikes of size 1.

It computes the same spikes as the form with thresholds ``theta`` and spikes of this size. Each
kernel is multiplied by the threshold of the layer that it reads, and divided by that of the layer
that it feeds. Biases are divided by the latter. Shortcuts without a convolution need a scale, which
is the shortcut normalization of Hu et al. 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.conversion.fold import Folded, fold_normalization
from snnjax.conversion.network import ConversionError
from snnjax.models import Network
from snnjax.models.activations import Activation
from snnjax.models.blocks import Block
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.observation import capture_layers
from snnjax.models.pooling import AveragePool, Flatten, GlobalAveragePool, MaxPool

_NEURONS = (SpikingNeurons, Activation)
_PASS_ON = (AveragePool, Flatten, GlobalAveragePool, MaxPool)


@dataclasses.dataclass(frozen=True)
class Normalized:
    """Weights for thresholds and spikes of size 1.

    Attributes:
      weights: the kernels and biases by layer, with folded normalization.
      shortcuts: the factors of shortcuts without a convolution by block, of shape () or (C,).
    """

    weights: dict[str, Folded]
    shortcuts: dict[str, np.ndarray]


def normalize_weights(
    model: Network,
    variables: Mapping[str, Any],
    thresholds: Mapping[str, Any],
    image_shape: tuple[int, ...],
) -> Normalized:
    """Returns the weights of the weight-normalized form.

    Args:
      model: the ANN or the spiking network, with unrolled layers.
      variables: the variables of the network, unstacked.
      thresholds: the thresholds by the names of all layers of neurons, of shape () or (C,).
      image_shape: the image shape (H, W, C).

    Raises:
      ConversionError: if the shortcuts of the network carry currents instead of spikes, since each
        path would need its own scale.
    """
    if getattr(model, 'kind', '') in ('ms', 'ann', 'wo_lif'):
        raise ConversionError(
            'the blocks add currents, which have no threshold to divide by: use the '
            'weight-normalized form for networks such as relu_resnet20'
        )
    folded = fold_normalization(model, variables, image_shape)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with capture_layers(Conv, nn.Dense, Block, *_NEURONS, *_PASS_ON) as calls:
        jax.eval_shape(model.apply, dict(variables), images)
    sizes: dict[int, np.ndarray] = {}
    weights: dict[str, Folded] = {}
    shortcuts: dict[str, np.ndarray] = {}
    waiting: list[str] = []
    one = np.ones(())
    for call in calls:
        name = '/'.join(call.path)
        size = sizes.get(id(call.input), one)
        if isinstance(call.module, Block):
            if f'{name}/shortcut/conv' not in weights:
                shortcuts[name] = size / sizes[id(call.output)]
        elif isinstance(call.module, _PASS_ON):
            # Flattening repeats the channels for each pixel.
            times = call.output.shape[-1] // size.size if size.ndim else 1
            sizes[id(call.output)] = np.tile(size, times) if size.ndim else size
        elif isinstance(call.module, _NEURONS):
            theta = np.asarray(thresholds[name], np.float64)
            sizes[id(call.output)] = theta
            # All layers since the previous neurons feed these neurons.
            for layer in waiting:
                kernel, bias = weights[layer]
                weights[layer] = Folded(kernel / theta, bias / theta)
            waiting = []
        else:
            kernel, bias = folded[name]
            rows = np.broadcast_to(size, kernel.shape[-2:-1]) if size.ndim else size
            weights[name] = Folded(kernel * np.expand_dims(rows, -1), bias)
            waiting.append(name)
    return Normalized(weights, shortcuts)


def apply_normalized(
    model: Network, variables: Mapping[str, Any], normalized: Normalized, images: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Runs a network in the weight-normalized form.

    Args:
      model: the ANN or the spiking network, with unrolled layers.
      variables: the variables of the network; thresholds, kernels, biases and normalization are
        ignored.
      normalized: the weights of `normalize_weights`.
      images: a float array of shape (B, H, W, C).

    Returns:
      The logits, and the outputs of all layers of neurons by name: 0 or 1, or activations divided
        by thresholds.
    """
    outputs = {}

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, name = context.module, '/'.join(context.module.path)
        if not module.path:  # The network itself, or one of the copies below.
            return call(*args, **kwargs)
        if context.method_name == 'shortcut' and name in normalized.shortcuts:
            return call(*args, **kwargs) * jnp.asarray(normalized.shortcuts[name], args[0].dtype)
        if context.method_name != '__call__':
            return call(*args, **kwargs)
        if isinstance(module, TDBN):
            return args[0]
        if isinstance(module, Conv | nn.Dense):
            (x,) = args
            kernel, bias = (jnp.asarray(array, x.dtype) for array in normalized.weights[name])
            alone: Any = module.clone(parent=None, name=None, use_bias=True)
            return alone.apply({'params': {'kernel': kernel, 'bias': bias}}, x)
        if isinstance(module, SpikingNeurons):
            alone = module.clone(parent=None, name=None, learnable=(), shapes={})
            options = {**module.options, 'threshold': 1.0}
            outputs[name] = alone.clone(options=options).apply({}, *args)
            return outputs[name]
        output = call(*args, **kwargs)
        if isinstance(module, Activation):
            outputs[name] = output
        return output

    with nn.intercept_methods(intercept):
        logits: Any = model.apply(variables, images)
    return logits, outputs
