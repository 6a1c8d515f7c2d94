"""Runs whose samples are conditioned: the network that decides, and its limits."""

from __future__ import annotations

from efface.records import Evaluation, Result
from efface.requests.conditioned import PlainWords, find_detector
from tests.reporting.conftest import make_evaluation, make_record, make_result
from tests.reporting.prompt_runs import make_concept_evaluation, make_concept_record


def rate(metric: str, kind: str | None = "detector") -> Result:
    extractor = {"name": "things, bag above 0.5", "sha256": "00"} | ({"kind": kind} if kind else {})
    return make_result(metric, (0.1, 0.0, 0.2), (0.9, 0.8, 1.0), extractor=extractor)


def test_a_verdict_rests_on_a_detector_only_where_there_is_no_classifier():
    assert find_detector(Evaluation(results=[rate("concept_rate")])) == "things, bag above 0.5"
    assert find_detector(Evaluation(results=[rate("concept_rate", None)])) is None
    context = [rate("unlearning_accuracy")]
    assert find_detector(Evaluation(results=context)) is None
    assert find_detector(Evaluation(results=[])) is None


def test_the_network_that_decides_is_named_with_its_limits():
    words = PlainWords(None)
    assert "98.3\u00a0% of 360 held-out images" in words.measured_with(make_evaluation())
    assert "trained on real images" in words.limits(make_record(), make_evaluation())[0]
    found = make_concept_evaluation()
    assert words.measured_with(found).endswith("things, bag above 0.5.")
    assert "detector" in words.limits(make_concept_record(), found)[0]
    by_clip = Evaluation(results=[rate("concept_rate", None)])
    assert "CLIP" in words.measured_with(by_clip)
