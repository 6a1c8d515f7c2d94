"""What was found of a run that forgets classes or a concept, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from efface.records import Evaluation, Result, RunRecord, Value
from efface.reporting.states import (
    COLLAPSE,
    COLLAPSED,
    FID_TOLERANCE,
    MARGIN,
    NO_OP,
    Forgotten,
    Kept,
    find_measured,
    heed_guards,
)

GONE = 0.95  # unlearning accuracy whose whole interval lies above this counts as gone


@dataclass(frozen=True, kw_only=True)
class ClassFindings:
    """The two states, and the results that they were read from."""

    forgotten: Forgotten
    kept: Kept
    unlearning: Result | None
    retained: Result | None
    fid: Result | None
    recall: Result | None
    still: bool  # whether the guards saw that it draws what the untouched model draws
    one_step: bool  # whether it does so in one step, where the untouched model's figures do not


def find_classes(record: RunRecord, evaluation: Evaluation) -> ClassFindings:
    unlearning = find_measured(evaluation, "unlearning_accuracy") or _not_found(evaluation)
    retained = find_measured(evaluation, "retained_accuracy")
    fid, recall = find_measured(evaluation, "fid"), find_measured(evaluation, "recall")
    asked = record.request.get("kind") in ("class", "concept")
    forgotten, kept = heed_guards(
        evaluation,
        judge_forgotten(unlearning) if asked else "not_asked",
        judge_kept(retained, fid, recall),
    )
    still = asked and NO_OP in evaluation.guards
    one_step = still and draws_in_one_step(record, evaluation)
    if one_step and COLLAPSE not in evaluation.guards:
        kept = judge_step(kept, retained, fid, recall)
    return ClassFindings(
        forgotten=forgotten,
        kept=kept,
        unlearning=unlearning if asked else None,
        retained=retained,
        fid=fid,
        recall=recall,
        still=still,
        one_step=one_step,
    )


def draws_in_one_step(record: RunRecord, evaluation: Evaluation) -> bool:
    recorded = record.sampler.get("passes") == 1
    return recorded or any(r.baseline_one_step is not None for r in evaluation.results)


def judge_step(
    kept: Kept, retained: Result | None, fid: Result | None, recall: Result | None
) -> Kept:
    """Under a no-op, tell what is worse for being drawn in one step from what is damaged.

    Damage is what the untouched model does not show in one step either; where that was not
    measured, the guard has seen that both draw the same.
    """
    if kept in ("kept", "unmeasured"):
        return kept
    beside = judge_kept(*(_beside_one_step(result) for result in (retained, fid, recall)))
    return beside if beside in ("damaged", "collapsed") else "one_step"


def _beside_one_step(result: Result | None) -> Result | None:
    if result is None:
        return None
    one_step = find_one_step(result)
    return None if one_step is None else result.model_copy(update={"baseline": one_step})


def find_one_step(result: Result) -> Value | None:
    """The untouched model's figure in one step, if its numbers are finite."""
    found = result.baseline_one_step
    if found is None or not all(map(math.isfinite, (found.value, found.low, found.high))):
        return None
    return found


def _not_found(evaluation: Evaluation) -> Result | None:
    """How often a concept was not found, which is to a concept what accuracy is to a class."""
    rate = find_measured(evaluation, "concept_rate")
    if rate is None:
        return None
    own = _without(Value(value=rate.value, low=rate.low, high=rate.high))
    one_step = find_one_step(rate)
    others = {
        "baseline": _without(rate.baseline),
        "baseline_one_step": None if one_step is None else _without(one_step),
    }
    return rate.model_copy(update=own.model_dump() | others)


def _without(share: Value) -> Value:
    return Value(value=1 - share.value, low=1 - share.high, high=1 - share.low)


def judge_forgotten(unlearning: Result | None) -> Forgotten:
    """Read the state off the whole interval; unchanged where it meets the baseline's."""
    if unlearning is None:
        return "unmeasured"
    if unlearning.low <= unlearning.baseline.high:
        return "unchanged"
    if unlearning.low >= GONE:
        return "gone"
    return "not_gone" if unlearning.high < GONE else "unsettled"


def judge_kept(retained: Result | None, fid: Result | None, recall: Result | None = None) -> Kept:
    """Call damage what the intervals show, and unsettled what they neither show nor exclude.

    Pictures that are right but cover less of the real variety are less varied, not undamaged.
    """
    if retained is None:
        return "unmeasured"
    if retained.high < COLLAPSED * retained.baseline.low:
        return "collapsed"
    worst_fid = math.inf if fid is None else FID_TOLERANCE * fid.baseline.high
    if retained.high < retained.baseline.low or (fid is not None and fid.low > worst_fid):
        return "damaged"
    unclear = retained.low < retained.baseline.value - MARGIN
    if unclear or (fid is not None and fid.value > worst_fid):
        return "unsettled"
    narrower = recall is not None and recall.high < recall.baseline.low
    return "less_varied" if narrower else "kept"
