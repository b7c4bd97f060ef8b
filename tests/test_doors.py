"""A package of a user's own, outside of this one, is all that new parts take."""

import json
import os
import re
import signal
import sys

import pytest

from tests import processes
from tests.conftest import ROOT

PACKAGE = '''
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from snnjax.models.blocks import BLOCKS, Block
from snnjax.neurons import NEURONS, lif
from snnjax.train.loggers import LOGGERS
from snnjax.train.losses import LOSSES, Loss
from snnjax.train.optimizers import OPTIMIZERS, SCHEDULES


def louder(current, *, decay=0.25, threshold=0.5, gain=2.0, time_axis=1):
    """LIF neurons that hear more."""
    return lif(gain * current, decay=decay, threshold=threshold, time_axis=time_axis)


class OneConvolution(Block):
    stream_of_spikes = False

    @nn.compact
    def __call__(self, x):
        spikes = self.spike(name='spike1')(x)
        residual = self.conv_norm(self.features, 3, self.stride, 'residual', name='conv1')(spikes)
        return self.shortcut(x) + residual


def sign_descent(schedule, *, momentum=0.9):
    return optax.sign_sgd(schedule)


def halved(learning_rate, num_steps, steps_per_epoch, *, after=1):
    return optax.piecewise_constant_schedule(learning_rate, {after * steps_per_epoch: 0.5})


class Lines:
    def __init__(self, workdir, config):
        self._file = (workdir / 'lines.txt').open('a')
        self._file.write(config['model.neuron'] + '\\n')

    def write(self, step, values):
        self._file.write(f'{step}\\n')

    def close(self):
        self._file.close()


NEURONS['louder'] = louder
BLOCKS['one_convolution'] = OneConvolution
OPTIMIZERS['sign_descent'] = sign_descent
SCHEDULES['halved'] = halved
LOSSES['distance'] = Loss(lambda logits, targets: jnp.sum(jnp.abs(logits - targets), axis=-1))
LOGGERS['lines'] = Lines
'''
CONFIG = """
from snnjax.train.config import default_config


def get_config(epochs=2):
    config = default_config()
    config.imports = 'my_parts'
    config.model.name = 'ms_resnet8'
    config.model.num_steps = 2
    config.model.update({'blocks': (1, 1), 'widths': (4, 4), 'strides': (1, 2)})
    config.model.kind = 'one_convolution'
    config.model.neuron = 'louder'
    config.model.neuron_options = {'gain': 3.0}
    config.data.name = 'digits'
    config.optimizer.name = 'sign_descent'
    config.optimizer.schedule = 'halved'
    config.optimizer.schedule_options = {'after': 1}
    config.optimizer.learning_rate = 0.01
    config.loss = 'distance'
    config.loggers = 'lines'
    config.batch_size = 100
    config.eval_batch_size = 400
    config.epochs = epochs
    config.log_every = 1
    config.checkpoint.every_steps = 4
    return config
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the package and a run that was killed and then went on to its end."""
    folder = tmp_path_factory.mktemp('project')
    (folder / 'my_parts').mkdir()
    (folder / 'my_parts/__init__.py').write_text(PACKAGE)
    (folder / 'config.py').write_text(CONFIG)
    command = [sys.executable, '-m', 'snnjax.main', '--config=config.py', '--workdir=run']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    with processes.started(command, cwd=folder, env=environment) as process:
        processes.wait_until((folder / 'run/checkpoints/4/commit_success.txt').exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = processes.run(command, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def run_in(folder, code, **environment):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    return processes.run([sys.executable, '-c', code], cwd=folder, env=environment)


def test_a_run_of_ones_own_parts_goes_on_after_a_kill(folder):
    path, printed = folder
    assert 'continuing at step' in printed
    assert (path / 'run/lines.txt').read_text().startswith('louder\n')
    assert json.loads((path / 'run/model.json').read_text())['imports'] == 'my_parts'


def test_commands_that_open_weights_find_the_parts_again(folder):
    path, printed = folder
    code = (
        'from snnjax.tools import evaluate, export, report\n'
        "assert evaluate.main(['--weights=run']) == 0\n"
        "assert report.main(['--weights=run', '--out=page.html']) == 0\n"
        "assert export.main(['--weights=run', '--format=safetensors', '--out=sent']) == 0\n"
        "assert evaluate.main(['--weights=sent']) == 0\n"
        "assert export.main(['--weights=run', '--format=nir', '--out=graph.nir']) == 2\n"
    )
    done = run_in(path, code)
    assert done.returncode == 0, done.stderr
    accuracy = re.findall(r'accuracy (0\.\d{4})', printed)[-1]
    assert done.stdout.count(f'accuracy: {accuracy}') == 2
    assert (path / 'page.html').exists()
    assert "'louder'" in done.stderr or "'one_convolution'" in done.stderr


def test_weights_of_somebody_else_ask_before_their_parts_are_imported(folder, tmp_path):
    path, _ = folder
    code = (
        'import sys\n'
        'from snnjax.tools import evaluate\n'
        "assert evaluate.main(['--weights=run', '--dataset=digits']) == 2\n"
        "assert 'my_parts' not in sys.modules\n"
        "assert evaluate.main(['--weights=run', '--dataset=digits', '--imports=my_parts']) == 0\n"
    )
    done = run_in(path, code, XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert 'give --imports=my_parts' in done.stderr
