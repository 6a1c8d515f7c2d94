"""Dot-and-whisker marks: every model on one axis, true to the numbers."""

from __future__ import annotations

import math

import pytest

from efface.evaluation.wording import SPACE
from efface.records import Value
from efface.reporting.recorded_curves import whiskers
from tests.reporting.conftest import Triple, make_result


@pytest.mark.parametrize(
    "own, baseline, unit",
    [
        ((1.0, 0.992, 1.0), (0.006, 0.002, 0.017), "share of samples"),
        ((0.98, 0.97, 0.99), (0.98, 0.97, 0.99), "share of samples"),
        ((6.0, 5.5, 6.5), (5.9, 5.4, 6.4), "squared feature distance"),
        ((0.01, -0.2, 0.2), (0.0, 0.0, 0.0), "nats"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "nats"),
        ((-5.0, -6.0, -4.0), (-5.0, -6.0, -4.0), "nats"),
    ],
)
def test_whiskers_share_an_axis_that_holds_all_numbers(own: Triple, baseline: Triple, unit: str):
    found = whiskers(make_result("any", own, baseline, spec={"unit": unit}))
    assert found is not None
    assert [kind for kind, *_ in found.rows] == ["result", "original"]
    assert all(0 <= low <= at <= high <= 100 for _, at, low, high in found.rows)
    assert (found.rows[0][1:] == found.rows[1][1:]) == (own == baseline)


@pytest.mark.parametrize("unit", ["share of samples", "nats"])
def test_whiskers_lie_on_the_axis_where_their_values_do(unit: str):
    found = whiskers(make_result("any", (0.3, 0.21, 0.66), (0.87, 0.84, 0.9), spec={"unit": unit}))
    assert found is not None
    first, last = (float(end.removesuffix(f"{SPACE}%")) for end in found.ends)
    if unit != "nats":
        first, last = first / 100, last / 100
    for (_, *places), values in zip(
        found.rows, [(0.3, 0.21, 0.66), (0.87, 0.84, 0.9)], strict=True
    ):
        told = [first + (last - first) * place / 100 for place in places]
        assert told == pytest.approx(values, abs=1e-3)


def test_a_small_difference_does_not_look_like_a_large_one():
    close = whiskers(make_result("any", (0.5, 0.499, 0.501), (0.51, 0.509, 0.511)))
    assert close is not None
    assert abs(close.rows[0][1] - close.rows[1][1]) <= 10.01


def test_whiskers_show_all_that_there_is_to_compare_with():
    result = make_result("any", (0.03, 0.02, 0.04), (0.005, 0.004, 0.006), spec={"unit": "loss"})
    result.retrained = Value(value=0.028, low=0.02, high=0.05)
    result.unseen = Value(value=0.031, low=0.03, high=0.032)
    found = whiskers(result)
    assert found is not None
    assert [row[0] for row in found.rows] == ["result", "original", "retrained", "stranger"]
    assert "unseen images 0.0310" in found.described
    result.unseen.high = math.inf
    found = whiskers(result)
    assert found is not None
    assert "unseen images" not in found.described and "retrained model" in found.described


def test_whiskers_are_described_for_those_who_cannot_see_them():
    found = whiskers(make_result("fd", (6.0, 5.5, 6.5), (5.9, 5.4, 6.4)))
    assert found is not None
    assert "this model 6.00 (5.50 to 6.50); original model 5.90" in found.described


def test_what_is_not_a_number_has_no_whiskers():
    assert whiskers(make_result("any", (math.nan, 0.0, 1.0), (0.5, 0.4, 0.6))) is None
    assert whiskers(make_result("any", (0.5, 0.4, 0.6), (0.5, -math.inf, 0.6))) is None
