import json
import re

import pytest

from snnjax.files import append_line
from snnjax.train.config import ConfigError, default_config
from snnjax.train.metric_writer import METRICS_FILE, MetricWriter, read_metrics
from snnjax.train.run_directory import (
    WorkdirError,
    check_config,
    read_config,
    write_config,
    write_environment,
)
from snnjax.version import __version__
from tests.conftest import ROOT


def test_metrics_are_one_object_a_line(tmp_path):
    with MetricWriter(tmp_path, start_step=0) as writer:
        writer.write(1, {'train/loss': 0.5})
        lines = (tmp_path / METRICS_FILE).read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{'step': 1, 'train/loss': 0.5}]
        writer.write(2, {'eval/accuracy': 0.25})
    assert read_metrics(tmp_path)[1] == {'step': 2, 'eval/accuracy': 0.25}
    assert list((tmp_path / 'tensorboard').glob('events.*'))


def test_continuing_drops_what_will_be_done_again_and_a_line_cut_off(tmp_path):
    with MetricWriter(tmp_path, start_step=0) as writer:
        for step in range(1, 6):
            writer.write(step, {'train/loss': 1 / step})
    with (tmp_path / METRICS_FILE).open('a') as file:
        file.write('{"step": 6, "train/lo')
    with MetricWriter(tmp_path, start_step=3) as writer:
        writer.write(4, {'train/loss': 4.0})
    assert [(r['step'], r['train/loss']) for r in read_metrics(tmp_path)] == [
        (1, 1.0),
        (2, 1 / 2),
        (3, 1 / 3),
        (4, 4.0),
    ]


def test_a_work_directory_keeps_to_its_configuration(tmp_path, config):
    write_config(tmp_path, config)
    assert json.loads((tmp_path / 'config.json').read_text()) == json.loads(config.to_json())
    config.log_every = 3
    check_config(tmp_path, config)
    write_config(tmp_path, config)
    assert json.loads((tmp_path / 'config.json').read_text())['log_every'] == 3
    config.seed = 1
    config.model.num_steps = 6
    message = 'another configuration:\n  model.num_steps: 2 -> 6\n  seed: 0 -> 1\n'
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_config(tmp_path, config)
    assert json.loads((tmp_path / 'config.json').read_text())['seed'] == 0


def test_a_tuple_of_a_configuration_is_the_list_that_was_written(tmp_path, config):
    config.model.widths = (8, 16, 32)
    write_config(tmp_path, config)
    check_config(tmp_path, config)
    config.model.widths = (8, 16, 64)
    with pytest.raises(ConfigError, match=r'model.widths: \[8, 16, 32\] -> \[8, 16, 64\]'):
        check_config(tmp_path, config)


def test_every_start_records_what_it_runs_on(tmp_path):
    write_environment(tmp_path)
    write_environment(tmp_path)
    records = [
        json.loads(line) for line in (tmp_path / 'environment.jsonl').read_text().splitlines()
    ]
    assert len(records) == 2
    assert records[0]['devices'] == ['cpu cpu'] * 8
    assert {'jax', 'flax', 'optax'} <= records[0]['packages'].keys()
    assert records[0]['version'] == __version__


def test_weights_to_begin_with_matter_until_the_first_checkpoint(tmp_path, config):
    config.init_from = str(tmp_path / 'moved')
    with pytest.raises(ConfigError, match=r'init_from: .*moved has no weights'):
        check_config(None, config)
    write_config(tmp_path, config)
    with pytest.raises(ConfigError, match=r'init_from: .*moved has no weights'):
        check_config(tmp_path, config)
    config.init_from = ''
    with pytest.raises(ConfigError, match=r'init_from: .*moved -> \n'):
        check_config(tmp_path, config)
    (tmp_path / 'checkpoints' / '3' / 'state').mkdir(parents=True)
    for config.init_from in ('', str(tmp_path / 'moved'), str(tmp_path / 'elsewhere')):
        for config.reset_head in (False, True):
            check_config(tmp_path, config)
            write_config(tmp_path, config)
            kept = json.loads((tmp_path / 'config.json').read_text())
            assert kept['init_from'] == str(tmp_path / 'moved')
            assert not kept['reset_head']
    config.seed = 1
    with pytest.raises(ConfigError, match=r'configuration:\n  seed: 0 -> 1\n'):
        check_config(tmp_path, config)


@pytest.mark.parametrize('text', ['', '\n', '\0' * 100])
def test_a_configuration_that_a_power_loss_has_emptied_is_that_of_the_command(
    tmp_path, config, capfd, text
):
    (tmp_path / 'config.json').write_text(text)
    check_config(tmp_path, config)
    assert 'config.json is empty, as a power loss may leave it' in capfd.readouterr().err
    write_config(tmp_path, config)
    assert read_config(tmp_path) == json.loads(config.to_json())


