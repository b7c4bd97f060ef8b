"""Work directories in a bucket, on a server of this machine."""

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import PIL.Image
import pytest

from snnjax.data.records import Prepared
from snnjax.errors import PathError
from snnjax.paths import expand
from snnjax.tools import evaluate, inspect, prepare
from snnjax.train import bucket_file, lease
from snnjax.train.bucket_file import BucketFile
from snnjax.train.checkpoint_files import remove
from snnjax.train.checkpoints import CheckpointError, Checkpoints, CheckpointWriteError
from snnjax.train.lease import LEASE_FILE, LeaseError
from snnjax.train.loop import train
from snnjax.train.metric_writer import MetricWriter, read_metrics
from snnjax.train.profiling import Profiler, Window
from snnjax.train.run_directory import lock
from snnjax.train.signals import StoppedError
from snnjax.train.state import TrainState
from snnjax.weights.steps import checkpoint_steps
from tests.bucket_server import BUCKET, BucketServer, download, upload
from tests.conftest import ROOT
from tests.processes import started, wait_until
from tests.runs import assert_same_outcome, outcome

pytest.importorskip('gcsfs')
pytest.importorskip('gcp_storage_emulator')


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    server = BucketServer(tmp_path_factory.mktemp('bucket'))
    before = dict(os.environ)
    os.environ.update(server.environment)
    server.start()
    yield server
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def workdir(server, request):
    return expand(f'gs://{BUCKET}/{request.node.name.replace("[", "-").strip("]")}')


@pytest.fixture(scope='module')
def state():
    state = TrainState(np.int32(0), {'a': np.ones(3, np.float32)}, {}, ())
    return jax.tree.map(jax.numpy.asarray, state)


@pytest.mark.parametrize(
    ('url', 'problem'),
    [
        ('s3://bucket/run', 's3:// is not supported; give gs://BUCKET/NAME, or mount the bucket'),
        ('gs://bucket', 'must be gs://BUCKET/NAME'),
        ('gs:///run', 'must be gs://BUCKET/NAME'),
        ('gs://bucket/run[1]', r'must not contain \[ \]'),
        ('gs:/bucket/run', 'pathlib takes a slash from a URL; give it as text'),
    ],
)
def test_other_urls_are_refused(url, problem):
    with pytest.raises(PathError, match=problem):
        expand(url)


def test_a_path_in_a_bucket_is_absolute_and_has_parents(server):
    path = expand('gs://runs/a//b/')
    assert str(path.absolute() / 'c') == 'gs://runs/a/b/c'
    assert str(path.parent) == 'gs://runs/a'
    assert not path.exists()
    (path / 'c').write_text('text')
    assert path.is_dir()
    assert (path / 'c').is_file()
    assert not path.is_file()


def test_a_missing_bucket_and_permission_denied_are_said_at_once(server, digits_run):
    _, config = digits_run
    with pytest.raises(LeaseError, match='cannot be written to: there is no bucket missing'):
        train(config, 'gs://missing/run')
    with pytest.raises(LeaseError, match='permission denied; the account needs roles/storage'):
        train(config, 'gs://forbidden/run')


def test_a_lease_has_room_for_one_command(workdir):
    command = (
        'import sys\n'
        'from snnjax.paths import expand\n'
        'from snnjax.train.lease import lease\n'
        'with lease(expand(sys.argv[1]), seconds=8):\n'
        '    print("leased", flush=True)\n'
        '    sys.stdin.read()\n'
    )
    command = [sys.executable, '-c', command, str(workdir)]
    with started(command, cwd=ROOT, stdin=subprocess.PIPE) as other:
        assert other.stdout.readline() == 'leased\n'
        with pytest.raises(LeaseError, match=f'in use by process {other.pid} on'), lock(workdir):
            pass
        assert (workdir / LEASE_FILE).exists()
        other.stdin.close()
        other.wait()
    assert not (workdir / LEASE_FILE).exists()


