"""What a report says of a forgotten concept."""

from __future__ import annotations

from efface.requests import words_of
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