@pytest.mark.parametrize(
    'text',
    [
        '{"data": null}',
        '{"seed": 0',
        '[]',
        'null',
        '3',
        '{"data": 3}',
        '{"data": {"name": []}}',
        '{"seed": 1.5}',
        '{"epochs": true, "model": {}, "optimizer": {"learning_rate": "0.1"}}',
        '[' * 100_000,
        b'\xff',
    ],
    ids=range(11),
)
def test_a_damaged_configuration_is_refused(tmp_path, config, text):
    (tmp_path / 'config.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r'config\.json is damaged: put back a copy'):
        check_config(tmp_path, config)


def test_a_configuration_of_an_older_version_has_the_defaults_of_what_it_lacks(tmp_path):
    (tmp_path / 'config.json').write_text('{"seed": 3, "data": {"name": "digits"}, "gone": 1}')
    config = read_config(tmp_path)
    assert config['seed'] == 3
    assert config['data'] == default_config().data.to_dict() | {'name': 'digits'}
    assert config['optimizer'] == default_config().optimizer.to_dict()


def test_configurations_of_documented_runs_are_read():
    paths = list((ROOT / 'docs/results').glob('*/config.json'))
    assert len(paths) > 3
    for path in paths:
        assert read_config(path.parent)['data']['name']


def test_a_folder_without_a_configuration_has_none(tmp_path):
    assert read_config(tmp_path) is None
    (tmp_path / 'file').write_text('')
    assert read_config(tmp_path / 'file') is None
    with pytest.raises(ConfigError, match='cannot be read: File name too long'):
        read_config(tmp_path / ('x' * 300))


@pytest.mark.parametrize('name', ['config.json', 'environment.jsonl'])
def test_files_that_cannot_be_written_are_named(tmp_path, config, name):
    (tmp_path / name).mkdir()
    write = write_environment if name == 'environment.jsonl' else write_config
    arguments = () if name == 'environment.jsonl' else (config,)
    with pytest.raises(WorkdirError, match=f'{name} cannot be written: Is a directory'):
        write(tmp_path, *arguments)


@pytest.mark.parametrize(
    'line',
    [
        b'{}',
        b'[1]',
        b'3',
        b'{"train/loss": 1.0}',
        b'{"step": 1.5, "train/loss": 1.0}',
        b'{"step": 1, "train/loss": "x"}',
        b'{"step": 1, "train/loss": null}',
        b'\xff\xfe{"step": 1}',
        b'[' * 100_000,
    ],
)
def test_a_damaged_line_of_metrics_is_named(tmp_path, line):
    path = tmp_path / METRICS_FILE
    path.write_bytes(b'{"step": 1, "train/loss": NaN}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(ConfigError, match=re.escape(f'{path}, line 2 is damaged: mend or rem')):
        read_metrics(tmp_path)


def test_metrics_that_cannot_be_read_or_written_are_named(tmp_path):
    (tmp_path / METRICS_FILE).mkdir()
    with pytest.raises(ConfigError, match='cannot be read: Is a directory'):
        read_metrics(tmp_path)
    with pytest.raises(WorkdirError, match='cannot be written: No such file or directory'):
        MetricWriter(tmp_path / 'nowhere', start_step=0)


def test_metrics_that_are_gone_are_written_again_from_the_first_line(tmp_path):
    with MetricWriter(tmp_path, start_step=0) as writer:
        for step in range(1, 6):
            if step in (2, 4):
                (tmp_path / METRICS_FILE).unlink()
            writer.write(step, {'train/loss': 0.5})
            assert [r['step'] for r in read_metrics(tmp_path)] == list(range(1, step + 1))


def test_metrics_follow_a_work_directory_that_is_moved(tmp_path):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    with MetricWriter(workdir, start_step=0) as writer:
        writer.write(1, {'train/loss': 0.5})
        workdir.rename(tmp_path / 'moved')
        writer.write(2, {'train/loss': 0.5})
    assert [r['step'] for r in read_metrics(tmp_path / 'moved')] == [1, 2]


def test_a_line_after_one_that_was_cut_off_is_a_line_of_its_own(tmp_path):
    path = tmp_path / 'lines'
    path.write_text('{"a": 1}\n{"a":')
    append_line(path, '{"a": 2}')
    append_line(path, '{"a": 3}')
    assert path.read_text() == '{"a": 1}\n{"a":\n{"a": 2}\n{"a": 3}\n'
