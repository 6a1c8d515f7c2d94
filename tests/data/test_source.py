"""Sources: the right labels, random access, the same batch however it is spread."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from efface.data.bank import ImageBank
from efface.data.batch import Batch, Side
from efface.data.randomness import Shard
from efface.data.source import ConditionSource, ImageSource, PairSource, Staying
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


def test_labels_are_uniform_over_what_stays_and_over_what_goes():
    batch = conditions(8000, 4000).batch(0, Shard())
    for side, expected in ((batch.retain, RETAIN), (batch.forget, FORGET)):
        values, counts = torch.tensor(labels(side.condition)).unique(return_counts=True)
        assert values.tolist() == expected
        assert stats.chisquare(counts).pvalue > 0.01


def test_targets_are_uniform_over_each_labels_own_replacements():
    batch = conditions(8, 6000).batch(0, Shard())
    asked, target = (torch.tensor(labels(c)) for c in (batch.forget.condition, batch.forget.target))
    for label, replacement in zip(FORGET, REPLACEMENTS, strict=True):
        values, counts = target[asked == label].unique(return_counts=True)
        assert values.tolist() == replacement
        assert len(replacement) == 1 or stats.chisquare(counts).pvalue > 0.01


def test_reach_moves_what_is_forgotten_between_it_and_what_stays():
    """Corners of a simplex: every row shows whence it moved, towards which, and how far."""
    table = Condition({"text": torch.eye(10), "mask": torch.arange(10)})
    still, moved = (
        replace(conditions(64, 2000), table=table, reach=reach).batch(0, Shard())
        for reach in (0.0, 0.8)
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


def test_a_share_of_what_moves_goes_towards_the_empty_prompt():
    """Which is a direction of its own; the others go where they went, all as far as they did."""
    table = Condition({"text": torch.eye(11)[:10]})
    null = Condition({"text": torch.eye(11)[10:]})
    source = replace(conditions(64, 2000), table=table, reach=0.8)
    without = source.batch(0, Shard()).forget.condition.tensors["text"]
    text = (
        replace(source, null=null, null_share=0.25)
        .batch(0, Shard())
        .forget.condition.tensors["text"]
    )
    empty = text[:, 10] > 0
    assert 0.2 < empty.float().mean() < 0.3
    assert text[~empty].equal(without[~empty])
    assert_close(text[empty].sum(1), torch.ones(int(empty.sum())))
    assert ((text[empty][:, :10] > 0).sum(1) <= 1).all()


def test_reach_does_not_hang_on_how_the_batch_is_spread():
    source = replace(
        conditions(8, 16),
        table=Condition({"text": torch.eye(10)}),
        reach=0.5,
        null=Condition({"text": torch.ones(1, 10)}),
        null_share=0.5,
    )
    whole = source.batch(3, Shard()).forget.condition
    parts = [source.batch(3, Shard(i, 4)).forget.condition for i in range(4)]
    assert Condition.cat(parts).tensors["text"].equal(whole.tensors["text"])


def test_what_stays_is_its_own_target():
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


def test_without_rows_to_forget_that_side_is_empty():
    batch = conditions(forget_rows=0).batch(0, Shard())
    assert (batch.size, batch.forget.size, batch.forget.condition) == (64, 0, None)
    assert labels(batch.condition) == labels(batch.retain.condition)


def test_a_batch_reads_as_retained_rows_then_rows_to_forget():
    batch = conditions(4, 2).batch(0, Shard())
    assert batch.size == 6
    assert labels(batch.condition) == labels(batch.retain.condition) + labels(
        batch.forget.condition
    )
    assert labels(batch.target) == labels(batch.retain.target) + labels(batch.forget.target)
    assert Batch(retain=Side(size=2), forget=Side(size=0)).condition is None


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


def test_about_half_of_the_images_are_flipped_and_only_if_asked():
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


def staying_pairs(share: float = 0.25) -> PairSource:
    """Image i has the value i: 0 to 4 are paired with 5 and 6, and 10 to 13 stay alone."""

    def filled(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    return PairSource(
        bank=ImageBank(filled(*range(5)), filled(5, 6), 0.1),
        retain_rows=16,
        forget_rows=16,
        seed=0,
        table=Condition({"class_labels": torch.tensor([100, 200])}),
        shares=(0.5, 0.5),
        staying=Staying(
            images=filled(10, 11, 12, 13),
            condition=Condition({"class_labels": torch.arange(10, 14)}),
            share=share,
        ),
    )


def test_images_that_stay_alone_are_a_share_of_the_rows_under_their_own_condition() -> None:
    for step in range(5):
        batch = staying_pairs().batch(step, Shard())
        retain, forget = batch.retain, batch.forget
        assert retain.alone is not None and retain.x0 is not None and forget.x0 is not None
        values = retain.x0[:, 0, 0, 0]
        assert retain.alone.nonzero()[:, 0].tolist() == [3, 7, 11, 15]
        assert sorted(values[retain.alone].tolist()) == [10, 11, 12, 13]  # an epoch
        assert values[~retain.alone].max() <= 4
        asked = torch.tensor(labels(retain.condition))
        assert asked[retain.alone].tolist() == values[retain.alone].tolist()
        assert set(asked[~retain.alone].tolist()) == {100, 200}
        assert labels(forget.condition) == asked.tolist()
        assert set(forget.x0.flatten().tolist()) == {5, 6}
    assert not staying_pairs(share=0.0).batch(0, Shard()).retain.alone.any()


def test_shards_of_images_that_stay_are_the_whole() -> None:
    source = staying_pairs()
    whole = source.batch(3, Shard())
    parts = [source.batch(3, Shard(rank, 2)) for rank in range(2)]
    for side in ("retain", "forget"):
        of_all = getattr(whole, side)
        x0 = torch.cat([getattr(part, side).x0 for part in parts])
        order = [labels(getattr(part, side).condition) for part in parts]
        assert sorted(x0[:, 0, 0, 0].tolist()) == sorted(of_all.x0[:, 0, 0, 0].tolist())
        assert sorted(sum(order, [])) == sorted(labels(of_all.condition))
