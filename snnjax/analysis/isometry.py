"""Block dynamical isometry, measured (section 4.2, appendix A).

With ``J`` the Jacobian of a block, of its whole output by its whole input over space and time, and
``phi`` the trace divided by the number of outputs, a network passes gradients on evenly where
``phi(J J^T)`` is about 1, and ``phi((J J^T)^2) - phi(J J^T)^2`` about 0 for every block (definition
1). Traces are estimated from random probes ``v`` (Hutchinson): ``E |J^T v|^2`` is that of ``J J^T``
and ``E |J J^T v|^2`` that of its square, with the surrogate gradient for the derivative of a spike.

A network of another ``dtype`` is measured with its activations in float32: products of Jacobians in
bfloat16 would have two digits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from snnjax.analysis.trained import LoadedModel, UnsuitableModelError
from snnjax.models import Network
from snnjax.models.blocks import Block
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import Call, capture_layers
from snnjax.models.params import by_name
from snnjax.neurons import membrane_potential
from snnjax.neurons.precision import at_least_float32
from snnjax.train.gradients import norms_by_block
from snnjax.train.progress import compiling, watched

Variables = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class BlockMoments:
    """Of the Jacobian ``J`` of a block.

    Attributes:
      name: its place, ``stage1/block2``.
      phi: estimate of ``phi(J J^T)``.
      error: its standard error, over the probes.
      phi_of_square: estimate of ``phi((J J^T)^2)``.
      phi_of_residual: estimate of ``phi(K K^T)`` of the residual path's ``K = J - 1``; None where
        the block is not its input and a residual path's output added up.
    """

    name: str
    phi: float
    error: float
    phi_of_square: float
    phi_of_residual: float | None

    @property
    def spread(self) -> float:
        """``phi((J J^T)^2) - phi(J J^T)^2``."""
        return self.phi_of_square - self.phi**2

    @property
    def predicted(self) -> float | None:
        """``1 + phi(K K^T)``: what ``phi`` is where the trace of ``K`` is zero (lemma A.2).

        The paper's ``1 + gamma^2 phi``, with ``gamma`` as a part of ``K``.
        """
        return None if self.phi_of_residual is None else 1 + self.phi_of_residual


@dataclasses.dataclass(frozen=True)
class GateMoments:
    """Moments of the Jacobian of a layer of neurons.

    For `snnjax.neurons.lif` it is that of the firing decision, without its memory (eq. 13). The
    membrane potential of other neurons is not known; theirs is the Jacobian of all spikes with
    respect to all currents, over time.

    Attributes:
      name: of the layer.
      inside: share ``p`` of the membrane potentials inside the surrogate's window; None if the
        surrogate is not the rectangle, or the potential is not known.
      predicted: ``p / a^2``, with ``a`` its width; likewise.
      phi: measured.
      over_time: True if ``phi`` is that of the layer over time, with its memory.
    """

    name: str
    inside: float | None
    predicted: float | None
    phi: float
    over_time: bool


def jacobian_moments(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, key: jax.Array, probes: int
) -> dict[str, jax.Array]:
    """Estimates of the moments of a Jacobian at ``x``, one for each random probe.

    Args:
      function: of one array.
      x: where.
      key: of the probes.
      probes: how many.

    Returns:
      ``phi``, ``phi_of_square`` and, for a function that keeps the shape, ``phi_of_residual``;
      (probes,) each, see `BlockMoments`.
    """
    y, pull = jax.vjp(function, x)

    def probe(key: jax.Array) -> dict[str, jax.Array]:
        v = jax.random.rademacher(key, y.shape, y.dtype)
        (back,) = pull(v)
        # What pulls back is linear: pulling back through it pushes forward.
        _, push = jax.vjp(lambda v: pull(v)[0], v)
        (forth,) = push(back)
        moments = {'phi': back, 'phi_of_square': forth}
        if back.shape == v.shape:
            moments['phi_of_residual'] = back - v
        return {name: jnp.sum(jnp.square(z)) / y.size for name, z in moments.items()}

    return jax.lax.map(probe, jax.random.split(key, probes))


def measure_blocks(
    model: Network,
    variables: Variables,
    images: jax.Array,
    key: jax.Array,
    probes: int = 8,
    *,
    blocks: Collection[str] | None = None,
) -> list[BlockMoments]:
    """Moments of blocks, each at what it gets when these images pass the network.

    Normalisation is that of training, by the statistics of these images, which are part of what is
    differentiated.

    Args:
      model: the network.
      variables: of it, not stacked.
      images: normalised, (B, H, W, C) or (B, T, H, W, C).
      key: of the probes.
      probes: how many, at least 2; each costs about two backward passes.
      blocks: names of those to measure; None for all.
    """
    model, images = _in_float32(model, images)
    modules: list[Any] = []

    @jax.jit
    def run(variables: Variables, images: jax.Array) -> list[tuple[Variables, jax.Array]]:
        calls = _training_calls(model, variables, images, Block)
        modules.extend(call.module for call in calls)
        return [({k: call.variables[k] for k in variables}, call.input) for call in calls]

    # Blocks of one form are one program.
    @functools.partial(jax.jit, static_argnums=0)
    def moments(module: Any, variables: Variables, x: jax.Array, key: jax.Array) -> Any:
        def block(x: jax.Array) -> jax.Array:
            return module.apply(variables, x, mutable=['batch_stats'])[0]

        return jacobian_moments(block, x, key, probes)

    results = []
    with compiling('passing images'):
        inputs = run(variables, images)
    named = list(zip(model.block_names, modules, strict=True))
    for number, (name, module) in enumerate(watched(named, 'measuring blocks', unit='block')):
        if blocks is not None and name not in blocks:
            continue
        estimates = moments(module, *inputs[number], jax.random.fold_in(key, number))
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


def measure_gates(
    model: Network, variables: Variables, images: jax.Array, key: jax.Array
) -> list[GateMoments]:
    """Returns moments of all layers of neurons, see `GateMoments` and `measure_blocks`.

    The Jacobian of a firing decision is that of `snnjax.neurons.lif`, for a single time step whose
    current is the membrane potential; the share inside the window is counted.

    Raises:
      UnsuitableModelError: for a network without spiking neurons.
    """
    if not model.is_spiking:
        raise UnsuitableModelError('the network has no spiking neurons')
    model, images = _in_float32(model, images)
    names: list[str] = []

    @jax.jit
    def run(variables: Variables, images: jax.Array) -> list[dict[str, jax.Array]]:
        calls = _training_calls(model, variables, images, SpikingNeurons)
        names.extend('/'.join(call.path) for call in calls)
        return [_gate_moments(model, call, key) for call in calls]

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
        return {'phi': jnp.mean(jacobian_moments(neurons, current, key, probes=2)['phi'])}
    of_potential = ('decay', 'threshold', 'reset', 'strict', 'decay_input', 'soft_reset')
    potential = membrane_potential(current, **{name: options[name] for name in of_potential})
    potential = potential.reshape(-1, 1)
    decide = functools.partial(layer.neuron, **options | {'decay_input': False})
    moments = {'phi': jnp.mean(jacobian_moments(decide, potential, key, probes=2)['phi'])}
    if model.surrogate == 'rectangular':
        distance, half = jnp.abs(potential - options['threshold']), options['width'] / 2
        inside = jnp.mean(distance < half if options['strict'] else distance <= half)
        moments |= {'inside': inside, 'predicted': inside / options['width'] ** 2}
    return moments


def scale_residuals(variables: Variables, gamma: float) -> dict[str, Any]:
    """Variables with the last scale of every block's residual path set to ``gamma``."""
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
    """The norm of the loss's gradient by the parameters of each block, in the network's order.

    Args:
      model: the network.
      variables: of it, not stacked.
      images: normalised.
      labels: (B,), integers.
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
    """Returns the unrolled network and images, to compute in float32, or in float64 as they do."""
    images = jnp.asarray(images)
    return model.unrolled().clone(dtype=None), images.astype(at_least_float32(images.dtype))


def _training_calls(
    model: Network, variables: Variables, images: jax.Array, kind: Any
) -> list[Call]:
    """The modules of a kind at work in the forward pass of a training step."""
    with capture_layers(kind) as calls:
        model.clone(dropout=0.0).apply(variables, images, train=True, mutable=['batch_stats'])
    return calls


def measure_isometry(
    trained: LoadedModel, probes: int, residual_scale: float | None = None
) -> dict[str, Any]:
    """All of it: ``blocks``, ``gates`` and ``gradient_norms``, as JSON can hold them.

    Args:
      trained: the model, and images that it takes all at once.
      probes: random vectors.
      residual_scale: see `scale_residuals`; None for the model's own.

    Raises:
      UnsuitableModelError: for a network without blocks, or without spiking neurons.
    """
    if not trained.model.block_names:
        raise UnsuitableModelError('the network has no blocks')
    batch = jax.device_put(trained.examples.examples(np.arange(len(trained.examples))))
    images = trained.normalised(batch)
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
