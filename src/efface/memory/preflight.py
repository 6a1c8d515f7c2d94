"""Whether a run fits into memory, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError
from efface.memory.advice import advise
from efface.memory.amounts import Amounts
from efface.memory.estimate import estimate, readable
from efface.settings.base import Settings
from efface.training.parts import check_parts


def check_memory(
    model: ModelInfo,
    settings: Settings,
    amounts_of: Callable[[Settings], Amounts],
    accelerator: Accelerator,
    evaluated: bool,
) -> None:
    """Raise ConfigError, with what to change, if a run is not expected to fit.

    Also for a batch that cannot be shared equally.
    """
    if settings.train.accumulation * accelerator.num_processes > 1:  # one part is no share
        rows = amounts_of(settings).forget_rows
        check_parts(settings.method, settings.train, rows, accelerator.num_processes)
    if settings.train.ignore_memory:
        return
    shortage = find_shortage(model, settings, amounts_of, accelerator, evaluated)
    if shortage is not None:
        raise ConfigError(shortage)


def find_shortage(
    model: ModelInfo,
    settings: Settings,
    amounts_of: Callable[[Settings], Amounts],
    accelerator: Accelerator,
    evaluated: bool,
) -> str | None:
    """What to change where a run needs more than is free; None where it is expected to fit."""
    device, processes = accelerator.device, accelerator.num_processes

    def needed(settings: Settings) -> int:
        amounts = amounts_of(settings)
        return estimate(model, settings, amounts, device.type, processes).peak(evaluated)

    peak, available = needed(settings), available_memory(device, processes)
    if peak <= available:
        return None
    advice = advise(settings, amounts_of(settings), processes, available, needed)
    return (
        f"this run needs about {readable(peak)} by estimate, and {readable(available)} are free "
        f"on {device}: {advice}, or go on nevertheless with train.ignore_memory=true."
    )


def available_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes free for one process: of the GPU, or its share of what the machine has left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // processes
