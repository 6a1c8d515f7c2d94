"""Two gradients become one: coefficients, and what the loop does with them."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.testing import assert_close

from efface.errors import ConfigError, RunError
from efface.methods.base import LossTerms
from efface.methods.gradient_rules import (
    DualVariable,
    FixedNorm,
    GradientRule,
    Products,
    Projection,
    RelativeNorm,
    WeightedSum,
)
from efface.methods.siss import SISS
from efface.training.gradient_pair import GradientPair


def products(retain: Tensor, forget: Tensor) -> Products:
    return Products(retain=retain @ retain, forget=forget @ forget, cross=retain @ forget)


R = torch.tensor([3.0, 4.0])  # norm 5


def test_relative_norm_clips_to_its_share() -> None:
    forget = torch.tensor([20.0, 0.0])
    c = RelativeNorm(ratio=0.1).coefficient(products(R, forget), {})
    assert (c * forget).norm() == pytest.approx(0.1 * 5)


def test_relative_norm_leaves_a_small_gradient_unless_told_to_raise_it() -> None:
    forget = torch.tensor([0.2, 0.0])
    assert RelativeNorm(ratio=0.1).coefficient(products(R, forget), {}) == 1.0
    raising = RelativeNorm(ratio=0.1, only_when_larger=False)
    c = raising.coefficient(products(R, forget), {})
    assert (c * forget).norm() == pytest.approx(0.5)


def test_a_share_of_no_retain_gradient_is_refused_not_run_in_vain() -> None:
    with pytest.raises(RunError, match="method.rule_name=fixed_norm"):
        SISS(retain_target="teacher").rule("student").coefficient(products(torch.zeros(2), R), {})


def test_fixed_norm_is_the_published_rescale() -> None:
    for forget in (torch.tensor([0.01, 0.0]), torch.tensor([300.0, 1.0])):
        c = FixedNorm(value=5.0).coefficient(products(R, forget), {})
        assert float((c * forget).norm()) == pytest.approx(5.0)


def test_projection_never_raises_the_forget_loss() -> None:
    torch.manual_seed(0)
    rule = Projection(eta=1e-3)
    for _ in range(50):
        retain, forget = torch.randn(7), torch.randn(7)
        c = rule.coefficient(products(retain, forget), {})
        combined = retain + c * forget
        assert c >= 0
        assert combined @ forget >= 1e-3 * (forget @ forget) - 1e-5


@pytest.mark.parametrize(
    "rule",
    [RelativeNorm(only_when_larger=False), FixedNorm(value=5.0), Projection(), WeightedSum()],
)
def test_a_vanished_forget_gradient_contributes_nothing(rule: GradientRule) -> None:
    for forget in (torch.zeros(2), torch.tensor([1e-12, 0.0])):
        assert rule.coefficient(products(R, forget), {}) == 0.0


def test_dual_variable_rises_below_its_level_and_falls_above() -> None:
    rule = DualVariable(level=0.1, rate=0.5, maximum=0.6)
    forget = torch.tensor([1.0, 0.0])
    values = [rule.coefficient(products(R, forget), {"forgotten_loss": loss})
              for loss in (0.05, 0.05, 0.0, 0.3, 0.1)]  # fmt: skip
    assert values == pytest.approx([0.0, 0.25, 0.5, 0.6, 0.0])
    other = DualVariable(level=0.1, rate=0.5, maximum=0.6)
    other.restore(rule.tensors())
    assert other.value == rule.value


@pytest.mark.parametrize(
    "make",
    [
        lambda: RelativeNorm(ratio=0.0),
        lambda: FixedNorm(value=-1.0),
        lambda: DualVariable(level=0.0),
    ],
)
def test_settings_that_cannot_be_are_refused(make) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        make()


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
