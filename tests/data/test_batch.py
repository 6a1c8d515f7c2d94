"""A batch reads as retained rows, then forget rows."""

from __future__ import annotations

import torch

from efface.data.batch import Batch, Choices, Side, in_turn, spread_directions
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
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4500, 1, 8, 8, generator=generator)
    directions = spread_directions(torch.randn(9, 1, 8, 8, generator=generator))
    table = rows(*range(10, 19))
    choices = Choices(
        table=table,
        rows=torch.arange(9).expand(4500, 9),
        counts=torch.tensor([9]).expand(4500),
    )
    found = labels(choices.of(noise, directions))
    assert found == labels(choices.of(noise, directions))
    counts = torch.bincount(torch.tensor(found) - 10)
    assert len(counts) == 9 and counts.min() > 430 and counts.max() < 570
    fewer = Choices(table=table, rows=choices.rows + 0, counts=torch.arange(4500) % 2 + 1)
    assert set(labels(fewer.of(noise, directions))[::2]) == {10}
    assert set(labels(fewer.of(noise, directions))[1::2]) == {10, 11}


def test_directions_are_at_one_angle_and_near_the_images() -> None:
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    made = spread_directions(images)
    angles = made @ made.T
    torch.testing.assert_close(angles, torch.eye(5) - 1 / 5, atol=1e-5, rtol=0)
    near = made @ (images - images.mean(0)).flatten(1).T
    assert near.argmax(1).tolist() == [0, 1, 2, 3, 4]
