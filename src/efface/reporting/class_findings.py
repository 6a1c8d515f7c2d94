"""What was found of a run that forgets classes or a concept, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from efface.records import Evaluation, Result, RunRecord, Value
from efface.reporting.states import (
    COLLAPSED,
    FID_TOLERANCE,
    MARGIN,
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
    return ClassFindings(
        forgotten=forgotten,
        kept=kept,
        unlearning=unlearning if asked else None,
        retained=retained,
        fid=fid,
        recall=recall,
    )


def _not_found(evaluation: Evaluation) -> Result | None:
    """How often a concept was not found, which is to a concept what accuracy is to a class."""
    rate = find_measured(evaluation, "concept_rate")
    if rate is None:
        return None
    before = rate.baseline
    return rate.model_copy(
        update={
            "value": 1 - rate.value,
            "low": 1 - rate.high,
            "high": 1 - rate.low,
            "baseline": Value(value=1 - before.value, low=1 - before.high, high=1 - before.low),
        }
    )


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
