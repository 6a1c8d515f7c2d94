"""The images of a request: nearest neighbours in their order."""

from __future__ import annotations

import torch

from efface.data.batch import ImageBank


def test_neighbours_are_the_nearest_in_order() -> None:
    retain = torch.tensor([0.0, 1.0, 5.0, 9.0]).view(-1, 1, 1, 1)
    bank = ImageBank(retain, torch.tensor([4.0, 0.2]).view(-1, 1, 1, 1), 0.5)
    assert bank.neighbours(3).flatten(1).tolist() == [[5.0, 1.0, 0.0], [0.0, 1.0, 5.0]]
    assert bank.neighbours(100).shape == (2, 4, 1, 1, 1)


def test_neighbours_are_of_the_same_group() -> None:
    retain = torch.tensor([0.0, 1.0, 5.0, 9.0, 4.0]).view(-1, 1, 1, 1)
    forget = torch.tensor([4.0, 0.2]).view(-1, 1, 1, 1)
    bank = ImageBank(retain, forget, 0.5, ((2, 1), (3, 1)))
    assert bank.neighbours(2).flatten(1).tolist() == [[1.0, 0.0], [4.0, 5.0]]
    assert bank.neighbours(100).shape == (2, 2, 1, 1, 1)
