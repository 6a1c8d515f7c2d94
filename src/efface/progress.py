"""What is said on the side: progress of what takes long, and what was taken for granted."""

import functools
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Self

EVERY = 30.0  # seconds between two lines of progress where there is no terminal


@dataclass
class Speech:
    """How much a process says: `quiet` leaves notes and progress out."""

    quiet: bool = False
    verbose: bool = False


speech = Speech()


def note(text: str) -> None:
    """Print a line on standard error, in the first of several processes alone."""
    if os.environ.get("RANK", "0") == "0" and not speech.quiet:
        text = f"efface: {text}".encode(errors="replace").decode()
        sys.stderr.write(f"{text}\n")


@functools.cache
def remark(text: str) -> None:
    """Note once in a process how something was read, where it could be read otherwise."""
    note(text)


class Bar:
    """A progress bar with speed, remaining time and a note; lines where there is no terminal."""

    def __init__(
        self, what: str, total: int, done: int = 0, unit: str = "it", hidden: bool = False
    ) -> None:
        from rich.console import Console
        from rich.progress import (  # takes a while, and commands that refuse have no use for it
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._hidden = hidden or speech.quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=self._hidden or not console.is_terminal,
        )
        self._unit = unit
        self._begun, self._done_before = time.monotonic(), done
        self._said = self._begun
        self._task = self._progress.add_task(what, total=total, completed=done, speed="", note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def advance(self, count: int = 1, note: str | None = None) -> None:
        if self._hidden:
            return
        self._progress.advance(self._task, count)
        fields: dict[str, Any] = {} if note is None else {"note": note}
        if self._progress.disable:
            self._progress.update(self._task, **fields)
            self._say_line()
            return
        speed = self._progress.tasks[0].speed
        fields["speed"] = f"{speed:.3g} {self._unit}/s" if speed else ""
        self._progress.update(self._task, **fields)

    def _say_line(self) -> None:
        """One line every `EVERY` seconds: what is done, how fast, and how long it will take."""
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        task = self._progress.tasks[0]
        rate = (task.completed - self._done_before) / (now - self._begun)
        left = (int(task.total or 0) - task.completed) / rate if rate else 0
        minutes, seconds = divmod(round(left), 60)
        said = f"; {task.fields['note']}" if task.fields["note"] else ""
        note(
            f"{task.description}: {task.completed:.0f} of {task.total:.0f}, {rate:.3g} "
            f"{self._unit}/s, {minutes}:{seconds:02} left{said}"
        )
