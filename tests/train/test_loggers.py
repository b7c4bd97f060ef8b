"""Loggers beside metrics.jsonl; packages that need not be there are stood in for."""

import errno
import importlib.machinery
import json
import os
import resource
import struct
import sys
from types import ModuleType, SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from snnjax.train.loggers import LoggerError, TensorBoard, check_loggers
from snnjax.train.metric_writer import METRICS_FILE, MetricWriter, read_metrics


def stand_in(monkeypatch, name, **attributes):
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin='a test')
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return module


class Calls(list):
    """Notes what is called with what."""

    def function(self, name, result=None):
        def call(*args, **kwargs):
            self.append((name, args, kwargs))
            return result

        return call

    def of(self, name):
        return [(args, kwargs) for called, args, kwargs in self if called == name]


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv('WANDB_MODE', raising=False)
    calls = Calls()
    run = SimpleNamespace(
        **{name: calls.function(name) for name in ('log', 'define_metric', 'finish')}
    )
    calls.module = stand_in(
        monkeypatch,
        'wandb',
        login=calls.function('login', False),
        init=calls.function('init', run),
        Settings=dict,
    )
    return calls


@pytest.fixture
def trackio(monkeypatch):
    calls = Calls()
    functions = {name: calls.function(name) for name in ('init', 'log', 'finish')}
    stand_in(monkeypatch, 'trackio', **functions)
    return calls


class FakeClient:
    """Of a tracking server that is kept between clients, by its address."""

    servers = None

    def __init__(self, uri):
        self.server = self.servers.setdefault(uri, SimpleNamespace(runs={}, experiment=None))

    def get_experiment_by_name(self, name):
        return self.server.experiment

    def create_experiment(self, name):
        self.server.experiment = SimpleNamespace(experiment_id='1')
        return '1'

    def search_runs(self, experiments, condition):
        return [run for run in self.server.runs.values() if run.asked(condition)]

    def create_run(self, experiment, run_name, tags):
        ((tag, value),) = tags.items()
        run = SimpleNamespace(
            info=SimpleNamespace(run_id='r'),
            name=run_name,
            tags=tags,
            params={},
            metrics=[],
            status='RUNNING',
            asked=lambda condition: condition == f'tags.`{tag}` = "{value}"',
        )
        self.server.runs['r'] = run
        return run

    def update_run(self, run_id, status):
        self.server.runs[run_id].status = status

    def log_param(self, run_id, key, value):
        self.server.runs[run_id].params[key] = value

    def log_batch(self, run_id, metrics):
        self.server.runs[run_id].metrics += metrics

    def set_terminated(self, run_id):
        self.server.runs[run_id].status = 'FINISHED'


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    monkeypatch.setattr(FakeClient, 'servers', {})
    entities = stand_in(
        monkeypatch, 'mlflow.entities', Metric=lambda key, value, time, step: (step, key, value)
    )
    stand_in(monkeypatch, 'mlflow', MlflowClient=FakeClient, entities=entities)
    return FakeClient.servers


CONFIG = {'model.name': 'ms_resnet8', 'model.num_steps': 2}


def train(workdir, start, *also, steps=2):
    with MetricWriter(workdir, start, also=also, config=CONFIG) as writer:
        for step in range(start + 1, start + steps + 1):
            writer.write(step, {'train/loss': 1 / step})


def test_weights_and_biases_gets_metrics_offline_and_goes_on_with_the_same_run(tmp_path, wandb):
    train(tmp_path, 0, 'wandb')
    train(tmp_path, 1, 'wandb')
    (_, first), (_, second) = wandb.of('init')
    assert first == second
    assert first['id'] == (tmp_path / 'run_id').read_text().strip()
    assert (first['mode'], first['resume'], first['dir']) == ('offline', 'allow', str(tmp_path))
    assert first['config']['model.name'] == 'ms_resnet8'
    # Steps are values: a run goes back to its last checkpoint, what W&B counts by itself does not.
    assert [args[0] for args, kwargs in wandb.of('log') if not kwargs] == [
        {'train/loss': 1 / step, 'step': step} for step in (1, 2, 2, 3)
    ]
    assert wandb.of('define_metric')[0] == (('*',), {'step_metric': 'step'})
    assert len(wandb.of('finish')) == 2


@pytest.mark.parametrize(
    ('variable', 'logged_in', 'mode'),
    [('', False, 'offline'), ('', True, 'online'), ('disabled', True, 'disabled')],
)
def test_weights_and_biases_is_online_where_the_user_wants_it(
    tmp_path, monkeypatch, wandb, variable, logged_in, mode
):
    monkeypatch.setenv('WANDB_MODE', variable)
    monkeypatch.setattr(wandb.module, 'login', wandb.function('login', logged_in))
    train(tmp_path, 0, 'wandb')
    assert wandb.of('init')[0][1]['mode'] == mode
    assert all(kwargs['prompt'] is False for _, kwargs in wandb.of('login'))


def test_mlflow_has_one_run_in_the_work_directory(tmp_path, mlflow):
    train(tmp_path, 0, 'mlflow')
    train(tmp_path, 1, 'mlflow')
    ((address, server),) = mlflow.items()
    assert address == f'sqlite:///{tmp_path}/mlflow.db'
    (run,) = server.runs.values()
    assert run.name == tmp_path.name
    assert run.status == 'FINISHED'
    assert run.params['model.num_steps'] == 2
    assert run.metrics == [(step, 'train/loss', 1 / step) for step in (1, 2, 2, 3)]


def test_mlflow_goes_where_the_user_says(tmp_path, monkeypatch, mlflow):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://localhost:5000')
    train(tmp_path, 0, 'mlflow')
    assert list(mlflow) == ['http://localhost:5000']


