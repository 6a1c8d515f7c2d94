"""Ctrl-C and SIGTERM while a run trains: its step ends, and is kept."""

import signal
import threading
from types import FrameType
from typing import Any, Self

from efface.errors import Stopped


class Interruption:
    """Notes the first signal to stop, inside `with`; a second one stops at once.

    Only the main thread is sent signals: elsewhere nothing is noted.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # which one came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Stopped("stopped at once; add --resume to go on from the last checkpoint", number)
        self.signal = number
