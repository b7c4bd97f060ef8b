import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from snnjax.train.optimizers import make_optimizer, make_schedule


@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_is_sgd_with_the_l2_penalty_in_the_gradient(config, momentum):
    config.optimizer.momentum = momentum
    config.optimizer.weight_decay = 0.01
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1 / (step + 1))
    params = {'kernel': jnp.array([1.0, -2.0]), 'bias': jnp.array([0.5])}
    state = optimizer.init(params)
    expected = jax.tree.map(np.asarray, params)
    velocity = jax.tree.map(np.zeros_like, expected)
    for step in range(4):
        gradient = jax.tree.map(lambda p, s=step: jnp.cos(p + s), params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for key in expected:
            penalised = np.asarray(gradient[key]) + 0.01 * expected[key]
            velocity[key] = momentum * velocity[key] + penalised
            expected[key] = expected[key] - 0.1 / (step + 1) * velocity[key]
            np.testing.assert_allclose(params[key], expected[key], rtol=1e-5)


def test_adam_has_the_l2_penalty_in_the_gradient(config):
    config.optimizer.name = 'adam'
    config.optimizer.momentum = 0.8
    config.optimizer.weight_decay = 0.01
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1)
    params = {'kernel': jnp.array([1.0, -2.0])}
    state = optimizer.init(params)
    expected, mean, square = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for step in range(1, 4):
        gradient = np.cos(expected + step)
        updates, state = optimizer.update({'kernel': jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        penalised = gradient + 0.01 * expected
        mean = 0.8 * mean + 0.2 * penalised
        square = 0.999 * square + 0.001 * penalised**2
        deviation = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        expected = expected - 0.1 * mean / (1 - 0.8**step) / deviation
        np.testing.assert_allclose(params['kernel'], expected, rtol=1e-4)


def test_schedule_is_a_cosine_to_zero(config):
    schedule = make_schedule(config.optimizer, steps_per_epoch=10, num_steps=100)
    np.testing.assert_allclose(
        [schedule(step) for step in (0, 25, 50, 100)],
        [0.1, 0.05 * (1 + np.sqrt(0.5)), 0.05, 0.0],
        atol=1e-8,
    )


def test_schedule_warms_up(config):
    config.optimizer.warmup_epochs = 2.0
    schedule = make_schedule(config.optimizer, steps_per_epoch=10, num_steps=100)
    np.testing.assert_allclose(
        [schedule(step) for step in (0, 10, 20, 60, 100)], [0, 0.05, 0.1, 0.05, 0], atol=1e-8
    )


@pytest.mark.parametrize(('clip_norm', 'factor'), [(0.0, 1.0), (2.5, 0.5), (100.0, 1.0)])
def test_large_gradients_are_scaled_down(config, clip_norm, factor):
    config.optimizer.clip_norm = clip_norm
    config.optimizer.weight_decay = 0.0
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1)
    params = {'kernel': jnp.zeros(2), 'bias': jnp.zeros(1)}
    gradient = {'kernel': jnp.array([0.0, 3.0]), 'bias': jnp.array([4.0])}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(updates['kernel'], [0, -0.3 * factor], rtol=1e-6)
    np.testing.assert_allclose(updates['bias'], [-0.4 * factor], rtol=1e-6)
