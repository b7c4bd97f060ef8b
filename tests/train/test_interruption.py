import os
import signal

import pytest

from snnjax.train.interruption import StopRequest


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
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
