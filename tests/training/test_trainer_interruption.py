"""The first signal is noted, the second stops at once, and handlers come back."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from efface.errors import Stopped
from efface.training.trainer import Interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with Interruption() as interruption:
        assert interruption.signal is None
        os.kill(os.getpid(), number)
        assert interruption.signal == number
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_stops_at_once(first: int, second: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Stopped, match="add --resume") as stopped, Interruption():
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), second)
    assert stopped.value.signal == second
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_in_another_thread_nothing_is_noted() -> None:
    before, inside = [signal.getsignal(each) for each in SIGNALS], []

    def enter() -> None:
        with Interruption():
            inside.extend(signal.getsignal(each) for each in SIGNALS)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == before
