"""What a run amounts to: how two states make one outcome, headline, lead and lines."""

from __future__ import annotations

from typing import Any

import pytest

from efface.records import Evaluation
from efface.reporting import judge_run
from tests.reporting.conftest import Triple, make_evaluation, make_record

GONE: Triple = (1.0, 0.992, 1.0)
HALF: Triple = (0.5, 0.46, 0.54)
NO_EFFECT: Triple = (0.008, 0.003, 0.02)
DAMAGED: Triple = (0.7, 0.67, 0.73)
BROKEN: Triple = (0.12, 0.1, 0.14)


def kinds(**measured: Any) -> tuple[str, dict[str, str]]:
    verdict = judge_run(make_record(), make_evaluation(**measured))
    return verdict.outcome, {card.title: card.kind for card in verdict.cards}


def test_gone_and_kept_is_forgotten():
    verdict = judge_run(make_record(), make_evaluation(GONE))
    assert verdict.headline == (
        "Class 4 is gone: it appeared in 0 of 500 samples (original model: 497). No damage was "
        "found in the other nine classes."
    )
    assert verdict.outcome == "forgotten"
    assert [card.kind for card in verdict.cards] == ["good", "good", "warn", "good"]
    assert "to generate class 9 instead" in verdict.lead


def test_gone_and_damaged_is_never_called_forgotten():
    verdict = judge_run(make_record(), make_evaluation(GONE, DAMAGED))
    assert verdict.outcome == "damaged"
    assert verdict.headline.endswith("Damage was found in the other nine classes.")
    assert [card.kind for card in verdict.cards] == ["good", "bad", "warn", "good"]


@pytest.mark.parametrize(
    "measured, outcome",
    [
        ({"fid": (12.0, 11.0, 13.0)}, "damaged"),
        ({"fid": (8.0, 7.0, 9.0)}, "inconclusive"),
        ({"retained": (0.9, 0.6, 0.98)}, "inconclusive"),
        ({"retained": None}, "unmeasured"),
    ],
)
def test_what_became_of_the_rest_decides_too(measured: dict[str, Any], outcome: str):
    assert kinds(unlearning=GONE, **measured)[0] == outcome


def test_reduced_diversity_is_called_so():
    verdict = judge_run(make_record(), make_evaluation(GONE, recall=(0.7, 0.64, 0.76)))
    assert (verdict.outcome, verdict.kept) == ("forgotten", "less_varied")
    assert "diversity is reduced" in verdict.headline
    assert "Recall: 70.0\u00a0% (original model: 90.0\u00a0%)" in verdict.cards[1].note


def test_still_there_is_not_forgotten():
    verdict = judge_run(make_record(), make_evaluation(HALF))
    assert verdict.outcome == "not_forgotten"
    assert "it appeared in 250 of 500 samples" in verdict.headline


def test_an_interval_across_the_threshold_is_inconclusive():
    outcome, cards = kinds(unlearning=(0.96, 0.93, 0.98))
    assert (outcome, cards["Forgotten"]) == ("inconclusive", "warn")


def test_no_effect_is_called_by_name():
    verdict = judge_run(make_record(), make_evaluation(NO_EFFECT))
    assert verdict.outcome == "no_effect"
    assert verdict.headline.startswith("No effect: it appeared in 496 of 500")
    assert verdict.cards[0].kind == "bad"


@pytest.mark.parametrize("unlearning", [GONE, HALF, NO_EFFECT])
def test_a_broken_model_is_called_by_name_whatever_became_of_the_class(unlearning: Triple):
    verdict = judge_run(make_record(), make_evaluation(unlearning, BROKEN))
    assert verdict.outcome == "broken"
    assert verdict.headline.startswith("The model is broken")


@pytest.mark.parametrize("evaluation", [make_evaluation(GONE), Evaluation(results=[])])
def test_a_run_that_the_guard_stopped_is_broken(evaluation: Evaluation):
    record = make_record(status="collapsed", note="broken at step 700.")
    verdict = judge_run(record, evaluation)
    assert verdict.outcome == "broken"
    assert verdict.headline.startswith("The model broke during training")
    assert "broken at step 700." in verdict.lead


