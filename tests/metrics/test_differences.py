"""The difference of two figures from their intervals alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from efface.metrics.differences import independent_difference
from efface.metrics.intervals import mean
from efface.records import Value


def test_symmetric_intervals_add_up_as_squares():
    found = independent_difference(
        Value(value=5.0, low=4.0, high=6.0), Value(value=2.0, low=0.0, high=4.0)
    )
    assert found.value == 3.0
    assert (found.low, found.high) == pytest.approx((3 - math.sqrt(5), 3 + math.sqrt(5)))


def test_each_end_rests_on_the_ends_that_make_it():
    found = independent_difference(
        Value(value=0.0, low=0.0, high=0.1), Value(value=0.5, low=0.3, high=0.6)
    )
    assert found.low == pytest.approx(-0.5 - 0.1)
    assert found.high == pytest.approx(-0.5 + math.hypot(0.1, 0.2))


def test_it_holds_the_truth_for_independent_means():
    """1,000 draws, three standard errors around 95 %."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        a, b = (mean(rng.normal(size=300)) for _ in range(2))
        values = [Value(value=e.value, low=e.low, high=e.high) for e in (a, b)]
        found = independent_difference(*values)
        held += found.low <= 0 <= found.high
    assert 929 <= held <= 980
