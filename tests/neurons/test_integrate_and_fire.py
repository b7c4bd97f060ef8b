"""The neuron against an independent implementation, a plain loop, and plain differentiation."""

import ast
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons import SURROGATES, Surrogate, lif, membrane_potential
from tests.conftest import GOLDEN


def reference_spikes(current, *, decay, threshold, reset=0.0, strict=False, soft_reset=False):
    """Equations 1 and 2 written down in NumPy, time first."""
    spikes = np.zeros_like(current)
    potential = np.zeros_like(current[0])
    for t, x in enumerate(current):
        potential = decay * potential + x
        spikes[t] = potential > threshold if strict else potential >= threshold
        potential = np.where(spikes[t], potential - threshold if soft_reset else reset, potential)
    return spikes


def autodiff_lif(
    current,
    *,
    decay,
    threshold,
    reset,
    width,
    strict,
    detach_reset,
    surrogate,
    decay_input=False,
    soft_reset=False,
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

    def step(potential, x):
        potential = decay * potential + ((1 - decay) * x if decay_input else x)
        out = spike(potential - threshold)
        gate = jax.lax.stop_gradient(out) if detach_reset else out
        if soft_reset:
            return potential - threshold * gate, out
        return potential * (1 - gate) + reset * gate, out

    # Not a scan, which loses the rule of `spike` in derivatives of a gradient.
    potential, spikes = jnp.zeros_like(current[0]), []
    for x in current:
        potential, out = step(potential, x)
        spikes.append(out)
    return jnp.stack(spikes)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', ['paper', 'strict', 'wide', 'through_reset'])
def test_agrees_with_an_independent_implementation(name):
    with np.load(GOLDEN / f'lif_{name}.npz') as golden:
        params = ast.literal_eval(str(golden['params']))
        neuron = functools.partial(
            lif,
            decay=params.get('tau', 0.25),
            threshold=params.get('th', 0.5),
            reset=params.get('reset', 0.0),
            width=params.get('a', 1.0),
            strict=params['strict'],
            detach_reset=params['detach'],
            time_axis=0,
        )
        spikes, pullback = jax.vjp(neuron, jnp.asarray(golden['x']))
        np.testing.assert_array_equal(spikes, golden['spikes'])
        (gradient,) = pullback(jnp.asarray(golden['cotangent']))
        np.testing.assert_allclose(gradient, golden['grad_x'], rtol=0, atol=1e-9)


# One word of each size; two words; three words, the last not full.
@pytest.mark.parametrize('num_steps', [1, 3, 4, 5, 8, 9, 16, 17, 32, 37])
@pytest.mark.parametrize('strict', [False, True])
def test_spikes_are_those_of_the_equations(num_steps, strict):
    current = np.random.default_rng(num_steps).normal(0.3, 0.5, (num_steps, 5, 7))
    current = current.astype(np.float32)
    current[0, 0, 0] = 0.5  # On the threshold.
    constants = {'decay': 0.5, 'threshold': 0.5, 'reset': -0.25, 'strict': strict}
    spikes = jax.jit(functools.partial(lif, time_axis=0, **constants))(current)
    np.testing.assert_array_equal(spikes, reference_spikes(current, **constants))
    assert spikes[0, 0, 0] == (not strict)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 17])
