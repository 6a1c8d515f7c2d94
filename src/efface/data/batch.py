"""A batch always has two sides: retained rows and forget rows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition


@dataclass(frozen=True, eq=False, kw_only=True)
class Choices:
    """Targets among which the noise of a row decides, each as often as the others.

    The same noise has the same target throughout, so that a generator can learn which; targets that
    changed would teach it the product of their densities, which is one of them or none.
    """

    table: Condition
    rows: Tensor  # (B, K) of the table; of every row the first `counts` (B,) may be chosen
    counts: Tensor

    def of(self, noise: Tensor) -> Condition:
        """The target of each row of `noise` (B, C, H, W): of the wave that is strongest in it."""
        noise = noise.mean(1)
        strength = noise.flatten(1) @ waves(*noise.shape[1:], self.rows.shape[1]).to(noise).T
        beyond = torch.arange(self.rows.shape[1], device=noise.device) >= self.counts[:, None]
        chosen = strength.masked_fill(beyond, -torch.inf).argmax(1, keepdim=True)
        return self.table[self.rows.gather(1, chosen)[:, 0]]


@functools.lru_cache(maxsize=8)
def waves(height: int, width: int, count: int) -> Tensor:
    """The `count` longest waves of the cosine transform, orthonormal: (count, height * width)."""
    x, y = ((torch.arange(size) + 0.5) * torch.pi / size for size in (width, height))
    order = sorted(itertools.product(range(height), range(width)), key=lambda f: (sum(f), f))
    made = [torch.outer((v * y).cos(), (u * x).cos()).flatten() for v, u in order]
    every = torch.stack([wave / wave.norm() for wave in made])
    return every[torch.arange(count) % len(every)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """`size` rows (B below); what a method does not need is None."""

    size: int
    x0: Tensor | None = None  # (B, C, H, W) in model space; None where no images are needed
    condition: Condition | None = None  # B rows: what the student is conditioned on
    target: Condition | None = None  # B rows: what the teacher is; as `condition` where retained
    retain_only: Tensor | None = None  # (B,) bool: pairs in which nothing is forgotten
    choices: Choices | None = None  # in place of `target`, where there are several for a row
    keeps_condition: bool = False  # whether condition dropout leaves these rows as they are


@dataclass(frozen=True, eq=False, kw_only=True)
class NegativeGuidance:
    """Rows in which the teacher's guidance leads away from a negative prompt."""

    rows: Tensor  # (B,) bool, of both sides, retained rows first
    condition: Condition  # one row: the negative prompt
    guidance: Tensor  # (B,) float32, read where `rows` is true


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Retained rows, then forget rows; `negative` is about rows of both."""

    retain: Side
    forget: Side
    negative: NegativeGuidance | None = None

    @property
    def size(self) -> int:
        """Rows of both sides."""
        return self.retain.size + self.forget.size

    @property
    def condition(self) -> Condition | None:
        """Conditions of both sides as one batch, retained rows first."""
        return _cat([self.retain.condition, self.forget.condition])

    @property
    def target(self) -> Condition | None:
        """Targets of both sides as one batch, retained rows first."""
        return _cat([self.retain.target, self.forget.target])


def _cat(conditions: list[Condition | None]) -> Condition | None:
    present = [c for c in conditions if c is not None and len(c) > 0]
    return Condition.cat(present) if present else None


def in_turn(given: Sequence[Any], count: int) -> list[Any]:
    """`count` entries, one after the other, and again from the first; of none, none."""
    return [given[i % len(given)] for i in range(count)] if given else []
