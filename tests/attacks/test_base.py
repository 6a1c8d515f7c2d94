"""Costs, self-tests and settings of attacks."""

from __future__ import annotations

import pytest

from efface.attacks.base import Findings, costs_of, crossing
from efface.attacks.denoise_from_noisy import DenoiseFromNoisy
from efface.attacks.relearn import Relearn
from efface.errors import ConfigError
from efface.metrics.intervals import Estimate
from efface.records import Point


def curve(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(x=x, value=y, low=y, high=y) for x, y in pairs]


def findings(level: float, floor: float) -> Findings:
    return Findings(
        x_label="steps",
        lines={},
        level=Estimate(level, level, level),
        floor=Estimate(floor, floor, floor),
        protocol="",
    )


def test_a_budget_lies_straight_between_two_points():
    points = curve((0, 0.1), (10, 0.3), (20, 0.7), (40, 0.2))
    assert crossing(points, 0.5) == pytest.approx(15)
    assert crossing(points, 0.3) == 10
    assert crossing(points, 0.05) == 0
    assert crossing(points, 0.71) is None


def test_the_first_crossing_counts_even_if_the_curve_falls_again():
    assert crossing(curve((0, 0), (2, 1), (4, 0), (6, 1)), 0.5) == 1


def test_shares_are_of_the_way_from_the_floor_to_the_level():
    half, most = costs_of(curve((0, 0.2), (80, 1.0)), findings(level=1.0, floor=0.2), images=4)
    assert (half.share, half.budget, half.images) == (0.5, pytest.approx(40), 4)
    assert (most.share, most.budget) == (0.9, pytest.approx(72))


def test_nothing_can_come_back_where_the_untouched_model_shows_nothing():
    costs = costs_of(curve((0, 0.3), (10, 0.9)), findings(level=0.3, floor=0.3), None)
    assert [cost.budget for cost in costs] == [None, None]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"steps": ()}, "relearn.steps is []: give numbers above 0"),
        ({"steps": (5, 2)}, "relearn.steps is [5, 2]: give rising numbers"),
        ({"images": (0, 4)}, "relearn.images is [0, 4]: give numbers above 0"),
        ({"learning_rate": 0.0}, "relearn.learning_rate is 0.0"),
        ({"seed": -1}, "relearn.seed is -1"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(settings, complaint):
    with pytest.raises(ConfigError) as error:
        Relearn(**settings)
    assert complaint in str(error.value)


def test_a_whole_picture_cannot_be_given():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        DenoiseFromNoisy(given=(0.5, 1.0))
