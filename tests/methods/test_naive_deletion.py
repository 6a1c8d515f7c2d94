"""Naive deletion: the retain term, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from efface.methods.naive_deletion import NaiveDeletion


def test_gradients_are_those_of_the_retain_term(assert_unbiased: Callable[..., None]) -> None:
    assert_unbiased(NaiveDeletion(), retain=1, forget=0)


def test_images_to_forget_have_no_influence(
    linear: Any, digits: Callable[..., Any], pair_context: Callable[..., Any]
) -> None:
    x, a = digits(6)
    losses = [
        NaiveDeletion().loss("student", pair_context(linear, x, other)).total for other in (a, -a)
    ]
    assert losses[0].equal(losses[1])
    assert NaiveDeletion.forget_share == 0
