"""What several processes of one run agree on, and the equal parts of a batch that they share."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from torch import Tensor

from efface.errors import ConfigError
from efface.methods.base import Method
from efface.training.settings import TrainSettings

T = TypeVar("T")


def on_main(accelerator: Accelerator, compute: Callable[[], T]) -> T:
    """Compute in the main process; returns the result on every process."""
    if accelerator.num_processes == 1:
        return compute()
    results = [compute() if accelerator.is_main_process else None]
    broadcast_object_list(results)
    return cast(T, results[0])


def from_main(accelerator: Accelerator, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The main process's tensors, on every process; names and shapes are the same on all."""
    if accelerator.num_processes == 1:
        return tensors
    return {name: cast(Tensor, broadcast(tensor)) for name, tensor in tensors.items()}


def mean_over_processes(tensors: Sequence[Tensor], accelerator: Accelerator) -> list[Tensor]:
    """Means over processes, in one exchange."""
    if accelerator.num_processes == 1 or not tensors:
        return list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    flat = cast(Tensor, accelerator.reduce(flat, "mean"))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


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
