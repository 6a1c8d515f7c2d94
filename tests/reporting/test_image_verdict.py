"""What a run that forgets pictures amounts to, by copies and by the membership gap."""

from __future__ import annotations

import json
import math

import pytest

from efface.records import Evaluation
from efface.reporting import Verdict, judge_run
from efface.reporting.glossary import IMAGE_TERMS, explain
from tests.reporting.conftest import Triple
from tests.reporting.image_runs import make_image_evaluation, make_image_record

KNOWN: Triple = (0.82, 0.78, 0.86)
LEVEL: Triple = (0.04, -0.02, 0.1)
HALFWAY: Triple = (0.4, 0.36, 0.44)
BEYOND: Triple = (-1.3, -1.5, -1.1)
NO_DAMAGE = " No damage was found in what else it draws."


def judge(record=None, **measured) -> Verdict:
    return judge_run(record or make_image_record(), make_image_evaluation(**measured))


def test_no_copies_and_no_gap_is_gone():
    verdict = judge()
    assert verdict.headline == (
        "The picture is gone: none of 1,024 samples copies it, and the model treats it like "
        f"pictures it has never seen.{NO_DAMAGE}"
    )
    assert (verdict.outcome, verdict.forgotten) == ("forgotten", "gone")
    assert [card.kind for card in verdict.cards] == ["good", "good", "warn", "good"]
    assert [card.value for card in verdict.cards[:2]] == ["0 copies", "FID 6.00"]
    forget = verdict.told["Forget"]
    assert "Of 1,024 samples, none copies it; of the untouched model's, 61 did." in forget
    assert "4.0\u00a0% below its error on pictures it has never seen" in forget
    assert "The method, SISS, took 60 steps." in verdict.lead


@pytest.mark.parametrize(
    "count, said", [(1, "The picture is"), (3, "The three pictures are"), (606, "The 606 pictures")]
)
def test_pictures_are_counted(count: int, said: str):
    names = [f"{n}.png" for n in range(count)]
    assert judge(make_image_record(names)).headline.startswith(said)


def test_pictures_of_unknown_number_are_not_counted():
    record = make_image_record([], request={"names": None, "hashes": None})
    evaluation = make_image_evaluation()
    evaluation.pictures.clear()
    assert judge_run(record, evaluation).headline.startswith("The pictures are gone")


def test_a_model_without_the_picture_is_quoted_where_there_is_one():
    assert "trained without it" not in judge().told["Forget"]
    forget = judge(retrained=True).told["Forget"]
    assert "and of those of a model trained without it, none" in forget
    assert "and that of a model trained without it is 3.0\u00a0% below" in forget


def test_pushed_beyond_never_seen_is_not_called_better():
    verdict = judge(gap=(KNOWN, BEYOND))
    assert verdict.outcome == "forgotten"
    assert "pushed to do worse on it than on pictures never seen" in verdict.headline
    assert "pushed beyond never seen, which is not better" in verdict.told["Forget"]
    assert (verdict.cards[0].kind, verdict.cards[0].words) == ("warn", "gone, but pushed too far")
    alone = judge(copies=None, gap=(KNOWN, BEYOND))
    assert alone.headline.startswith("The model was pushed to do worse on the picture")
    assert "pushed beyond" not in judge(gap=(KNOWN, (-0.3, -0.4, -0.2))).told["Forget"]


def test_somewhat_below_is_not_called_alike():
    headline = judge(gap=(KNOWN, (-0.3, -0.4, -0.2))).headline
    assert "knows it no better than pictures it has never seen" in headline


def test_a_copy_that_is_left_is_not_gone():
    verdict = judge(copies=(61, 1))
    assert verdict.outcome == "not_forgotten"
    assert verdict.headline.startswith(
        "The picture is not gone: 1 of 1,024 samples still copies it; of the untouched model's, "
        "61 did."
    )
    assert verdict.cards[0].value == "1 copy"


def test_a_gap_that_is_left_is_not_gone():
    verdict = judge(gap=(KNOWN, HALFWAY))
    assert verdict.outcome == "not_forgotten"
    assert "no sample copies it, but the model still knows it better" in verdict.headline


