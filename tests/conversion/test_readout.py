"""The spiking softmax: how often it fires, and what it decides."""

import jax
import numpy as np

from snnjax.conversion.readout import decide_by_count, softmax_spikes


def test_output_neurons_fire_as_often_as_the_softmax_of_their_potentials_says():
    """Potentials that stay: means over t steps of what came in the first one only."""
    steps, potential = 4000, np.array([[1.0, 0.0, -1.0], [3.0, 3.0, 0.0]])
    logits = potential / np.arange(1, steps + 1).reshape(-1, 1, 1)
    spikes = softmax_spikes(logits, jax.random.key(0))
    p = np.exp(potential) / np.exp(potential).sum(1, keepdims=True)
    bound = 4 * np.sqrt(p * (1 - p) / steps)
    assert (np.abs(spikes.mean(0) - p) < bound).all()
    # Independently: both of two equals at times, and none at others.
    together = spikes[:, 1, 0] & spikes[:, 1, 1]
    assert abs(together.mean() - p[1, 0] * p[1, 1]) < 4 * np.sqrt(0.25 / steps)


def test_potentials_grow_so_that_the_largest_wins_at_last():
    logits = np.broadcast_to(np.array([0.2, 0.5, 0.1]), (200, 1, 3))
    spikes = softmax_spikes(logits, jax.random.key(1))
    assert spikes[-50:, 0, 1].all()
    assert not spikes[-50:, 0, [0, 2]].any()
    assert decide_by_count(spikes)[-1, 0] == 1


def test_an_image_without_an_output_spike_has_no_class():
    spikes = np.zeros((3, 2, 2), bool)
    spikes[1, 0, 1] = spikes[2, 1, 0] = spikes[2, 1, 1] = True
    np.testing.assert_array_equal(decide_by_count(spikes), [[-1, -1], [1, -1], [1, 0]])
