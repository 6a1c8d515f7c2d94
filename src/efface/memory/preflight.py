"""Whether a run fits into memory, before anything is loaded, and which settings make it fit."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError
from efface.memory.estimate import Amounts, estimate, readable
from efface.settings.base import Settings
from efface.training.processes import check_parts

SUGGESTED_RANK = 16
FEW = 4  # samples at once
ADAPTERS = ("train.lora_rank", "train.base_dtype")


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


def advise(
    settings: Settings,
    amounts: Amounts,
    processes: int,
    available: int,
    needed: Callable[[Settings], int],
) -> str:
    """The fewest changes that bring what is `needed` down to what is available.

    `needed` raises ConfigError for a LoRA that finds nothing to change.
    """

    def size(changes: Mapping[str, Any]) -> float:
        try:
            return needed(settings.changed(changes))
        except ConfigError:
            return math.inf

    def fits(changes: Mapping[str, Any]) -> bool:
        return size(changes) <= available

    choices = _choices(settings, amounts, processes)
    if size({"train.lora_rank": SUGGESTED_RANK}) == math.inf:
        choices = {name: values for name, values in choices.items() if name not in ADAPTERS}
    most = {name: values[-1] for name, values in choices.items()}
    if not fits(most):
        return (
            f"no setting brings it below {readable(size(most))}, so take a smaller model or a "
            "machine with more memory"
        )
    groups = (g for n in range(1, len(most) + 1) for g in itertools.combinations(most.items(), n))
    changes = next(filter(fits, map(dict, groups)))
    for name in changes:  # no more of any than it takes
        values = (value for value in choices[name] if fits(changes | {name: value}))
        changes[name] = next(values)
    text = " and ".join(f"{name}={str(value).lower()}" for name, value in changes.items())
    return f"with {text} it needs about {readable(size(changes))}"


def _choices(settings: Settings, amounts: Amounts, processes: int) -> Mapping[str, Sequence[Any]]:
    """Values that take less and less memory, by SECTION.NAME of the settings."""
    train, evaluate = settings.train, settings.evaluate
    choices = {
        "train.gradient_checkpointing": [] if train.gradient_checkpointing else [True],
        "train.accumulation": list(accumulations(settings, amounts.forget_rows, processes)),
        "train.lora_rank": [SUGGESTED_RANK] if train.lora_rank is None else [],
        "train.base_dtype": ["bfloat16"] if train.base_dtype == "float32" else [],
        "evaluate.batch_size": [FEW] if evaluate.batch_size > FEW else [],
        "evaluate.dtype": ["bfloat16"] if evaluate.dtype == "float32" else [],
    }
    trains = bool(settings.method.phases)
    return {n: values for n, values in choices.items() if values and (trains or "train." not in n)}


def accumulations(settings: Settings, forget_rows: int, processes: int) -> Iterator[int]:
    """More parts of a batch than now, as many as share it equally."""
    for count in range(settings.train.accumulation + 1, settings.train.batch_size + 1):
        with contextlib.suppress(ConfigError):
            train = settings.train.model_copy(update={"accumulation": count})
            check_parts(settings.method, train, forget_rows, processes)
            yield count
