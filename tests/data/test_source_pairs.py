"""Pairs of images: each side in its own order, conditions shared, retain-only rows in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from efface.data.batch import Batch, ImageBank, Side
from efface.data.randomness import Shard
from efface.data.source import PairSource, RetainOnly
from efface.diffusion.denoiser import Condition

PROMPTS = Condition({"c": torch.tensor([[1.0], [-2.0]])})


def make_source(**more: Any) -> PairSource:
    x = torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    bank = ImageBank(x[:9], x[9:], 0.2)
    return PairSource(bank=bank, retain_rows=8, forget_rows=8, seed=0, table=PROMPTS, **more)


def labels(condition: Condition | None) -> list[int]:
    assert condition is not None
    return condition.tensors["class_labels"].tolist()


def conditions(batch: Batch) -> tuple[list[float], list[float]]:
    def values(side: Side) -> list[float]:
        assert side.condition is not None
        return side.condition.tensors["c"][:, 0].tolist()

    return values(batch.retain), values(batch.forget)


def test_both_images_of_a_pair_share_a_prompt_and_prompts_have_their_shares() -> None:
    source = make_source(shares=(0.25, 0.75))
    sampled = []
    for step in range(200):
        retain, forget = conditions(source.batch(step, Shard()))
        assert retain == forget
        sampled += retain
    share = sampled.count(1.0) / len(sampled)
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / len(sampled)) ** 0.5
    second = replace(source, shares=(0.0, 1.0))
    assert set(conditions(second.batch(0, Shard()))[0]) == {-2.0}


def test_parts_of_a_batch_hold_the_conditions_of_the_whole() -> None:
    source = make_source(shares=(0.5, 0.5))
    whole = conditions(source.batch(7, Shard()))
    parts = [conditions(source.batch(7, Shard(i, 4))) for i in range(4)]
    for side in (0, 1):
        assert [v for part in parts for v in part[side]] == whole[side]


def retain_only_pairs(share: float = 0.25) -> PairSource:
    """Image i has the value i: 0 to 4 are paired with 5 and 6, and 10 to 13 are retain-only."""

    def filled(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    return PairSource(
        bank=ImageBank(filled(*range(5)), filled(5, 6), 0.1),
        retain_rows=16,
        forget_rows=16,
        seed=0,
        table=Condition({"class_labels": torch.tensor([100, 200])}),
        shares=(0.5, 0.5),
        retain_only=RetainOnly(
            images=filled(10, 11, 12, 13),
            condition=Condition({"class_labels": torch.arange(10, 14)}),
            share=share,
        ),
    )


def test_retain_only_images_are_a_share_of_the_rows_under_their_own_condition() -> None:
    for step in range(5):
        batch = retain_only_pairs().batch(step, Shard())
        retain, forget = batch.retain, batch.forget
        assert retain.retain_only is not None and retain.x0 is not None and forget.x0 is not None
        values = retain.x0[:, 0, 0, 0]
        assert retain.retain_only.nonzero()[:, 0].tolist() == [3, 7, 11, 15]
        assert sorted(values[retain.retain_only].tolist()) == [10, 11, 12, 13]  # an epoch
        assert values[~retain.retain_only].max() <= 4
        condition = torch.tensor(labels(retain.condition))
        assert condition[retain.retain_only].tolist() == values[retain.retain_only].tolist()
        assert set(condition[~retain.retain_only].tolist()) == {100, 200}
        assert labels(forget.condition) == condition.tolist()
        assert set(forget.x0.flatten().tolist()) == {5, 6}
    assert not retain_only_pairs(share=0.0).batch(0, Shard()).retain.retain_only.any()


def test_shards_of_retain_only_images_are_the_whole() -> None:
    source = retain_only_pairs()
    whole = source.batch(3, Shard())
    parts = [source.batch(3, Shard(rank, 2)) for rank in range(2)]
    for side in ("retain", "forget"):
        of_all = getattr(whole, side)
        x0 = torch.cat([getattr(part, side).x0 for part in parts])
        order = [labels(getattr(part, side).condition) for part in parts]
        assert sorted(x0[:, 0, 0, 0].tolist()) == sorted(of_all.x0[:, 0, 0, 0].tolist())
        assert sorted(sum(order, [])) == sorted(labels(of_all.condition))


def grouped(**more: Any) -> PairSource:
    """Retained images 0 to 4, 10 to 12 and 20; images to forget 5 and 6, 13 and 21."""

    def filled(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    bank = ImageBank(
        filled(0, 1, 2, 3, 4, 10, 11, 12, 20), filled(5, 6, 13, 21), 0.1, ((5, 2), (3, 1), (1, 1))
    )
    table = Condition({"class_labels": torch.tensor([100, 101, 110, 111, 120, 121])})
    source = PairSource(
        bank=bank, retain_rows=4, forget_rows=4, seed=0, table=table, shares=(0.25, 0.75)
    )
    return replace(source, **more)


def test_pairs_of_several_groups_are_of_one_and_groups_take_turns() -> None:
    source, seen = grouped(), []
    for step in range(300):
        batch = source.batch(step, Shard())
        assert labels(batch.retain.condition) == labels(batch.forget.condition)
        sides = [batch.retain.x0, batch.forget.x0]
        rows = [side[:, 0, 0, 0].int().tolist() for side in sides if side is not None]
        for x, a, label in zip(*rows, labels(batch.retain.condition), strict=True):
            assert x // 10 == a // 10 == (label - 100) // 10
            seen.append((x, a, label))
    groups = [label // 10 - 10 for *_, label in seen]
    assert [groups.count(group) for group in range(3)] == [400, 400, 400]
    assert {x for x, _, _ in seen} == {0, 1, 2, 3, 4, 10, 11, 12, 20}
    assert {a for _, a, _ in seen} == {5, 6, 13, 21}
    assert {label for *_, label in seen} == {100, 101, 110, 111, 120, 121}


def test_parts_of_a_batch_hold_the_groups_of_the_whole() -> None:
    source = grouped()
    for side in ("retain", "forget"):
        parts = [getattr(source.batch(3, Shard(i, 2)), side).x0 for i in range(2)]
        assert torch.cat(parts).equal(getattr(source.batch(3, Shard()), side).x0)


def test_every_group_has_pairs_beside_retain_only_rows() -> None:
    only = RetainOnly(
        images=torch.full((2, 1, 2, 2), 50.0),
        condition=Condition({"class_labels": torch.tensor([7, 7])}),
        share=0.5,
    )
    source, seen = grouped(retain_only=only), []
    for step in range(60):
        batch = source.batch(step, Shard())
        assert batch.retain.retain_only is not None
        pairs = ~batch.retain.retain_only
        seen += [labels(batch.retain.condition)[i] // 10 for i in pairs.nonzero()[:, 0].tolist()]
    assert min(seen.count(group) for group in (10, 11, 12)) > 20
