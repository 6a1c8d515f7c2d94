"""NegGrad: ascent on the images to forget, and no retain term."""

from __future__ import annotations

from collections.abc import Callable

from efface.methods.neggrad import NegGrad


def test_gradients_are_those_of_ascent(assert_unbiased: Callable[..., None]) -> None:
    assert_unbiased(NegGrad(), retain=0, forget=-1)
