"""A batch reads as retained rows, then forget rows."""

from __future__ import annotations

import torch

from efface.data.batch import Batch, Side, in_turn
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
