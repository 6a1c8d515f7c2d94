"""A batch reads as retained rows, then forget rows."""

from __future__ import annotations

import torch

from efface.data.batch import Batch, Choices, Side, in_turn, waves
from efface.diffusion.denoiser import Condition


def rows(*labels: int) -> Condition:
    return Condition({"class_labels": torch.tensor(labels)})


def labels(condition: Condition | None) -> list[int]:
    assert condition is not None
    return condition.tensors["class_labels"].tolist()


def test_conditions_and_targets_are_those_of_both_sides_in_order() -> None:
    batch = Batch(
        retain=Side(size=2, condition=rows(4, 5), target=rows(4, 5)),
        forget=Side(size=1, condition=rows(0), target=rows(1)),
    )
    assert batch.size == 3
    assert labels(batch.condition) == [4, 5, 0]
    assert labels(batch.target) == [4, 5, 1]


def test_an_empty_side_adds_nothing() -> None:
    batch = Batch(retain=Side(size=1, condition=rows(3), target=rows(3)), forget=Side(size=0))
    assert (batch.size, labels(batch.condition)) == (1, [3])
    assert Batch(retain=Side(size=2), forget=Side(size=0)).condition is None


def test_entries_come_in_turn():
    assert in_turn([1, 2, 3], 5) == [1, 2, 3, 1, 2]
    assert in_turn([1, 2, 3], 2) == [1, 2]
    assert in_turn([], 3) == []


def test_the_noise_of_a_row_decides_which_target_it_has() -> None:
    """Always the same one, each equally often, and none that is not among those of the row."""
    noise = torch.randn(4500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    table = rows(*range(10, 20))
    choices = Choices(
        table=table,
        rows=torch.arange(9).expand(4500, 9),
        counts=torch.tensor([9]).expand(4500),
    )
    found = labels(choices.of(noise))
    assert found == labels(choices.of(noise))
    counts = torch.bincount(torch.tensor(found) - 10)
    assert len(counts) == 9 and counts.min() > 400 and counts.max() < 600
    fewer = Choices(table=table, rows=choices.rows, counts=torch.arange(4500) % 2 + 1)
    assert set(labels(fewer.of(noise))[::2]) == {10}
    assert set(labels(fewer.of(noise))[1::2]) == {10, 11}


def test_waves_are_orthonormal_and_the_longest_come_first() -> None:
    made = waves(4, 6, 24)
    torch.testing.assert_close(made @ made.T, torch.eye(24), atol=1e-5, rtol=0)
    assert made[0].std() < 1e-6
