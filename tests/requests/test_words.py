"""Every kind of request has words for all that a report asks."""

from __future__ import annotations

import json

import pytest

from efface.evaluation.wording import SPACE
from efface.records import Evaluation, Result, RunRecord
from efface.requests import kinds, words_of
from efface.requests.words import PlainWords, find_detector
from tests.reporting.conftest import make_evaluation, make_record, make_result
from tests.reporting.image_runs import make_image_record
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    make_memorised_record,
)

RECORDS = {
    "class": make_record(),
    "concept": make_concept_record(),
    "distil": make_record(request={"kind": "distil"}),
    "images": make_image_record(),
    "memorised": make_memorised_record(),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_kind_has_words_for_all_that_a_report_asks(kind: str):
    assert RECORDS.keys() == kinds().keys()
    record = RECORDS[kind]
    words = words_of(record.request)
    phrases = words.phrases(record, {})
    assert phrases.requested.endswith(".") and phrases.rest
    assert all(text.endswith(".") for text in words.limits(record, Evaluation(results=[])))
    assert bool(words.unknown) == words.forgets


@pytest.mark.parametrize("kind", RECORDS)
def test_what_was_forgotten_can_be_said_without_its_name(kind: str):
    record: RunRecord = RECORDS[kind]
    said = words_of(record.request).anonymous(record)
    for name in ("leather", "portrait", "heart", "takedown"):
        assert name in json.dumps([RECORDS[k].request | RECORDS[k].material for k in RECORDS])
        assert name not in said


def test_a_training_run_has_plain_words():
    assert isinstance(words_of({"kind": "train"}), PlainWords)
    assert len({words_of(record.request).label for record in RECORDS.values()}) == len(RECORDS)


def rate(metric: str, kind: str | None = "detector") -> Result:
    extractor = {"name": "things, bag above 0.5", "sha256": "00"} | ({"kind": kind} if kind else {})
    return make_result(metric, (0.1, 0.0, 0.2), (0.9, 0.8, 1.0), extractor=extractor)


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"held_out_accuracy": None}, "A classifier whose accuracy is not stated decided"),
        (
            {"held_out_accuracy": 0.9, "held_out_images": 50},
            "right on 90.0 % of 50 held-out images",
        ),
        (
            {
                "held_out_accuracy": None,
                "reference_accuracy": 0.9,
                "reference_interval": [0.78, 0.97],
                "reference_images": 50,
            },
            "right on 90.0 % (95 % interval 78.0 to 97.0 %) of 50 given real images decided",
        ),
    ],
)
def test_the_accuracy_of_a_classifier_is_said_as_far_as_it_is_known(judge, said):
    evaluation = Evaluation(results=[rate("class_rate", None)], judge=judge)
    words = words_of(RECORDS["class"].request)
    assert said in words.measured_with(evaluation).replace(SPACE, " ")
    (limit,) = words.limits(RECORDS["class"], evaluation)
    assert ("is not stated" in limit) == (judge["held_out_accuracy"] is None)


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


@pytest.mark.parametrize("kind", ["class", "concept", "distil"])
def test_no_network_is_named_where_none_looked_for_the_forgotten_thing(kind: str):
    """As in a run without a classifier, whose samples are compared with the original model's."""
    far = make_result("fd", (1.5, 1.4, 1.6), (0.1, 0.09, 0.11), spec={"likeness": True})
    words, evaluation = words_of(RECORDS[kind].request), Evaluation(results=[far])
    said = " ".join([words.measured_with(evaluation), *words.limits(RECORDS[kind], evaluation)])
    assert "CLIP" not in said and "A classifier" not in said
    assert ("Nothing looked for" in said) == words.forgets and words.unmeasured in said
