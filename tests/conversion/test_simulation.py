"""Long simulations, and that converted networks tend to the ANN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.conversion import convert, simulate
from snnjax.conversion.simulation import correct
from snnjax.models.poisson import PoissonInput
from snnjax.models.pooling import MaxPool
from tests.conversion import networks
from tests.conversion.networks import RESNET, VGG


@pytest.fixture(scope='module')
def converted():
    """The ANN, and its spiking networks with a soft and with a hard reset."""
    ann = networks.make(**RESNET)
    return ann, *(
        convert(
            ann,
            'rueckauer',
            networks.calibration(),
            num_steps=8,
            percentile=100,
            soft_reset=soft,
        )
        for soft in (True, False)
    )


def test_parts_of_a_simulation_are_the_whole(converted):
    _, soft, _ = converted
    x = jnp.asarray(networks.images())
    whole = soft.model.clone(num_steps=20, step_logits=True).apply(soft.variables, x)
    found = simulate(soft.model, soft.variables, x, 20, steps_per_part=8)
    means = np.cumsum(whole, axis=1) / np.arange(1, 21)[:, None]
    np.testing.assert_allclose(found.logits, np.moveaxis(means, 1, 0), atol=1e-5)
    logits, rates = soft.model.clone(num_steps=20).apply(
        soft.variables, x, mutable=['firing_rates']
    )
    np.testing.assert_allclose(found.logits[-1], logits, atol=1e-5)
    layer = rates['firing_rates']['spike']
    spikes = float(jnp.sum(layer['rate']) * layer['neurons'] * 20)
    assert found.spikes['spike'].sum() == pytest.approx(spikes)
    assert found.inputs['stage1/block1/conv1/conv'].sum() == found.spikes['spike'].sum()


def test_masked_images_do_not_count(converted):
    _, soft, _ = converted
    x = jnp.asarray(networks.images())
    mask = np.arange(8) < 3
    masked = simulate(soft.model, soft.variables, x, 8, mask=mask).spikes
    alone = simulate(soft.model, soft.variables, x[:3], 8).spikes
    for name, counts in alone.items():
        np.testing.assert_array_equal(masked[name], counts)
    logits = np.zeros((2, 4, 3))
    logits[0, :, 0], logits[1, :, 1] = 1, 1
    labels, counted = [0, 1, 1, 1], [True, True, True, False]
    assert correct(logits, labels, counted, [1, 2]) == {1: 1, 2: 2}


def test_only_a_soft_reset_tends_to_the_ann(converted):
    ann, *both = converted
    x = jnp.asarray(networks.images())
    logits = np.asarray(ann.activations(x)[0])
    scale = np.abs(logits).max()
    soft, hard = (
        np.abs(simulate(each.model, each.variables, x, 512).logits[[31, 127, 511]] - logits).mean(
            (1, 2)
        )
        / scale
        for each in both
    )
    # Four times the steps divide the error by about four.
    assert soft[2] < 0.01
    assert 2.5 < soft[1] / soft[2] < 8
    assert 6 < soft[0] / soft[2] < 40
    assert hard[2] > 10 * soft[2]
    assert hard[2] > 0.5 * hard[0]


def test_an_ann_of_currents_in_shortcuts_needs_no_rule():
    ann, x = networks.make('ann_resnet8', **RESNET), jnp.asarray(networks.images())
    found = convert(ann, 's_resnet', networks.calibration(), num_steps=8, percentile=100)
    logits = np.asarray(ann.activations(x)[0])
    error = np.abs(simulate(found.model, found.variables, x, 256).logits - logits).max((1, 2))
    assert error[255] < 0.05 * np.abs(logits).max()
    assert error[255] < error[15] / 4


def test_pooling_passes_on_the_neuron_that_fires_most():
    """Rates 0.5 whose spikes take turns: the largest of the spikes is always 1."""
    turns = np.zeros((1, 20, 2, 2, 1), np.float32)
    turns[:, ::2, 0, 0], turns[:, 1::2, 1, 1] = 1.5, 1.5
    turns[:, ::4, 0, 1] = 1.5
    gate, largest = (MaxPool(2, gate=gate).apply({}, turns) for gate in ('winner', ''))
    assert float((largest != 0).mean()) == 1
    counts = (turns != 0).sum(1).max()
    assert int((gate != 0).sum()) <= counts
    assert float((gate != 0).mean()) == 0.5
    pool = MaxPool(2, gate='winner')
    first, state = pool.apply({}, turns[:, :7], mutable=['membrane'])
    second, _ = pool.apply(state, turns[:, 7:], mutable=['membrane'])
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), gate)


def test_pooling_by_count_fires_as_often_as_the_most_active_neuron():
    """Each step of each window, one by one, as an independent statement of the rule."""
    rng = np.random.default_rng(0)
    x = 1.5 * (rng.random((2, 24, 4, 6, 3)) < rng.uniform(0, 1, (1, 1, 4, 6, 3)))
    pool = MaxPool(2, gate='count')
    spikes = pool.apply({}, jnp.asarray(x, jnp.float32))
    windows = x.reshape(2, 24, 2, 2, 3, 2, 3).swapaxes(3, 4).reshape(2, 24, 2, 3, 4, 3)
    passed = np.zeros((2, 2, 3, 3))
    for t in range(24):
        most = (windows[:, : t + 1] != 0).sum(1).max(-2)
        passes = (windows[:, t] != 0).any(-2) & (most > passed)
        np.testing.assert_array_equal(spikes[:, t], 1.5 * passes)
        passed += passes
    np.testing.assert_array_equal(passed, (windows != 0).sum(1).max(-2))
    first, state = pool.apply({}, jnp.asarray(x[:, :7], jnp.float32), mutable=['membrane'])
    second, _ = pool.apply(state, jnp.asarray(x[:, 7:], jnp.float32), mutable=['membrane'])
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), spikes)


@pytest.mark.parametrize('method', ['rueckauer', 's_resnet'])
def test_a_network_with_max_pooling_tends_to_the_ann(method):
    ann, x = networks.make('vgg16_cifar', **VGG, pooling='max'), jnp.asarray(networks.images())
    found = convert(ann, method, networks.calibration(), num_steps=8, percentile=100)
    logits = np.asarray(ann.activations(x)[0])
    error = np.abs(simulate(found.model, found.variables, x, 512).logits - logits).max((1, 2))
    assert error[511] < 0.1 * np.abs(logits).max()
    assert error[511] < error[15] / 3


def test_poisson_spikes_have_the_image_as_their_mean():
    x = jnp.linspace(-1.2, 1.2, 48).reshape(1, 1, 4, 4, 3)
    layer, variables = PoissonInput(400, scale=1.0), {'params': {'scale': jnp.float32(1.0)}}
    spikes = layer.apply(variables, x)
    assert set(np.unique(spikes)) == {-1, 0, 1}
    p = np.minimum(np.abs(x[:, 0]), 1)
    bound = 4 * np.sqrt(p * (1 - p) / 400) + 1e-6
    assert (np.abs(spikes.mean(1) - np.clip(x[:, 0], -1, 1)) <= bound).all()
    # What is drawn depends on the image alone, and goes on from part to part.
    both = layer.apply(variables, jnp.concatenate([x + 0.1, x]))
    np.testing.assert_array_equal(both[1], spikes[0])
    half = PoissonInput(200)
    first, state = half.apply(variables, x, mutable=['membrane'])
    second, _ = half.apply({**variables, **state}, x, mutable=['membrane'])
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), spikes)
    larger = PoissonInput(400).apply({'params': {'scale': jnp.float32(2.0)}}, x)
    assert set(np.unique(larger)) == {-2, 0, 2}
    assert jax.numpy.abs(larger.mean(1) - x[:, 0]).max() < 0.4