def test_the_lease_of_a_process_that_was_killed_is_free_at_once(workdir, capfd):
    process = subprocess.Popen(['true'])
    process.wait()
    content = {'owner': 'a process', 'seconds': 1000, 'token': 'x'}
    content['process'] = [*lease._this_process()[:2], process.pid]
    (workdir / LEASE_FILE).write_text(json.dumps(content))
    with lock(workdir):
        assert json.loads((workdir / LEASE_FILE).read_text())['token'] != 'x'
    assert capfd.readouterr().err == ''


def test_the_lease_of_another_machine_is_free_when_it_is_not_renewed(workdir, capfd):
    content = {'owner': 'process 3 on other', 'seconds': 1.5, 'token': 'x'}
    (workdir / LEASE_FILE).write_text(json.dumps(content))
    start = time.monotonic()
    with lock(workdir):
        assert time.monotonic() - start >= 1.5
    assert 'may be in use by process 3 on other' in capfd.readouterr().err


def test_waiting_for_a_lease_can_be_stopped(workdir):
    (workdir / LEASE_FILE).write_text(json.dumps({'owner': 'another', 'seconds': 1000}))
    with pytest.raises(StoppedError), lock(workdir, lambda: True):
        pass
    assert (workdir / LEASE_FILE).exists()


def test_a_lease_that_another_waiting_command_took_first_is_waited_for_anew(workdir, monkeypatch):
    (workdir / LEASE_FILE).write_text(json.dumps({'owner': 'first', 'seconds': 0.5}))
    third = json.dumps({'owner': 'third', 'seconds': 1000})
    write = lease._Lease._write

    def too_late(self, generation):
        (workdir / LEASE_FILE).write_text(third)
        return write(self, generation)

    def stopping():
        return (workdir / LEASE_FILE).read_text() == third

    monkeypatch.setattr(lease._Lease, '_write', too_late)
    with pytest.raises(StoppedError), lock(workdir, stopping):
        pass
    assert (workdir / LEASE_FILE).read_text() == third


def test_a_renewal_that_seemed_to_fail_is_not_taken_for_a_loss(workdir):
    holder = lease._Lease(workdir, 100.0)
    holder.take(lambda: False)
    before = holder._generation
    assert holder._write(before)
    # Of the renewal only the old generation is known.
    assert holder._write(before)
    holder.give_back()
    assert not (workdir / LEASE_FILE).exists()


def test_of_commands_that_start_at_once_one_gets_the_lease(workdir):
    leases = [lease._Lease(workdir, 100.0) for _ in range(4)]
    generation = (workdir / LEASE_FILE).read_if_there()[1]
    taken = []
    threads = [
        threading.Thread(target=lambda one=one: taken.append(one._write(generation)))
        for one in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]


def test_who_has_lost_the_lease_saves_nothing_and_leaves_it_to_the_other(workdir, state, capfd):
    with lease.lease(workdir, seconds=0.4):
        checkpoints = Checkpoints(workdir / 'checkpoints', keep=1)
        checkpoints.save(1, state, {})
        assert checkpoints.steps() == [1]
        other = json.dumps({'owner': 'another', 'seconds': 1000.0, 'token': 'another'})
        (workdir / LEASE_FILE).write_text(other)
        time.sleep(0.5)
        with pytest.raises(CheckpointWriteError, match='another command may have taken over'):
            checkpoints.save(2, state, {})
    assert checkpoint_steps(workdir / 'checkpoints') == [1]
    assert (workdir / LEASE_FILE).read_text() == other
    assert 'another command took over' in capfd.readouterr().err


def test_a_lease_that_could_not_be_renewed_for_long_is_not_relied_on(workdir, monkeypatch):
    with lease.lease(workdir, seconds=100):
        assert lease.may_write(workdir)
        monkeypatch.setattr(type(workdir), 'write_if', fail)
        start = time.monotonic()
        monkeypatch.setattr(lease.time, 'monotonic', lambda: start + 60)
        assert lease.may_write(workdir)
        monkeypatch.setattr(lease.time, 'monotonic', lambda: start + 101)
        assert not lease.may_write(workdir)
        monkeypatch.undo()


def fail(*_, **__):
    raise OSError(errno.EIO, 'server down', 'gs://runs')


