"""Batch sources: (step, shard) -> Batch, random access, nothing remembered."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.batch import Away, Batch, Side
from efface.data.randomness import Shard, derive_seed
from efface.diffusion.denoiser import Condition


class BatchSource(ABC):
    """What a run is fed with. The same (step, shard) always gives the same batch."""

    bank: ImageBank | None = None  # all images of a request that is about images

    @abstractmethod
    def batch(self, step: int, shard: Shard) -> Batch: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionSource(BatchSource):
    """Conditions drawn directly, no data set: what data-free methods are fed with.

    `table` holds every condition once, encoded; the rest are row numbers of it. Retained rows are
    uniform over `retain`; rows to forget are uniform over `forget`, each with a target drawn
    uniformly from its own entry of `replacements`. With `reach` each row to forget is moved towards
    one that stays, or for a `null_share` of the rows towards `null`, one row, by a share of the way
    that is uniform up to `reach`: what lies between is forgotten too. The last `away_rows` retained
    rows of a batch are uniform over `nonsense` instead: for these the teacher's guidance, of
    `away_guidance`, leads away from `away`, one row. So does that for rows to forget, of
    `forget_guidance`, unless it is 0.
    """

    table: Condition
    retain: Sequence[int]
    forget: Sequence[int]
    replacements: Sequence[Sequence[int]]
    retain_rows: int  # per global batch
    forget_rows: int
    seed: int
    reach: float = 0.0
    null: Condition | None = None
    null_share: float = 0.0
    nonsense: Sequence[int] = ()
    away_rows: int = 0  # of the retained rows of a global batch
    away: Condition | None = None
    away_guidance: float = 1.0
    forget_guidance: float = 0.0

    def batch(self, step: int, shard: Shard) -> Batch:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "conditions", step))

        def draw(count: int, rows: int) -> Tensor:
            return torch.randint(count, (rows,), generator=generator)

        stays = self.retain_rows - self.away_rows
        retain = torch.tensor(self.retain)[draw(len(self.retain), stays)]
        if self.away_rows:
            means_nothing = draw(len(self.nonsense), self.away_rows)
            retain = torch.cat([retain, torch.tensor(self.nonsense)[means_nothing]])
        mine = shard.rows(self.retain_rows)
        kept = self.table[retain[mine]]
        retain_side = Side(size=len(kept), condition=kept, target=kept)
        led = (torch.arange(self.retain_rows) >= stays)[mine]
        if not self.forget_rows:
            return Batch(retain=retain_side, forget=Side(size=0), away=self._away(led, 0))
        which = draw(len(self.forget), self.forget_rows)
        choices = torch.tensor([len(r) for r in self.replacements])[which]
        pick = (torch.rand(self.forget_rows, generator=generator) * choices).long()
        target = torch.tensor(
            [self.replacements[w][p] for w, p in zip(which.tolist(), pick.tolist(), strict=True)]
        )
        rows = shard.rows(self.forget_rows)
        asked = self.table[torch.tensor(self.forget)[which][rows]]
        if self.reach:
            towards = torch.tensor(self.retain)[draw(len(self.retain), self.forget_rows)][rows]
            share = self.reach * torch.rand(self.forget_rows, generator=generator)[rows]
            goal = self.table[towards]
            if self.null is not None and self.null_share:
                empty = torch.rand(self.forget_rows, generator=generator)[rows] < self.null_share
                goal = goal.where(empty.to(next(iter(goal.tensors.values())).device), self.null)
            asked = asked.lerp(goal, share)
        forget_side = Side(size=len(asked), condition=asked, target=self.table[target[rows]])
        return Batch(retain=retain_side, forget=forget_side, away=self._away(led, len(asked)))

    def _away(self, retained: Tensor, forgotten: int) -> Away | None:
        """Rows of both sides that are led away from something; `retained` are those that stay."""
        if self.away is None:
            return None
        device = next(iter(self.away.tensors.values())).device
        every = torch.ones(forgotten, dtype=torch.bool)
        rows = torch.cat([retained, every & (self.forget_guidance > 0)])
        guidance = torch.cat([retained * self.away_guidance, every * self.forget_guidance])
        return Away(
            rows=rows.to(device), condition=self.away, guidance=guidance.to(device, torch.float32)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSource(BatchSource):
    """Images of the retained side, every one once per epoch in a new order."""

    images: Tensor  # (N, C, H, W) on the device: uint8 pixels, or float32 in model space
    table: Condition | None  # one condition per label or caption
    labels: Tensor | None  # (N,) rows of the table
    rows: int  # per global batch
    seed: int
    horizontal_flip: bool = False

    def batch(self, step: int, shard: Shard) -> Batch:
        index = self._indices(step)[shard.rows(self.rows)].to(self.images.device)
        x0 = self.images[index]
        if not x0.is_floating_point():
            x0 = x0.float() / 127.5 - 1
        if self.horizontal_flip:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "flip", step))
            flip = torch.rand(self.rows, generator=generator)[shard.rows(self.rows)] < 0.5
            flip = flip.to(x0.device).view(-1, 1, 1, 1)
            x0 = torch.where(flip, x0.flip(-1), x0)
        condition = None
        if self.table is not None and self.labels is not None:
            condition = self.table[self.labels[index]]
        side = Side(size=len(x0), x0=x0, condition=condition, target=condition)
        return Batch(retain=side, forget=Side(size=0))

    def _indices(self, step: int) -> Tensor:
        return epoch_rows(len(self.images), self.rows, step, self.seed, "epoch")


@dataclass(frozen=True, eq=False, kw_only=True)
class Staying:
    """Images that stay, each under a condition of its own under which nothing is forgotten."""

    images: Tensor  # (N, C, H, W) in model space
    condition: Condition  # N rows
    share: float  # of the retained rows of a batch


@dataclass(frozen=True, eq=False, kw_only=True)
class PairSource(BatchSource):
    """Retained images and images to forget, each side going through its own in random order.

    Of a conditional model every pair is asked for under one row of `table`, drawn at random by
    `shares`. With `staying` a share of the retained rows, spread evenly, are such images instead.
    """

    bank: ImageBank  # pyright: ignore[reportIncompatibleVariableOverride]
    retain_rows: int  # per global batch
    forget_rows: int
    seed: int
    table: Condition | None = None  # None for an unconditional model
    shares: tuple[float, ...] = ()  # of the rows of the table
    staying: Staying | None = None

    def batch(self, step: int, shard: Shard) -> Batch:
        return Batch(
            retain=self._side(self.bank.retain, self.retain_rows, step, shard, "retain"),
            forget=self._side(self.bank.forget, self.forget_rows, step, shard, "forget"),
        )

    def _side(self, images: Tensor, rows: int, step: int, shard: Shard, name: str) -> Side:
        if rows == 0:
            return Side(size=0)
        index = epoch_rows(len(images), rows, step, self.seed, name)[shard.rows(rows)]
        x0, alone = images[index.to(images.device)], None
        condition = self._asked(rows, step, shard)
        if self.staying is not None:
            which = self._stays(rows, step, shard)
            alone = (which >= 0).to(x0.device)
            if name == "retain":
                x0[alone] = self.staying.images[which[which >= 0].to(x0.device)]
        return Side(size=len(x0), x0=x0, condition=condition, target=condition, alone=alone)

    def _stays(self, rows: int, step: int, shard: Shard) -> Tensor:
        """The image that each row holds in place of a pair's, -1 in a pair; both sides alike."""
        assert self.staying is not None
        alone = (torch.arange(rows + 1) * self.staying.share).floor().diff() > 0
        which = torch.full((rows,), -1)
        if alone.any():
            count, images = int(alone.sum()), len(self.staying.images)
            which[alone] = epoch_rows(images, count, step, self.seed, "staying")
        return which[shard.rows(rows)]

    def _asked(self, rows: int, step: int, shard: Shard) -> Condition | None:
        """The condition of each row: both sides draw the same rows of the table."""
        if self.table is None:
            return None
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "conditions", step))
        drawn = torch.multinomial(torch.tensor(self.shares), rows, True, generator=generator)
        drawn = drawn[shard.rows(rows)]
        if self.staying is None:
            return self.table[drawn]
        which = self._stays(rows, step, shard)
        return self._conditions[torch.where(which >= 0, len(self.table) + which, drawn)]

    @functools.cached_property
    def _conditions(self) -> Condition:
        """The table, then a row for every image that stays."""
        assert self.table is not None and self.staying is not None
        return Condition.cat([self.table, self.staying.condition])


def epoch_rows(count: int, rows: int, step: int, seed: int, name: str) -> Tensor:
    """Row numbers of one batch: all of `count` once per epoch, in an order of its own."""
    first, last = step * rows, (step + 1) * rows
    epochs = range(first // count, (last - 1) // count + 1)
    orders = [_epoch_order(count, derive_seed(seed, name, epoch)) for epoch in epochs]
    start = first - (first // count) * count
    return torch.cat(orders)[start : start + rows]


@functools.lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
