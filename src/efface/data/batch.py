"""A batch always has two sides: retained rows and forget rows."""

import functools
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

    table: Condition  # C rows
    rows: Tensor  # (B, K) of the table; of every row the first `counts` (B,) may be chosen
    counts: Tensor

    def of(self, noise: Tensor, directions: Tensor) -> Condition:
        """The target of each row of `noise` (B, ...): of the direction it is most along.

        Any two of the `directions` (C, N), one per row of the table, are at one angle.
        """
        along = (noise.flatten(1) @ directions.T).gather(1, self.rows)
        beyond = torch.arange(self.rows.shape[1], device=noise.device) >= self.counts[:, None]
        chosen = along.masked_fill(beyond, -torch.inf).argmax(1, keepdim=True)
        return self.table[self.rows.gather(1, chosen)[:, 0]]


def spread_directions(images: Tensor) -> Tensor:
    """The directions nearest to those of images (C, ...) that are at one angle, (C, N).

    So each is as often as any other the one that Gaussian noise is most along.
    """
    flat = images.flatten(1)
    left, _, right = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    rank = min(len(flat) - 1, flat.shape[1])  # of differences from the mean
    return left[:, :rank] @ right[:rank]


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
    """Rows in which the teacher's guidance moves away from a negative prompt."""

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


@dataclass(frozen=True, eq=False)
class ImageBank:
    """`retain` (N, C, H, W) and `forget` (K, C, H, W) in model space.

    `prior` is the share of the images to forget in what the model was trained on. Of several groups
    `groups` has how many images of either side belong to each, in their order.
    """

    retain: Tensor
    forget: Tensor
    prior: float
    groups: tuple[tuple[int, int], ...] = ()

    @functools.cached_property
    def _order(self) -> Tensor:
        distances = torch.cdist(self.forget.flatten(1), self.retain.flatten(1))
        if self.groups:
            retain, forget = map(torch.tensor, zip(*self.groups, strict=True))
            number = torch.arange(len(self.groups))
            own = number.repeat_interleave(forget)[:, None] == number.repeat_interleave(retain)
            distances = distances.masked_fill(~own.to(distances.device), torch.inf)
        return distances.argsort(1)

    def neighbours(self, count: int) -> Tensor:
        """The retained images nearest to every image to forget, of its group: (K, n, C, H, W).

        There are `count` of them, or as many as the smallest group has.
        """
        count = min([count, *(retain for retain, _ in self.groups)])
        return self.retain[self._order[:, :count]]


@dataclass(frozen=True, eq=False, kw_only=True)
class WordBank:
    """What the text encoders make of words: `forget` and `target` (N, D), `retain` (M, D).

    Row by row, a name of what is forgotten and its replacement.
    """

    forget: Tensor
    target: Tensor
    retain: Tensor
