import io
import sys
import time

import pytest
import tqdm.std

from snnjax.train.progress import compiling, watched


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
