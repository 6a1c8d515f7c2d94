"""What a report does not claim, as far as every kind of request has it in common."""

from __future__ import annotations

from efface.records import Attacks, Evaluation
from efface.reporting import judge_run
from tests.reporting.conftest import make_evaluation, make_record
from tests.reporting.full_runs import make_attack, make_attacks

GONE = make_evaluation((0.0, 0.0, 0.0074))


def said(evaluation: Evaluation = GONE, attacks: Attacks | None = None, **changes: object) -> str:
    return " ".join(judge_run(make_record(**changes), evaluation, attacks=attacks).caveats)


def test_forgetting_is_no_proof_and_attacks_are_finite():
    assert "no proof" in said() and "No attack was run." in said()
    assert "with the budgets" in said(attacks=make_attacks(make_attack()))
    stale = make_attacks(make_attack(), output={"unet/model.safetensors": "00" * 32})
    assert "on other weights" in said(attacks=stale)


def test_what_was_in_no_sample_may_still_happen():
    assert "0 of 500 samples leave room for a rate of up to 0.7\u00a0%." in said()
    assert "leave room" not in said(make_evaluation((0.5, 0.4, 0.6)))


def test_without_figures_nothing_is_evidence():
    assert "not evidence" in said(Evaluation(results=[]))
    assert "published elsewhere" not in said(Evaluation(results=[]))


def test_what_forgets_nothing_claims_no_forgetting():
    assert "no proof" not in said(request={"kind": "distil"})
