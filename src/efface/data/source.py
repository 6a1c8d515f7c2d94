"""Batch sources: (step, shard) -> Batch, random access, nothing remembered."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from efface.data.batch import Batch, Choices, ImageBank, NegativeGuidance, Side, WordBank
from efface.data.images import to_model
from efface.data.randomness import Shard, derive_seed
from efface.diffusion.denoiser import Condition


class BatchSource(ABC):
    """What a run is fed with. The same (step, shard) always gives the same batch."""

    bank: ImageBank | None = None  # all images of a request that is about images
    words: WordBank | None = None  # all words, for a method that edits what they stand for
    forget_rows: int = 0  # of a global batch

    @abstractmethod
    def batch(self, step: int, shard: Shard) -> Batch: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionSource(BatchSource):
    """Conditions alone, no data set: what data-free methods are fed with.

    `table` holds every condition once, encoded; the rest are row numbers of it. Retained rows are
    uniform over `retain`; forget rows are uniform over `forget`, each with a target uniform over
    its own entry of `replacements`. The last `gibberish_rows` of the retained rows are uniform over
    `gibberish` instead. With `interpolation` each forget row is moved towards a retained one, or a
    share `interpolation_null` of them towards `null`, by a share of the way that is uniform up to
    `interpolation`. With `negative` the teacher is guided away from it, in gibberish rows with
    `gibberish_guidance` and in forget rows with `forget_guidance`, unless that is 0.
    """

    table: Condition  # N rows
    retain: Sequence[int]
    forget: Sequence[int]
    replacements: Sequence[Sequence[int]]
    retain_rows: int  # of a global batch
    forget_rows: int = 0
    seed: int
    forget_dropout: bool = True  # whether condition dropout reaches forget rows
    interpolation: float = 0.0
    interpolation_null: float = 0.0
    null: Condition | None = None  # one row
    gibberish: Sequence[int] = ()
    gibberish_rows: int = 0  # of the retained rows of a global batch
    gibberish_guidance: float = 1.0
    negative: Condition | None = None  # one row
    forget_guidance: float = 0.0
    words: WordBank | None = None

    def batch(self, step: int, shard: Shard) -> Batch:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "conditions", step))
        retain = self._retain_side(generator, shard)
        forget = self._forget_side(generator, shard) if self.forget_rows else Side(size=0)
        return Batch(retain=retain, forget=forget, negative=self._negative(forget.size, shard))

    def _retain_side(self, generator: torch.Generator, shard: Shard) -> Side:
        ordinary = self.retain_rows - self.gibberish_rows
        rows = _pick(self.retain, ordinary, generator)
        if self.gibberish_rows:
            rows = torch.cat([rows, _pick(self.gibberish, self.gibberish_rows, generator)])
        condition = self.table[rows[shard.rows(self.retain_rows)]]
        return Side(size=len(condition), condition=condition, target=condition)

    def _forget_side(self, generator: torch.Generator, shard: Shard) -> Side:
        which = torch.randint(len(self.forget), (self.forget_rows,), generator=generator)
        choices = torch.tensor([len(r) for r in self.replacements])[which]
        chosen = (torch.rand(self.forget_rows, generator=generator) * choices).long()
        target = torch.tensor(
            [self.replacements[w][c] for w, c in zip(which.tolist(), chosen.tolist(), strict=True)]
        )
        rows = shard.rows(self.forget_rows)
        condition = self.table[torch.tensor(self.forget)[which][rows]]
        if self.interpolation:
            condition = self._interpolated(condition, generator, rows)
        return Side(
            size=len(condition),
            condition=condition,
            target=self.table[target[rows]],
            choices=self._choices(which[rows]),
            keeps_condition=not self.forget_dropout,
        )

    def _choices(self, which: Tensor) -> Choices | None:
        """All replacements of the forget rows `which`; None where each has one."""
        counts = torch.tensor([len(given) for given in self.replacements])
        if int(counts.max()) == 1:
            return None
        every = sorted({row for given in self.replacements for row in given})
        rows = [torch.tensor([every.index(row) for row in given]) for given in self.replacements]
        device = self.table.device
        return Choices(
            table=self.table[torch.tensor(every)],
            rows=pad_sequence(rows, batch_first=True)[which].to(device),
            counts=counts[which].to(device),
        )

    def _interpolated(
        self, condition: Condition, generator: torch.Generator, rows: slice
    ) -> Condition:
        """Conditions (B rows) moved towards retained ones, or towards the null condition."""
        end = self.table[_pick(self.retain, self.forget_rows, generator)[rows]]
        share = self.interpolation * torch.rand(self.forget_rows, generator=generator)[rows]
        if self.null is not None and self.interpolation_null:
            empty = torch.rand(self.forget_rows, generator=generator) < self.interpolation_null
            end = end.where(empty[rows].to(end.device), self.null)
        return condition.lerp(end, share)

    def _negative(self, forget_size: int, shard: Shard) -> NegativeGuidance | None:
        """Rows of both sides that are guided away from the negative prompt, and how strongly."""
        if self.negative is None:
            return None
        ordinary = self.retain_rows - self.gibberish_rows
        gibberish = (torch.arange(self.retain_rows) >= ordinary)[shard.rows(self.retain_rows)]
        forget = torch.ones(forget_size, dtype=torch.bool)
        rows = torch.cat([gibberish, forget & (self.forget_guidance > 0)])
        guidance = torch.cat([gibberish * self.gibberish_guidance, forget * self.forget_guidance])
        device = self.negative.device
        return NegativeGuidance(
            rows=rows.to(device),
            condition=self.negative,
            guidance=guidance.to(device, torch.float32),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSource(BatchSource):
    """Images of the retained side, every one once per epoch in a new order."""

    images: Tensor  # (N, C, H, W) on the device: uint8 pixels, or float32 in model space
    table: Condition | None  # one condition per label, caption or image
    labels: Tensor | None = None  # (N,) rows of the table; None: one for each image
    rows: int  # of a global batch
    seed: int
    horizontal_flip: bool = False
    name: str = "epoch"  # part of the seed of the order

    def batch(self, step: int, shard: Shard) -> Batch:
        order = epoch_rows(len(self.images), self.rows, step, self.seed, self.name)
        index = order[shard.rows(self.rows)].to(self.images.device)
        x0 = self.images[index]
        if not x0.is_floating_point():
            x0 = to_model(x0)
        if self.horizontal_flip:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "flip", step))
            flip = torch.rand(self.rows, generator=generator)[shard.rows(self.rows)] < 0.5
            flip = flip.to(x0.device).view(-1, 1, 1, 1)
            x0 = torch.where(flip, x0.flip(-1), x0)
        condition = None
        if self.table is not None:
            condition = self.table[index if self.labels is None else self.labels[index]]
        side = Side(size=len(x0), x0=x0, condition=condition, target=condition)
        return Batch(retain=side, forget=Side(size=0))


@dataclass(frozen=True, eq=False, kw_only=True)
class RetainOnly:
    """Retained images with conditions of their own, under which nothing is forgotten."""

    images: Tensor  # (N, C, H, W) in model space
    condition: Condition  # N rows
    share: float  # of the retained rows of a batch


@dataclass(frozen=True, eq=False, kw_only=True)
class PairSource(BatchSource):
    """Retained images and images to forget, every one once per epoch of its side.

    Both images of a pair have the same condition, a row of `table` that is sampled by `shares`. If
    the bank has several groups, both are of one, each as often as any other; the table has as many
    rows for every group, and every image comes as often as the others of its group.
    With `retain_only` a share of the retained rows, spread evenly, are such images instead.
    """

    bank: ImageBank  # pyright: ignore[reportIncompatibleVariableOverride]
    retain_rows: int  # of a global batch
    forget_rows: int = 0
    seed: int
    table: Condition | None = None  # None for an unconditional model
    shares: tuple[float, ...] = ()  # of the rows of the table, of each group
    retain_only: RetainOnly | None = None

    def batch(self, step: int, shard: Shard) -> Batch:
        return Batch(
            retain=self._side(self.bank.retain, self.retain_rows, step, shard, "retain"),
            forget=self._side(self.bank.forget, self.forget_rows, step, shard, "forget"),
        )

    def _side(self, images: Tensor, rows: int, step: int, shard: Shard, name: str) -> Side:
        if rows == 0:
            return Side(size=0)
        index = self._rows(len(images), rows, step, name)[shard.rows(rows)]
        x0, retain_only = images[index.to(images.device)], None
        if self.retain_only is not None:
            which = self._retain_only_images(rows, step, shard)
            retain_only = (which >= 0).to(x0.device)
            if name == "retain":
                x0[retain_only] = self.retain_only.images[which[which >= 0].to(x0.device)]
        condition = self._condition(rows, step, shard)
        return Side(
            size=len(x0), x0=x0, condition=condition, target=condition, retain_only=retain_only
        )

    def _rows(self, count: int, rows: int, step: int, name: str) -> Tensor:
        """Row numbers of one side's `count` images, (rows,)."""
        if not self.bank.groups:
            return epoch_rows(count, rows, step, self.seed, name)
        sizes = [sizes[name == "forget"] for sizes in self.bank.groups]
        each = [
            first + epoch_rows(size, rows, step, self.seed, f"{name} {number}")
            for number, (first, size) in enumerate(zip(_begins(sizes), sizes, strict=True))
        ]
        return torch.stack(each).gather(0, self._groups(rows, step)[None])[0]

    def _groups(self, rows: int, step: int) -> Tensor:
        """The group of each row, (rows,): of the first rows the same for both sides."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "groups", step))
        most = max(self.retain_rows, self.forget_rows)
        order = torch.randperm(most, generator=generator) + step * most
        return (order % len(self.bank.groups))[:rows]

    def _retain_only_images(self, rows: int, step: int, shard: Shard) -> Tensor:
        """The retain-only image of each row, (B,), -1 in pairs; the same for both sides."""
        assert self.retain_only is not None
        chosen = (torch.arange(rows + 1) * self.retain_only.share).floor().diff() > 0
        which = torch.full((rows,), -1)
        if chosen.any():
            count, images = int(chosen.sum()), len(self.retain_only.images)
            which[chosen] = epoch_rows(
                images, count, step, self.seed, "staying"
            )  # the name is part of the seed
        return which[shard.rows(rows)]

    def _condition(self, rows: int, step: int, shard: Shard) -> Condition | None:
        """The condition of each row: the same rows of the table for both sides."""
        if self.table is None:
            return None
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "conditions", step))
        sampled = torch.multinomial(torch.tensor(self.shares), rows, True, generator=generator)
        if self.bank.groups:
            sampled = sampled + len(self.shares) * self._groups(rows, step)
        sampled = sampled[shard.rows(rows)]
        if self.retain_only is None:
            return self.table[sampled]
        which = self._retain_only_images(rows, step, shard)
        return self._conditions[torch.where(which >= 0, len(self.table) + which, sampled)]

    @functools.cached_property
    def _conditions(self) -> Condition:
        """The table, then a row for every retain-only image."""
        assert self.table is not None and self.retain_only is not None
        return Condition.cat([self.table, self.retain_only.condition])


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledSource(BatchSource):
    """Retained images and images to forget, each under its own label, once per epoch of its side.

    The target of a row to forget is uniform over the `replacements` of its label.
    """

    bank: ImageBank  # pyright: ignore[reportIncompatibleVariableOverride]
    table: Condition
    labels: tuple[Tensor, Tensor]  # rows of the table: of the bank's two sides
    replacements: Mapping[int, Sequence[int]]  # rows of the table, by row
    retain_rows: int  # of a global batch
    forget_rows: int = 0
    seed: int

    def batch(self, step: int, shard: Shard) -> Batch:
        rows = epoch_rows(len(self.bank.retain), self.retain_rows, step, self.seed, "retain")
        index = rows[shard.rows(self.retain_rows)]
        condition = self.table[self.labels[0][index]]
        x0 = self.bank.retain[index.to(self.bank.retain.device)]
        retain = Side(size=len(x0), x0=x0, condition=condition, target=condition)
        forget = self._forget_side(step, shard) if self.forget_rows else Side(size=0)
        return Batch(retain=retain, forget=forget)

    def _forget_side(self, step: int, shard: Shard) -> Side:
        rows = epoch_rows(len(self.bank.forget), self.forget_rows, step, self.seed, "forget")
        labels = self.labels[1][rows]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "targets", step))
        shares = torch.rand(self.forget_rows, generator=generator).tolist()
        given = [self.replacements[label] for label in labels.tolist()]
        chosen = [own[int(u * len(own))] for own, u in zip(given, shares, strict=True)]
        own = shard.rows(self.forget_rows)
        x0 = self.bank.forget[rows[own].to(self.bank.forget.device)]
        return Side(
            size=len(x0),
            x0=x0,
            condition=self.table[labels[own]],
            target=self.table[torch.tensor(chosen)[own]],
            keeps_condition=True,
        )


@functools.lru_cache(maxsize=64)
def epoch_rows(count: int, rows: int, step: int, seed: int, name: str) -> Tensor:
    """Row numbers of one batch, (rows,): all of `count` once per epoch, each in its own order.

    The result is shared by all who ask for it: it must not be changed.
    """
    if count == 1:
        return torch.zeros(rows, dtype=torch.long)
    first, last = step * rows, (step + 1) * rows
    # Orders shorter than a batch are met once, and would drive the long ones out of the cache.
    order = _kept_order if count >= rows else _order
    parts = []
    for epoch in range(first // count, (last - 1) // count + 1):
        begin = epoch * count
        part = order(count, derive_seed(seed, name, epoch))
        parts.append(part[max(first - begin, 0) : min(last - begin, count)])
    return torch.cat(parts)


def _begins(sizes: Sequence[int]) -> list[int]:
    """Where parts of these sizes begin, one after the other."""
    return [sum(sizes[:number]) for number in range(len(sizes))]


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


_kept_order = functools.lru_cache(maxsize=32)(_order)


def _pick(values: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """`count` of the values, uniform and with replacement: (count,)."""
    return torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]
