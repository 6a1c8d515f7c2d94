"""What several processes of one run agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from torch import Tensor

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
