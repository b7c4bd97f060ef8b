"""Figures of what is out of the ordinary; warnings are errors here."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex

from snnjax.analysis import figures, styles
from snnjax.analysis.activity import NeuronActivity
from snnjax.analysis.confusion_figure import save_confusion
from snnjax.analysis.similarity import Similarity
from snnjax.conversion import METHODS
from snnjax.models import list_models

# As folders and classes may be called.
NAMES = ['$x^', '_hidden', 'a_b', '50 %', 'n' * 300, '<b>', '{x}', '\\frac', '#']


def comparison(name, syops):
    return {
        'run': name,
        'syops': syops,
        'accuracy': 0.5,
        'step_seconds': 0.1,
        'step_bytes': 1e6,
        'images': 1,
        'num_steps': 2,
    }


def isometry(phi):
    block = {'phi': phi, 'error': 0.0}
    gate = {'phi': phi, 'predicted': phi}
    return {'blocks': [block, block], 'gates': [gate], 'gradient_norms': {'a': phi, 'b': phi}}


@pytest.mark.parametrize('ssim', [0.5, np.nan])
def test_the_similarity_of_a_network_of_one_block_is_drawn(ssim, tmp_path):
    path = tmp_path / 'figure.png'
    figures.save_similarity({'ms': [Similarity('stage1/block1', np.array([ssim]), 0.0)]}, 1, path)
    assert path.stat().st_size


@pytest.mark.parametrize('scale', [0.0, 1.0])
def test_networks_that_never_fire_are_drawn_too(scale, tmp_path):
    path = tmp_path / 'figure.png'
    figures.save_comparison([comparison(name, 1e6 * scale) for name in NAMES], path)
    figures.save_isometry({name: isometry(scale) for name in NAMES}, 1, path)
    assert path.read_bytes().startswith(b'\x89PNG')


def test_a_run_without_an_evaluation_has_learning_curves():
    file = io.BytesIO()
    figures.save_learning_curves([{'epoch': 1, 'train/loss': 1.0}], file)
    assert file.getvalue().startswith(b'\x89PNG')


def test_classes_have_their_names():
    file = io.BytesIO()
    save_confusion(np.eye(len(NAMES), dtype=int), file, NAMES)
    assert file.getvalue().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('ending', 'start'), [('pdf', b'%PDF'), ('SVG', b'<?xml'), ('png', b'\x89')]
)
def test_a_figure_is_of_the_format_that_its_name_ends_with(ending, start, tmp_path):
    path = tmp_path / 'missing' / f'figure.{ending}'
    save_confusion(np.eye(2, dtype=int), path)
    assert path.read_bytes().startswith(start)


def test_a_kind_of_network_looks_the_same_in_all_figures():
    names = ['ms_resnet20', 'vanilla_resnet20', 'rollout_densenet, converted', 'DART', 'my_net8']
    others = ['rollout_densenet', *reversed(names), 'ms_resnet8_dvs']
    one, other = styles.network_styles(names), styles.network_styles(others)
    for name in names:
        assert one[name] == other[name]
    assert other['ms_resnet8_dvs']['color'] == one['ms_resnet20']['color']
    assert other['ms_resnet8_dvs']['linestyle'] != one['ms_resnet20']['linestyle']


def test_a_model_tells_the_kind_of_a_run():
    found = styles.network_styles(['a'], {'a': 'sew_resnet18'})['a']
    assert (found['color'], found['marker'], found['linestyle']) == styles.NETWORKS['sew']


@pytest.mark.parametrize('table', [styles.NETWORKS, styles.METHODS])
def test_no_two_kinds_look_the_same(table):
    assert len({(color, marker) for color, marker, _ in table.values()}) == len(table)


def test_every_model_has_a_style_of_the_table():
    unknown = [name for name in list_models() if styles._kind_of(name) is None]
    assert unknown == []


def test_every_conversion_method_has_a_style_of_the_table():
    assert METHODS.keys() <= styles.METHODS.keys()
    found = styles.method_styles(['spike_norm (no bias)', 'calibration_light'])
    assert found['spike_norm (no bias)']['color'] == styles.METHODS['spike_norm'][0]
    assert found['calibration_light']['marker'] == styles.METHODS['calibration_light'][1]


@pytest.fixture
def drawn(monkeypatch):
    """Figures that were drawn, instead of files."""
    kept = []
    monkeypatch.setattr(figures, 'save_figure', lambda figure, path: kept.append(figure))
    return kept


def test_silent_layers_are_named(drawn):
    layers = [
        NeuronActivity(name, np.full((1, 1, 2), spikes), 4)
        for name, spikes in (('stem/spike', 2), ('stage1/spike', 0))
    ]
    figures.save_firing_rates(layers, 1, None, 'ms_resnet8')
    (figure,) = drawn
    assert 'layer that never fires: stage1/spike' in figure.get_suptitle()
    labels = figure.axes[-1].get_xticklabels()
    assert [label.get_text() for label in labels] == ['stem/spike', 'stage1/spike']
    colors = [label.get_color() for label in labels]
    assert colors[0] != colors[1] == styles.VERMILION
    (bar, _) = figure.axes[0].patches
    assert to_hex(bar.get_facecolor()) == styles.BLUE.lower()


def test_layers_without_input_spikes_are_named(drawn):
    rows = [
        {'name': f'conv{i}', 'input': 'spikes', 'input_rate': rate, 'joules': rate}
        for i, rate in enumerate([0.5] + [0.0] * 6)
    ]
    figures.save_layer_energy({'layers': rows, 'scope': 'compute only'}, None)
    (axes,) = drawn[0].axes
    expected = 'compute only\nno input spikes: conv1, conv2, conv3, conv4 and 2 more'
    assert axes.get_title() == expected


def test_the_names_of_very_many_layers_do_not_widen_a_figure(drawn):
    layers = [
        NeuronActivity(f'stage1/block{i}/spike', np.full((1, 1, 1), int(i != 301)), 1)
        for i in range(481)
    ]
    figures.save_firing_rates(layers, 1, None)
    (figure,) = drawn
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert figure.get_figwidth() <= 24
    assert len(labels) < 200
    assert 'stage1/block301/spike' in labels
