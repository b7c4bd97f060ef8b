"""Figures of what is out of the ordinary; warnings are errors here."""

import io

import numpy as np
import pytest

from snnjax.analysis import figures

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
    figures.save_confusion(np.eye(len(NAMES), dtype=int), file, NAMES)
    assert file.getvalue().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('ending', 'start'), [('pdf', b'%PDF'), ('SVG', b'<?xml'), ('png', b'\x89')]
)
def test_a_figure_is_of_the_format_that_its_name_ends_with(ending, start, tmp_path):
    path = tmp_path / 'missing' / f'figure.{ending}'
    figures.save_confusion(np.eye(2, dtype=int), path)
    assert path.read_bytes().startswith(start)
