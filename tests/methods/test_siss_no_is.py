"""SISS without importance sampling: unbiased, at the cost of a pass for each term."""

from __future__ import annotations

from collections.abc import Callable

from efface.methods.siss_no_is import SISSNoIS


def test_gradients_are_unbiased(assert_unbiased: Callable[..., None]) -> None:
    assert_unbiased(SISSNoIS(), retain=1, forget=-1)