@pytest.mark.parametrize('detach_reset', [True, False])
@pytest.mark.parametrize('name', SURROGATES)
def test_gradient_is_that_of_differentiation_through_time(num_steps, detach_reset, name):
    rng = np.random.default_rng(0)
    current = jnp.asarray(rng.normal(0.3, 0.6, (num_steps, 40)))
    cotangent = jnp.asarray(rng.normal(size=current.shape))
    options = {
        'decay': 0.7,
        'threshold': 0.6,
        'reset': 0.1,
        'width': 0.8,
        'strict': False,
        'detach_reset': detach_reset,
        'surrogate': SURROGATES[name],
    }

    @functools.partial(jax.jit, static_argnums=0)
    def spikes_and_gradient(neuron):
        spikes, pullback = jax.vjp(neuron, current)
        return spikes, pullback(cotangent)[0]

    ours = spikes_and_gradient(functools.partial(lif, time_axis=0, **options))
    expected = spikes_and_gradient(functools.partial(autodiff_lif, **options))
    np.testing.assert_array_equal(ours[0], expected[0])
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 37])
@pytest.mark.parametrize('detach_reset', [True, False])
@pytest.mark.parametrize('name', ['rectangular', 'sigmoid'])
def test_learnable_decay_and_threshold_get_their_gradients(num_steps, detach_reset, name):
    rng = np.random.default_rng(1)
    current = jnp.asarray(rng.normal(0.3, 0.6, (num_steps, 40)))
    cotangent = jnp.asarray(rng.normal(size=current.shape))
    options = {
        'reset': 0.1,
        'width': 0.8,
        'strict': False,
        'detach_reset': detach_reset,
        'surrogate': SURROGATES[name],
    }

    @functools.partial(jax.jit, static_argnums=0)
    def spikes_and_gradients(neuron):
        def spikes(current, decay, threshold):
            return neuron(current, decay=decay, threshold=threshold, **options)

        out, pullback = jax.vjp(spikes, current, jnp.array(0.7), jnp.array(0.6))
        return out, pullback(cotangent)

    ours = spikes_and_gradients(functools.partial(lif, time_axis=0))
    chex.assert_trees_all_close(ours, spikes_and_gradients(autodiff_lif), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('num_steps', [1, 9, 37])
@pytest.mark.parametrize('strict', [False, True])
def test_a_soft_reset_subtracts_the_threshold(num_steps, strict):
    current = np.random.default_rng(num_steps).integers(-2, 6, (num_steps, 35)) / np.float32(4)
    constants = {'decay': 0.5, 'threshold': 0.5, 'strict': strict, 'soft_reset': True}
    spikes = jax.jit(functools.partial(lif, time_axis=0, **constants))(current)
    np.testing.assert_array_equal(spikes, reference_spikes(current, **constants))
    potential = membrane_potential(current, time_axis=0, **constants)
    np.testing.assert_array_equal(potential > 0.5 if strict else potential >= 0.5, spikes == 1)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 37])
@pytest.mark.parametrize('detach_reset', [True, False])
@pytest.mark.parametrize(('name', 'decay_input'), [('rectangular', False), ('sigmoid', True)])
def test_gradients_of_a_soft_reset_are_those_of_differentiation(
    num_steps, detach_reset, name, decay_input
):
    rng = np.random.default_rng(3)
    current = jnp.asarray(rng.normal(0.4, 0.8, (num_steps, 40)))
    cotangent = jnp.asarray(rng.normal(size=current.shape))
    options = {
        'width': 0.8,
        'strict': False,
        'detach_reset': detach_reset,
        'decay_input': decay_input,
        'soft_reset': True,
        'surrogate': SURROGATES[name],
    }

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def spikes_and_gradients(neuron, learned):
        def spikes(current, decay, threshold):
            constants = {'decay': decay, 'threshold': threshold} if learned else {}
            constants = {'decay': 0.7, 'threshold': 0.6, **constants}
            return neuron(current, reset=0.0, **constants, **options)

        out, pullback = jax.vjp(spikes, current, jnp.array(0.7), jnp.array(0.6))
        return out, pullback(cotangent)

    ours = functools.partial(lif, time_axis=0)
    for learned in (True, False):
        found, expected = (spikes_and_gradients(f, learned) for f in (ours, autodiff_lif))
        assert 0 < found[0].mean() < 1
        chex.assert_trees_all_close(found, expected, rtol=1e-11, atol=1e-12)


def test_a_soft_reset_keeps_bits_even_if_the_gradient_passes_through_it():
    current = jnp.ones((2, 4, 100))
    neuron = functools.partial(lif, soft_reset=True, detach_reset=False)
    kept = [leaf for leaf in jax.tree.leaves(jax.vjp(neuron, current)[1]) if leaf.ndim]
    assert [str(leaf.dtype) for leaf in kept] == ['uint8']


def _bell(distance, width):
    return jnp.exp(-(distance**2) / width)


def _half(distance, width, strict):
    return distance / 2


