"""What is said on the side: a progress bar for what takes long, and what was taken for granted."""

import functools
import os
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


def note(text: str) -> None:
    """Print a line on standard error, in the first of several processes alone."""
    if os.environ.get("RANK", "0") == "0":
        text = f"efface: {text}".encode(errors="replace").decode()
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


@functools.cache
def remark(text: str) -> None:
    """Note once in a process how something was read, where it could be read otherwise."""
    note(text)


class Bar:
    """A progress bar with speed, remaining time and a note; silent when not on a terminal."""

    def __init__(
        self, what: str, total: int, done: int = 0, unit: str = "it", hidden: bool = False
    ) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._unit = unit
        self._task = self._progress.add_task(what, total=total, completed=done, speed="", note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def advance(self, count: int = 1, note: str | None = None) -> None:
        if self._progress.disable:
            return
        self._progress.advance(self._task, count)
        speed = self._progress.tasks[0].speed
        fields: dict[str, Any] = {"speed": f"{speed:.3g} {self._unit}/s" if speed else ""}
        if note is not None:
            fields["note"] = note
        self._progress.update(self._task, **fields)
