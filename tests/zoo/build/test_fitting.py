"""Fitting is seeded and leaves the caller's random numbers alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from efface.zoo.build.fitting import fit, seeded


def test_random_numbers_of_a_seed_end_with_the_block():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(5):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(inside, torch.rand(2, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("steps", [1, 2, 200])
def test_a_loss_is_lowered_and_the_network_left_in_evaluation_mode(steps):
    with seeded(0):
        network = nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 16).view(-1, 1)

    def loss() -> torch.Tensor:
        return (network(x) - 2 * x).square().mean()

    before = float(loss().detach())
    fit(network, loss, steps, 0.1, "fitting")
    assert not network.training
    assert float(loss().detach()) < (0.01 if steps == 200 else before)
