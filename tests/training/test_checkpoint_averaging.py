"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from efface.training.checkpoint import MovingAverage


@pytest.mark.parametrize("ramp", [False, True])
def test_average_is_the_recursion_written_out(ramp: bool) -> None:
    module = torch.nn.Linear(2, 2, bias=False)
    average = MovingAverage(module, 0.9, ramp)
    expected = module.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            module.weight += torch.randn(2, 2)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step)) if ramp else 0.9
        expected = decay * expected + (1 - decay) * module.weight.detach()
    assert_close(average.module.weight.detach(), expected)


def test_buffers_are_copied_and_the_average_takes_no_gradient() -> None:
    module = torch.nn.BatchNorm1d(2)
    average = MovingAverage(module, 0.9, False)
    module.train()(torch.randn(8, 2))
    average.update(0)
    assert average.module.running_mean.equal(module.running_mean)
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())


def test_what_is_restored_is_what_was_kept() -> None:
    module = torch.nn.Linear(2, 2)
    average = MovingAverage(module, 0.5, False)
    kept = {name: tensor.clone() for name, tensor in average.tensors().items()}
    with torch.no_grad():
        module.weight += 1
    average.update(0)
    average.restore(kept)
    for name, tensor in average.tensors().items():
        assert tensor.equal(kept[name])
