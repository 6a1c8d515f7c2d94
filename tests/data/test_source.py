"""Sources: the right labels, random access, the same batch however it is spread."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from efface.data import source as module
from efface.data.batch import Batch
from efface.data.randomness import Shard, derive_seed
from efface.data.source import ConditionSource, ImageSource, epoch_rows
from efface.diffusion.denoiser import Condition

TABLE = Condition({"class_labels": torch.arange(10)})
RETAIN = [0, 1, 3, 4, 5, 6, 8, 9]
FORGET = [2, 7]
REPLACEMENTS = [[1], [0, 3, 4]]


def conditions(retain_rows: int = 64, forget_rows: int = 32, seed: int = 0) -> ConditionSource:
    return ConditionSource(
        table=TABLE,
        retain=RETAIN,
        forget=FORGET,
        replacements=REPLACEMENTS,
        retain_rows=retain_rows,
        forget_rows=forget_rows,
        seed=seed,
    )


def labels(condition: Condition | None) -> list[int]:
    assert condition is not None
    return condition.tensors["class_labels"].tolist()


def assert_same_batch(one: Batch, other: Batch) -> None:
    for side in ("retain", "forget"):
        a, b = getattr(one, side), getattr(other, side)
        assert a.size == b.size
        assert labels(a.condition) == labels(b.condition)
        assert labels(a.target) == labels(b.target)


def test_labels_are_uniform_over_either_set():
    batch = conditions(8000, 4000).batch(0, Shard())
    for side, expected in ((batch.retain, RETAIN), (batch.forget, FORGET)):
        values, counts = torch.tensor(labels(side.condition)).unique(return_counts=True)
        assert values.tolist() == expected
        assert stats.chisquare(counts).pvalue > 0.01


def test_targets_are_uniform_over_each_labels_own_replacements():
    batch = conditions(8, 6000).batch(0, Shard())
    condition, target = (
        torch.tensor(labels(c)) for c in (batch.forget.condition, batch.forget.target)
    )
    for label, replacement in zip(FORGET, REPLACEMENTS, strict=True):
        values, counts = target[condition == label].unique(return_counts=True)
        assert values.tolist() == replacement
        assert len(replacement) == 1 or stats.chisquare(counts).pvalue > 0.01


def test_interpolation_moves_forget_rows_between_themselves_and_retained_ones():
    """Corners of a simplex: every row shows where it began, towards which it moved, and how far."""
    table = Condition({"text": torch.eye(10), "mask": torch.arange(10)})
    still, moved = (
        replace(conditions(64, 2000), table=table, interpolation=share).batch(0, Shard())
        for share in (0.0, 0.8)
    )
    assert moved.retain.condition.tensors["text"].equal(still.retain.condition.tensors["text"])
    assert moved.forget.target.tensors["text"].equal(still.forget.target.tensors["text"])
    assert moved.forget.condition.tensors["mask"].equal(still.forget.condition.tensors["mask"])
    text = moved.forget.condition.tensors["text"]
    own = still.forget.condition.tensors["text"].argmax(1)
    kept = text.gather(1, own[:, None])[:, 0]
    assert_close(text.sum(1), torch.ones(2000))
    assert stats.kstest((1 - kept.numpy()) / 0.8, "uniform").pvalue > 0.01
    others = text.scatter(1, own[:, None], 0.0)
    assert ((others > 0).sum(1) <= 1).all()  # nothing but the one that it moved towards
    values, counts = others.argmax(1)[kept < 1].unique(return_counts=True)
    assert values.tolist() == RETAIN
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_share_of_the_moved_rows_goes_towards_the_null_condition():
    """Which is a direction of its own; the others go where they went, all as far as they did."""
    table = Condition({"text": torch.eye(11)[:10]})
    null = Condition({"text": torch.eye(11)[10:]})
    source = replace(conditions(64, 2000), table=table, interpolation=0.8)
    without = source.batch(0, Shard()).forget.condition.tensors["text"]
    text = (
        replace(source, null=null, interpolation_null=0.25)
        .batch(0, Shard())
        .forget.condition.tensors["text"]
    )
    empty = text[:, 10] > 0
    assert 0.2 < empty.float().mean() < 0.3
    assert text[~empty].equal(without[~empty])
    assert_close(text[empty].sum(1), torch.ones(int(empty.sum())))
    assert ((text[empty][:, :10] > 0).sum(1) <= 1).all()


def test_interpolation_does_not_depend_on_how_the_batch_is_spread():
    source = replace(
        conditions(8, 16),
        table=Condition({"text": torch.eye(10)}),
        interpolation=0.5,
        null=Condition({"text": torch.ones(1, 10)}),
        interpolation_null=0.5,
    )
    whole = source.batch(3, Shard()).forget.condition
    parts = [source.batch(3, Shard(i, 4)).forget.condition for i in range(4)]
    assert Condition.cat(parts).tensors["text"].equal(whole.tensors["text"])


def test_retained_rows_are_their_own_target():
    batch = conditions().batch(3, Shard())
    assert labels(batch.retain.condition) == labels(batch.retain.target)
    assert batch.retain.x0 is None


def test_steps_and_seeds_differ_and_any_step_can_be_had_at_once():
    source = conditions()
    in_order = [source.batch(step, Shard()) for step in range(6)]
    assert_same_batch(conditions().batch(5, Shard()), in_order[5])
    first = labels(in_order[0].retain.condition)
    assert first != labels(in_order[1].retain.condition)
    assert first != labels(conditions(seed=1).batch(0, Shard()).retain.condition)


@pytest.mark.parametrize("count", [2, 4])
def test_shards_together_are_the_whole_batch(count):
    whole = conditions().batch(7, Shard())
    parts = [conditions().batch(7, Shard(i, count)) for i in range(count)]
    for side in ("retain", "forget"):
        sides = [getattr(part, side) for part in parts]
        assert [s.size for s in sides] == [getattr(whole, side).size // count] * count
        for what in ("condition", "target"):
            together = sum((labels(getattr(s, what)) for s in sides), [])
            assert together == labels(getattr(getattr(whole, side), what))


def test_without_forget_rows_that_side_is_empty():
    batch = conditions(forget_rows=0).batch(0, Shard())
    assert (batch.size, batch.forget.size, batch.forget.condition) == (64, 0, None)
    assert labels(batch.condition) == labels(batch.retain.condition)


def numbered(count: int = 10, rows: int = 4, horizontal_flip: bool = False) -> ImageSource:
    """Image i is i everywhere but for a bright left column; its label is i mod 3."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    images[..., 0] = 255
    return ImageSource(
        images=images,
        table=Condition({"class_labels": torch.arange(3)}),
        labels=torch.arange(count) % 3,
        rows=rows,
        seed=0,
        horizontal_flip=horizontal_flip,
    )


