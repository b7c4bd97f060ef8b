"""The adaptive neuron against a plain loop in NumPy, plain differentiation, and `lif`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons import SURROGATES, adaptive_lif, lif

CONSTANTS = {'decay': 0.7, 'threshold': 0.6, 'adaptation': 0.3, 'adaptation_decay': 0.8}
timed = functools.partial(adaptive_lif, time_axis=0)


def reference_spikes(
    current, *, decay, threshold, adaptation, adaptation_decay, reset=0.0, strict=False
):
    """The equations written down in NumPy, time first."""
    spikes = np.zeros_like(current)
    left, trace = np.zeros_like(current[0]), np.zeros_like(current[0])
    for t, x in enumerate(current):
        potential = decay * left + x
        bar = threshold + adaptation * trace
        spikes[t] = potential > bar if strict else potential >= bar
        trace = adaptation_decay * trace + spikes[t]
        left = np.where(spikes[t], reset, potential)
    return spikes


def autodiff(
    current,
    decay,
    threshold,
    adaptation,
    adaptation_decay,
    *,
    scan=True,
    reset=0.0,
    width=1.0,
    strict=False,
    detach_reset=True,
    decay_input=False,
    surrogate=SURROGATES['rectangular'],
):
    """The neuron with JAX's own differentiation through time, time first."""

    @jax.custom_jvp
    def spike(distance):
        return ((distance > 0) if strict else (distance >= 0)).astype(distance.dtype)

    @spike.defjvp
    def spike_jvp(primals, tangents):
        (distance,), (tangent,) = primals, tangents
        saved = surrogate.save(distance, width, strict)
        return spike(distance), surrogate.derivative(saved, width) * tangent

    def step(carry, x):
        left, trace = carry
        potential = decay * left + ((1 - decay) * x if decay_input else x)
        out = spike(potential - threshold - adaptation * trace)
        gate = jax.lax.stop_gradient(out) if detach_reset else out
        return (potential * (1 - gate) + reset * gate, adaptation_decay * trace + out), out

    carry = jnp.zeros_like(current[0]), jnp.zeros_like(current[0])
    if scan:
        return jax.lax.scan(step, carry, current)[1]
    spikes = []  # A scan loses the rule of `spike` in derivatives of a gradient.
    for x in current:
        carry, out = step(carry, x)
        spikes.append(out)
    return jnp.stack(spikes)


def ours(current, *scalars, **options):
    return timed(current, **dict(zip(CONSTANTS, scalars, strict=True)), **options)


@pytest.mark.usefixtures('x64')
# One word; one full word; three words, the last not full.
@pytest.mark.parametrize('num_steps', [1, 16, 37])
@pytest.mark.parametrize('strict', [False, True])
def test_spikes_are_those_of_the_equations(num_steps, strict):
    # Multiples of a quarter put many potentials at their threshold.
    current = np.random.default_rng(num_steps).integers(-2, 6, (num_steps, 35)) / 4
    constants = {'decay': 0.5, 'threshold': 0.5, 'adaptation': 0.25, 'adaptation_decay': 0.5}
    constants |= {'reset': -0.25, 'strict': strict}
    spikes = jax.jit(functools.partial(timed, **constants))(current)
    np.testing.assert_array_equal(spikes, reference_spikes(current, **constants))
    assert 0 < spikes.mean() < 1


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 19])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'strict': True, 'width': 0.8, 'reset': 0.1},
        {'detach_reset': False, 'decay_input': True, 'reset': 0.1},
        {'surrogate': SURROGATES['sigmoid'], 'decay_input': True},
    ],
    ids=['paper', 'strict', 'through_reset', 'sigmoid'],
)
def test_gradients_are_those_of_differentiation_through_time(num_steps, options):
    rng = np.random.default_rng(0)
    current = jnp.asarray(rng.normal(1.0, 2.0, (num_steps, 40)))
    cotangent = jnp.asarray(rng.normal(size=current.shape))

    @jax.jit
    def run(current, scalars):
        spikes, pull = jax.vjp(functools.partial(ours, **options), current, *scalars)
        constant = functools.partial(timed, **CONSTANTS, **options)
        expected, expected_pull = jax.vjp(functools.partial(autodiff, **options), current, *scalars)

        def of_the_filter(rise, share):
            learned = {'adaptation': rise, 'adaptation_decay': share}
            return timed(current, **CONSTANTS | learned, **options)

        return (
            (spikes, *pull(cotangent)),
            jax.vjp(constant, current)[1](cotangent)[0],
            jax.vjp(of_the_filter, *scalars[2:])[1](cotangent),
            (expected, *expected_pull(cotangent)),
        )

    scalars = tuple(jnp.array(value) for value in CONSTANTS.values())
    learned, constant, of_filter, expected = run(current, scalars)
    assert 0 < learned[0].mean() < 1
    chex.assert_trees_all_close(learned, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(constant, expected[1], rtol=1e-11, atol=1e-12)
    chex.assert_trees_all_close(of_filter, expected[4:], rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(
    ('learned', 'options'),
    [
        ((), {}),
        (('threshold', 'adaptation', 'adaptation_decay'), {}),
        (tuple(CONSTANTS), {'surrogate': SURROGATES['sigmoid'], 'detach_reset': False}),
    ],
    ids=['constant', 'packed', 'floats'],
)
def test_derivatives_of_the_gradient_are_those_of_a_custom_jvp(learned, options):
    rng = np.random.default_rng(2)
    current = jnp.asarray(rng.normal(0.5, 0.9, (3, 20)))
    inputs = current, {name: jnp.array(CONSTANTS[name]) for name in learned}
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), inputs)
    weights = jnp.cos(jnp.arange(60.0)).reshape(3, 20)

    @functools.partial(jax.jit, static_argnums=0)
    def second(neuron, inputs):
        def loss(inputs):
            current, scalars = inputs
            spikes = neuron(current, **CONSTANTS | scalars, **options)
            return jnp.sum(weights * jnp.sin(spikes + current) * spikes)

        return jax.vjp(jax.grad(loss), inputs)[1](direction)[0]

    plain = functools.partial(autodiff, scan=False)
    found, expected = second(timed, inputs), second(plain, inputs)
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-9)
    assert np.abs(found[0]).max() > 0.1


