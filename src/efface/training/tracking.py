"""A line of JSON per logged step, and a tracker where one is set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from efface.errors import ConfigError

Tracker = Literal["none", "tensorboard", "wandb"]


class Tracking:
    """Writes `metrics.jsonl`, and to TensorBoard or wandb where one is set."""

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
