"""Every kind of request has words for all that a report asks."""

from __future__ import annotations

import json

import pytest

from efface.records import Evaluation, RunRecord
from efface.requests import kinds, words_of
from efface.requests.conditioned import PlainWords
from tests.reporting.conftest import make_record
from tests.reporting.image_runs import make_image_record
from tests.reporting.prompt_runs import make_concept_record, make_memorised_record

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
