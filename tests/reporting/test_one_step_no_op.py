"""A no-op that draws in one step: what is worse than in many steps is no damage."""

from __future__ import annotations

import pytest

from efface.records import Evaluation
from efface.reporting import Verdict, judge_run
from tests.reporting.conftest import Triple, make_evaluation, make_record, make_value
from tests.reporting.prompt_runs import make_concept_evaluation, make_concept_record

WORSE: Triple = (0.7, 0.67, 0.73)
FALLEN: Triple = (0.3, 0.27, 0.33)
RARELY: Triple = (0.92, 0.9, 0.94)  # how often one step misses the class
SAME = "A no-op, nothing was forgotten: in one step the untouched model draws the same."
REST = " What is worse in the other nine comes from drawing in one step."


def no_op(
    own: Triple, one_step: Triple | None, guards: tuple[str, ...] = ("no-op",), passes: int = 1
) -> Verdict:
    """`own` and `one_step`: retained accuracy of the result and of the untouched model so drawn."""
    evaluation = make_evaluation(RARELY, own, fid=(60.0, 58.0, 62.0))
    evaluation.guards, evaluation.change = list(guards), {"weights": 0.0, "samples": 0.0}
    for result in evaluation.results:
        result.baseline_one_step = None
    if one_step is not None:
        evaluation.results[0].baseline_one_step = make_value(RARELY)
        evaluation.results[1].baseline_one_step = make_value(one_step)
    sampler = {"text": "as it was recorded", "passes": passes}
    return judge_run(make_record(sampler=sampler), evaluation)


@pytest.mark.parametrize("retained", [WORSE, FALLEN])
@pytest.mark.parametrize("beside", [True, False])
def test_what_one_step_alone_makes_worse_is_not_called_damage(retained: Triple, beside: bool):
    verdict = no_op(retained, retained if beside else None)
    assert (verdict.outcome, verdict.kept) == ("no_op", "one_step")
    assert verdict.headline == SAME + REST
    said = " ".join([verdict.headline, *verdict.told.values(), *(c.words for c in verdict.cards)])
    assert "damage" not in said and "collapse" not in said
    assert verdict.told["Keep"].endswith("from drawing in one step, not from forgetting.")
    assert "weights changed by 0\u00a0%" in verdict.told["Forget"]


def test_the_untouched_model_in_one_step_stands_beside_it():
    verdict = no_op(WORSE, WORSE)
    assert (
        "it drew it 40 times; the untouched model did so 497 times, and in one step 40 times"
        in (verdict.told["Forget"])
    )
    assert (
        "model's, 98.0\u00a0%, and 70.0\u00a0% of what it draws in one step."
        in (verdict.told["Keep"])
    )
    notes = [card.note for card in verdict.cards[:2]]
    assert notes[0] == "before, one step: 92.0\u00a0%"
    assert notes[1].startswith("before, one step: 70.0\u00a0%; FID 60.0")


def test_what_one_step_does_not_make_worse_needs_no_word():
    evaluation = make_evaluation(RARELY)
    evaluation.guards = ["no-op"]
    assert judge_run(make_record(), evaluation).headline == SAME


def test_damage_beyond_that_of_one_step_is_still_called_damage():
    verdict = no_op(WORSE, (0.95, 0.93, 0.97))
    assert verdict.kept == "damaged"
    assert verdict.headline == f"{SAME} The other nine were damaged."


def test_a_no_op_in_as_many_steps_as_before_blames_no_single_step():
    verdict = no_op(WORSE, None, passes=50)
    assert verdict.kept == "damaged"
    assert "one step" not in " ".join([verdict.headline, *verdict.told.values()])
    assert verdict.headline.startswith("A no-op, nothing was forgotten: the model is as it was.")


def test_a_collapse_beside_a_no_op_is_still_called_one_and_explained():
    verdict = no_op(FALLEN, FALLEN, ("no-op", "collapse"))
    assert verdict.outcome == "collapsed"
    assert verdict.headline == (
        "The model collapsed: it no longer draws what it is asked for. But in one step the "
        "untouched model draws the same."
    )


def test_without_the_guard_nothing_is_put_down_to_one_step():
    verdict = no_op(WORSE, WORSE, ())
    assert verdict.kept == "damaged" and verdict.outcome == "not_forgotten"
    assert "one step" not in verdict.headline + verdict.told["Keep"] + verdict.cards[1].note


def test_a_concept_found_as_seldom_in_one_step_is_read_the_same_way_round():
    evaluation = make_concept_evaluation((0.1, 0.08, 0.12), guards=["no-op"])
    evaluation.results[0].baseline_one_step = make_value((0.11, 0.09, 0.13))
    verdict = judge_run(make_concept_record(), evaluation)
    assert verdict.headline == SAME
    assert verdict.cards[0].note == "before, one step: 89.0\u00a0%"
    assert (
        "drew it 50 times; the untouched model did so 470 times, and in one step 55"
        in (verdict.told["Forget"])
    )


def test_a_no_op_without_figures_says_what_the_guard_saw():
    bare = Evaluation(results=[], guards=["no-op"])
    assert judge_run(make_record(), bare).headline == SAME
