import socket

import pytest

from snnjax.errors import ConfigError
from snnjax.train import processes
from snnjax.train.checkpoints import CheckpointWriteError
from snnjax.train.processes import ProcessesError, is_peer_failure


def test_a_process_waits_for_the_first_one():
    with socket.create_server(('localhost', 0)) as server:
        processes._wait_for(f'localhost:{server.getsockname()[1]}')


@pytest.mark.parametrize(
    ('coordinator', 'message'),
    [
        ('localhost', 'must be HOST:PORT'),
        (':80', 'must be HOST:PORT'),
        ('localhost:port', 'must be HOST:PORT'),
        ('localhost:1', 'nobody answers at --coordinator=localhost:1'),
    ],
)
def test_a_coordinator_that_is_none_is_named(coordinator, message):
    with pytest.raises(ProcessesError, match=message):
        processes._wait_for(coordinator, seconds=0)


@pytest.mark.parametrize(
    ('text', 'lost'),
    [
        ('UNKNOWN: Gloo all-reduce failed: Connection closed by peer', True),
        ('UNAVAILABLE: failed to connect to all addresses', True),
        ('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes', False),
        ('INVALID_ARGUMENT: shapes do not match', False),
    ],
)
def test_the_loss_of_a_process_is_told_from_other_errors(text, lost):
    assert is_peer_failure(RuntimeError(text)) == lost


def test_a_path_with_such_a_word_is_no_loss():
    assert not is_peer_failure(ConfigError('no config file runs/Connection/ABORTED.py'))
    error = CheckpointWriteError('a checkpoint cannot be written')
    error.__cause__ = RuntimeError('Gloo all-reduce failed')
    assert is_peer_failure(error)
