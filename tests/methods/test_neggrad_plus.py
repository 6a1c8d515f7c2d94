"""NegGrad+: ascent beside the retain term, each with the gradient of its closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from efface.methods.neggrad_plus import NegGradPlus


@pytest.mark.parametrize("ascent", [0.1, 2.0])
def test_gradients_are_those_of_descent_and_of_weighted_ascent(
    assert_unbiased: Callable[..., None], ascent: float
) -> None:
    assert_unbiased(NegGradPlus(ascent=ascent), retain=1, forget=-ascent)
