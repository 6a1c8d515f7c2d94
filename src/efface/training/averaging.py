"""Exponential moving average of weights, in one fused pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of a module's parameters; buffers are copied.

    With `ramp` the decay grows as (1 + n) / (10 + n), so that early averages follow.
    """

    def __init__(self, module: nn.Module, decay: float, ramp: bool) -> None:
        self._source = module
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay = decay
        self._ramp = ramp
        self._pairs = _tensors(self.module), _tensors(module)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the source after update number `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._ramp else self._decay
        torch._foreach_lerp_(self._pairs[0], self._pairs[1], 1 - decay)
        for own, other in zip(self.module.buffers(), self._source.buffers(), strict=True):
            own.copy_(other)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.module.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.module.load_state_dict(dict(tensors))


def _tensors(module: nn.Module) -> list[Tensor]:
    return list(module.parameters())
