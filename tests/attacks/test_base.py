"""Settings of attacks, what they fit, and how they compare with a retrained model."""

from __future__ import annotations

import dataclasses

import pytest

from efface.attacks import names, resolve
from efface.attacks.base import BudgetAttack, Case, Findings, Subject, Trials, cheapest
from efface.attacks.costs import Scale, Trial
from efface.attacks.goals import ConditionGoal, Goal, ImageGoal
from efface.diffusion.sampling import MultiStep
from efface.errors import ConfigError
from efface.metrics.intervals import Estimate
from efface.records import Point, Speed
from efface.settings.listing import bounds_of, describe
from efface.settings.reading import build, fields_of

SETTINGS = [(name, setting) for name in names() for setting in fields_of(resolve(name))]
LISTS = [(n, s) for n, s in SETTINGS if isinstance(fields_of(resolve(n))[s].default, tuple)]
OUTSIDE = {"ge": -1, "gt": 0, "le": 1, "lt": 0}  # what is added to a bound


def refused(name: str, setting: str, value: object) -> str:
    with pytest.raises(ConfigError) as error:
        build(resolve(name), {setting: value}, name)
    assert f"{name}.{setting}" in str(error.value)
    return str(error.value)


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
    text = describe(resolve(name))[setting]
    assert text.endswith(".") and ". " not in text


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
    assert tiny("concept_inversion").misfit(ConditionGoal) is None
    assert tiny("relearning").misfit(Goal) is None
    why = tiny("concept_inversion").misfit(ImageGoal)
    assert "labels or prompts" in why and "particular images" in why and "choose" in why


class Ramp(BudgetAttack):
    """Half is back at a budget that is known: 4 and 8 at seed 0, and 1 more for each thousand."""

    title = summary = "ramp"
    goals = (Goal,)

    def measure(self, case: Case) -> Findings:
        one = Estimate(1, 1, 1)
        scale = Scale(level=one, floor=Estimate(0, 0, 0))
        trials = self.attack(case, case.subjects)
        return Findings(x_label="steps", trials=trials, scale=scale, protocol="")

    def attack(self, case: Case, subjects) -> Trials:
        trials: Trials = {}
        for name in subjects:
            for line, half in ((name, 8.0), (f"{name}_multi_step", 4.0)):
                half += self.seed / 1000 + (4 if name == "retrained" else 0)
                points = [Point(x=x, value=x / half / 2, low=0, high=1) for x in (0.0, 16.0)]
                trials[line] = [Trial(points=points, images=3)]
        return trials


@pytest.fixture
def ramp_speed(point_mass, case_of, heart):
    """The comparison of a ramp with so many repeats, from a seed."""

    def compare(retrained: bool = True, **settings: int) -> Speed | None:
        case = case_of(point_mass, point_mass, heart)
        if retrained:
            case = dataclasses.replace(case, retrained=case.result)
        attack = Ramp(**settings)
        return attack.compare(case, attack.measure(case))

    return compare


def test_the_cheapest_ways_of_both_models_are_compared_over_further_seeds(ramp_speed):
    speed = ramp_speed(repeats=6)
    assert speed.line == "result_multi_step"
    assert speed.seeds == [1000, 2000, 3000, 4000, 5000, 6000]
    assert speed.budgets == pytest.approx([5, 6, 7, 8, 9, 10])
    assert speed.retrained == pytest.approx([9, 10, 11, 12, 13, 14])
    assert (speed.low, speed.high) == pytest.approx((5 / 9, 10 / 14))
    assert ramp_speed(repeats=6, seed=7).seeds[0] == 1007


def test_nothing_is_compared_without_a_retrained_model_or_repeats(ramp_speed):
    assert ramp_speed(retrained=False) is None and ramp_speed(repeats=0) is None
    assert ramp_speed(repeats=6, seed=100_000) is None  # half is not back within the budget


def test_only_lines_with_as_many_images_are_compared(point_mass, case_of, heart):
    case = dataclasses.replace(case_of(point_mass, point_mass, heart), retrained=None)
    findings = Ramp().measure(case)
    one = [dataclasses.replace(findings.trials["result_multi_step"][0], images=1)]
    findings = dataclasses.replace(findings, trials=findings.trials | {"result_1_images": one})
    assert cheapest(findings, "result", 1) == "result_1_images"
    assert cheapest(findings, "result", 3) == "result_multi_step"


def test_a_model_that_knows_the_image_is_faster_than_one_that_does_not(
    point_mass, tiny_unet, case_of, heart, tiny
):
    other = Subject(denoiser=tiny_unet(conditional=False), sampler=MultiStep(4))
    case = dataclasses.replace(case_of(point_mass, point_mass, heart), retrained=other)
    result = tiny("partial_denoising", repeats=6).run(case)
    speed = result.speed
    assert speed is not None and result.seeds == [0, *speed.seeds]
    assert (speed.budgets, speed.retrained) == ([0.2] * 6, [None] * 6)
    assert (speed.low, speed.high) == (0, pytest.approx(0.2 / 0.6))
