"""EraseDiff of SISS's tables: uniform noise as target, combined by projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from efface.methods.erasediff_siss import EraseDiffSISS
from efface.methods.gradient_rules import Projection


def test_the_forget_term_regresses_uniform_noise(
    linear: Any, pair_context: Callable[..., Any]
) -> None:
    """A network that predicts 0 has E|u|^2 = D / 3, one that predicts the mean D / 12."""
    x = torch.zeros(4000, 1, 2, 2)
    with torch.no_grad():
        linear.network.theta.zero_()
    terms = EraseDiffSISS().loss("student", pair_context(linear, x, x))
    assert_close(terms.forget, torch.tensor(4 / 3), rtol=0.05, atol=0)
    assert_close(terms.retain, torch.tensor(4.0), rtol=0.05, atol=0)  # E|eps|^2


def test_its_rule_is_the_projection() -> None:
    assert EraseDiffSISS(eta=0.25).rule("student") == Projection(eta=0.25)
    with pytest.raises(ValidationError, match="eta"):
        EraseDiffSISS(eta=-0.1)
