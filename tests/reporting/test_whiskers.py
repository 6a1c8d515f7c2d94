"""Dot-and-whisker marks: every model on one axis, true to the numbers."""

from __future__ import annotations

import math

import pytest

from efface.records import Value
from efface.reporting.whiskers import PAD, WHISKER_WIDTH, whiskers
from tests.reporting.conftest import Triple, make_result
from tests.reporting.pages import elements


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
    svg = whiskers(make_result("any", own, baseline, spec={"unit": unit}))
    assert svg is not None
    ends = [
        tuple(float(e.attrib[k]) for k in ("x1", "x2")) for e in elements(svg, "line", "whisker")
    ]
    assert len(ends) == len((own, baseline))
    assert all(PAD <= low <= high <= WHISKER_WIDTH - PAD for low, high in ends)
    assert (ends[0] == ends[1]) == (own == baseline)


def test_whiskers_show_all_that_there_is_to_compare_with():
    result = make_result("any", (0.03, 0.02, 0.04), (0.005, 0.004, 0.006), spec={"unit": "loss"})
    result.retrained = Value(value=0.028, low=0.02, high=0.05)
    result.unseen = Value(value=0.031, low=0.03, high=0.032)
    svg = whiskers(result)
    assert svg is not None
    kinds = [e.attrib["class"].split()[-1] for e in elements(svg, "line", "whisker")]
    assert kinds == ["result", "original", "retrained", "stranger"]
    assert "unseen images 0.0310" in svg
    result.unseen.high = math.inf
    svg = whiskers(result)
    assert svg is not None and "unseen images" not in svg and "retrained model" in svg


def test_what_is_not_a_number_has_no_whiskers():
    assert whiskers(make_result("any", (math.nan, 0.0, 1.0), (0.5, 0.4, 0.6))) is None
