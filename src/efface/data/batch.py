"""A batch always has two sides: retained rows and forget rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from efface.diffusion.denoiser import Condition


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """`size` rows (B below); what a method does not need is None."""

    size: int
    x0: Tensor | None = None  # (B, C, H, W) in model space; None where no images are needed
    condition: Condition | None = None  # B rows: what the student is conditioned on
    target: Condition | None = None  # B rows: what the teacher is; as `condition` where retained
    retain_only: Tensor | None = None  # (B,) bool: pairs in which nothing is forgotten
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