HALVED = Surrogate(_bell, _half)
"""A surrogate that saves other floats than the distance."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def second_derivatives(neuron, learnable, inputs, direction):
    """A gradient's directional derivative, by both modes."""
    weights = jnp.cos(jnp.arange(inputs[0].size, dtype=inputs[0].dtype)).reshape(inputs[0].shape)

    def loss(inputs):
        current, decay, threshold = inputs
        constants = {'decay': decay, 'threshold': threshold} if learnable else {}
        spikes = neuron(current, **{'decay': 0.7, 'threshold': 0.6, **constants})
        return jnp.sum(weights * jnp.sin(spikes + current) * spikes)

    gradient = jax.grad(loss)
    forward = jax.jvp(gradient, (inputs,), (direction,))[1]
    reverse = jax.vjp(gradient, inputs)[1](direction)[0]
    return forward, reverse


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(
    ('surrogate', 'learnable', 'options'),
    [
        ('rectangular', False, {}),
        ('rectangular', False, {'detach_reset': False, 'strict': True}),
        ('rectangular', True, {}),
        ('triangular', False, {}),
        ('sigmoid', False, {}),
        ('sigmoid', True, {'detach_reset': False}),
        ('arctan', False, {'detach_reset': False}),
        ('arctan', True, {'decay_input': True, 'detach_reset': False}),
        ('rectangular', False, {'soft_reset': True, 'detach_reset': False, 'reset': 0.0}),
        ('arctan', True, {'soft_reset': True, 'detach_reset': False, 'reset': 0.0}),
        (HALVED, False, {}),
        (HALVED, True, {}),
    ],
)
def test_derivatives_of_the_gradient_are_those_of_a_custom_jvp(surrogate, learnable, options):
    rng = np.random.default_rng(2)
    options = {
        'reset': 0.1,
        'width': 0.8,
        'strict': False,
        'detach_reset': True,
        'surrogate': SURROGATES.get(surrogate, surrogate),
        **options,
    }
    inputs = jnp.asarray(rng.normal(0.3, 0.6, (3, 20))), jnp.array(0.7), jnp.array(0.6)
    direction = jnp.asarray(rng.normal(size=(3, 20))), jnp.array(0.3), jnp.array(-0.2)
    ours, expected = (
        second_derivatives(functools.partial(neuron, **options), learnable, inputs, direction)
        for neuron in (functools.partial(lif, time_axis=0), autodiff_lif)
    )
    chex.assert_trees_all_close(ours, expected, rtol=1e-9, atol=1e-9)
    assert np.abs(ours[0][0]).max() > 0.1


@pytest.mark.usefixtures('x64')
def test_third_derivative_is_that_of_a_custom_jvp():
    options = {'reset': 0.1, 'width': 0.8, 'strict': False, 'detach_reset': False}
    options |= {'surrogate': SURROGATES['arctan'], 'decay': 0.7, 'threshold': 0.6}

    def third(neuron, x):
        def loss(x):
            return jnp.sum(jnp.sin(neuron(jnp.stack([x, x]), **options)) * x)

        return jax.jit(jax.jacfwd(jax.jacfwd(jax.grad(loss))))(x)

    x = jnp.array([0.2, 0.5, 0.9])
    ours, expected = third(functools.partial(lif, time_axis=0), x), third(autodiff_lif, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('inside', ['scan', 'jit', 'checkpoint', 'vmap', 'long'])
def test_second_derivatives_are_right_inside_of_other_transformations(inside):
    current = jnp.linspace(0.3, 0.7, 40 if inside == 'long' else 2).reshape(1, -1, 1)

    def spikes(x):
        if inside == 'scan':
            return jax.lax.scan(lambda carry, x: (carry, lif(x, decay=0.0)), 0.0, x[None])[1][0]
        if inside == 'vmap':
            return jax.vmap(functools.partial(lif, decay=0.0, time_axis=0))(x)
        wrap = {'jit': jax.jit, 'checkpoint': jax.checkpoint}.get(inside, lambda f: f)
        return wrap(functools.partial(lif, decay=0.0))(x)

    # Without memory each step is a neuron of its own, as below.
    gradient = jax.grad(lambda x: 0.5 * jnp.sum(spikes(x) ** 2))
    ones = jnp.ones_like(current)
    forward = jax.jit(lambda x: jax.jvp(gradient, (x,), (ones,))[1])
    reverse = jax.jit(jax.grad(lambda x: jnp.sum(gradient(x))))
    np.testing.assert_array_equal(forward(current), ones)
    np.testing.assert_array_equal(reverse(current), ones)


def test_hessian_of_half_the_squared_spikes():
    """A spike times the surrogate's derivative, and the squared surrogate."""

    def loss(x):
        return 0.5 * jnp.sum(lif(x[:, None]) ** 2)

    x = jnp.array([0.6, 0.2, 1.2])
    expected = np.diag([1.0, 1.0, 0.0])
    np.testing.assert_array_equal(jax.jit(jax.hessian(loss))(x), expected)
    np.testing.assert_array_equal(jax.jit(jax.jacrev(jax.jacrev(loss)))(x), expected)
    np.testing.assert_array_equal(jax.jit(jax.jacfwd(jax.grad(loss)))(x), expected)


def test_forward_mode_of_the_spikes_is_refused():
    x = jnp.ones((1, 4))
    with pytest.raises(TypeError, match='forward-mode'):
        jax.jvp(lif, (x,), (x,))
    _, push = jax.linearize(lif, x)
    with pytest.raises(TypeError, match='forward-mode'):
        push(x)


@pytest.mark.parametrize('axis', [0, 1, 2, -1])
def test_time_may_be_any_axis(axis):
    current = jax.random.normal(jax.random.key(0), (6, 4, 5))

    @functools.partial(jax.jit, static_argnums=1)
    def spikes_and_gradient(current, axis):
        spikes, pullback = jax.vjp(functools.partial(lif, time_axis=axis), current)
        return spikes, pullback(jnp.cos(current))[0]

    expected = spikes_and_gradient(current, 0)
    moved = spikes_and_gradient(jnp.moveaxis(current, 0, axis), axis)
    back = jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), moved)
    chex.assert_trees_all_equal(back, expected)


