"""Costs are read from curves, and the best of several learning rates counts."""

from __future__ import annotations

import pytest

from efface.attacks.costs import Scale, Trial, crossing
from efface.metrics.intervals import Estimate
from efface.records import Point


def curve(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(x=x, value=y, low=y, high=y) for x, y in pairs]


def scale(level: float, floor: float = 0.0, half: float = 0.0) -> Scale:
    return Scale(
        level=Estimate(level, level - half, level + half),
        floor=Estimate(floor, floor - half, floor + half),
    )


def test_a_budget_is_linear_between_two_points():
    points = curve((0, 0.1), (10, 0.3), (20, 0.7), (40, 0.2))
    assert crossing(points, 0.5) == pytest.approx(15)
    assert crossing(points, 0.3) == 10
    assert crossing(points, 0.05) == 0
    assert crossing(points, 0.71) is None


def test_the_first_crossing_counts_even_if_the_curve_falls_again():
    assert crossing(curve((0, 0), (2, 1), (4, 0), (6, 1)), 0.5) == 1


def test_shares_are_of_the_way_from_the_floor_to_the_level():
    trial = Trial(points=curve((0, 0.2), (80, 1.0)), images=4)
    half, most = scale(level=1.0, floor=0.2).costs(trial)
    assert (half.share, half.budget, half.images) == (0.5, pytest.approx(40), 4)
    assert (most.share, most.budget) == (0.9, pytest.approx(72))


def test_nothing_is_recovered_where_the_original_model_shows_nothing():
    costs = scale(level=0.3, floor=0.3).costs(Trial(points=curve((0, 0.3), (10, 0.9))))
    assert [cost.budget for cost in costs] == [None, None]


def test_the_original_model_stands_out_where_both_intervals_do():
    assert scale(0.6, 0.2, half=0.1).are_apart
    assert not scale(0.6, 0.2, half=0.2).are_apart


def test_the_best_rate_has_half_back_for_least_then_most_then_shows_most():
    never = Trial(points=curve((0, 0), (10, 0.2)), rate=1)
    nearly = Trial(points=curve((0, 0), (10, 0.4)), rate=2)
    late = Trial(points=curve((0, 0), (10, 0.6), (20, 1.0)), rate=3)
    soon = Trial(points=curve((0, 0), (10, 1.0)), rate=4)
    as_soon = Trial(points=curve((0, 0), (10, 1.0), (20, 0.1)), rate=5)
    whole = scale(1.0)
    assert whole.best([never, nearly]) is nearly
    assert whole.best([nearly, late, never]) is late
    assert whole.best([late, soon, never]) is soon
    assert whole.best([soon, as_soon]) is soon  # the first of equals


def test_every_rate_is_reported():
    trials = [
        Trial(points=curve((0, 0), (10, 1.0), (20, 0.5)), rate=0.1),
        Trial(points=curve((0, 0), (10, 0.2)), rate=0.3),
    ]
    first, second = scale(1.0).rates(trials)
    assert (first.rate, first.half, first.most, first.highest) == (0.1, 5, 9, 1.0)
    assert (second.rate, second.half, second.most, second.highest) == (0.3, None, None, 0.2)
    assert scale(1.0).rates([Trial(points=trials[0].points)]) == []
