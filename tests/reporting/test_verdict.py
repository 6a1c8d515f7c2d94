"""What a run amounts to, by the intervals of what was measured."""

from __future__ import annotations

import json
import math

import pytest

from efface.records import Evaluation
from efface.reporting import judge_run
from efface.reporting.cards import passes_per_picture
from tests.reporting.conftest import Triple, make_evaluation, make_record

GONE: Triple = (1.0, 0.992, 1.0)
HALF: Triple = (0.5, 0.46, 0.54)
NO_OP: Triple = (0.008, 0.003, 0.02)
DAMAGED: Triple = (0.7, 0.67, 0.73)
COLLAPSED: Triple = (0.12, 0.1, 0.14)


def kinds(record=None, **measured) -> tuple[str, dict[str, str]]:
    verdict = judge_run(record or make_record(), make_evaluation(**measured))
    return verdict.outcome, {card.title: card.kind for card in verdict.cards}


def test_gone_and_kept_is_forgotten():
    verdict = judge_run(make_record(), make_evaluation(GONE))
    assert verdict.headline == "Class 4 is no longer drawn. No damage was found in the other nine."
    assert verdict.outcome == "forgotten"
    assert [card.kind for card in verdict.cards] == ["good", "good", "warn", "good"]
    assert "never drew it; the untouched model did so 497 times" in verdict.told["Forget"]
    assert "class 9 in its place" in verdict.lead


def test_gone_with_a_few_left_is_not_called_no_longer_drawn():
    assert "almost never drawn" in judge_run(make_record(), make_evaluation()).headline


def test_gone_and_damaged_is_never_called_forgotten():
    verdict = judge_run(make_record(), make_evaluation(GONE, DAMAGED))
    assert verdict.outcome == "damaged"
    assert verdict.headline == "Class 4 is no longer drawn, but the other nine were damaged."
    assert [card.kind for card in verdict.cards] == ["good", "bad", "warn", "good"]


def test_right_pictures_of_less_variety_are_called_so():
    verdict = judge_run(make_record(), make_evaluation(GONE, recall=(0.7, 0.64, 0.76)))
    assert verdict.kept == "less_varied"
    assert "with less variety" in verdict.headline
    assert "variety (recall) 70.0\u00a0%, before 90.0\u00a0%" in verdict.cards[1].note
    level = judge_run(make_record(), make_evaluation(GONE, recall=(0.85, 0.81, 0.89)))
    assert level.kept == "kept"


def test_a_much_larger_fid_is_damage_though_the_classes_are_right():
    assert kinds(unlearning=GONE, fid=(12.0, 11.0, 13.0))[0] == "damaged"


def test_a_fid_that_may_be_larger_is_not_settled():
    outcome, cards = kinds(unlearning=GONE, fid=(8.0, 7.0, 9.0))
    assert (outcome, cards["Kept"]) == ("unsettled", "warn")


def test_too_few_retained_samples_are_no_evidence_of_no_damage():
    outcome, cards = kinds(unlearning=GONE, retained=(0.9, 0.6, 0.98))
    assert (outcome, cards["Kept"]) == ("unsettled", "warn")


def test_still_drawn_is_not_forgotten():
    verdict = judge_run(make_record(), make_evaluation(HALF))
    assert verdict.outcome == "not_forgotten"
    assert "still drawn, in 50.0" in verdict.headline


def test_an_interval_across_the_threshold_is_not_settled():
    outcome, cards = kinds(unlearning=(0.96, 0.93, 0.98))
    assert (outcome, cards["Forgotten"]) == ("unsettled", "warn")


def test_a_no_op_is_called_by_name():
    verdict = judge_run(make_record(), make_evaluation(NO_OP))
    assert verdict.outcome == "no_op"
    assert verdict.headline.startswith("A no-op")
    assert verdict.cards[0].kind == "bad"


def test_a_class_that_was_never_drawn_cannot_be_forgotten():
    evaluation = make_evaluation(GONE)
    evaluation.results[0].baseline = evaluation.results[1].baseline.model_copy(
        update={"value": 0.99, "low": 0.98, "high": 0.995}
    )
    verdict = judge_run(make_record(), evaluation)
    assert verdict.outcome == "no_op"
    assert "did not draw class 4 either" in verdict.headline


@pytest.mark.parametrize("unlearning", [GONE, HALF, NO_OP])
def test_a_collapse_is_called_by_name_whatever_became_of_the_class(unlearning: Triple):
    verdict = judge_run(make_record(), make_evaluation(unlearning, COLLAPSED))
    assert verdict.outcome == "collapsed"
    assert "collapsed" in verdict.headline


