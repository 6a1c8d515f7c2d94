"""Exponential moving average of weights, in one fused pass."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from efface.training.checkpoint import ModuleState


class MovingAverage(ModuleState):
    """Average of a module's parameters; buffers are copied.

    With `ramp` the decay grows as (1 + n) / (10 + n), so that early averages follow.
    """

    def __init__(self, module: nn.Module, decay: float, ramp: bool) -> None:
        super().__init__(copy.deepcopy(module).eval().requires_grad_(False))
        self._source = module
        self._decay = decay
        self._ramp = ramp
        self._own: list[Tensor] = list(self.module.parameters())
        self._others: list[Tensor] = list(module.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the source after update number `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._ramp else self._decay
        torch._foreach_lerp_(self._own, self._others, 1 - decay)
        for own, other in zip(self.module.buffers(), self._source.buffers(), strict=True):
            own.copy_(other)
