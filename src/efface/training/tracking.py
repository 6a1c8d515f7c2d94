"""A line of JSON per logged step always; a progress bar on a terminal; trackers if asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from efface.errors import ConfigError

Tracker = Literal["none", "tensorboard", "wandb"]


class Bar(AbstractContextManager["Bar"]):
    """A progress bar with speed, remaining time and a note; silent when not on a terminal."""

    def __init__(
        self, what: str, total: int, done: int = 0, unit: str = "it", hidden: bool = False
    ) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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


class Tracking:
    """Writes `metrics.jsonl`, and to TensorBoard or wandb if asked."""

    def __init__(self, folder: Path, tracker: Tracker, first_step: int = 0) -> None:
        self._file = folder / "metrics.jsonl"
        self._drop_lines_from(first_step)
        self._stream = self._file.open("a", encoding="utf-8")
        self._tensorboard = _tensorboard(folder) if tracker == "tensorboard" else None
        self._wandb = _wandb(folder) if tracker == "wandb" else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def close(self) -> None:
        self._stream.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _drop_lines_from(self, step: int) -> None:
        """A resumed run repeats the steps after its checkpoint: their old lines go."""
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except json.JSONDecodeError:
                break  # cut off when the process was killed
        self._file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "train.tracker = 'tensorboard' needs tensorboard: pip install 'efface[track]'."
        ) from None
    return SummaryWriter(folder / "tensorboard")


def _wandb(folder: Path) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "train.tracker = 'wandb' needs wandb: pip install 'efface[track]'."
        ) from None
    return wandb.init(dir=folder, name=folder.name)
