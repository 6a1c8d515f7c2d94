"""Groups of prompts on the page: what must go and what must stay, each in a row of its own."""

from __future__ import annotations

import pytest

from efface.records import Evaluation, Result, Value
from efface.reporting.group_words import find_detector, tell_group


def rate(metric: str, kind: str | None = "detector") -> Result:
    extractor = {"name": "things, bag above 0.5", "sha256": "00"}
    return Result(
        metric=metric, value=0.1, low=0.0, high=0.2, unit="share", higher_is_better=False,
        samples=10, seeds=[0, 9], protocol="", baseline=Value(value=0.9, low=0.8, high=1.0),
        extractor=extractor if kind is None else extractor | {"kind": kind},
    )  # fmt: skip


def test_the_concept_must_go_and_own_labels_must_stay():
    assert tell_group("concept_rate/paraphrase/purse") == (
        "Paraphrase: purse",
        "What must go",
        "pictures asked for by other words for the concept in which the concept is found",
    )
    told = tell_group("kept_rate/composition/coat and bag")
    assert told is not None and told[:2] == ("Composition: coat and bag", "What must stay")


@pytest.mark.parametrize("metric", ["concept_rate", "fid", "fid/own/x", "concept_rate/cousin/x"])
def test_other_metrics_are_left_to_the_glossary(metric):
    assert tell_group(metric) is None


def test_a_verdict_rests_on_a_detector_only_where_there_is_no_judge():
    assert find_detector(Evaluation(results=[rate("concept_rate")])) == "things, bag above 0.5"
    assert find_detector(Evaluation(results=[rate("concept_rate", None)])) is None
    judged = [rate("unlearning_accuracy", None), rate("concept_rate")]
    assert find_detector(Evaluation(results=judged)) is None
    assert find_detector(Evaluation(results=[])) is None
