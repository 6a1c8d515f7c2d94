"""Two gradients become one: the coefficient of each rule."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from efface.errors import RunError
from efface.methods.gradient_rules import (
    DualVariable,
    FixedNorm,
    GradientRule,
    PlainSum,
    Products,
    Projection,
    RelativeNorm,
)
from efface.methods.siss import SISS


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
    [RelativeNorm(only_when_larger=False), FixedNorm(value=5.0), Projection(), PlainSum()],
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
    ("given", "named"),
    [
        ({"ratio": 0.0}, "ratio"),
        ({"fixed_norm": -1.0}, "fixed_norm"),
        ({"dual_level": 0.0}, "dual_level"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_the_method(
    given: dict[str, float], named: str
) -> None:
    with pytest.raises(ValidationError, match=f"{named}\n.*greater than 0"):
        SISS(**given)  # pyright: ignore[reportArgumentType]


def test_the_rule_of_a_method_is_its_settings() -> None:
    clip = SISS(ratio=0.3, only_when_larger=False, retain_target="teacher").rule("student")
    assert clip == RelativeNorm(ratio=0.3, only_when_larger=False, starts_at_rest=True)
    assert SISS(rule_name="fixed_norm", fixed_norm=7.0).rule("student") == FixedNorm(value=7.0)
    dual = SISS(rule_name="dual", dual_level=0.2, dual_rate=0.5).rule("student")
    assert isinstance(dual, DualVariable)
    assert (dual.level, dual.rate) == (0.2, 0.5)


def test_a_plain_sum_takes_one_backward_pass() -> None:
    assert not PlainSum().separate
    assert PlainSum().coefficient(products(R, R), {}) == 1.0
