"""Inner steps of bilevel methods: plain gradient descent, undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn

from efface.training.processes import mean_over_processes


@contextmanager
def weights_restored(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Whatever becomes of the weights inside, afterwards they are what they were, bit for bit."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, before, strict=True):
                parameter.copy_(weights)


@torch.no_grad()
def descend(
    parameters: Sequence[nn.Parameter], learning_rate: float, accelerator: Accelerator
) -> None:
    """One step down the gradients, means over processes, which are gone afterwards."""
    moved = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in moved if p.grad is not None]
    for parameter, gradient in zip(moved, mean_over_processes(gradients, accelerator), strict=True):
        parameter.sub_(gradient, alpha=learning_rate)
        parameter.grad = None
