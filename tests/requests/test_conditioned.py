"""Runs whose samples are conditioned: how often it appears, and what one step alone makes worse."""

from __future__ import annotations

import math

import pytest

from efface.records import Evaluation, Result
from efface.requests.conditioned import PlainWords, find_detector, find_rate, judge_rate
from efface.requests.states import Kept
from efface.requests.words import Judgement
from tests.reporting.conftest import (
    Triple,
    make_evaluation,
    make_record,
    make_result,
    make_value,
)
from tests.reporting.prompt_runs import make_concept_evaluation, make_concept_record
from tests.requests.conftest import judge

WORSE: Triple = (0.7, 0.67, 0.73)
FALLEN: Triple = (0.3, 0.27, 0.33)
RARELY: Triple = (0.92, 0.9, 0.94)  # how often one step misses the class


def no_effect(
    own: Triple, one_step: Triple | None, guards: tuple[str, ...] = ("no-op",), passes: int = 1
) -> Judgement:
    """`own` and `one_step`: retained accuracy of the result and of the original model alike."""
    evaluation = make_evaluation(RARELY, own, fid=(60.0, 58.0, 62.0))
    evaluation.guards = list(guards)
    for result in evaluation.results:
        result.baseline_one_step = None
    if one_step is not None:
        evaluation.results[0].baseline_one_step = make_value(RARELY)
        evaluation.results[1].baseline_one_step = make_value(one_step)
    return judge(make_record(sampler={"passes": passes}), evaluation)


@pytest.mark.parametrize("retained", [WORSE, FALLEN])
@pytest.mark.parametrize("beside", [True, False])
def test_what_one_step_alone_makes_worse_is_not_called_damage(retained: Triple, beside: bool):
    found = no_effect(retained, retained if beside else None)
    assert (found.forgotten, found.kept, found.one_step) == ("unchanged", "one_step", True)


def test_the_original_model_in_one_step_stands_beside_it():
    found = no_effect(WORSE, WORSE)
    assert found.forget[0].clause == (
        "it appeared in 40 of 500 samples (original model: 497; original model in one step: 40)"
    )
    assert found.retain[0].beside["original model in one step"] == "70.0\u00a0%"


@pytest.mark.parametrize(
    "found, kept",
    [
        (no_effect(WORSE, (0.95, 0.93, 0.97)), "damaged"),  # which one step does not show
        (no_effect(WORSE, None, passes=50), "damaged"),
        (no_effect(FALLEN, FALLEN, ("no-op", "collapse")), "broken"),
        (no_effect(WORSE, WORSE, ()), "damaged"),  # no guard saw the same samples
    ],
)
def test_other_damage_is_still_called_damage(found: Judgement, kept: Kept):
    assert found.kept == kept


def test_a_rate_of_a_concept_is_read_the_same_way_round():
    evaluation = make_concept_evaluation((0.1, 0.08, 0.12), guards=["no-op"])
    evaluation.results[0].baseline_one_step = make_value((0.11, 0.09, 0.13))
    found = judge(make_concept_record(), evaluation)
    assert found.forget[0].clause == (
        "it was found in 50 of 500 samples (original model: 470; original model in one step: 55)"
    )


def test_how_often_it_appears_is_the_rest_of_unlearning_accuracy():
    found = find_rate(make_evaluation((0.9, 0.85, 0.95)))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.05, 0.15))
    assert found.baseline.value == pytest.approx(0.994)
    assert find_rate(make_evaluation((math.nan, math.nan, math.nan))) is None


@pytest.mark.parametrize(
    "rate, state",
    [
        ((0.0, 0.0, 0.01), "gone"),
        ((0.04, 0.03, 0.06), "inconclusive"),
        ((0.5, 0.4, 0.6), "not_gone"),
        ((0.9, 0.8, 1.0), "unchanged"),
    ],
)
def test_the_whole_interval_decides(rate: Triple, state: str):
    assert judge_rate(make_result("concept_rate", rate, (0.95, 0.9, 1.0))) == state


def rate(metric: str, kind: str | None = "detector") -> Result:
    extractor = {"name": "things, bag above 0.5", "sha256": "00"} | ({"kind": kind} if kind else {})
    return make_result(metric, (0.1, 0.0, 0.2), (0.9, 0.8, 1.0), extractor=extractor)


def test_a_verdict_rests_on_a_detector_only_where_there_is_no_classifier():
    assert find_detector(Evaluation(results=[rate("concept_rate")])) == "things, bag above 0.5"
    assert find_detector(Evaluation(results=[rate("concept_rate", None)])) is None
    judged = [rate("unlearning_accuracy", None), rate("concept_rate")]
    assert find_detector(Evaluation(results=judged)) is None
    assert find_detector(Evaluation(results=[])) is None


def test_the_network_that_decides_is_named_with_its_limits():
    words = PlainWords()
    assert "98.3\u00a0% of 360 held-out images" in words.measured_with(make_evaluation())
    assert "trained on real images" in words.limits(make_record(), make_evaluation())[0]
    found = make_concept_evaluation()
    assert words.measured_with(found).endswith("things, bag above 0.5.")
    assert "detector" in words.limits(make_concept_record(), found)[0]
    by_clip = Evaluation(results=[rate("concept_rate", None)])
    assert "CLIP" in words.measured_with(by_clip)
