"""Headline, lead and lines: what a reader is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efface.records import Evaluation
from efface.reporting import judge_run
from efface.reporting.sentences import name_figure
from tests.reporting.conftest import Triple, make_evaluation, make_record, make_result
from tests.reporting.headlines import FALSE_VERDICTS, combinations, headline

GONE: Triple = (0.0, 0.0, 0.007)
DAMAGED: Triple = (0.7, 0.67, 0.73)
EXPECTED = json.loads(Path(__file__).with_name("headlines.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_headline_is_the_one_that_was_written_for_it(name: str):
    cases = FALSE_VERDICTS | combinations()
    assert headline(cases[name]) == EXPECTED[name]
    assert cases.keys() == EXPECTED.keys()


def test_each_of_several_forgotten_things_is_told_by_its_name():
    evaluation = make_evaluation(GONE)
    own = evaluation.results[0].model_copy(update={"value": 0.5, "low": 0.4, "high": 0.6})
    about = own.spec.about(7, "label 7", "class 7", decides=True)
    evaluation.results.append(own.model_copy(update={"spec": about}))
    verdict = judge_run(make_record(), evaluation)
    assert verdict.headline.startswith("Class 7 (of class 4) is not forgotten: it appeared in 250")
    told = verdict.judgements[0].text
    assert told.startswith("It appeared in 0 of 500 samples")
    assert " Class 7 appeared in 250 of 500 samples" in told


def test_what_the_original_model_does_not_show_cannot_be_forgotten():
    evaluation = make_evaluation(GONE)
    evaluation.results[0].baseline = evaluation.results[0].own
    verdict = judge_run(make_record(), evaluation)
    assert verdict.headline.startswith("Nothing to forget was found: it appeared in 0 of 500")


def test_a_training_run_has_a_verdict():
    record = make_record(
        request={"kind": "train"}, model={"source": None}, settings={}, sampler={"passes": 50}
    )
    assert "trained from scratch" in judge_run(record, Evaluation(results=[])).lead


def test_a_run_that_stopped_early_says_why():
    reason = "The run stopped at step 40: the images are known no better than unseen ones."
    assert reason in judge_run(make_record(stopped=reason), make_evaluation()).lead


def test_the_method_is_called_as_the_record_calls_it():
    verdict = judge_run(make_record(method="a method of somebody"), make_evaluation())
    assert "The method, a method of somebody, took 2,000 steps." in verdict.lead


def test_every_figure_that_says_damage_is_named():
    verdict = judge_run(make_record(), make_evaluation(GONE, DAMAGED, recall=(0.7, 0.66, 0.74)))
    told = verdict.judgements[1].text
    assert told.startswith("Retained accuracy 70.0\u00a0%")
    assert "Also worse: recall. Within their margins: Fréchet distance." in told


@pytest.mark.parametrize(
    "label, within",
    [("Recall", "recall"), ("CLIP score", "CLIP score"), ("Fréchet distance", "Fréchet distance")],
)
def test_names_and_abbreviations_keep_their_capitals_within_a_sentence(label: str, within: str):
    value = (0.5, 0.4, 0.6)
    assert name_figure(make_result("recall", value, value, spec={"label": label})) == within