@pytest.mark.parametrize('num_steps', [5, 20])
@pytest.mark.parametrize('strict', [False, True])
def test_without_adaptation_it_is_lif_bit_for_bit(num_steps, strict):
    current = jax.random.normal(jax.random.key(0), (num_steps, 300)) * 0.8 + 0.3
    options = {'decay': 0.3, 'threshold': 0.45, 'strict': strict, 'time_axis': 0}

    @functools.partial(jax.jit, static_argnums=0)
    def spikes_and_gradient(neuron):
        spikes, pull = jax.vjp(functools.partial(neuron, **options), current)
        return spikes, pull(jnp.cos(current))[0]

    adaptive = functools.partial(adaptive_lif, adaptation=0.0)
    chex.assert_trees_all_equal(spikes_and_gradient(adaptive), spikes_and_gradient(lif))


@pytest.mark.parametrize('axis', [1, -1])
def test_time_may_be_any_axis_also_under_vmap(axis):
    current = jax.random.normal(jax.random.key(0), (6, 4, 5)) + 0.3

    @functools.partial(jax.jit, static_argnums=1)
    def spikes_and_gradient(current, axis):
        neuron = functools.partial(adaptive_lif, time_axis=axis)
        spikes, pull = jax.vjp(neuron, current)
        return spikes, pull(jnp.cos(current))[0]

    expected = spikes_and_gradient(current, 0)
    moved = spikes_and_gradient(jnp.moveaxis(current, 0, axis), axis)
    back = jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), moved)
    chex.assert_trees_all_equal(back, expected)
    one_by_one = jax.vmap(functools.partial(spikes_and_gradient, axis=0), 1, 1)(current)
    chex.assert_trees_all_equal(one_by_one, expected)


def kept(**scalars):
    """The dtypes of what the forward pass keeps beside the scalars."""
    neuron = functools.partial(adaptive_lif, **scalars)
    _, pull = jax.vjp(neuron, jnp.ones((2, 8, 100), jnp.bfloat16))
    return sorted(str(leaf.dtype) for leaf in jax.tree.leaves(pull) if leaf.ndim)


def test_what_is_kept_for_the_backward_pass():
    one = jnp.float32(0.5)
    assert kept() == ['uint16']
    assert kept(threshold=one) == ['uint16']
    assert kept(adaptation=one, adaptation_decay=one) == ['bfloat16', 'uint16']  # The spikes.
    assert kept(decay=one) == ['bfloat16', 'float32', 'uint16']


def test_potentials_and_thresholds_are_float32_for_a_bfloat16_current():
    # In bfloat16 the threshold after the first spike, 1.003, would be 1, and be reached.
    current = jnp.array([[1.0, 1.0]], jnp.bfloat16)
    spikes = adaptive_lif(current, threshold=1.0, adaptation=0.003)
    assert spikes.dtype == jnp.bfloat16
    np.testing.assert_array_equal(spikes.astype(jnp.float32), [[1.0, 0.0]])


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match='adaptation must be a number or a JAX scalar'):
        adaptive_lif(jnp.ones((1, 1)), adaptation=np.ones(3))
    with pytest.raises(ValueError, match='width must be positive'):
        adaptive_lif(jnp.ones((1, 1)), width=0.0)