@pytest.mark.parametrize("evaluation", [make_evaluation(GONE), Evaluation(results=[])])
def test_a_run_that_the_guard_stopped_is_a_collapse(evaluation: Evaluation):
    record = make_record(status="collapsed", note="collapse at step 700.")
    verdict = judge_run(record, evaluation)
    assert verdict.outcome == "collapsed"
    assert "collapsed" in verdict.headline
    assert "collapse at step 700." in verdict.lead


def test_unmeasured_says_so_and_how_to_measure():
    verdict = judge_run(make_record(), Evaluation(results=[]))
    assert verdict.outcome == "unmeasured"
    assert "Not measured" in verdict.headline
    assert "efface evaluate" in verdict.lead
    assert [card.kind for card in verdict.cards] == ["warn", "warn", "warn", "good"]


def test_what_is_not_a_number_was_not_measured():
    outcome, _ = kinds(unlearning=(math.nan, math.nan, math.nan))
    assert outcome == "unmeasured"


@pytest.mark.parametrize("kept, said", [((0.98, 0.97, 0.99), "no damage"), (DAMAGED, "got worse")])
def test_distillation_is_judged_without_forgetting(kept: Triple, said: str):
    record = make_record(request={"kind": "distil"})
    verdict = judge_run(record, make_evaluation(None, kept))
    assert "one step" in verdict.headline and said in verdict.headline
    assert verdict.forgotten == "not_asked"
    assert [card.title for card in verdict.cards] == ["Kept", "Cost"]


def test_a_training_run_has_a_verdict():
    record = make_record(
        request={"kind": "train"}, model={"source": None}, settings={}, sampler={"passes": 50}
    )
    verdict = judge_run(record, Evaluation(results=[]))
    assert "trained" in verdict.headline
    assert passes_per_picture(record) == (None, 50)


def test_several_classes_with_names_and_random_replacement():
    request = {"kind": "class", "labels": [1, 4], "replacement": []}
    verdict = judge_run(make_record(request=request), make_evaluation(GONE), {1: "cat", 4: "4"})
    assert verdict.headline.startswith("Classes 1 (cat) and 4 are no longer drawn.")
    assert "other eight at random in their place" in verdict.lead


def test_passes_count_guidance_twice():
    settings = {"evaluate": {"baseline_steps": 50, "guidance": 2.0}}
    assert passes_per_picture(make_record(settings=settings)) == (100, 1)


def test_a_guard_that_names_a_no_op_has_the_last_word():
    evaluation = make_evaluation(GONE)
    evaluation.guards = ["no-op"]
    evaluation.change = {"weights": 3.2e-4, "samples": 1e-7}
    verdict = judge_run(make_record(), evaluation)
    assert verdict.outcome == "no_op" and verdict.headline.startswith("A no-op")
    assert "weights changed by 0.032\u00a0%" in verdict.told["Forget"]
    assert "samples by less than 0.001\u00a0%" in verdict.told["Forget"]
    bare = judge_run(make_record(), Evaluation(results=[], guards=["no-op"]))
    assert bare.headline.startswith("A no-op") and bare.outcome == "no_op"


def test_a_guard_that_names_a_collapse_has_the_last_word():
    evaluation = make_evaluation(GONE)
    evaluation.guards = ["collapse"]
    verdict = judge_run(make_record(), evaluation)
    assert verdict.outcome == "collapsed" and "collapsed" in verdict.headline


@pytest.mark.parametrize("kind", ["distil", "train"])
def test_what_forgets_nothing_cannot_be_a_no_op(kind: str):
    evaluation = make_evaluation(None)
    evaluation.guards = ["no-op"]
    assert judge_run(make_record(request={"kind": kind}), evaluation).outcome == "nothing_asked"


def test_forget_keep_resist_and_cost_are_told_each():
    told = judge_run(make_record(), make_evaluation(GONE)).told
    assert list(told) == ["Forget", "Keep", "Resist", "Cost"]
    assert told["Keep"].startswith("Of 500 pictures asked for under the other nine, 98.0")
    assert "real ones (FID, lower is better) is 6.00; the untouched model's, 5.90." in told["Keep"]
    assert told["Resist"].startswith("Not measured: no attack was run")
    assert told["Cost"] == (
        "Training took 3\u00a0min 24\u00a0s (2 CPU cores). A picture takes 1 network pass; with "
        "the untouched model it took 50."
    )
    nothing = judge_run(make_record(), Evaluation(results=[])).told
    assert all(nothing[key].startswith("Not measured") for key in ("Forget", "Keep", "Resist"))


def test_a_verdict_is_json():
    content = judge_run(make_record(), make_evaluation()).to_json()
    assert json.loads(json.dumps(content)) == content
