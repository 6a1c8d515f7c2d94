"""Inner steps: plain gradient descent, then the weights as they were."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.testing import assert_close

from efface.training.stepper import descend, weights_restored


def test_descent_is_sgd_and_leaves_no_gradient() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer(torch.ones(1, 3)).sum().backward()
    descend(list(layer.parameters()), 0.1, Accelerator())
    assert_close(layer.weight.detach(), before[0] - 0.1)
    assert_close(layer.bias.detach(), before[1] - 0.1)
    assert layer.weight.grad is None and layer.bias.grad is None


def test_parameters_without_gradient_stay() -> None:
    layer = nn.Linear(3, 2)
    before = layer.bias.detach().clone()
    layer.weight.sum().backward()
    descend(list(layer.parameters()), 0.1, Accelerator())
    assert layer.bias.equal(before)


@pytest.mark.parametrize("fails", [False, True])
def test_weights_come_back_bit_for_bit_whatever_happens(fails: bool) -> None:
    layer = nn.Linear(3, 2)
    before = [p.detach().clone() for p in layer.parameters()]

    def change() -> None:
        with weights_restored(list(layer.parameters())):
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.mul_(1.7).add_(1e-3)
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            change()
    else:
        change()
    for parameter, weights in zip(layer.parameters(), before, strict=True):
        assert parameter.equal(weights)
