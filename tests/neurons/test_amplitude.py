"""Integrate-and-fire neurons against the closed forms of their spike counts, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons.amplitude import advance, integrate_and_fire, start_potential

# Sums of these are exact.
SHARES = np.arange(-16, 49) / 32


@pytest.fixture(autouse=True)
def _x64(x64):
    pass


def counts(z, steps, **options):
    """Spikes within 1, 2, ... steps of a constant current ``z``, (steps, len(z))."""
    current = jnp.broadcast_to(jnp.asarray(z)[:, None], (len(z), steps))
    theta = options.get('threshold', 1.0)
    spikes = np.asarray(integrate_and_fire(current * theta, **options)) / theta
    return np.cumsum(spikes.T, axis=0)


def test_a_soft_reset_counts_the_whole_thresholds_of_its_input():
    steps = np.arange(1, 101)[:, None]
    found = counts(SHARES, 100)
    np.testing.assert_array_equal(found, np.clip(np.floor(SHARES * steps), 0, steps))
    inside = (SHARES >= 0) & (SHARES <= 1)
    error = (SHARES - found / steps)[:, inside]
    assert (error >= 0).all()
    assert (error < 1 / steps).all()


def test_half_a_threshold_at_the_start_rounds_to_the_nearest():
    steps = np.arange(1, 101)[:, None]
    found = counts(SHARES, 100, initial=0.5)
    np.testing.assert_array_equal(found, np.clip(np.floor(SHARES * steps + 0.5), 0, steps))
    inside = (SHARES >= 0) & (SHARES <= 1)
    assert (np.abs(SHARES * steps - found)[:, inside] <= 0.5).all()


def test_a_hard_reset_loses_what_is_above_the_threshold():
    z = np.array([0.6, 0.75, 0.5, 0.3125, 1.0, 1.5])
    found = counts(z, 1000, soft_reset=False)
    np.testing.assert_array_equal(found[-1], 1000 // np.ceil(1 / z))
    assert found[-1, 0] / 1000 == 0.5  # Of 0.6, whatever the number of steps.
    wide = np.linspace(-0.5, 1.5, 401)
    truth = np.clip(wide, 0, 1)
    hard, soft = (
        np.abs(counts(wide, 1000, soft_reset=s)[[9, 99, 999]].T / [10, 100, 1000] - truth[:, None])
        for s in (False, True)
    )
    assert (hard.mean(0) > 0.05).all()
    assert soft.mean(0)[2] < 1e-3
    # A tenfold number of steps divides the error of the soft reset by about ten.
    assert 5 < soft.mean(0)[0] / soft.mean(0)[1] < 20


def test_a_soft_reset_never_fires_less_than_a_hard_one():
    current = jax.random.normal(jax.random.key(0), (200, 50)) * 0.5 + 0.3
    soft, hard = (np.asarray(integrate_and_fire(current, soft_reset=s)) for s in (True, False))
    assert (soft.sum(1) >= hard.sum(1)).all()
    assert (soft.sum(1) > hard.sum(1)).any()


@pytest.mark.parametrize('soft_reset', [True, False])
def test_no_charge_is_lost_with_a_soft_reset(soft_reset):
    current = jax.random.randint(jax.random.key(1), (100, 60), -20, 40) / 32
    start = start_potential(current[:, 0], 0.75, 0.5)
    spikes, left = advance(current, start, threshold=0.75, soft_reset=soft_reset)
    conserved = jnp.sum(spikes, 1) == jnp.sum(current, 1) + start - left
    assert conserved.all() == soft_reset


def test_a_drift_counts_as_half_a_threshold_at_the_start():
    """A current of 1 / (2T) in each step: the same number of spikes at T, at other times."""
    z, steps = SHARES[:48:3], 16
    drifting = counts(z, steps, drift=1 / (2 * steps))
    shifted = counts(z, steps, initial=0.5)
    np.testing.assert_array_equal(drifting[-1], shifted[-1])
    assert (drifting != shifted).any()


def test_thresholds_divide_current_and_spikes():
    """PSP form and weight-normalized form have the same spikes."""
    keys = jax.random.split(jax.random.key(2))
    theta = jax.random.uniform(keys[0], (5,), minval=0.3, maxval=3.0)
    current = jax.random.normal(keys[1], (4, 20, 2, 2, 5))
    spikes = integrate_and_fire(current, threshold=theta, initial=0.5)
    unit = integrate_and_fire(current / theta, initial=0.5)
    np.testing.assert_array_equal(spikes, unit * theta)
    assert 0.1 < unit.mean() < 0.5


def test_spikes_are_as_large_as_the_gain_says():
    current = jnp.full((1, 8), 0.75)
    np.testing.assert_array_equal(
        integrate_and_fire(current, gain=1.5), 1.5 * integrate_and_fire(current)
    )


@pytest.mark.parametrize('steps', [(16, 16, 8), (1, 15, 17, 7), (40,)])
@pytest.mark.parametrize('soft_reset', [True, False])
def test_parts_continue_each_other(steps, soft_reset):
    current = jax.random.normal(jax.random.key(3), (3, 40, 2, 4)) * 0.7
    options = {'threshold': 0.9, 'soft_reset': soft_reset, 'drift': 0.01}
    whole = integrate_and_fire(current, initial=0.25, **options)
    potential = start_potential(current[:, 0], 0.9, 0.25)
    parts = []
    for part in jnp.split(current, np.cumsum(steps)[:-1], axis=1):
        spikes, potential = advance(part, potential, **options)
        parts.append(spikes)
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), whole)


def test_firing_at_the_threshold_can_be_left_out():
    current = jnp.full((1, 4), 0.5)
    assert integrate_and_fire(current).tolist() == [[0, 1, 0, 1]]
    assert integrate_and_fire(current, strict=True).tolist() == [[0, 0, 1, 0]]


def test_time_may_be_any_axis():
    current = jax.random.normal(jax.random.key(4), (6, 3, 2))
    theta = jnp.array([0.5, 1.0])
    np.testing.assert_array_equal(
        integrate_and_fire(current, threshold=theta, time_axis=0),
        jnp.moveaxis(integrate_and_fire(jnp.moveaxis(current, 0, 1), threshold=theta), 1, 0),
    )


def test_a_gradient_is_refused():
    with pytest.raises(NotImplementedError, match='train the ANN'):
        jax.grad(lambda x: integrate_and_fire(x).sum())(jnp.ones((1, 3)))


def test_a_lower_bound_rectifies_each_step():
    current = jnp.asarray([[-3.0, 0.75, -0.5, 0.5, 2.0, -9.0, 1.0]])
    # The potentials are 0, 0.75, 0.25, 0.75, 1.75 after a spike, 0, and 0 after another one.
    spikes = np.asarray(integrate_and_fire(current, lowest=0.0))[0]
    assert spikes.tolist() == [0, 0, 0, 0, 1, 0, 1]
    assert np.asarray(integrate_and_fire(current))[0].tolist() == [0, 0, 0, 0, 0, 0, 0]
    doubled = np.asarray(integrate_and_fire(2 * current, threshold=2.0, lowest=0.0))[0]
    np.testing.assert_array_equal(doubled, 2 * spikes)
    # A bound of -1 leaves a debt of one threshold.
    assert np.asarray(integrate_and_fire(current, lowest=-1.0))[0].tolist() == [0] * 4 + [1, 0, 0]
