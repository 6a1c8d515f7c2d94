"""The equal parts of a batch: what processes and accumulation steps share."""

from __future__ import annotations

from efface.errors import ConfigError
from efface.methods.base import Method
from efface.training.settings import TrainSettings


def check_parts(method: Method, settings: TrainSettings, forget_rows: int, processes: int) -> None:
    """Raise ConfigError unless the rows of a whole batch can be shared equally."""
    parts = settings.accumulation * processes
    shared = any(len(method.active(phase)) > 1 for phase in method.phases)
    if shared and processes > 1 and settings.accumulation > 1:
        # DDP arms its reduction at the forward pass, before the earlier parts' backwards.
        raise ConfigError(
            f"a pass shared between phases cannot be accumulated over {processes} processes: "
            "set train.accumulation=1 or method.share_student_pass=false."
        )
    for name, rows in (("train.batch_size", settings.batch_size), ("forget rows", forget_rows)):
        if rows % parts:
            raise ConfigError(
                f"{name}: {rows} cannot be shared equally by {parts} parts (accumulation x "
                f"processes): give a multiple of {parts}."
            )