def test_copies_that_were_not_there_before_are_not_gone():
    verdict = judge(copies=(0, 40), gap=(LEVEL, LEVEL))
    assert verdict.outcome == "not_forgotten"
    assert "40 of 1,024 samples copy it; of the untouched model's, none did" in verdict.headline


def test_a_picture_that_was_known_but_never_copied_can_be_gone():
    assert judge(copies=(0, 0)).forgotten == "gone"
    assert judge(copies=(0, 0), gap=(KNOWN, HALFWAY)).headline.startswith(
        "The picture is not gone: the model still knows it better"
    )


@pytest.mark.parametrize(
    "copies, said", [((61, 55), "copied about as often as before"), ((0, 0), "knows the picture")]
)
def test_a_no_op_is_called_by_name(copies: tuple[int, int], said: str):
    verdict = judge(copies=copies, gap=(KNOWN, (0.81, 0.77, 0.85)))
    assert verdict.outcome == "no_op"
    assert verdict.headline.startswith("A no-op, nothing was forgotten: ")
    assert said in verdict.headline
    assert verdict.cards[0].kind == "bad"


def test_too_few_samples_settle_nothing():
    verdict = judge(copies=(2, 0), samples=64)
    assert (verdict.outcome, verdict.cards[0].words) == ("unsettled", "not settled")
    assert verdict.headline.startswith(
        "Too few samples to say that the picture is gone: none of 64 copies it, but of the "
        "untouched model's only 2 did."
    )


@pytest.mark.parametrize("absent", ["copies", "gap"])
def test_one_of_two_figures_settles_nothing(absent: str):
    verdict = judge(**{absent: None})
    assert (verdict.outcome, verdict.forgotten) == ("unsettled", "unsettled")
    assert "was not measured" in verdict.headline
    assert verdict.cards[0].kind == "warn"


@pytest.mark.parametrize("absent", [{}, {"copies": None}, {"gap": None}])
def test_what_was_not_memorised_cannot_be_forgotten(absent: dict[str, None]):
    verdict = judge(**{"copies": (0, 0), "gap": (LEVEL, LEVEL)} | absent)
    assert (verdict.outcome, verdict.forgotten) == ("not_memorised", "not_memorised")
    assert verdict.headline.startswith("Nothing to forget could be measured: the untouched model")
    assert verdict.cards[0].kind == "warn"


def test_damage_for_nothing_is_damage():
    verdict = judge(copies=(0, 0), gap=(LEVEL, LEVEL), fid=(12.0, 11.0, 13.0))
    assert verdict.outcome == "damaged"
    assert verdict.headline.endswith("The model draws worse than before.")


@pytest.mark.parametrize(
    "worse", [{"fid": (12.0, 11.0, 13.0)}, {"inception": (8.5, 8.4, 8.6)}]
)  # 8.6 is below 0.97 times 9.0
def test_gone_and_damaged_is_never_called_forgotten(worse: dict[str, Triple]):
    verdict = judge(**worse)
    assert verdict.outcome == "damaged"
    assert verdict.headline == "The picture is gone, but the model draws worse than before."
    assert verdict.cards[1].kind == "bad"


@pytest.mark.parametrize("unclear", [{"fid": (8.0, 7.0, 9.0)}, {"inception": (8.5, 8.0, 9.0)}])
def test_damage_that_is_not_ruled_out_is_not_settled(unclear: dict[str, Triple]):
    verdict = judge(**unclear)
    assert (verdict.outcome, verdict.kept) == ("unsettled", "unsettled")


def test_less_variety_is_called_so():
    verdict = judge(recall=(0.7, 0.66, 0.74))
    assert (verdict.outcome, verdict.kept) == ("forgotten", "less_varied")
    assert "with less variety" in verdict.headline
    assert "variety (recall) 70.0\u00a0%, before 80.0\u00a0%" in verdict.cards[1].note


