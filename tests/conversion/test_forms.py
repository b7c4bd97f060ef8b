"""Folding of normalization, and the weight-normalized form, in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.conversion import ConversionError, convert
from snnjax.conversion.fold import apply_folded, fold_normalization
from snnjax.conversion.forms import apply_normalized, normalize_weights
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import capture_layers
from tests.conversion import networks
from tests.conversion.networks import RESNET, SHAPE, VGG


@pytest.fixture(autouse=True)
def _x64(x64):
    pass


def wide(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


NETWORKS = [('relu_resnet8', RESNET), ('vgg16_cifar', VGG | {'pooling': 'average'})]


@pytest.mark.parametrize(('name', 'options'), NETWORKS)
def test_folding_changes_no_logit(name, options):
    ann, x = networks.make(name, **options), jnp.asarray(networks.images(2), jnp.float64)
    folded = fold_normalization(ann.model, ann.variables, SHAPE)
    logits = ann.model.apply(ann.variables, x)
    found = apply_folded(ann.model, ann.variables, folded, x)
    np.testing.assert_allclose(found, logits, atol=1e-5)
    first = next(iter(folded))
    wrong = folded | {first: folded[first]._replace(bias=0 * folded[first].bias)}
    assert np.abs(apply_folded(ann.model, ann.variables, wrong, x) - logits).max() > 1e-3


def outputs_of(model, variables, x):
    with capture_layers(SpikingNeurons) as calls:
        logits = model.apply(variables, x)
    return logits, {'/'.join(call.path): call.output for call in calls}


@pytest.mark.parametrize(('name', 'options'), NETWORKS)
@pytest.mark.parametrize('per_channel', [False, True])
def test_both_forms_fire_the_same_spikes(name, options, per_channel):
    ann, x = networks.make(name, **options), jnp.asarray(networks.images(2), jnp.float64)
    found = convert(ann, 'rueckauer', networks.calibration(), num_steps=12, per_channel=per_channel)
    model, variables = found.model, wide(found.variables)
    logits, spikes = outputs_of(model, variables, x)
    normalized = normalize_weights(model, variables, found.thresholds, SHAPE)
    same, units = apply_normalized(model, variables, normalized, x)
    assert spikes.keys() == units.keys()
    for layer, unit in units.items():
        np.testing.assert_array_equal(unit, spikes[layer] != 0, err_msg=layer)
        assert 0 < unit.mean() < 1, layer
    np.testing.assert_allclose(same, logits, atol=1e-5)


def test_shortcut_normalization_divides_all_activations_by_the_thresholds():
    """Hu et al.: without the scale of the shortcut the network is another one."""
    ann, x = networks.make(**RESNET), jnp.asarray(networks.images(2), jnp.float64)
    thresholds = convert(ann, 's_resnet', networks.calibration(), num_steps=1).thresholds
    _, activations = ann.activations(x)
    normalized = normalize_weights(ann.model, ann.variables, thresholds, SHAPE)
    assert list(normalized.shortcuts) == ['stage1/block1']
    logits, found = apply_normalized(ann.model, ann.variables, normalized, x)
    for layer, value in found.items():
        np.testing.assert_allclose(value, activations[layer] / thresholds[layer], atol=1e-5)
    expected = ann.model.apply(ann.variables, x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    without = dataclasses.replace(normalized, shortcuts={'stage1/block1': np.ones(())})
    assert np.abs(apply_normalized(ann.model, ann.variables, without, x)[0] - expected).max() > 0.01


def test_compensation_multiplies_weights_and_shortcuts_but_no_bias():
    """Hu et al.: spike for spike the weight-normalized network with all of these times c."""
    c, ann = 1.25, networks.make(**RESNET)
    x = jnp.asarray(networks.images(2), jnp.float64)
    plain, more = (
        convert(ann, 's_resnet', networks.calibration(), num_steps=12, compensation=factor)
        for factor in (1.0, c)
    )
    logits, spikes = outputs_of(more.model, wide(more.variables), x)
    normalized = normalize_weights(plain.model, wide(plain.variables), plain.thresholds, SHAPE)
    by_hand = dataclasses.replace(
        normalized,
        weights={
            name: layer._replace(kernel=c * layer.kernel)
            for name, layer in normalized.weights.items()
        },
        shortcuts={name: c * factor for name, factor in normalized.shortcuts.items()},
    )
    same, units = apply_normalized(plain.model, wide(plain.variables), by_hand, x)
    for layer, unit in units.items():
        # The kernel of the stem is rounded to float32 where it is multiplied.
        assert np.mean((unit != 0) != (spikes[layer] != 0)) < 1e-3, layer
    np.testing.assert_allclose(same, logits, atol=1e-3)
    wrong = dataclasses.replace(by_hand, shortcuts=normalized.shortcuts)
    other = apply_normalized(plain.model, wide(plain.variables), wrong, x)[0]
    assert np.abs(other - logits).max() > 0.01


def test_currents_in_shortcuts_have_no_weight_normalized_form():
    ann = networks.make('ann_resnet8', **RESNET)
    with pytest.raises(ConversionError, match='add currents'):
        normalize_weights(ann.model, ann.variables, {}, SHAPE)
