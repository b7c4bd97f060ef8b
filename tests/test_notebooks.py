"""Every notebook runs from top to bottom, and was committed as it came out of such a run."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.processes import HANG

NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
# In the place of the cell of parameters.
SMALL = {
    'conversion': {
        'widths': (4,),
        'epochs': 1,
        'images': 60,
        'steps': (1, 4),
        'methods': ('rueckauer', 'few_spikes'),
    },
    'quickstart': {'depth': 8, 'num_steps': 1, 'epochs': 1},
    'depth_degradation': {'families': ('ms_resnet',), 'depths': (8,), 'epochs': 1},
    'ssim_radar': {
        'families': ('ms_resnet',),
        'depth': 8,
        'num_steps': 1,
        'epochs': 1,
        'images': 40,
    },
    'dynamical_isometry': {
        'families': ('vanilla_resnet', 'ms_resnet'),
        'depth': 14,
        'images': 4,
        'probes': 1,
        'gammas': (0.5,),
        'widths': (1.0,),
    },
    'energy': {'depth': 8, 'num_steps': 1, 'epochs': 1},
    'time_steps': {'depth': 8, 'num_steps': 1, 'epochs': 1, 'max_steps': 2},
    'your_own_neuron': {'neurons': ('resting',), 'depth': 8, 'num_steps': 1, 'epochs': 1},
}


def names(source):
    return set(re.findall(r'^(\w+) = ', source, re.MULTILINE))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
# The kernel is this machine's own, and what it is told stays on it.
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::RuntimeWarning')
def test_a_notebook_runs_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [
        cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', [])
    ]
    small = SMALL[path.stem]
    assert names(parameters.source) == small.keys()
    parameters.source = '\n'.join(f'{name} = {value!r}' for name, value in small.items())
    resources = {'metadata': {'path': str(path.parent)}}
    NotebookClient(notebook, timeout=HANG, kernel_name='python3', resources=resources).execute()


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_of_one_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert {output.output_type for output in outputs} <= {
        'stream',
        'execute_result',
        'display_data',
    }
    assert not re.search(r'/(root|home|tmp|work)/', path.read_text())
    assert not [output for output in outputs if output.get('name') == 'stderr']
