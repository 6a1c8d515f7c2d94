"""The words that a verdict rests on, and how two states make one outcome."""

from __future__ import annotations

import math
from typing import Literal

from efface.records import Evaluation, Result, RunRecord

Forgotten = Literal[
    "gone", "unsettled", "not_gone", "unchanged", "not_memorised", "unmeasured", "not_asked"
]
Kept = Literal[
    "kept", "less_varied", "unsettled", "damaged", "collapsed", "one_step", "unmeasured"
]  # fmt: skip
Outcome = Literal[
    "forgotten", "damaged", "not_forgotten", "no_op", "not_memorised", "collapsed", "unsettled",
    "unmeasured", "nothing_asked",
]  # fmt: skip

COLLAPSED = 0.5  # what falls below this share of the untouched model's has collapsed
FID_TOLERANCE = 1.2  # times the untouched model's FID
NO_OP, COLLAPSE = "no-op", "collapse"  # names of guards in an evaluation
MARGIN = 0.1  # a loss that the interval must exclude before something is called kept


def judge_outcome(record: RunRecord, forgotten: Forgotten, kept: Kept) -> Outcome:
    """What was forgotten is only ever judged together with what happened to the rest."""
    if record.status == "collapsed" or kept == "collapsed":
        return "collapsed"
    settled: dict[Forgotten, Outcome] = {
        "not_asked": "damaged" if kept == "damaged" else "nothing_asked",
        "not_memorised": "damaged" if kept == "damaged" else "not_memorised",
        "unmeasured": "unmeasured",
        "unchanged": "no_op",
        "not_gone": "not_forgotten",
    }
    if forgotten in settled:
        return settled[forgotten]
    if kept == "damaged":
        return "damaged"
    if kept == "unmeasured":
        return "unmeasured"
    return "forgotten" if forgotten == "gone" and kept in ("kept", "less_varied") else "unsettled"


def heed_guards(evaluation: Evaluation, forgotten: Forgotten, kept: Kept) -> tuple[Forgotten, Kept]:
    """A guard that named a no-op or a collapse has the last word."""
    if NO_OP in evaluation.guards and forgotten != "not_asked":
        forgotten = "unchanged"
    return forgotten, "collapsed" if COLLAPSE in evaluation.guards else kept


def find_measured(evaluation: Evaluation, metric: str) -> Result | None:
    """Find a result whose numbers are all finite: what is not a number was not measured."""
    found = evaluation.get(metric)
    if found is None:
        return None
    numbers = [(v.value, v.low, v.high) for v in (found, found.baseline)]
    return found if all(math.isfinite(n) for triple in numbers for n in triple) else None
