"""Evidence in words, and that every kind of request has words for all that a report asks."""

from __future__ import annotations

import json

import pytest

from efface.records import Evaluation, RunRecord
from efface.requests import kinds, words_of
from efface.requests.conditioned import PlainWords
from efface.requests.glossary import OTHER
from efface.requests.words import counted, counts, judge_guarded
from tests.reporting.conftest import make_record, make_result, make_value
from tests.reporting.image_runs import make_image_record
from tests.reporting.prompt_runs import make_concept_record, make_memorised_record

RECORDS = {
    "class": make_record(),
    "concept": make_concept_record(),
    "distil": make_record(request={"kind": "distil"}),
    "images": make_image_record(),
    "memorised": make_memorised_record(),
}
RATE = make_result("copy_rate", (0.02, 0.01, 0.03), (0.5, 0.4, 0.6), samples=100)


def test_a_count_stands_beside_those_of_other_models():
    found = counted(RATE.model_copy(update={"retrained": make_value((0.0,) * 3)}), "copied in", "x")
    assert found.clause == "copied in 2 of 100 samples (original model: 50; retrained model: 0)"
    assert (found.value, found.meaning) == ("2 of 100", "samples x")
    assert counts(RATE) == (50, 2)


def test_a_model_whose_figure_is_no_number_is_left_out():
    spoiled = RATE.model_copy(update={"retrained": make_value((float("nan"),) * 3)})
    assert list(counted(spoiled, "", "").beside) == ["original model"]


def test_a_guard_has_the_last_word():
    def states(*guards: str) -> tuple[str, str]:
        found = judge_guarded(Evaluation(results=[], guards=list(guards)), "gone", "kept")
        return found["forgotten"], found["kept"]

    assert states() == ("gone", "kept")
    assert states("no-op") == ("unchanged", "kept")
    assert states("collapse") == ("gone", "broken")


@pytest.mark.parametrize("kind", RECORDS)
def test_every_kind_has_words_for_all_that_a_report_asks(kind: str):
    assert RECORDS.keys() == kinds().keys()
    record = RECORDS[kind]
    words = words_of(record.request)
    phrases = words.phrases(record, {})
    found = words.judge(record, Evaluation(results=[]), phrases)
    assert found.forgotten == ("unmeasured" if words.forgets else "not_asked")
    assert phrases.requested.endswith(".") and words.term("fid").group != OTHER
    assert words.term("of somebody").label == "of somebody"
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
