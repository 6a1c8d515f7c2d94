"""Training in pieces: what one call may still do, and how many steps fit into a time."""

from __future__ import annotations

import time

from efface.training.settings import TrainSettings

TRIAL_STEPS = 60


class OutOfTime(Exception):
    """The time of a call is used up; what was done is kept."""


class TrialOver(Exception):
    """A trial has made enough steps."""


class Call:
    """What one call may still do: so many minutes, or so many checkpoints."""

    def __init__(self, minutes: float | None, checkpoints: int | None) -> None:
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._checkpoints = checkpoints
        self._worked = False

    def begin(self, seconds: float) -> None:
        """Raise OutOfTime if this call has done something and less than `seconds` is left."""
        if self._worked and self._left() < seconds:
            raise OutOfTime
        self._worked = True

    def checkpoint_written(self, seconds: float) -> None:
        """Raise OutOfTime unless as long again as since the last checkpoint is left."""
        if self._checkpoints is not None:
            self._checkpoints -= 1
        if self._checkpoints == 0 or self._left() < 1.1 * seconds:
            raise OutOfTime

    def _left(self) -> float:
        return float("inf") if self._until is None else self._until - time.monotonic()


class Watch:
    """Times a run's steps; ends the call at the last checkpoint that fits into it."""

    def __init__(self, call: Call, settings: TrainSettings) -> None:
        self._call, self._settings = call, settings
        self._checkpoint = self._step = time.perf_counter()
        self.durations: list[float] = []

    def __call__(self, step: int) -> None:
        now = time.perf_counter()
        self.durations.append(now - self._step)
        self._step = now
        every = self._settings.checkpoint_every or self._settings.steps
        if step % every == 0 and step < self._settings.steps:
            since, self._checkpoint = now - self._checkpoint, now
            self._call.checkpoint_written(since)


class Trial:
    """Times a run's first steps and stops it."""

    seconds_per_step = 0.0

    def __init__(self, settings: TrainSettings) -> None:
        self._steps = min(TRIAL_STEPS, settings.steps)
        self._times: list[float] = []

    def __call__(self, step: int) -> None:
        self._times.append(time.perf_counter())
        if step < self._steps:
            return
        late = self._times[len(self._times) // 2 :]
        self.seconds_per_step = (late[-1] - late[0]) / (len(late) - 1)
        raise TrialOver
