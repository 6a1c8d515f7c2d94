"""All images of a request in memory: for kernel estimates and nearest neighbours."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageBank:
    """`retain` (N, C, H, W) and `forget` (K, C, H, W) in model space.

    `prior` is the share of the images to forget in what the model was trained on.
    """

    retain: Tensor
    forget: Tensor
    prior: float

    @functools.cached_property
    def _order(self) -> Tensor:
        return torch.cdist(self.forget.flatten(1), self.retain.flatten(1)).argsort(1)

    def neighbours(self, count: int) -> Tensor:
        """The `count` retained images nearest to every image to forget: (K, count, C, H, W)."""
        return self.retain[self._order[:, :count]]
