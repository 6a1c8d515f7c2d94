"""Budgets beside those of a retrained model: an interval that holds, whatever was not reached."""

from __future__ import annotations

import numpy as np
import pytest

from efface.attacks.costs import compare_budgets
from efface.records import Speed


def compare(*pairs: tuple[float | None, float | None], whole: float = 50) -> Speed:
    return compare_budgets("result", range(len(pairs)), pairs, whole)


def test_the_interval_of_six_seeds_reaches_from_the_least_ratio_to_the_greatest():
    speed = compare((4, 4), (5, 4), (6, 4), (7, 4), (8, 4), (2, 4))
    assert (speed.low, speed.ratio, speed.high) == (0.5, 1.375, 2)
    assert (speed.budgets[5], speed.retrained[5], speed.seeds[5]) == (2, 4, 5)


@pytest.mark.parametrize("count", range(6))
def test_fewer_seeds_have_no_interval_of_95_percent(count):
    speed = compare(*[(4.0, 4.0)] * count)
    assert (speed.low, speed.high) == (0, None)


def test_more_seeds_leave_out_the_outermost_ratios():
    speed = compare(*[(float(n), 1.0) for n in range(1, 10)])  # 9: second and eighth, at 96.1 %
    assert (speed.low, speed.ratio, speed.high) == (2, 5, 8)


def test_what_was_not_reached_takes_more_than_the_whole_budget():
    assert compare(*[(5, None)] * 6).high == 0.1 and compare(*[(5, None)] * 6).low == 0
    assert compare(*[(None, 25)] * 6).low == 2 and compare(*[(None, 25)] * 6).high is None
    assert compare(*[(None, None)] * 6).high is None
    assert compare((None, 5), *[(5, 5)] * 5).ratio == 1  # the median is known all the same


def test_at_once_is_faster_than_any_other_budget_and_not_comparable_with_itself():
    assert compare(*[(0, 9)] * 6).high == 0
    assert (compare(*[(0, 0)] * 6).low, compare(*[(0, 0)] * 6).high) == (0, None)


@pytest.mark.parametrize("count", [6, 9])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_interval_holds_the_median_ratio_in_95_percent_of_all_cases(count, ratio, spread):
    """Skewed budgets, of which some are not reached; 2,000 cases, 3 standard errors below 95 %."""
    rng, cases = np.random.default_rng(0), 2000
    retrained = rng.uniform(5, 40, (cases, count))
    noise = np.exp(spread * (rng.gamma(1, 1, (cases, count)) - np.log(2)))  # its median is 1
    result = ratio * retrained * noise
    held = 0
    for a, b in zip(result, retrained, strict=True):
        pairs = [
            (x if x <= 30 else None, y if y <= 30 else None) for x, y in zip(a, b, strict=True)
        ]
        speed = compare(*pairs, whole=30)
        held += speed.low <= ratio and (speed.high is None or ratio <= speed.high)
    assert held / cases > 0.95 - 3 * (0.95 * 0.05 / cases) ** 0.5
