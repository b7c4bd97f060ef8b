"""Methods by name: what their papers promise, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.conversion import Ann, Calibration, ConversionError, convert, simulate
from snnjax.conversion.balancing import largest_currents, scaled, unit_thresholds
from snnjax.conversion.calibration import balance_locally
from snnjax.conversion.methods import bounds, few_spike_steps
from snnjax.conversion.simulation import mean_outputs
from snnjax.models.activations import QCFS
from snnjax.models.params import by_name, nested
from snnjax.neurons.amplitude import integrate_and_fire
from tests.conversion import networks
from tests.conversion.networks import RESNET, SENGUPTA, SHAPE, VGG


@pytest.fixture(scope='module')
def ann():
    return networks.make(**RESNET)


@pytest.fixture(scope='module')
def plain():
    """An ANN without biases and normalization."""
    return networks.make('sengupta_resnet20', **SENGUPTA)


def test_thresholds_are_percentiles_of_the_activations(ann):
    _, activations = ann.activations(jnp.asarray(networks.images()))
    for options, percentile in (({}, 99.9), ({'percentile': 90}, 90)):
        found = convert(ann, 'rueckauer', networks.calibration(parts=4), num_steps=4, **options)
        for name, threshold in found.thresholds.items():
            expected = np.percentile(np.asarray(activations[name], np.float64), percentile)
            assert threshold == pytest.approx(expected, rel=1e-5)
    largest = convert(ann, 'rueckauer', networks.calibration(), num_steps=4, percentile=100)
    for name, threshold in largest.thresholds.items():
        assert threshold == activations[name].max()


def test_weights_stay_as_they_are(ann):
    found = convert(ann, 's_resnet', networks.calibration(), num_steps=4)
    before, after = by_name(ann.variables), by_name(found.variables)
    assert {name for name in after if name not in before} == {
        f'params/{layer.name}/threshold' for layer in ann.layers
    }
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    made = create_model('relu_resnet8', **RESNET, **found.options)
    assert made == found.model
    assert found.about['method'] == 's_resnet'
    assert found.about['calibration_images'] == 8


def test_compensation_multiplies_weights_but_not_biases(ann):
    """Kernels and shortcuts times c, as a network of its own."""
    c, x = 1.25, jnp.asarray(networks.images(2))
    found = convert(ann, 's_resnet', networks.calibration(), num_steps=16, compensation=c)
    plain = convert(ann, 's_resnet', networks.calibration(), num_steps=16)
    params = by_name({'params': plain.variables['params']})
    first = next(iter(by_name(found.variables['params'])))
    assert first
    stem = found.variables['params']['stem']['conv']['kernel']
    np.testing.assert_allclose(stem, c * params['params/stem/conv/kernel'])
    assert found.model.neuron_options['gain'] == c
    with pytest.raises(ConversionError, match='compensation=0'):
        convert(ann, 's_resnet', networks.calibration(), num_steps=16, compensation=0)
    assert simulate(found.model, found.variables, x, 4).logits.shape == (4, 2, 10)


@pytest.mark.parametrize(
    ('levels', 'steps', 'without'), [(4, 4, 0), (4, 8, 0.0625), (4, 2, -0.125), (8, 3, -0.1042)]
)
def test_qcfs_errs_by_nothing_on_average(levels, steps, without, x64):
    """Theorem 2 of Bu et al.: inputs spread over 0 to the threshold, half a step of shift."""
    z = (np.arange(4800) + 0.5) / 4800
    params = {'params': {'bound': jnp.ones(())}}
    ann = QCFS(levels=levels).apply(params, jnp.asarray(z).reshape(1, 1, -1, 1, 1)).ravel()
    current = jnp.broadcast_to(jnp.asarray(z)[:, None], (4800, steps))
    snn = integrate_and_fire(current, initial=0.5).mean(1)
    assert abs(float(jnp.mean(snn - ann))) < 1e-3
    if levels == steps:
        # Each of them, but for what lies at a step within rounding.
        assert np.mean(np.abs(snn - ann) > 1e-9) < 1e-3
    # Without the shift on either side.
    bare = np.clip(np.floor(z * levels) / levels, 0, 1)
    difference = integrate_and_fire(current).mean(1) - bare
    assert float(jnp.mean(difference)) == pytest.approx(without, abs=1e-3)


def test_qcfs_takes_its_bounds():
    ann = networks.make('relu_resnet8', **RESNET, activation='qcfs')
    found = convert(ann, 'qcfs', Calibration(lambda: iter(()), 0), num_steps=4)
    assert set(map(float, found.thresholds.values())) == {2.0}
    assert found.model.neuron_options['initial'] == 0.5
    assert set(map(float, bounds(ann).values())) == {2.0}
    assert 'params/spike/bound' not in by_name(found.variables)


def test_rts_adds_half_a_threshold_over_all_steps(ann):
    found = convert(ann, 'rts', networks.calibration(), num_steps=16)
    assert found.model.neuron_options == {'drift': 1 / 32}


def test_local_balancing_follows_its_rule(ann):
    x = networks.images(8)
    batches = networks.calibration(x, parts=4)
    # The first layer sees what no threshold has clipped.
    currents = ann.activations(jnp.asarray(x))[1]['spike']
    theta, parts = 0.0, np.split(np.asarray(currents, np.float64), 4)
    for part in [*parts, *parts[:2]]:
        theta += 2 * np.maximum(part - theta, 0).mean()
    found = balance_locally(ann, batches, updates=6, per_channel=False)
    assert found['spike'] == pytest.approx(theta, rel=1e-5)
    # The new thresholds clip, so the last layer gets currents from the first batch on.
    assert min(balance_locally(ann, batches, updates=1, per_channel=False).values()) > 0
    with pytest.raises(ConversionError, match='updates=0'):
        balance_locally(ann, batches, updates=0)
    # Activations with a bound have thresholds up to it.
    bounded = networks.make('relu_resnet8', **RESNET, activation='clip')
    largest, of_bounded = (
        max(balance_locally(each, batches, updates=100, per_channel=False).values())
        for each in (ann, bounded)
    )
    assert 1.5 < of_bounded < 2.1 < largest
    by_channel = convert(ann, 'ltb', networks.calibration(x, parts=8), num_steps=4, updates=8)
    assert by_channel.thresholds['spike'].shape == (4,)
    assert by_channel.model.learnable == 'threshold per channel'


@pytest.mark.parametrize('level', ['none', 'light', 'advanced'])
def test_calibration_brings_layers_nearer_to_the_ann(ann, level):
    calibration, steps = networks.calibration(), 8
    batch = calibration.first()
    _, targets = ann.activations(batch.images)
    found = convert(ann, 'calibration', calibration, num_steps=steps, level=level)
    means = mean_outputs(found.model, found.variables, batch.images, steps)
    errors = {
        name: np.abs(np.mean(np.asarray(means[name]) - np.asarray(target)[:, 0], (0, 1, 2)))
        for name, target in targets.items()
    }
    base = convert(ann, 'calibration', calibration, num_steps=steps, level='none')
    before = mean_outputs(base.model, base.variables, batch.images, steps)
    worse = {
        name: np.abs(np.mean(np.asarray(before[name]) - np.asarray(target)[:, 0], (0, 1, 2)))
        for name, target in targets.items()
    }
    total, of_base = (sum(float(v.sum()) for v in each.values()) for each in (errors, worse))
    assert total == of_base if level == 'none' else total < 0.8 * of_base


def test_weights_are_trained_between_a_layer_and_the_neurons_that_feed_it(ann):
    ann = Ann(ann.model, jax.tree.map(jnp.asarray, ann.variables), SHAPE)
    calibration, steps = networks.calibration(networks.images(32)), 8
    batch, last = calibration.first(), ann.layers[-1].name
    target = np.asarray(ann.activations(batch.images)[1][last])[:, 0]
    errors, kernels = [], []
    for updates in (0, 30):
        options = {'weight_updates': updates, 'weight_learning_rate': 1e-2}
        found = convert(
            ann, 'calibration', calibration, num_steps=steps, level='advanced', **options
        )
        # Without potentials, so that only the weights differ.
        means = mean_outputs(found.model, _from_zero(found), batch.images, steps)
        errors.append(float(np.square(np.asarray(means[last]) - target).mean()))
        kernels.append(by_name({'params': found.variables['params']}))
    assert errors[1] < 0.95 * errors[0]
    before, after = kernels
    changed = {
        name
        for name in before
        if not name.endswith('/initial') and np.any(before[name] != after[name])
    }
    # All kernels but that of the classifier, which feeds no neurons.
    assert changed == {
        name for name in before if name.endswith('kernel') and 'classifier' not in name
    }
    # The weights of the ANN are still there.
    np.testing.assert_array_equal(ann.activations(batch.images)[1][last][:, 0], target)
    for options, message in (
        ({'weight_updates': 1}, 'only with --set level=advanced'),
        ({'weight_updates': 1e3, 'level': 'advanced'}, 'weight_updates=1000.0 must be a whole'),
        ({'weight_learning_rate': 0}, 'weight_learning_rate=0 must be above 0'),
    ):
        with pytest.raises(ConversionError, match=message):
            convert(ann, 'calibration', calibration, num_steps=4, **options)


def _from_zero(converted):
    params = by_name({'params': converted.variables['params']})
    zeros = {name: 0 * params[name] for name in params if name.endswith('/initial')}
    return {**converted.variables, **nested(params | zeros)}


def test_spike_norm_thresholds_are_the_largest_currents(plain):
    """Replayed with the same input, no current is above its threshold, and the largest is it."""
    calibration = networks.calibration()
    found = convert(plain, 'spike_norm', calibration, num_steps=16, calibration_steps=32)
    largest = largest_currents(found.model, found.variables, calibration.first(), 32)
    stem = [layer.name for layer in plain.layers if not layer.name.startswith('stage')]
    for name in stem:
        assert largest[name] == pytest.approx(found.thresholds[name], rel=1e-6)
    # Neurons in blocks have the threshold 1, in units of spikes.
    units = unit_thresholds(plain, found.thresholds)
    assert {units[layer.name] for layer in plain.layers if layer.name not in stem} == {1.0}
    lower = scaled(plain, found.thresholds, 0.5)
    halved = unit_thresholds(plain, lower)
    for name in stem:
        assert halved[name] == pytest.approx(0.5 * units[name], rel=1e-5)


def test_spike_norm_does_not_see_the_size_of_weights(plain):
    params = jax.tree.map(lambda leaf: 4 * leaf, plain.variables['params'])
    larger = Ann(plain.model, {**plain.variables, 'params': params}, SHAPE)
    x = jnp.asarray(networks.images())
    spikes = []
    for each in (plain, larger):
        options = {'num_steps': 16, 'calibration_steps': 16}
        found = convert(each, 'spike_norm', networks.calibration(), **options)
        spikes.append(simulate(found.model, found.variables, x, 16).spikes)
    stem = [layer.name for layer in plain.layers if not layer.name.startswith('stage')]
    for name in stem:
        np.testing.assert_array_equal(spikes[0][name], spikes[1][name])


def test_rmp_searches_its_factor_on_images_of_its_own(plain):
    x = networks.images(8)
    found = convert(
        plain,
        'rmp',
        networks.calibration(x, parts=2),
        num_steps=8,
        calibration_steps=16,
        factors=(1.0, 0.7),
    )
    held_out = found.about['held_out_accuracy']
    assert held_out[str(found.about['factor'])] == max(held_out.values())
    assert found.model.soft_reset
    with pytest.raises(ConversionError, match='more than one batch'):
        convert(plain, 'rmp', networks.calibration(x), num_steps=8)


def test_few_spikes_take_layers_times_steps(ann):
    x = jnp.asarray(networks.images())
    found = convert(ann, 'few_spikes', networks.calibration(), num_steps=1)
    assert found.about == found.about | {'layers': 5, 'steps_per_layer': 10, 'time_steps': 50}
    logits, rates = found.model.apply(found.variables, x, mutable=['firing_rates'])
    np.testing.assert_allclose(logits, ann.activations(x)[0], atol=0.5)
    assert 0 < float(rates['firing_rates']['spike']['rate'].mean()) < 0.5
    by_layer = convert(ann, 'few_spikes', networks.calibration(), num_steps=1, by_layer=True)
    finer = by_layer.model.apply(by_layer.variables, x)
    coarse, fine = (np.abs(each - ann.activations(x)[0]).max() for each in (logits, finer))
    assert fine < coarse


@pytest.mark.parametrize(
    ('name', 'layers', 'steps'), [('relu_resnet50', 49, 490), ('efficientnet_b7', 218, 3488)]
)
def test_published_networks_have_the_published_number_of_steps(name, layers, steps):
    model = create_model(name)
    options = {'activation': 'few_spikes_relu'}
    if name.startswith('efficient'):
        options = {'activation': 'few_spikes_swish', 'gate': 'few_spikes_sigmoid'}
    found = few_spike_steps(model.clone(**options), (64, 64, 3))
    assert (found['layers'], found['time_steps']) == (layers, steps)


WRONG = [
    ('rueckhauer', {}, {}, 'did you mean rueckauer'),
    ('rueckauer', {}, {'percent': 99}, 'did you mean percentile'),
    ('rueckauer', {}, {'percentile': 0}, 'percentile=0 must be above 0'),
    ('rueckauer', {}, {'num_steps': 0}, 'at least 1 time step'),
    ('qcfs', {}, {}, 'spike is a ReLU: this method supports only networks of QCFS'),
    ('spike_norm', {}, {}, 'bias.* with which a bias would weigh too'),
    ('rmp', {}, {}, 'sengupta_vgg16'),
    ('few_spikes', {'activation': 'qcfs'}, {}, "but the activation of the ANN is 'qcfs'"),
    ('calibration', {}, {'level': 'lite'}, 'none, light, advanced'),
]


@pytest.mark.parametrize(('method', 'of_ann', 'options', 'message'), WRONG)
def test_wrong_uses_are_refused(method, of_ann, options, message):
    ann = networks.make(**RESNET, **of_ann)
    with pytest.raises(ConversionError, match=message):
        convert(ann, method, networks.calibration(), **{'num_steps': 4, **options})


def test_other_wrong_uses_are_refused(ann):
    none = Calibration(lambda: iter(()), 0)
    with pytest.raises(ConversionError, match='no calibration images'):
        convert(ann, 'rueckauer', none, num_steps=4)
    with pytest.raises(ConversionError, match='spikes already'):
        Ann(create_model('ms_resnet8'), {}, SHAPE)
    pooled = networks.make('sengupta_vgg16', **VGG, pooling='max')
    with pytest.raises(ConversionError, match='pool1 is a max-pooling layer'):
        convert(pooled, 'spike_norm', networks.calibration(), num_steps=4)
    black = networks.calibration(np.zeros((2, *SHAPE), np.float32))
    with pytest.raises(ConversionError, match='never fires on the calibration images'):
        convert(networks.make('sengupta_vgg16', **VGG), 'rueckauer', black, num_steps=4)
