"""Measurements of block dynamical isometry (section 4.2, appendix A).

``J`` is the Jacobian of a block: the derivative of its whole output with respect to its whole
input, over space and time. ``phi`` is the trace divided by the number of outputs. The gradient norm
is preserved if, for every block, ``phi(J J^T)`` is about 1 and ``phi((J J^T)^2) - phi(J J^T)^2`` is
about 0 (definition 1).

Traces are estimated from random probes ``v`` (Hutchinson): ``E |J^T v|^2`` is the trace of
``J J^T``, and ``E |J J^T v|^2`` that of its square. The surrogate gradient replaces the derivative
of a spike.

Activations are in float32 whatever the ``dtype`` of the network, because products of Jacobians in
bfloat16 would have two digits only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from snnjax.analysis.trained import ModelOnData, UnsuitableModelError
from snnjax.models import Network
from snnjax.models.blocks import Block
from snnjax.models.compilation import drawing_options
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import Call, capture_layers
from snnjax.models.params import by_name
from snnjax.neurons import membrane_potential
from snnjax.neurons.precision import at_least_float32
from snnjax.spelling import did_you_mean
from snnjax.train.gradients import norms_by_block
from snnjax.train.progress import compiling, watched

Variables = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class BlockMoments:
    """The moments of the Jacobian ``J`` of a block.

    Attributes:
      name: the path of the block, for example ``stage1/block2``.
      phi: the estimate of ``phi(J J^T)``.
      error: the standard error of ``phi`` over the probes.
      phi_of_square: the estimate of ``phi((J J^T)^2)``.
      phi_of_residual: the estimate of ``phi(K K^T)`` for the Jacobian ``K = J - 1`` of the residual
        path; None if the block does not add a residual path to its unchanged input.
    """

    name: str
    phi: float
    error: float
    phi_of_square: float
    phi_of_residual: float | None

    @property
    def spread(self) -> float:
        """Returns ``phi((J J^T)^2) - phi(J J^T)^2``."""
        return self.phi_of_square - self.phi**2

    @property
    def predicted(self) -> float | None:
        """Returns ``1 + phi(K K^T)``, which equals ``phi`` if the trace of ``K`` is 0 (lemma A.2).

        The paper writes ``1 + gamma^2 phi``; here ``gamma`` is part of ``K``.
        """
        return None if self.phi_of_residual is None else 1 + self.phi_of_residual


@dataclasses.dataclass(frozen=True)
class GateMoments:
    """The moments of the Jacobian of a layer of neurons.

    For `snnjax.neurons.lif`, the Jacobian is that of the firing decision at one time step, without
    the membrane's memory (eq. 13). For other neurons the membrane potential is not known; their
    Jacobian is that of all spikes with respect to all input currents, over time.

    Attributes:
      name: the path of the layer.
      inside: the share ``p`` of membrane potentials inside the window of the surrogate gradient;
        None if the surrogate is not rectangular or the membrane potential is not known.
      predicted: the prediction ``p / a^2`` for ``phi``, with the width ``a`` of the window; None if
        ``inside`` is None.
      phi: the measured ``phi(J J^T)``.
      over_time: True if the Jacobian is that of the layer over time, with its memory.
    """

    name: str
    inside: float | None
    predicted: float | None
    phi: float
    over_time: bool


def draw_probes(key: jax.Array, probes: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns random probes of -1 and 1, an int8 array of shape (probes, ...).

    Args:
      key: the PRNG key.
      probes: the number of probes.
      shape: the shape of one probe, which is that of the outputs of a function.
    """
    keys = jax.random.split(key, probes)
    return jax.vmap(lambda key: jax.random.rademacher(key, shape, jnp.int8))(keys)


def jacobian_moments(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, probes: jax.Array
) -> dict[str, jax.Array]:
    """Estimates the moments of the Jacobian of a function, once per random probe.

    Args:
      function: the function, from one array to one array.
      x: the input at which to take the Jacobian, a floating array.
      probes: the probes of `draw_probes`, of shape (probes, ...).

    Returns:
      A dictionary with ``phi``, ``phi_of_square`` and, if the function keeps the shape of ``x``,
      ``phi_of_residual``, each an array of shape (probes,). `BlockMoments` defines them.
    """
    y, pull = jax.vjp(function, x)

    def probe(v: jax.Array) -> dict[str, jax.Array]:
        v = v.astype(y.dtype)
        (back,) = pull(v)
        # The pullback v -> J^T v is linear, so its own pullback is the pushforward u -> J u.
        _, push = jax.vjp(lambda v: pull(v)[0], v)
        (forth,) = push(back)
        moments = {'phi': back, 'phi_of_square': forth}
        if back.shape == v.shape:
            moments['phi_of_residual'] = back - v
        return {name: jnp.sum(jnp.square(z)) / y.size for name, z in moments.items()}

    return jax.lax.map(probe, probes)


