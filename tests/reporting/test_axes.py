"""Axes of figures: round ticks, and room at both ends."""

from __future__ import annotations

import pytest

from efface.reporting.axes import Axis, nice, widen, write_tick


@pytest.mark.parametrize("value, rounded", [(0.7, 1.0), (1.0, 1.0), (3.0, 5.0), (21.0, 50.0)])
def test_steps_are_round(value: float, rounded: float):
    assert nice(value) == pytest.approx(rounded)


def test_an_axis_begins_at_0_where_that_is_not_far():
    assert widen([1.0, 4.0], False)[0] == 0
    low, high = widen([9.0, 10.0], False)
    assert 8 < low < 9 and 10 < high < 11
    low, high = widen([2.0, 3.0], True)
    assert low == 1.0 and high > 3


def test_shares_have_ticks_in_percent_and_none_beyond_1():
    axis = Axis(low=0.0, high=1.2, logarithmic=False, start=0, end=100, percent=True)
    assert max(axis.ticks()) == pytest.approx(1.0)
    assert axis.label(0.5) == "50\u00a0%"


@pytest.mark.parametrize(
    "value, text", [(0.0, "0"), (1500.0, "1,500"), (1e6, "1e6"), (1e-5, "1e-5")]
)
def test_ticks_are_short(value: float, text: str):
    assert write_tick(value) == text
