"""How far devices are used, by what they tell."""

import types

import pytest

from snnjax.models.summary import summarize
from snnjax.train.chips import TPUS, chip_of
from snnjax.train.experiment import open_experiment
from snnjax.train.utilization import utilization


class Mesh:
    size = 2

    def __init__(self, kind, peaks):
        self.local_devices = [
            types.SimpleNamespace(
                device_kind=kind, memory_stats=lambda p=peak: p and {'peak_bytes_in_use': p}
            )
            for peak in peaks
        ]


@pytest.fixture
def measure(config, monkeypatch):
    """``(kind, peaks) -> function of images per second``, of two devices."""
    phase = open_experiment(config).last

    def make(kind, *peaks):
        monkeypatch.setattr(type(phase.program), 'mesh', Mesh(kind, peaks))
        return utilization(phase)

    # A stem, two convolutions in a block, a shortcut, a classifier.
    layers = summarize(phase.program.model, (8, 8, 1))
    assert len([layer for layer in layers if layer.macs]) == 5
    make.macs = sum(layer.macs * layer.runs for layer in layers)
    return make


def test_the_share_of_a_known_rate_counts_three_passes(measure):
    values = measure('NVIDIA H200', 7, 9)(1000.0)
    assert values['time/mfu'] == pytest.approx(1000 * 6 * measure.macs / (2 * 989e12))
    assert values['device/peak_bytes'] == 9


def test_what_is_not_known_is_not_told(measure):
    assert measure('cpu', None, None)(1000.0) == {}
    assert measure('cpu', 5, None)(1000.0) == {'device/peak_bytes': 5}


@pytest.mark.parametrize(
    ('kind', 'chip'),
    [('TPU v5 lite', 'v5e'), ('TPU v5p', 'v5p'), ('TPU v5', 'v5p'), ('TPU v6 lite', 'v6e')],
)
def test_tpus_are_known_by_what_jax_calls_them(kind, chip):
    assert chip_of(kind) == TPUS[chip]
    assert chip_of('cpu') is None
