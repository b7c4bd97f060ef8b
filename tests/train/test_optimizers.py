import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from snnjax.errors import ConfigError
from snnjax.train.optimizers import OPTIMIZERS, check_options, make_optimizer, make_schedule


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
            penalized = np.asarray(gradient[key]) + 0.01 * expected[key]
            velocity[key] = momentum * velocity[key] + penalized
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
        penalized = gradient + 0.01 * expected
        mean = 0.8 * mean + 0.2 * penalized
        square = 0.999 * square + 0.001 * penalized**2
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


@pytest.mark.parametrize(('grad_clip_norm', 'factor'), [(0.0, 1.0), (2.5, 0.5), (100.0, 1.0)])
def test_large_gradients_are_scaled_down(config, grad_clip_norm, factor):
    config.optimizer.grad_clip_norm = grad_clip_norm
    config.optimizer.weight_decay = 0.0
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1)
    params = {'kernel': jnp.zeros(2), 'bias': jnp.zeros(1)}
    gradient = {'kernel': jnp.array([0.0, 3.0]), 'bias': jnp.array([4.0])}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(updates['kernel'], [0, -0.3 * factor], rtol=1e-6)
    np.testing.assert_allclose(updates['bias'], [-0.4 * factor], rtol=1e-6)


@pytest.mark.parametrize('name', ['adamw', 'lamb', 'lion'])
def test_decay_apart_from_the_gradient_is_of_kernels_only(config, name):
    config.optimizer.name = name
    config.optimizer.weight_decay = 0.5
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1)
    sizes = {'kernel': (2, 2), 'scale': (2,), 'decay_logit': ()}
    params = {key: jnp.full(size, 4.0) for key, size in sizes.items()}
    gradient = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    assert (np.asarray(updates['kernel']) < 0).all()
    assert not np.any(updates['scale'])
    assert not np.any(updates['decay_logit'])


def test_adamw_is_what_it_is_called(config):
    config.optimizer.name = 'adamw'
    config.optimizer.momentum = 0.8
    config.optimizer.weight_decay = 0.01
    config.optimizer.options = {'b2': 0.9}
    optimizer = make_optimizer(config.optimizer, lambda step: 0.1)
    params = {'kernel': jnp.array([[1.0, -2.0]])}
    state = optimizer.init(params)
    expected, mean, square = np.array([[1.0, -2.0]]), np.zeros(2), np.zeros(2)
    for step in range(1, 4):
        gradient = np.cos(expected + step)
        updates, state = optimizer.update({'kernel': jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        deviation = np.sqrt(square / (1 - 0.9**step)) + 1e-8
        expected = expected - 0.1 * (mean / (1 - 0.8**step) / deviation + 0.01 * expected)
        np.testing.assert_allclose(params['kernel'], expected, rtol=1e-4)


def test_a_schedule_in_steps_falls_after_its_epochs(config):
    config.optimizer.schedule = 'step'
    config.optimizer.schedule_options = {'epochs': (3, 5), 'factor': 0.5}
    schedule = make_schedule(config.optimizer, steps_per_epoch=10, num_steps=100)
    values = [float(schedule(step)) for step in (0, 29, 31, 49, 51, 99)]
    np.testing.assert_allclose(values, [0.1, 0.1, 0.05, 0.05, 0.025, 0.025], rtol=1e-6)


def test_any_schedule_may_follow_a_warm_up(config):
    config.optimizer.schedule = 'constant'
    config.optimizer.warmup_epochs = 2.0
    schedule = make_schedule(config.optimizer, steps_per_epoch=10, num_steps=100)
    np.testing.assert_allclose([schedule(s) for s in (0, 10, 20, 99)], [0, 0.05, 0.1, 0.1])


def test_a_function_of_optax_can_be_an_entry(config, monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, 'rmsprop', optax.rmsprop)
    config.optimizer.name = 'rmsprop'
    config.optimizer.momentum = 0.5
    config.optimizer.options = {'decay': 0.8}
    check_options(config.optimizer)
    ours = make_optimizer(config.optimizer, lambda step: 0.1)
    theirs = optax.rmsprop(0.1, decay=0.8, momentum=0.5)
    params = {'kernel': jnp.array([1.0, -2.0])}
    # What has no decay of its own has the L2 penalty.
    gradient = {'kernel': jnp.array([0.3, 0.4])}
    penalized = {'kernel': gradient['kernel'] + 1e-4 * params['kernel']}
    update, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(penalized, theirs.init(params), params)
    np.testing.assert_allclose(update['kernel'], expected['kernel'], rtol=1e-6)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('options', {'b3': 0.9}, "optimizer.options: sgd has no 'b3'"),
        ('options', {'momentum': 0.9}, 'has a key of its own: give optimizer.momentum'),
        (
            'schedule_options',
            {'epochs': (3,)},
            "optimizer.schedule_options: cosine has no 'epochs'",
        ),
    ],
)
def test_an_option_that_there_is_not_is_refused(config, key, value, message):
    config.optimizer[key] = value
    with pytest.raises(ConfigError, match=message):
        check_options(config.optimizer)
