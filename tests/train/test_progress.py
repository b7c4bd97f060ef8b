"""What a run says, and where that cannot be written."""

import io
import sys

import pytest

from snnjax.train import progress
from snnjax.train.progress import Progress, warn


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    monkeypatch.setattr('tqdm.std.time', clock.time)
    return clock


def test_compiling_and_evaluating_count_neither_for_the_speed_nor_for_the_time_left(
    monkeypatch, clock
):
    monkeypatch.setattr(sys, 'stdout', terminal := Terminal())
    with Progress(1000, 0) as bar:
        with bar.pausing('compiling'):
            clock.now += 600
            assert 'compiling …' in terminal.getvalue()
        for _ in range(5):
            clock.now += 1
            bar.advance(100)
        with bar.pausing('evaluating'):
            clock.now += 600
        clock.now += 1
        bar.advance(100)
    last = terminal.getvalue().split('\r')[-1]
    assert '100 images/s' in last
    assert '00:06<00:04' in last


def test_without_a_terminal_there_are_only_lines(capsys):
    with Progress(1000, 0) as bar:
        with bar.pausing('compiling'):
            bar.advance(100)
        bar.say('epoch 1')
    assert capsys.readouterr().out == 'epoch 1\n'


class Full(io.StringIO):
    """A stream that nothing can be written to."""

    def write(self, text):
        raise OSError(28, 'No space left on device')

    def flush(self):
        self.write('')


@pytest.mark.parametrize('stream', [None, Full()])
def test_what_is_printed_may_fail(monkeypatch, stream):
    monkeypatch.setattr(sys, 'stdout', stream)
    monkeypatch.setattr(sys, 'stderr', stream)
    with Progress(1000, 0) as bar:
        bar.say('epoch 1')
        bar.advance(100)
    warn('a warning')