def test_trackio_goes_on_with_the_same_run(tmp_path, trackio):
    train(tmp_path, 0, 'trackio')
    train(tmp_path, 1, 'trackio')
    first, second = trackio.of('init')
    assert first == second
    assert first[1]['name'].startswith(f'{tmp_path.name}-')
    assert first[1]['resume'] == 'allow'
    assert trackio.of('log') == [
        (({'train/loss': 1 / step},), {'step': step}) for step in (1, 2, 2, 3)
    ]
    assert len(trackio.of('finish')) == 2


def test_runs_have_ids_of_their_own(tmp_path, wandb):
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        train(tmp_path / name, 0, 'wandb')
    one, two = (kwargs['id'] for _, kwargs in wandb.of('init'))
    assert one != two


def test_several_loggers_get_the_same(tmp_path, wandb, trackio):
    train(tmp_path, 0, 'wandb', 'trackio')
    assert len(wandb.of('log')) == len(trackio.of('log')) == len(read_metrics(tmp_path)) == 2


def test_a_process_that_writes_nothing_opens_nothing(tmp_path, wandb):
    with MetricWriter(tmp_path, 0, enabled=False, also=('wandb',)) as writer:
        writer.write(1, {'train/loss': 1.0})
    assert wandb == []
    assert list(tmp_path.iterdir()) == []


def test_unknown_loggers_are_refused_with_the_near_names():
    with pytest.raises(LoggerError, match="unknown logger 'wandbb'; did you mean wandb"):
        check_loggers(['wandbb'])


def test_a_logger_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    # A folder of this name is no package: Weights & Biases leaves one where it has run.
    (tmp_path / 'wandb').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    with pytest.raises(LoggerError, match=r"pip install 'snnjax\[wandb\]'"):
        MetricWriter(tmp_path, 0, also=('wandb',))
    assert not (tmp_path / METRICS_FILE).exists()


@pytest.mark.parametrize('where', ['init', 'log', 'finish'])
def test_a_logger_that_fails_is_switched_off_and_training_goes_on(
    tmp_path, monkeypatch, trackio, where, capsys
):
    def fail(*args, **kwargs):
        trackio.append((where, args, kwargs))
        raise ConnectionError('no route to host')

    monkeypatch.setattr(sys.modules['trackio'], where, fail)
    train(tmp_path, 0, 'trackio', steps=3)
    assert [record['step'] for record in read_metrics(tmp_path)] == [1, 2, 3]
    assert capsys.readouterr().err == (
        'warning: trackio is switched off, training goes on: ConnectionError: no route to host\n'
    )
    assert len(trackio.of(where)) == 1


def read_events(folder):
    """All events of the files in a folder; a record is its length, a checksum, itself, another."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack('<Q', content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_tensorboard_has_what_was_written_at_once_and_hides_what_is_done_again(tmp_path):
    board = TensorBoard(tmp_path, start_step=3)
    board.write(4, {'train/loss': 0.5, 'eval/accuracy': 0.25})
    version, start, *scalars = read_events(tmp_path / 'tensorboard')
    board.close()
    assert version.file_version == 'brain.Event:2'
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in scalars] == [
        (4, 'train/loss', 0.5),
        (4, 'eval/accuracy', 0.25),
    ]


@pytest.fixture
def disk():
    """Sets how many bytes a file of this process may have, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (before[1] if size is None else size, before[1])
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_no_line_and_leaves_no_half_one(tmp_path, disk, capsys):
    path = tmp_path / METRICS_FILE
    line = len(json.dumps({'step': 1, 'loss': 0.5})) + 1
    with MetricWriter(tmp_path, 0) as writer:
        disk(2 * line + line // 2)
        for step in range(1, 6):
            writer.write(step, {'loss': 0.5})
            assert path.read_text().count('\n') == min(step, 2)
            assert path.stat().st_size == line * min(step, 2)
        disk(None)
        writer.write(6, {'loss': 0.5})
        writer.write(7, {'loss': 0.5})
        assert path.stat().st_size == 7 * line
    assert [record['step'] for record in read_metrics(tmp_path)] == list(range(1, 8))
    of_metrics = [text for text in capsys.readouterr().err.splitlines() if METRICS_FILE in text]
    assert of_metrics == [
        f'warning: cannot write {path}: {os_error(errno.EFBIG)}; training goes on, lines are kept',
        f'{path} is written again, no line is missing',
    ]


def os_error(number):
    return OSError(number, os.strerror(number))


def test_a_disk_that_stays_full_gets_its_lines_printed(tmp_path, disk, capsys):
    with MetricWriter(tmp_path, 0) as writer:
        disk(10)
        writer.write(1, {'loss': 0.5})
        writer.write(2, {'loss': 0.25})
    disk(None)
    assert (tmp_path / METRICS_FILE).read_text() == ''
    err = capsys.readouterr().err.splitlines()
    assert err[-3:] == [
        f'warning: cannot write {tmp_path / METRICS_FILE}: {os_error(errno.EFBIG)}; '
        'it lacks these lines:',
        '{"step": 1, "loss": 0.5}',
        '{"step": 2, "loss": 0.25}',
    ]


def test_a_full_disk_does_not_stop_training_for_tensorboard(tmp_path, disk, capsys):
    with MetricWriter(tmp_path, 0) as writer:
        disk(200)
        # More than a queue of tensorboardX takes.
        for step in range(1, 40):
            writer.write(step, {'loss': 0.5})
        disk(None)
    assert len(read_metrics(tmp_path)) == 39
    err = capsys.readouterr().err
    assert err.count('TensorBoard is switched off, training goes on: OSError') == 1
