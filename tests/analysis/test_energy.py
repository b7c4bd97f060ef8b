import dataclasses
import json
import math
import re

import jax
import jax.numpy as jnp
import pytest

from snnjax import create_model
from snnjax.analysis import energy
from snnjax.analysis.activity import measure_activity
from snnjax.analysis.paper_tables import paper_tables
from snnjax.analysis.trained import open_trained
from snnjax.models.summary import summarize
from snnjax.tools.energy import describe

ROWS = {row.model: row for row in paper_tables()}
DIGITS = {'macs': (1e9, 2), 'ann_joules': (1e-3, 2), 'syops': (1e9, 2), 'snn_joules': (1e-3, 2)}


@pytest.mark.parametrize('model', ROWS)
@pytest.mark.parametrize('quantity', DIGITS)
def test_the_tables_of_the_paper_are_explained_to_the_printed_digits(model, quantity):
    row = ROWS[model]
    unit, digits = DIGITS[quantity]
    if row.size == 128:
        unit *= 1e-3
    explained, printed = (getattr(values, quantity) for values in (row.explained, row.printed))
    assert round(explained / unit, digits) == pytest.approx(printed / unit)


def test_what_follows_from_the_rates_of_the_paper():
    of_34, of_104, of_20 = (ROWS[f'ms_resnet{name}'].computed for name in ('34', '104', '20_dvs'))
    assert of_34.ann_joules == pytest.approx(16.22e-3, abs=5e-6)
    assert of_34.snn_joules == pytest.approx(4.284e-3, abs=1e-6)
    assert of_104.macs == 11_618_353_152
    assert of_104.snn_joules == pytest.approx(10.04e-3, abs=5e-6)
    # Not the 8.32 M of table 10.
    assert of_20.syops == pytest.approx(8.90e6, abs=5e3)


def layers_of(name, num_steps, size=224):
    return summarize(create_model(name, num_steps=num_steps), (size, size, 3))


def test_real_valued_layers_of_ms_resnet34_are_charged_as_macs():
    layers = layers_of('ms_resnet34', 6)
    rates = {layer.name: 0.225 for layer in layers if layer.macs}
    once = energy.total(energy.by_layer(layers, rates, 6))
    every = energy.total(energy.by_layer(layers, rates, 6, every_step=True))
    # By hand: 118.0 M for the stem and 32.1 M for the shortcuts, of which 12.8 M are of the first.
    stem, first, others = 112 * 112 * 49 * 3 * 64, 56 * 56 * 64 * 64, 3 * 28 * 28 * 64 * 128
    classifier = 512 * 1000
    assert once.macs == stem + first + 6 * others + classifier
    assert every.macs == 6 * (stem + first + others) + classifier
    assert every.macs * energy.MAC_JOULES == pytest.approx(4.1e-3, abs=0.05e-3)
    assert once.acs == every.acs == pytest.approx(3_525_967_872 * 6 * 0.225)


def test_a_layer_has_the_rate_of_its_own_input():
    layers = layers_of('vanilla_resnet8', 2, size=32)
    spiking = [layer for layer in layers if layer.input == 'spikes']
    rates = {layer.name: 0.1 * (1 + i % 3) for i, layer in enumerate(spiking)}
    measured = {layer.name: layer for layer in energy.by_layer(layers, rates, 2)}
    for layer in spiking:
        assert measured[layer.name].acs == pytest.approx(2 * layer.macs * rates[layer.name])
        assert measured[layer.name].macs == 0
    total = energy.total(list(measured.values()))
    assert total.joules == pytest.approx(sum(layer.joules for layer in measured.values()))


def test_neurobench_keys():
    layers = layers_of('ms_resnet8', 2, size=32)
    metrics = energy.neurobench_metrics(
        layers,
        footprint=1,
        connection_sparsity=0.0,
        accuracy=0.5,
        firing_rate=0.2,
        operations={layer.name: 1.0 for layer in layers if layer.macs},
    )
    assert metrics['activation_sparsity'] == pytest.approx(0.8)
    # Six convolutions see spikes; stem, two shortcuts and the classifier do not.
    assert metrics['synaptic_operations']['Effective_ACs'] == 6
    assert metrics['synaptic_operations']['Effective_MACs'] == 4
    neurons = 2 * 16 * 1024 + (16 * 1024 + 32 * 256) + (32 * 256 + 64 * 64) + 64 * 64
    assert metrics['membrane_updates'] == 2 * neurons


def test_a_network_that_never_fires_takes_no_energy_for_spikes(digits_run):
    trained = open_trained(str(digits_run[0]), batch_size=112)
    silent = dataclasses.replace(trained, variables=jax.tree.map(jnp.zeros_like, trained.variables))
    measured = energy.estimate_energy(silent, measure_activity(silent))
    paper = measured['energy_by_mean_rate']
    assert (paper['syops'], paper['snn_joules'], paper['ratio']) == (0, 0, None)
    assert paper['ann_joules'] > 0
    # The stem and other layers that see real values still compute.
    assert measured['energy_by_layer']['once']['snn_joules'] > 0
    assert measured['energy_by_layer']['once']['acs'] == 0
    json.dumps(measured, allow_nan=False)
    assert re.search(r'mean rate: SNN +0\.00 +0\.00 +inf', describe(measured))


def test_ratios_of_nothing():
    assert energy.Estimate(1e6, 0.0, 4).ratio == math.inf
    assert math.isnan(energy.Estimate(0.0, 0.0, 4).ratio)
    assert energy.Estimate(1e6, 0.25, 4).ratio == pytest.approx(4.6 / 0.9)
