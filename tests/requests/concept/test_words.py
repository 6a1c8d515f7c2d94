"""What a report says of a forgotten concept, and of rates by group of prompts."""

from __future__ import annotations

import pytest

from efface.requests import words_of
from efface.requests.glossary import FORGET, RETAIN
from tests.reporting.prompt_runs import make_concept_record

WORDS = words_of(make_concept_record().request)


def test_the_concept_and_its_replacement_are_quoted():
    found = WORDS.phrases(make_concept_record(), {})
    assert found.forgotten == "the concept “a leather bag”"
    assert "to generate “a woollen scarf” instead" in found.requested
    assert WORDS.task(make_concept_record()) == "text-to-image"


def test_without_a_phrase_something_else_is_generated():
    request = {"kind": "concept", "concept": "bag", "negative": "words.txt"}
    record = make_concept_record(request=request)
    assert "something else instead" in words_of(request).phrases(record, {}).requested


def test_groups_of_the_concept_and_of_its_neighbours_stand_apart():
    paraphrase = WORDS.term("concept_rate/paraphrase/purse")
    assert (paraphrase.label, paraphrase.group) == ("Paraphrase: purse", FORGET)
    assert "other words for the concept in which the concept is found" in paraphrase.meaning
    composition = WORDS.term("kept_rate/composition/coat and bag")
    assert (composition.label, composition.group) == ("Composition: coat and bag", RETAIN)


@pytest.mark.parametrize("metric", ["fid/own/x", "concept_rate/cousin/x"])
def test_other_names_are_left_as_they_are(metric: str):
    assert WORDS.term(metric).label == metric.replace("_", " ")
    assert WORDS.term("retained_accuracy").label == "Neighbours retained"
