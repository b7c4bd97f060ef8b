"""A trace of some steps."""

import gzip
import json

import pytest

from snnjax.errors import ConfigError
from snnjax.train.loop import train
from snnjax.train.profiling import Window
from tests.runs import outcome


def test_the_steps_of_a_window_are_traced_and_nothing_else_changes(config, tmp_path, capsys):
    config.batch_size = 128
    config.epochs = 1
    assert train(config, tmp_path / 'plain', verbose=False).finished
    assert train(config, tmp_path / 'traced', profile=Window(4, 5)).finished
    assert f'trace: {tmp_path / "traced" / "profile"}' in capsys.readouterr().out
    assert outcome(tmp_path / 'traced')[2:] == outcome(tmp_path / 'plain')[2:]
    (path,) = (tmp_path / 'traced').rglob('perfetto_trace.json.gz')
    with gzip.open(path) as file:
        events = json.load(file)['traceEvents']
    steps = [event for event in events if 'jit_train_step' in str(event.get('name'))]
    assert steps


@pytest.mark.parametrize('text', ['', '5', '0:3', '5:4', 'a:b', '1:99999999999'])
def test_what_is_no_window_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=rf'--profile={text} must be .* 101:110'):
        Window.parse(text)


def test_a_window_has_a_first_and_a_last_step():
    assert Window.parse('101:110') == Window(101, 110)