def test_checkpoints_that_are_not_complete_do_not_count(workdir, state):
    directory = workdir / 'checkpoints'
    with lock(workdir):
        with Checkpoints(directory, keep=2) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, state, {'number': step})
        assert checkpoint_steps(directory) == [2, 3]
        metadata = json.loads((directory / '3' / '_CHECKPOINT_METADATA').read_text())
        metadata['commit_timestamp_nsecs'] = None
        (directory / '3' / '_CHECKPOINT_METADATA').write_text(json.dumps(metadata))
        assert checkpoint_steps(directory) == [2]
        with Checkpoints(directory, keep=2) as checkpoints:
            assert checkpoints.restore_newest(lambda step: state).step == 2
            assert not (directory / '3').exists()


def test_a_checkpoint_that_cannot_be_read_is_set_aside(workdir, state, capfd):
    directory = workdir / 'checkpoints'
    with lock(workdir), Checkpoints(directory, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state, {})
        checkpoints.steps()
        (directory / '2' / 'state' / '_METADATA').write_text('')
        assert checkpoints.restore_newest(lambda step: state).step == 1
    assert 'step 2 cannot be read' in capfd.readouterr().err
    assert {path.name for path in directory.iterdir()} == {'1', '2.unreadable'}


def test_a_checkpoint_of_an_older_version_counts_and_none_is_removed_in_an_outage(
    workdir, state, monkeypatch
):
    directory = workdir / 'checkpoints'
    with lock(workdir):
        with Checkpoints(directory, keep=2) as checkpoints:
            checkpoints.save(1, state, {})
            checkpoints.save(2, state, {})
        (directory / '1' / '_CHECKPOINT_METADATA').unlink()
        assert checkpoint_steps(directory) == [1, 2]
        monkeypatch.setattr(type(workdir), 'read_bytes', fail)
        with pytest.raises(OSError, match='server down'):
            Checkpoints(directory, keep=2)
        monkeypatch.undo()
        assert checkpoint_steps(directory) == [1, 2]
        with Checkpoints(directory, keep=2) as checkpoints:
            monkeypatch.setattr(Checkpoints, 'restore', fail)
            with pytest.raises(CheckpointError, match='cannot be read now'):
                checkpoints.restore_newest(lambda step: state)
    assert checkpoint_steps(directory) == [1, 2]


def test_what_is_left_of_a_checkpoint_that_was_being_removed_is_no_checkpoint(
    workdir, state, monkeypatch
):
    directory = workdir / 'checkpoints'
    with lock(workdir), Checkpoints(directory, keep=2) as checkpoints:
        checkpoints.save(1, state, {})
        checkpoints.steps()
        monkeypatch.setattr(type(workdir), 'rmtree', fail)
        with pytest.raises(OSError, match='server down'):
            remove(directory / '1')
        monkeypatch.undo()
        assert (directory / '1' / 'state').exists()
        assert checkpoint_steps(directory) == []


def test_data_that_cannot_be_written_is_kept(workdir, monkeypatch, capfd):
    monkeypatch.setattr(bucket_file, 'SECONDS_BETWEEN_WRITES', 0.0)
    file = BucketFile(workdir / 'file', b'0\n')
    assert (workdir / 'file').read_text() == '0\n'
    with monkeypatch.context() as context:
        context.setattr(type(workdir), 'write_if', fail)
        file.write(b'1\n')
        file.write(b'2\n')
        with pytest.raises(OSError, match='server down'):
            file.flush()
    file.write(b'3\n')
    assert (workdir / 'file').read_text() == '0\n1\n2\n3\n'
    err = capfd.readouterr().err
    assert err.count('server down; it is written later') == 1
    assert 'is written again, nothing is missing' in err


def test_a_file_that_another_command_has_written_is_left_alone(workdir, capfd):
    file = BucketFile(workdir / 'file', b'mine\n')
    (workdir / 'file').write_text('theirs\n')
    file.write(b'more\n')
    file.flush()
    file.close()
    assert (workdir / 'file').read_text() == 'theirs\n'
    assert capfd.readouterr().err.count('another command writes') == 1


