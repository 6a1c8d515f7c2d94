"""Costs, self-tests and settings of attacks."""

from __future__ import annotations

import pytest

from efface.attacks import names, resolve
from efface.attacks.base import Findings, costs_of, crossing
from efface.attacks.goals import ConditionGoal, Goal
from efface.attacks.image_goal import ImageGoal
from efface.errors import ConfigError
from efface.metrics.intervals import Estimate
from efface.records import Point
from efface.settings.listing import bounds_of
from efface.settings.reading import build, fields_of

SETTINGS = [(name, setting) for name in names() for setting in fields_of(resolve(name))]
LISTS = [(n, s) for n, s in SETTINGS if isinstance(fields_of(resolve(n))[s].default, tuple)]
OUTSIDE = {"ge": -1, "gt": 0, "le": 1, "lt": 0}  # what is added to a bound


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


def refused(name: str, setting: str, value: object) -> str:
    with pytest.raises(ConfigError) as error:
        build(resolve(name), {setting: value}, name)
    assert f"{name}.{setting}" in str(error.value)
    return str(error.value)


def test_a_budget_is_linear_between_two_points():
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


def test_nothing_is_recovered_where_the_original_model_shows_nothing():
    costs = costs_of(curve((0, 0.3), (10, 0.9)), findings(level=0.3, floor=0.3), None)
    assert [cost.budget for cost in costs] == [None, None]


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_every_setting_has_a_range_and_is_refused_outside(name, setting):
    field = fields_of(resolve(name))[setting]
    bounds = bounds_of(field)
    assert bounds.keys() & {"ge", "gt"} and bounds.keys() & {"le", "lt"}
    for sign, bound in bounds.items():
        outside = bound + OUTSIDE[sign]
        listed = [outside] if (name, setting) in LISTS else outside
        sentence = refused(name, setting, listed)
        assert str(outside) in sentence and str(bound) in sentence


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_every_setting_is_described_in_one_sentence(name, setting):
    description = fields_of(resolve(name))[setting].description
    assert description and description.endswith(".") and ". " not in description


@pytest.mark.parametrize(("name", "setting"), LISTS)
def test_lists_of_numbers_must_rise(name, setting):
    first, second = fields_of(resolve(name))[setting].default[:2]
    for value in ([second, first], [first, first]):
        assert "rising" in refused(name, setting, value)
    assert "[]" in refused(name, setting, [])


def test_a_setting_of_another_type_or_name_is_refused():
    refused("relearning", "samples", "many")
    refused("relearning", "steps", 5)
    assert "relearning.batch_size" in refused("relearning", "batchsize", 4)


def test_another_seed_gives_other_samples(tiny):
    first, second = (tiny("partial_denoising", seed=seed).first_seed for seed in (0, 1))
    assert second - first >= 10_000


def test_a_misfit_says_what_the_attack_is_for_and_what_to_do(tiny):
    assert tiny("membership_inference").misfit(ImageGoal, has_unseen=True) is None
    assert tiny("relearning").misfit(Goal, has_unseen=False) is None
    why = tiny("membership_inference").misfit(ConditionGoal, has_unseen=True)
    assert "particular images" in why and "labels or prompts" in why and "choose" in why
    why = tiny("neighbour_leakage").misfit(ImageGoal, has_unseen=True)
    assert "labels or prompts" in why and "particular images" in why and "choose" in why
    assert "--unseen" in tiny("membership_inference").misfit(ImageGoal, has_unseen=False)
