"""Calibration of weights, layer by layer (Li et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from snnjax.conversion.calibration import Thresholds
from snnjax.conversion.network import Ann, Calibration, Converted, Layer, to_spiking
from snnjax.conversion.simulation import mean_outputs
from snnjax.models import Network
from snnjax.models.activations import Activation
from snnjax.models.params import by_name, nested

BATCH_SIZE = 32
"""The number of images of each update, as in the authors' code."""

Outputs = Mapping[str, Any]


def calibrate_weights(
    ann: Ann,
    thresholds: Thresholds,
    calibration: Calibration,
    *,
    num_steps: int,
    updates: int,
    learning_rate: float = 1e-5,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Trains the kernels of each layer so that its mean output approximates that of the ANN.

    The layers are trained in forward order. The inputs of a layer are the mean outputs of the
    neurons that feed it, which are simulated with the kernels trained so far and with a current of
    ``theta / (2T)`` in each step. With ``x`` the current of a neuron for these inputs, its mean
    output is approximated by ``theta / T * floor(clip(T * x / theta + 1/2, 0, T))``. The loss is
    the squared difference from the activation of the ANN, summed over channels. The derivative of
    the floor is taken as 1. The optimizer is Adam with a cosine schedule that ends at 0.

    Args:
      ann: an ANN of ReLUs.
      thresholds: the thresholds by layer.
      calibration: the training images. The mean outputs of the layers that feed one layer are in
        memory for all images at the same time.
      num_steps: the number of time steps T.
      updates: the number of updates per layer; 5,000 in the authors' code.
      learning_rate: the learning rate of the first update.
      seed: the seed of the order of the images.

    Returns:
      All parameters by name, ``params/...``.
    """
    params = by_name({'params': ann.variables['params']})
    rng = np.random.default_rng(seed)
    schedule = optax.cosine_decay_schedule(learning_rate, updates)
    for layer in ann.layers:
        feeding, trained = _reached(ann, layer)
        spiking = to_spiking(
            ann,
            thresholds,
            variables=nested(params),
            num_steps=num_steps,
            drift=1 / (2 * num_steps),
        )
        inputs, targets = _examples(ann, spiking, calibration, layer.name, feeding)
        # Copies, since updates overwrite them.
        kernels = {name: jnp.array(params[name]) for name in trained}
        frozen = jax.device_put(_with(ann.variables, params))
        theta = jnp.asarray(spiking.thresholds[layer.name])
        optimizer = optax.adam(schedule)
        state = optimizer.init(kernels)
        update = _update(ann.model, layer.name, num_steps, optimizer)
        what = f'training the weights of {layer.name}'
        for _ in calibration.watch(iter(range(updates)), what, updates):
            chosen = rng.permutation(len(targets))[:BATCH_SIZE]
            examples = jax.tree.map(lambda array, chosen=chosen: array[chosen], (inputs, targets))
            kernels, state = update(kernels, state, frozen, theta, *examples)
        params |= jax.device_get(kernels)
    return params


def _reached(ann: Ann, layer: Layer) -> tuple[list[str], list[str]]:
    """Returns the layers whose outputs a layer reads, and the kernels in between.

    They are those for which the gradient of the layer's current, with the outputs of all previous
    layers given, is not 0 everywhere.
    """
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(1, 2, (1, *ann.image_shape)), jnp.float32)
    layers = ann.layers[: ann.layers.index(layer)]
    before = {
        each.name: jnp.asarray(rng.uniform(1, 2, (1, 1, *each.shape)), jnp.float32)
        for each in layers
    }
    params = by_name({'params': ann.variables['params']})
    kernels = {each: params[each] for each in params if each.endswith('/kernel')}

    @jax.jit
    def gradients(kernels: Outputs, before: Outputs) -> Any:
        def total(kernels: Outputs, before: Outputs) -> jax.Array:
            current = _current(ann.model, _with(ann.variables, kernels), image, before, layer.name)
            # A weight for each value, so that no sum of them is 0 by symmetry.
            return jnp.vdot(current, jnp.linspace(1, 2, current.size).reshape(current.shape))

        return jax.grad(total, argnums=(0, 1))(kernels, before)

    by_kernel, by_layer = jax.device_get(gradients(kernels, before))
    reached = [each for each, gradient in by_layer.items() if np.any(gradient)]
    return reached, [each for each, gradient in by_kernel.items() if np.any(gradient)]


def _examples(
    ann: Ann, spiking: Converted, calibration: Calibration, name: str, feeding: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the images and inputs of a layer, and the activations to approximate.

    The mean outputs of the layers ``feeding`` are of shape (N, H, W, C), like the activations.
    """
    parts = []
    for batch in calibration.iterate(f'weights of {name}'):
        means = mean_outputs(
            spiking.model, spiking.variables, batch.images, spiking.model.num_steps or 1
        )
        _, activations = ann.activations(batch.images)
        part = {each: means[each] for each in feeding}
        part |= {'': batch.images, 'target': activations[name][:, 0]}
        counted = np.asarray(batch.mask)
        parts.append({each: np.asarray(array)[counted] for each, array in part.items()})
    joined = {each: np.concatenate([part[each] for part in parts]) for each in parts[0]}
    return joined, joined.pop('target')


def _with(variables: Any, params: Mapping[str, Any]) -> Any:
    """Returns variables in which parameters are replaced, given by name."""
    return nested({**by_name(variables), **params})


def _current(
    model: Network, variables: Any, images: jax.Array, outputs: Outputs, name: str
) -> jax.Array:
    """Returns the input of a layer of the ANN, with the outputs of other layers given.

    Args:
      model: the ANN.
      variables: the variables of the ANN.
      images: a float array of shape (B, H, W, C).
      outputs: the outputs of layers by name, of shape (B, 1, H, W, C).
      name: the name of the layer.
    """
    found = {}

    def replace(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if not isinstance(context.module, Activation) or context.method_name != '__call__':
            return call(*args, **kwargs)
        path = '/'.join(context.module.path)
        if path == name:
            (found['current'],) = args
        return outputs[path] if path in outputs else args[0]

    with nn.intercept_methods(replace):
        model.apply(variables, images)
    return found['current']


def _update(model: Network, name: str, num_steps: int, optimizer: Any) -> Any:
    """Returns a compiled function that trains the kernels of a layer on one batch."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(
        kernels: Any, state: Any, frozen: Any, theta: jax.Array, inputs: Any, target: jax.Array
    ) -> Any:
        outputs = {each: array[:, None] for each, array in inputs.items() if each}

        def loss(kernels: Any) -> jax.Array:
            current = _current(model, _with(frozen, kernels), inputs[''], outputs, name)[:, 0]
            position = jnp.clip(num_steps * current / theta + 0.5, 0, num_steps)
            count = position + jax.lax.stop_gradient(jnp.floor(position) - position)
            return jnp.square(theta / num_steps * count - target).sum(-1).mean()

        updates, state = optimizer.update(jax.grad(loss)(kernels), state)
        return optax.apply_updates(kernels, updates), state

    return update