def measure_blocks(
    model: Network,
    variables: Variables,
    images: jax.Array,
    key: jax.Array,
    probes: int = 8,
    *,
    blocks: Collection[str] | None = None,
) -> list[BlockMoments]:
    """Measures the moments of blocks, each at its input in the forward pass of these images.

    Batch normalization works as in training: it uses the batch statistics of these images, and the
    Jacobian includes their derivative.

    Args:
      model: the network.
      variables: the variables of the network, not stacked.
      images: the normalized images, a floating array of shape (B, H, W, C) or (B, T, H, W, C).
      key: the PRNG key of the probes.
      probes: the number of probes, at least 2; each costs about two backward passes.
      blocks: the names of the blocks to measure; None for all.

    Raises:
      UnsuitableModelError: if a name is unknown.
    """
    model, images = _in_float32(model, images)
    _check_names(blocks, model.block_names)
    compiled = _compile_blocks(model, images.shape)
    results = []
    with compiling('passing images'):
        inputs = compiled.run(variables, images)
    named = list(zip(model.block_names, compiled.modules, inputs, strict=True))
    for number, each in enumerate(watched(named, 'measuring blocks', unit='block')):
        name, module, (of_block, x) = each
        if blocks is not None and name not in blocks:
            continue
        y = jax.eval_shape(functools.partial(_run_block, module), of_block, x)
        drawn = _draw()(jax.random.fold_in(key, number), probes, y.shape)
        estimates = compiled.moments(module, of_block, x, drawn)
        means = {moment: float(np.mean(values)) for moment, values in estimates.items()}
        results.append(
            BlockMoments(
                name,
                phi=means['phi'],
                error=float(np.std(estimates['phi'], ddof=1)) / probes**0.5,
                phi_of_square=means['phi_of_square'],
                phi_of_residual=None if module.stream_of_spikes else means.get('phi_of_residual'),
            )
        )
    return results


def _check_names(given: Collection[str] | None, known: Collection[str]) -> None:
    for name in given or ():
        if name not in known:
            raise UnsuitableModelError(f'unknown name {name!r}; {did_you_mean(name, known)}')


class _Blocks(NamedTuple):
    """Compiled functions for the blocks of a network.

    Attributes:
      run: the function ``(variables, images) -> [(variables, input) of each block]``.
      modules: the blocks, which are known after the first call of ``run``.
      moments: the function ``(block, variables, input, probes) -> moments``.
    """

    run: Any
    modules: list[Any]
    moments: Any


@functools.lru_cache(maxsize=8)
def _compile_blocks(model: Network, image_shape: tuple[int, ...]) -> _Blocks:
    """Compiles functions for one model and one shape of images, on which its blocks depend."""
    del image_shape
    modules: list[Any] = []

    @jax.jit
    def run(variables: Variables, images: jax.Array) -> list[tuple[Variables, jax.Array]]:
        calls = _training_calls(model, variables, images, Block)
        modules[:] = [call.module for call in calls]
        return [({k: call.variables[k] for k in variables}, call.input) for call in calls]

    # Blocks of the same configuration and input shape share one compiled program.
    @functools.partial(jax.jit, static_argnums=0)
    def moments(module: Any, variables: Variables, x: jax.Array, probes: jax.Array) -> Any:
        return jacobian_moments(functools.partial(_run_block, module, variables), x, probes)

    return _Blocks(run, modules, moments)


def _run_block(module: Any, variables: Variables, x: jax.Array) -> jax.Array:
    output: jax.Array = module.apply(variables, x, mutable=['batch_stats'])[0]
    return output


@functools.cache
def _draw() -> Any:
    options = drawing_options(jax.default_backend())
    return jax.jit(draw_probes, static_argnums=(1, 2), compiler_options=options)


def measure_gates(
    model: Network,
    variables: Variables,
    images: jax.Array,
    key: jax.Array,
    *,
    layers: Collection[str] | None = None,
) -> list[GateMoments]:
    """Measures the moments of layers of neurons; see `GateMoments`.

    The Jacobian of a firing decision is that of `snnjax.neurons.lif` for a single time step, with
    the membrane potential as its input current.

    Args:
      model: the network.
      variables: the variables of the network, not stacked.
      images: the normalized images, a floating array of shape (B, H, W, C) or (B, T, H, W, C).
      key: the PRNG key of the probes.
      layers: the paths of the layers to measure; None for all.

    Raises:
      UnsuitableModelError: if the network has no spiking neurons, or a layer is unknown.
    """
    if not model.is_spiking:
        raise UnsuitableModelError('the network has no spiking neurons: give a spiking network')
    model, images = _in_float32(model, images)
    names: list[str] = []

    @jax.jit
    def run(variables: Variables, images: jax.Array) -> list[dict[str, jax.Array]]:
        calls = {
            '/'.join(call.path): call
            for call in _training_calls(model, variables, images, SpikingNeurons)
        }
        _check_names(layers, calls)
        names.extend(name for name in calls if layers is None or name in layers)
        return [_gate_moments(model, calls[name], key) for name in names]

    measured = run(variables, images)
    return [
        GateMoments(
            name,
            inside=float(moments['inside']) if 'inside' in moments else None,
            predicted=float(moments['predicted']) if 'predicted' in moments else None,
            phi=float(moments['phi']),
            over_time=model.neuron != 'lif',
        )
        for name, moments in zip(names, measured, strict=True)
    ]