def test_metrics_are_in_the_bucket_before_a_checkpoint_counts(workdir):
    with MetricWriter(workdir, 0) as writer:
        writer.write(1, {'a': 1.0})
        assert read_metrics(workdir) == []
        writer.flush()
        assert read_metrics(workdir) == [{'step': 1, 'a': 1.0}]
        writer.write(2, {'a': 2.0})
    assert [record['step'] for record in read_metrics(workdir)] == [1, 2]
    # A start from step 1 drops what comes later.
    with MetricWriter(workdir, 1) as writer:
        writer.write(2, {'a': 3.0})
    assert read_metrics(workdir)[-1] == {'step': 2, 'a': 3.0}


def test_a_run_that_is_killed_in_a_bucket_goes_on_in_a_folder(digits_run, workdir, tmp_path):
    whole, config = digits_run
    config = config.copy_and_resolve_references()
    config.checkpoint.every_steps = 8
    command = [
        'import json, sys, jax',
        'from snnjax.train.config import default_config',
        'from snnjax.train.loop import train',
        'jax.config.update("jax_num_cpu_devices", 8)',
        'config = default_config()',
        'config.update(json.loads(sys.argv[2]))',
        'train(config, sys.argv[1])',
    ]
    command = [sys.executable, '-c', '\n'.join(command), str(workdir), config.to_json()]
    with started(command, cwd=ROOT) as process:
        wait_until(lambda: checkpoint_steps(workdir / 'checkpoints'), process)
        process.kill()
    download(workdir, tmp_path / 'moved')
    assert train(config, tmp_path / 'moved').finished
    found, expected = outcome(tmp_path / 'moved'), outcome(whole)
    assert_same_outcome(found[:3] + found[4:], expected[:3] + expected[4:])


def test_a_run_of_a_folder_is_the_same_in_a_bucket(digits_run, workdir, capfd):
    """Nothing is left to train, and commands read it there."""
    whole, config = digits_run
    upload(whole, workdir)
    (workdir / 'lock').unlink()
    result = train(config, str(workdir))
    assert result.finished
    expected = outcome(whole)[1]['params']
    jax.tree.map(np.testing.assert_array_equal, dict(result.state.params), expected)
    capfd.readouterr()
    assert inspect.main([str(workdir)]) == 0
    assert 'newest' in capfd.readouterr().out
    assert evaluate.main([f'--weights={workdir}']) == 0
    assert f'accuracy: {result.metrics["eval/accuracy"]:.4f}' in capfd.readouterr().out


@pytest.mark.filterwarnings('ignore:Sending a large body:ResourceWarning')
def test_a_trace_is_copied_to_the_bucket(workdir, tmp_path):
    profiler = Profiler(Window(1, 1), workdir)
    profiler.at(0, jax.numpy.zeros(1))
    assert str(workdir / 'profile') in profiler.at(1, jax.numpy.ones(1))
    download(workdir / 'profile', tmp_path / 'profile')
    assert list((tmp_path / 'profile').rglob('perfetto_trace.json.gz'))


def test_prepared_data_is_read_from_a_bucket(workdir, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    for label in ('a', 'b'):
        for i, image in enumerate(images):
            file = tmp_path / 'photos' / 'train' / label / f'{i}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image).save(file)
    arguments = ['folder', '--name=photos', f'--source={tmp_path / "photos"}']
    assert prepare.main([*arguments, f'--data_dir={tmp_path}']) == 0
    upload(tmp_path / 'photos' / '1.0.0', workdir / 'photos' / '1.0.0')
    here, there = (Prepared(folder, 'photos') for folder in (tmp_path, str(workdir)))
    assert there.sizes == here.sizes
    records = pickle.loads(pickle.dumps(there.records('undivided')))
    for a, b in zip(
        here.records('undivided').read(range(12)), records.read(range(12)), strict=True
    ):
        assert a == b
    assert prepare.main([*arguments, f'--data_dir={workdir}/new']) == 2


def test_a_server_that_is_away_for_seconds_is_waited_for(server, workdir):
    file = workdir / 'file'
    server.stop()
    timer = threading.Timer(2.0, server.start)
    timer.start()
    file.write_text('text')
    timer.join()
    assert file.read_text() == 'text'
