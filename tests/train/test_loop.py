"""How a run begins: with weights from elsewhere, or from its own checkpoints."""

import json
import shutil

import pytest

from snnjax.train import loop
from snnjax.train.config import ConfigError, default_config
from snnjax.train.loop import train
from tests.runs import TINY, outcome


def configured():
    """Of 11 steps, compiled as those of `test_finite`."""
    config = default_config()
    config.update_from_flattened_dict(TINY | {'model.num_steps': 2})
    config.data.name = 'digits'
    config.batch_size = 128
    config.eval_batch_size = 360
    config.epochs = 1
    return config


@pytest.fixture
def config():
    return configured()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The work directory of a run of that configuration."""
    workdir = tmp_path_factory.mktemp('source')
    assert train(configured(), workdir).finished
    return workdir


@pytest.fixture
def _begin_only(monkeypatch):
    """Stops training before its first step."""
    monkeypatch.setattr(loop, '_train_phase', lambda run, phase, following, point: (None, False))


def test_a_run_goes_on_when_the_weights_that_it_began_with_are_moved(
    config, source, tmp_path, capsys
):
    shutil.copytree(source, before := tmp_path / 'before')
    config.init_from = str(before)
    assert train(config, tmp_path / 'run').finished
    assert f'weights from {before}' in capsys.readouterr().out
    began = json.loads((tmp_path / 'run' / 'config.json').read_text())
    expected = outcome(tmp_path / 'run')
    before.rename(after := tmp_path / 'after')
    for config.init_from in (str(before), str(after), ''):
        assert train(config, tmp_path / 'run').finished
        assert 'continuing at step 11 of 11' in capsys.readouterr().out
        assert json.loads((tmp_path / 'run' / 'config.json').read_text()) == began
    assert outcome(tmp_path / 'run')[2:] == expected[2:]
    config.init_from = str(before)
    with pytest.raises(ConfigError, match=r'init_from: .* has no weights'):
        train(config, tmp_path / 'another')
    assert not (tmp_path / 'another').exists()


@pytest.mark.usefixtures('_begin_only')
def test_a_run_says_what_its_weights_were_trained_with_otherwise(config, source, tmp_path, capsys):
    config.init_from = str(source)
    config.model.dtype = 'bfloat16'
    config.model.decay = 0.5
    assert not train(config, tmp_path / 'run').finished
    assert (
        'they were trained with decay=0.25, dtype=float32; this run has decay=0.5, dtype=bfloat16'
    ) in capsys.readouterr().out


@pytest.mark.usefixtures('_begin_only')
def test_weights_of_other_classes_are_refused_with_the_key_that_takes_them(
    config, source, tmp_path, monkeypatch, capsys
):
    """Those of the source, cut down to five classes."""
    config.init_from = str(source)
    load = loop.load_weights

    def of_five_classes(path):
        variables = load(path)
        classifier = variables['params']['classifier']
        classifier |= {'bias': classifier['bias'][:5], 'kernel': classifier['kernel'][:, :5]}
        return variables

    monkeypatch.setattr(loop, 'load_weights', of_five_classes)
    with pytest.raises(ConfigError, match=r'expected \(10,\)\n(.*\n)*.*reset_head=true'):
        train(config, tmp_path / 'run')
    config.reset_head = True
    assert not train(config, tmp_path / 'run').finished
    assert 'params/classifier/bias is initialized anew' in capsys.readouterr().out


def test_a_run_goes_on_beside_an_empty_folder_of_a_later_step(config, source, tmp_path, capsys):
    shutil.copytree(source, tmp_path / 'run')
    (tmp_path / 'run' / 'checkpoints' / '99').mkdir()
    assert train(config, tmp_path / 'run').finished
    assert 'continuing at step 11 of 11' in capsys.readouterr().out
