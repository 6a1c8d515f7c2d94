"""Two gradients of one network, apart until a rule makes them one."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.testing import assert_close

from efface.methods.base import LossTerms
from efface.methods.gradient_rules import RelativeNorm
from efface.training.phase import GradientPair


def losses(layer: nn.Linear, x: Tensor) -> LossTerms:
    out = layer(x)
    return LossTerms(retain=out.square().mean(), forget=-(out - 1).square().mean())


def test_a_pair_is_the_rule_applied_to_both_gradients() -> None:
    torch.manual_seed(0)
    layer, xs = nn.Linear(3, 2), torch.randn(2, 5, 3)
    parameters = list(layer.parameters())
    retain, forget = (
        [
            sum(torch.autograd.grad(getattr(losses(layer, x), side), p)[0] for x in xs) / 2
            for p in parameters
        ]
        for side in ("retain", "forget")
    )
    pair = GradientPair(parameters)
    for x in xs:
        pair.backward(losses(layer, x), 0.5)
    logs = pair.combine(RelativeNorm(ratio=0.3), {}, Accelerator())
    norms = [torch.cat([g.flatten() for g in side]).norm() for side in (retain, forget)]
    c = min(1.0, float(0.3 * norms[0] / norms[1]))
    for p, r, f in zip(parameters, retain, forget, strict=True):
        assert_close(p.grad, r + c * f)
    assert logs["forget_coefficient"] == pytest.approx(c)
    assert logs["retain_gradient_norm"] == pytest.approx(float(norms[0]))
    assert logs["forget_gradient_norm"] == pytest.approx(float(norms[1]))


def test_a_pair_holds_one_buffer_beside_the_gradients() -> None:
    layer = nn.Linear(3, 2)
    pair = GradientPair(list(layer.parameters()))
    pointers = []
    for _ in range(3):
        pair.backward(losses(layer, torch.randn(5, 3)), 1.0)
        grads = [p.grad for p in layer.parameters()]
        pointers.append([g.data_ptr() for g in (*grads, *pair._forget) if g is not None])
    assert len(pointers[0]) == 4  # two parameters, two gradients each
    assert pointers[0] == pointers[1] == pointers[2], "gradients were copied, not accumulated"