def test_a_guard_that_saw_no_effect_has_the_last_word():
    evaluation = make_evaluation(GONE)
    evaluation.guards = ["no-op"]
    evaluation.change = {"weights": 3.2e-4, "samples": 1e-7}
    verdict = judge_run(make_record(sampler={}), evaluation)
    assert verdict.outcome == "no_effect" and verdict.headline.startswith("No effect")
    assert "weights changed by 0.032\u00a0%" in verdict.told["Forget"]
    assert "samples by less than 0.001\u00a0%" in verdict.told["Forget"]
    bare = judge_run(make_record(), Evaluation(results=[], guards=["no-op"]))
    assert bare.headline.startswith("No effect") and bare.outcome == "no_effect"


def test_a_guard_that_saw_a_broken_model_has_the_last_word():
    evaluation = make_evaluation(GONE)
    evaluation.guards = ["collapse"]
    verdict = judge_run(make_record(), evaluation)
    assert verdict.outcome == "broken" and "broken" in verdict.headline


def test_unmeasured_says_so_and_how_to_measure():
    verdict = judge_run(make_record(), Evaluation(results=[]))
    assert verdict.outcome == "unmeasured"
    assert verdict.headline == "Not measured: whether class 4 is gone."
    assert "`efface evaluate`" in verdict.lead
    assert [card.kind for card in verdict.cards] == ["warn", "warn", "warn", "good"]


@pytest.mark.parametrize("kept, outcome", [(GONE, "nothing_to_forget"), (DAMAGED, "damaged")])
def test_distillation_is_judged_without_forgetting(kept: Triple, outcome: str):
    verdict = judge_run(make_record(request={"kind": "distil"}), make_evaluation(None, kept))
    assert "one step" in verdict.lead
    assert (verdict.outcome, verdict.forgotten) == (outcome, "not_asked")
    assert [card.title for card in verdict.cards] == ["Retained", "Cost"]


def test_a_training_run_has_a_verdict():
    record = make_record(
        request={"kind": "train"}, model={"source": None}, settings={}, sampler={"passes": 50}
    )
    verdict = judge_run(record, Evaluation(results=[]))
    assert "trained from scratch" in verdict.lead and verdict.resistance.state == "not_asked"


@pytest.mark.parametrize("kind", ["distil", "train"])
def test_what_forgets_nothing_cannot_have_no_effect(kind: str):
    evaluation = make_evaluation(None)
    evaluation.guards = ["no-op"]
    verdict = judge_run(make_record(request={"kind": kind}), evaluation)
    assert verdict.outcome == "nothing_to_forget"


def test_what_became_of_it_is_told_in_four_lines():
    told = judge_run(make_record(), make_evaluation(GONE)).told
    assert told["Forget"] == "It appeared in 0 of 500 samples (original model: 497)."
    assert told["Retain"] == (
        "Retained accuracy: 98.0\u00a0% (original model: 98.0\u00a0%). Fréchet distance: 6.00 "
        "(original model: 5.90)."
    )
    assert told["Resist"].startswith("Not measured: no attack was run")
    assert told["Cost"] == (
        "Training took 3\u00a0min 24\u00a0s (2 CPU cores). Sampling takes 1 network pass per image "
        "(original model: 50)."
    )
    nothing = judge_run(make_record(), Evaluation(results=[])).told
    assert all(nothing[key].startswith("Not measured") for key in ("Forget", "Retain", "Resist"))


def test_a_run_that_stopped_early_says_why():
    reason = "The run stopped at step 40: the images are known no better than unseen ones."
    assert reason in judge_run(make_record(stopped=reason), make_evaluation()).lead


@pytest.mark.parametrize("method", ["neggrad", "posterior_subtraction", "of somebody"])
def test_methods_are_named(method: str):
    lead = judge_run(make_record(settings={"method": {"name": method}}), make_evaluation()).lead
    assert {"neggrad": "NegGrad", "posterior_subtraction": "posterior subtraction"}.get(
        method, method
    ) in lead