def _gate_moments(model: Network, call: Call, key: jax.Array) -> dict[str, jax.Array]:
    layer: Any = call.module
    options = layer.all_options(call.variables.get('params', {}))
    current = jnp.broadcast_to(call.input, call.output.shape)
    if model.neuron != 'lif':
        neurons = functools.partial(layer.neuron, **options)
        return {'phi': _mean_phi(neurons, current, key)}
    of_potential = ('decay', 'threshold', 'reset', 'strict', 'decay_input', 'soft_reset')
    potential = membrane_potential(current, **{name: options[name] for name in of_potential})
    potential = potential.reshape(-1, 1)
    decide = functools.partial(layer.neuron, **options | {'decay_input': False})
    moments = {'phi': _mean_phi(decide, potential, key)}
    if model.surrogate == 'rectangular':
        distance, half = jnp.abs(potential - options['threshold']), options['width'] / 2
        inside = jnp.mean(distance < half if options['strict'] else distance <= half)
        moments |= {'inside': inside, 'predicted': inside / options['width'] ** 2}
    return moments


def _mean_phi(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, key: jax.Array
) -> jax.Array:
    """Returns the mean of ``phi`` over two probes, for a function that keeps the shape."""
    return jnp.mean(jacobian_moments(function, x, draw_probes(key, 2, x.shape))['phi'])


def scale_residuals(variables: Variables, gamma: float) -> dict[str, Any]:
    """Returns the variables with the last scale of every residual path set to ``gamma``."""
    variables = dict(variables)
    bottlenecks = any(name.endswith('conv3/norm/scale') for name in by_name(variables))
    last = f'{"conv3" if bottlenecks else "conv2"}/norm/scale'

    def scale(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        return jnp.full_like(leaf, gamma) if name.endswith(last) else leaf

    return jax.tree.map_with_path(scale, variables)


def gradient_norms(
    model: Network, variables: Variables, images: jax.Array, labels: jax.Array
) -> dict[str, float]:
    """Returns the norm of the loss gradient with respect to the parameters of each block.

    Args:
      model: the network.
      variables: the variables of the network, not stacked.
      images: the normalized images, a floating array of shape (B, H, W, C) or (B, T, H, W, C).
      labels: the labels, an integer array of shape (B,).

    Returns:
      The norms by block name, in the order of the network.
    """
    model, images = _in_float32(model, images)
    model = model.clone(dropout=0.0)

    @jax.jit
    def norms(params: Variables) -> dict[str, jax.Array]:
        def loss(params: Variables) -> jax.Array:
            logits, _ = model.apply(
                {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses)

        return norms_by_block(jax.grad(loss)(params))

    measured = norms(variables['params'])
    return {block: float(measured[block]) for block in model.block_names}


def _in_float32(model: Network, images: jax.Array) -> tuple[Network, jax.Array]:
    """Returns the unrolled network and the images, both in float32 or wider."""
    images = jnp.asarray(images)
    return model.unrolled().clone(dtype=None), images.astype(at_least_float32(images.dtype))


def _training_calls(
    model: Network, variables: Variables, images: jax.Array, kind: Any
) -> list[Call]:
    """Returns the calls of modules of a kind in the forward pass of a training step."""
    with capture_layers(kind) as calls:
        model.clone(dropout=0.0).apply(variables, images, train=True, mutable=['batch_stats'])
    return calls


def measure_isometry(
    trained: ModelOnData, probes: int, residual_scale: float | None = None
) -> dict[str, Any]:
    """Measures blocks, layers of neurons and gradient norms of a model.

    Args:
      trained: the model and its examples, which are passed as a single batch.
      probes: the number of random probes.
      residual_scale: the scale that `scale_residuals` sets; None to keep the model's own.

    Returns:
      A dictionary that JSON can hold, with ``blocks`` (see `BlockMoments`), ``gates`` (see
      `GateMoments`) and ``gradient_norms`` by block name.

    Raises:
      UnsuitableModelError: if the network has no blocks or no spiking neurons.
    """
    if not trained.model.block_names:
        raise UnsuitableModelError('the network has no blocks: give a residual network')
    batch = jax.device_put(trained.examples.examples(np.arange(len(trained.examples))))
    images = trained.normalized(batch)
    model, key = trained.model, jax.random.key(0)
    variables = trained.variables
    if residual_scale is not None:
        variables = scale_residuals(variables, residual_scale)
    blocks = measure_blocks(model, variables, images, key, probes)
    with compiling('measuring firing decisions'):
        gates = measure_gates(model, variables, images, key)
    with compiling('measuring gradients'):
        norms = gradient_norms(model, variables, images, batch['label'])
    return {
        'blocks': [
            {**dataclasses.asdict(block), 'spread': block.spread, 'predicted': block.predicted}
            for block in blocks
        ],
        'gates': [dataclasses.asdict(gate) for gate in gates],
        'gradient_norms': norms,
    }
