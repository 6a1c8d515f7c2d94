"""SISS without importance weights: unbiased, with every row in one term."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from efface.methods.siss_bernoulli import SISSBernoulli


@pytest.mark.parametrize("mixture", [0.3, 0.5])
def test_gradients_are_unbiased(mixture: float, assert_unbiased: Callable[..., None]) -> None:
    assert_unbiased(SISSBernoulli(mixture=mixture), retain=1, forget=-1)


@pytest.mark.parametrize("mixture", [0.0, 1.0])
def test_a_mixture_that_leaves_a_term_without_rows_is_refused(mixture: float) -> None:
    with pytest.raises(ValidationError, match="mixture"):
        SISSBernoulli(mixture=mixture)
