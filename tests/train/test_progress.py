"""What commands say while they work, and where that cannot be written."""

import io
import sys
import time

import pytest
import tqdm.std

from snnjax.train import progress
from snnjax.train.progress import Progress, compiling, warn, watched


class Terminal(io.StringIO):
    def isatty(self):
        return True


def use_terminal(monkeypatch):
    # In the test itself: pytest puts its own in the place of one that a fixture has set.
    monkeypatch.setattr(sys, 'stderr', Terminal())
    return sys.stderr


def test_a_bar_says_what_is_compiled_and_the_time_left_without_that(monkeypatch):
    terminal = use_terminal(monkeypatch)
    now = time.time()
    monkeypatch.setattr(tqdm.std, 'time', lambda: now)
    for number in watched(range(4), 'evaluating'):
        # The first one takes long.
        now += 1 if number else 1000
        if number == 0:
            assert 'evaluating, compiling…:   0%' in terminal.getvalue()
    lines = terminal.getvalue().split('\r')
    assert [line for line in lines if ' 2/4 ' in line and '00:01<00:02' in line]
    # Nothing of it stays.
    assert lines[-1].strip() == ''


def test_what_is_compiled_alone_is_said(monkeypatch):
    terminal = use_terminal(monkeypatch)
    with compiling('measuring gradients'):
        assert 'measuring gradients, compiling…' in terminal.getvalue()
    assert terminal.getvalue().split('\r')[-1].strip() == ''


@pytest.mark.parametrize('stream', [io.StringIO(), None])
def test_there_is_no_bar_without_a_terminal(stream, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', stream)
    assert list(watched(iter('abc'), 'evaluating', total=3)) == ['a', 'b', 'c']
    with compiling('measuring gradients'):
        pass
    assert stream is None or stream.getvalue() == ''


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
