"""A batch always has two sides: what is kept and what must go."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from efface.diffusion.denoiser import Condition


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """`size` rows; what a method does not need is None."""

    size: int
    x0: Tensor | None = None  # (B, C, H, W) in model space; None when data-free
    condition: Condition | None = None  # what the student is asked for
    target: Condition | None = None  # what the teacher answers instead; = condition when kept
    alone: Tensor | None = None  # (B,) rows of pairs in which nothing is forgotten; None: none


@dataclass(frozen=True, eq=False, kw_only=True)
class Away:
    """Rows for which the teacher's guidance leads away from something, and how strongly."""

    rows: Tensor  # (B,) bool, of both sides, retained rows first
    condition: Condition  # what they are led away from, one row
    guidance: Tensor  # (B,), read where `rows` is true


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    retain: Side
    forget: Side
    away: Away | None = None  # None: no row is

    @property
    def size(self) -> int:
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