@pytest.mark.parametrize('num_steps', [4, 8, 16, 32])
def test_keeps_two_bits_a_neuron_and_step_for_the_backward_pass(num_steps):
    current = jnp.ones((2, num_steps, 100))
    _, pullback = jax.vjp(lif, current)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if leaf.ndim]
    assert sum(leaf.nbytes for leaf in kept) == 2 * current.size / 8


def test_keeps_bits_and_what_the_surrogate_saves():
    current = jnp.ones((2, 4, 100))
    _, pullback = jax.vjp(functools.partial(lif, surrogate=SURROGATES['sigmoid']), current)
    leaves = [leaf for leaf in jax.tree.leaves(pullback) if leaf.ndim]
    assert sorted(str(leaf.dtype) for leaf in leaves) == ['float32', 'uint8']


def test_membrane_potential_is_float32_for_a_bfloat16_current():
    # In bfloat16 the potential of step 1, 0.25 * 0.498 + 0.375, would round up to the threshold.
    current = jnp.array([[0.498, 0.375]], jnp.bfloat16)
    assert 0.25 * current[0, 0] + current[0, 1] >= 0.5
    spikes = lif(current)
    assert spikes.dtype == jnp.bfloat16
    np.testing.assert_array_equal(spikes.astype(jnp.float32), [[0.0, 0.0]])


def test_is_the_same_under_vmap():
    current = jax.random.normal(jax.random.key(1), (3, 6, 8))

    def gradient(current):
        return jax.grad(lambda x: jnp.sum(lif(x, time_axis=0) * jnp.arange(6.0)[:, None]))(current)

    one_by_one = jnp.stack([jax.jit(gradient)(x) for x in current])
    np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(current), one_by_one)


def test_takes_a_surrogate_of_the_user():
    doubled = Surrogate(_double)
    gradient = jax.grad(lambda x: lif(x, surrogate=doubled, width=3.0).sum())(jnp.ones((1, 1)))
    np.testing.assert_allclose(gradient, [[2 * 0.5 * 3.0]])


def _double(distance, width):
    return 2 * distance * width


@pytest.mark.parametrize(
    ('current', 'options', 'error', 'message'),
    [
        (np.ones((2, 3), np.int32), {}, TypeError, 'current must be floating-point, got int32'),
        (np.ones(3, np.float32), {}, ValueError, 'time_axis=1 is not an axis'),
        (np.ones((2, 0), np.float32), {}, ValueError, 'no time step on axis 1'),
        (np.ones((2, 3), np.float32), {'width': 0.0}, ValueError, 'width must be positive'),
        (
            np.ones((2, 3), np.float32),
            {'reset': 0.3, 'soft_reset': True},
            ValueError,
            'reset=0.3 has no effect with soft_reset',
        ),
        (
            np.ones((2, 3), np.float32),
            {'decay': np.ones(3)},
            TypeError,
            'decay must be a number or a JAX scalar',
        ),
        (
            np.ones((2, 3), np.float32),
            {'reset': jnp.ones(())},
            TypeError,
            'reset must be a Python number',
        ),
    ],
)
def test_refuses_what_it_cannot_do(current, options, error, message):
    with pytest.raises(error, match=message):
        lif(jnp.asarray(current), **options)
