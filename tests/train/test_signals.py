import os
import signal
import threading

import pytest

from snnjax.train.signals import SIGNALS, StopRequest, end_on_signals


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_notes_a_signal_and_puts_the_handlers_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_stops_at_once():
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handlers():
    """Puts all handlers back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
def test_before_training_a_signal_ends_the_process(number, handlers, monkeypatch, capfd):
    statuses = []
    monkeypatch.setattr(os, '_exit', statuses.append)
    end_on_signals()
    os.kill(os.getpid(), number)
    assert statuses == [75]
    assert capfd.readouterr().err.startswith('error: stopped by a signal\nthe same command resumes')


def test_what_nohup_has_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_on_signals()
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_outside_the_main_thread_no_signal_is_handled():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look():
        with StopRequest() as stop:
            seen.extend([stop.requested, signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [False, before]
