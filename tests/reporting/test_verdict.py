"""What a run amounts to: three answers, one headline, and nothing that the figures contradict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efface.records import Evaluation
from efface.reporting import judge_run
from tests.reporting.conftest import Triple, make_evaluation, make_record
from tests.reporting.full_runs import make_attack, make_attacks
from tests.reporting.headlines import combinations

GONE: Triple = (0.0, 0.0, 0.007)
DAMAGED: Triple = (0.7, 0.67, 0.73)
EXPECTED = json.loads(Path(__file__).with_name("headlines.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name, case", combinations().items())
def test_the_headline_tells_all_three_answers(name: str, case):
    record, evaluation, attacks = case
    verdict = judge_run(record, evaluation, attacks=attacks)
    assert " ".join(verdict.answers.values()) == name
    marks = {"yes": "good", "no": "bad"}
    expected = [marks.get(answer, "warn") for answer in name.split()]
    assert [judgement.mark[0] for judgement in verdict.judgements[:3]] == expected


def test_forgotten_without_an_effect_on_the_rest():
    verdict = judge_run(make_record(), make_evaluation(GONE))
    assert verdict.summary == "forget: yes, retain: yes, resist: not measured"
    assert "to generate class 9 instead" in verdict.lead
    assert [judgement.mark[0] for judgement in verdict.judgements] == [
        "good",
        "good",
        "warn",
        "good",
    ]


def test_a_model_that_did_not_change_is_called_by_name():
    evaluation = make_evaluation((0.992, 0.98, 0.997))
    evaluation.change = {"weights": 3.2e-4, "samples": 1e-7, "retained_distance": 0.01}
    verdict = judge_run(make_record(), evaluation)
    assert verdict.headline.startswith("No effect: it appeared in 496 of 500 samples")
    assert "Sampled in the same way, the original model generates the same." in verdict.headline
    told = verdict.judgements[0].text
    assert "weights by 0.032\u00a0%" in told and "samples by less than 0.001\u00a0%" in told
    assert "retained_distance" not in told  # which is no share
    assert verdict.judgements[0].source == "how-change"


def test_a_guard_stops_training_and_decides_nothing():
    record = make_record(status="collapsed", note="broken at step 700.")
    verdict = judge_run(record, make_evaluation(GONE))
    assert verdict.answers["forget"] == verdict.answers["retain"] == "yes"
    assert "stopped early" in verdict.lead and "broken at step 700." in verdict.lead


def test_a_model_that_says_no_numbers_is_broken():
    verdict = judge_run(make_record(), Evaluation(results=[], broken=True))
    assert verdict.headline == "The model is broken: its outputs are not finite numbers."
    assert verdict.answers["retain"] == "no"


def test_unmeasured_says_so_and_how_to_measure():
    verdict = judge_run(make_record(), Evaluation(results=[]))
    assert verdict.headline.startswith("Whether class 4 is forgotten was not measured.")
    assert "`efface evaluate`" in verdict.lead
    assert [judgement.mark[0] for judgement in verdict.judgements] == [
        "warn",
        "warn",
        "warn",
        "good",
    ]


@pytest.mark.parametrize("retained, told", [(None, "was not"), (DAMAGED, "are damaged")])
def test_distillation_is_judged_without_forgetting(retained: Triple | None, told: str):
    evaluation = make_evaluation(None, retained, None)
    verdict = judge_run(make_record(request={"kind": "distil"}), evaluation)
    assert "one step" in verdict.lead and told in verdict.headline
    assert [judgement.title for judgement in verdict.judgements] == ["Retained", "Cost"]


def test_what_became_of_it_is_told_in_four_lines():
    verdict = judge_run(make_record(), make_evaluation(GONE))
    told = {judgement.title: judgement.text for judgement in verdict.judgements}
    assert list(told) == ["Forgotten", "Retained", "Resists", "Cost"]
    assert told["Forgotten"] == (
        "It appeared in 0 of 500 samples (95 % interval 0 to 0.7\u00a0%; original model: 497)."
    )
    assert told["Retained"].startswith(
        "Retained accuracy 98.0\u00a0% (95 % interval 97.0 to 99.0\u00a0%; difference "
        "+0.0\u00a0points "
    )
    assert "original model: 98.0\u00a0%)." in told["Retained"]
    assert told["Retained"].endswith("Within their margins: Fréchet distance.")
    assert told["Resists"].startswith("Whether it comes back was not measured.")
    assert told["Cost"] == (
        "Training took 3\u00a0min 24\u00a0s (2 CPU cores) and 640,000 network forwards. "
        "Sampling takes 1 network pass per image (original model: 50). One step costs "
        "variety; `--result same-sampler` keeps the original model's sampler and its variety."
    )
    sources = [judgement.source for judgement in verdict.judgements]
    assert sources == ["how-0", "how-1", "", "facts-run"]


@pytest.mark.parametrize(
    ("recall", "told"),
    [
        (
            (0.7, 0.67, 0.73),
            "One step costs variety (recall 70.0\u00a0%, original model: 90.0\u00a0%)",
        ),
        ((0.9, 0.87, 0.93), ""),
    ],
    ids=["lost", "kept"],
)
def test_the_cost_of_one_step_is_the_recall_that_it_lost(recall, told):
    verdict = judge_run(make_record(), make_evaluation(GONE, recall=recall))
    cost = verdict.judgements[-1].text
    assert told in cost and ("variety" in cost) == bool(told)


def test_the_attack_that_did_best_is_named_with_what_it_took():
    attacks = make_attacks(
        make_attack("relearning", 3, 45), make_attack("noise_search", None, None)
    )
    verdict = judge_run(make_record(), make_evaluation(), attacks=attacks)
    (resists,) = (j for j in verdict.judgements if j.title == "Resists")
    assert resists.mark == ("bad", "comes back") and verdict.answers["resist"] == "no"
    assert resists.source == "attacks"
    assert resists.text == (
        "Relearning brings half of it back in 3 training steps (retrained model: 45). Over 6 seeds "
        "it took 0.067 times the budget of a retrained model (0.067 to 0.067). "
        "1 of 2 attacks were withstood."
    )