@pytest.mark.parametrize("copies", [(61, 0), (61, 55)])
@pytest.mark.parametrize("lost", ["precision", "recall"])
def test_a_collapse_is_called_by_name(copies: tuple[int, int], lost: str):
    verdict = judge(copies=copies, fid=(90.0, 80.0, 100.0), **{lost: (0.1, 0.05, 0.15)})
    assert verdict.outcome == "collapsed"
    assert verdict.headline.startswith("The model collapsed")


def test_a_run_that_stopped_early_says_why_and_names_no_collapse():
    reason = "The run stopped at step 40: the pictures are known no better than unseen ones."
    verdict = judge(make_image_record(stopped=reason, steps=40))
    assert reason in verdict.lead
    assert verdict.outcome == "forgotten"
    said = " ".join((verdict.headline, verdict.lead, *verdict.told.values()))
    assert "collapse" not in said and "guard" not in said


def test_guards_have_the_last_word_on_pictures():
    evaluation = make_image_evaluation()
    evaluation.guards, evaluation.change = ["no-op"], {"weights": 0.0, "samples": 0.0}
    verdict = judge_run(make_image_record(), evaluation)
    assert verdict.outcome == "no_op" and verdict.headline.startswith("A no-op")
    assert "Its weights changed by 0\u00a0% and its samples by 0\u00a0%." in verdict.told["Forget"]
    evaluation.guards = ["collapse"]
    assert judge_run(make_image_record(), evaluation).outcome == "collapsed"
    bare = judge_run(make_image_record(), Evaluation(results=[], guards=["no-op"]))
    assert bare.headline == "A no-op, nothing was forgotten: the model is as it was."


def test_a_run_that_the_guard_stopped_is_a_collapse():
    verdict = judge(make_image_record(status="collapsed", note="collapse at step 40."))
    assert verdict.outcome == "collapsed"
    assert verdict.headline.startswith("The run collapsed. In its last good weights, the picture")
    assert "collapse at step 40." in verdict.lead


def test_inception_score_alone_is_a_measure_of_quality():
    verdict = judge(fid=None)
    assert (verdict.outcome, verdict.cards[1].value) == ("forgotten", "IS 9.10")


def test_without_quality_nothing_is_called_forgotten():
    verdict = judge(fid=None, inception=None)
    assert (verdict.outcome, verdict.kept) == ("unmeasured", "unmeasured")
    assert verdict.headline.endswith("How well it draws was not measured.")


def test_unmeasured_says_so_and_how_to_measure():
    verdict = judge_run(make_image_record(), Evaluation(results=[]))
    assert verdict.outcome == "unmeasured"
    assert verdict.headline == "Not measured: it is not known whether the picture is gone."
    assert "`efface evaluate`" in verdict.lead
    assert [card.kind for card in verdict.cards] == ["warn", "warn", "warn", "good"]


def test_what_is_not_a_number_was_not_measured():
    assert judge(copies=None, gap=(KNOWN, (math.nan,) * 3)).forgotten == "unmeasured"


@pytest.mark.parametrize("method", ["neggrad", "posterior_subtraction", "of somebody"])
def test_methods_are_named(method: str):
    lead = judge(make_image_record(settings={"method": {"name": method}})).lead
    assert {"neggrad": "NegGrad", "posterior_subtraction": "posterior subtraction"}.get(
        method, method
    ) in lead


def test_every_metric_is_explained_without_speaking_of_classes():
    for result in make_image_evaluation(precision=(0.8, 0.7, 0.9)).results:
        term = explain(result.metric, "images")
        assert result.metric in IMAGE_TERMS and "class" not in term.meaning.replace(
            "classifier", ""
        )
    assert explain("fid", "class") == explain("fid") != explain("fid", "images")


def test_a_verdict_is_json():
    content = judge().to_json()
    assert json.loads(json.dumps(content)) == content


def test_a_picture_costs_what_it_cost_before_however_many_steps_were_measured():
    record = make_image_record()
    record.settings["evaluate"]["baseline_steps"] = 25
    record = record.model_copy(update={"sampler": {"text": "50 DDIM steps", "passes": 50}})
    cost = judge_run(record, make_image_evaluation()).told["Cost"]
    assert "25 network passes, as before" in cost