def numbers(batch: Batch) -> list[int]:
    """Which images a batch holds, whether flipped or not."""
    assert batch.retain.x0 is not None
    return batch.retain.x0.amin((1, 2, 3)).add(1).mul(127.5).round().int().tolist()


@pytest.mark.parametrize(("count", "rows"), [(10, 4), (10, 5), (7, 10), (10, 23)])
def test_every_image_comes_once_per_epoch_in_a_new_order(count, rows):
    source = numbered(count, rows)
    drawn = sum((numbers(source.batch(step, Shard())) for step in range(3 * count)), [])
    epochs = [drawn[i : i + count] for i in range(0, count * rows, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_without_labels_every_image_comes_with_a_condition_of_its_own():
    images = torch.arange(6).float().view(6, 1, 1, 1)
    table = Condition({"class_labels": torch.arange(6)})
    source = ImageSource(images=images, table=table, rows=3, seed=0, name="examples")
    batches = [source.batch(step, Shard()) for step in range(2)]
    rows = torch.cat([batch.retain.x0.flatten() for batch in batches])  # pyright: ignore
    assert sorted(rows.tolist()) == list(range(6))
    for batch in batches:
        assert batch.retain.x0 is not None
        assert labels(batch.retain.condition) == batch.retain.x0.flatten().tolist()
        assert batch.forget.size == source.forget_rows == 0


def test_pixels_go_to_minus_one_to_one():
    images = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    source = ImageSource(images=images, table=None, labels=None, rows=256, seed=0)
    batch = source.batch(0, Shard())
    assert batch.retain.x0 is not None
    assert_close(batch.retain.x0.flatten().sort().values, torch.linspace(-1, 1, 256))
    assert batch.retain.condition is None


def test_images_keep_their_labels():
    batch = numbered().batch(2, Shard())
    assert labels(batch.retain.condition) == [i % 3 for i in numbers(batch)]
    assert labels(batch.retain.target) == labels(batch.retain.condition)


def test_about_half_of_the_images_are_flipped_and_only_if_set():
    plain = numbered(200, 200).batch(0, Shard()).retain.x0
    mixed = numbered(200, 200, horizontal_flip=True).batch(0, Shard()).retain.x0
    assert plain is not None and mixed is not None
    assert (plain[..., 0] == 1).all()
    flipped = mixed[:, 0, 0, 1] == 1
    assert 70 < int(flipped.sum()) < 130  # 4 standard deviations of a fair coin
    assert_close(
        torch.where(flipped.view(-1, 1, 1, 1), mixed.flip(-1), mixed), plain, rtol=0, atol=0
    )


@pytest.mark.parametrize("count", [2, 4])
def test_shards_of_images_together_are_the_whole_batch(count):
    source = numbered(rows=8, horizontal_flip=True)
    whole = source.batch(5, Shard())
    parts = [source.batch(5, Shard(i, count)) for i in range(count)]
    assert whole.retain.x0 is not None
    together = torch.cat([p.retain.x0 for p in parts if p.retain.x0 is not None])
    assert_close(together, whole.retain.x0, rtol=0, atol=0)
    assert sum((labels(p.retain.condition) for p in parts), []) == labels(whole.retain.condition)


def test_image_sources_have_no_forget_rows():
    assert numbered().forget_rows == 0
    assert conditions(8, 4).forget_rows == 4


def rows_of(count: int, rows: int, step: int) -> list[int]:
    """As `epoch_rows`, every order anew."""
    orders = []
    for epoch in range(step * rows // count, ((step + 1) * rows - 1) // count + 1):
        generator = torch.Generator().manual_seed(derive_seed(3, "retain", epoch))
        orders += torch.randperm(count, generator=generator).tolist()
    start = step * rows % count
    return orders[start : start + rows]


@pytest.mark.parametrize(("count", "rows"), [(1, 5), (2, 64), (7, 5), (5, 7), (6, 6), (40, 6)])
def test_rows_are_those_of_each_epochs_order(count, rows):
    for step in (0, 1, 2, 11):
        assert epoch_rows(count, rows, step, 3, "retain").tolist() == rows_of(count, rows, step)


@pytest.mark.parametrize("forget", [1, 2, 3, 63, 64, 5000])
def test_a_long_order_is_made_once_however_few_images_there_are_to_forget(forget, monkeypatch):
    """Orders of a small forget set must not drive those of a large retain set out of the cache."""
    made: list[int] = []
    randperm = torch.randperm

    def counting(count, **more):
        made.append(count)
        return randperm(count, **more)

    monkeypatch.setattr(module.torch, "randperm", counting)
    for step in range(50):
        for count, name in ((10_000, "retain"), (forget, "forget"), (20_000, "staying")):
            for _ in range(3):  # as parts of a batch do, and sides that share a condition
                epoch_rows(count, 64, step, seed=1000 + forget, name=name)
    assert made.count(10_000) == made.count(20_000) == 1
    # Each of the others once as well: 50 batches of 64 rows, and one more where a batch straddles.
    assert made.count(forget) <= (0 if forget == 1 else 50 * (64 // forget + 2))
    if forget >= 64:
        assert made.count(forget) <= 50 * 64 // forget + 1
