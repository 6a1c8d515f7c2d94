"""The states that a verdict rests on, and how figures are judged (no torch)."""

from __future__ import annotations

import math
from typing import Literal

from efface.records import Evaluation, Result

Forgotten = Literal[
    "gone", "inconclusive", "not_gone", "unchanged", "not_memorised", "unmeasured", "not_asked"
]
Kept = Literal["kept", "less_varied", "inconclusive", "damaged", "broken", "one_step", "unmeasured"]
WORST = ("broken", "damaged", "inconclusive", "kept", "unmeasured")

BROKEN = 0.5  # what falls below this share of the original model's is broken
FID_TOLERANCE = 1.2  # times the original model's FID
MARGIN = 0.1  # a loss that the interval must exclude before something is called kept
NO_OP, COLLAPSE = "no-op", "collapse"  # names of guards in an evaluation


def find_measured(evaluation: Evaluation, metric: str) -> Result | None:
    """Find a result whose numbers are all finite: what is not a number was not measured."""
    found = evaluation.get(metric)
    if found is None:
        return None
    numbers = (n for v in (found, found.baseline) for n in (v.value, v.low, v.high))
    return found if all(map(math.isfinite, numbers)) else None


def judge_score(score: Result | None, least: float = 1.0, margin: float = MARGIN) -> Kept:
    """Damage is a whole interval below `least` times the original model's.

    Inconclusive is one that does not exclude a loss of `margin`.
    """
    if score is None:
        return "unmeasured"
    if score.high < least * score.baseline.low:
        return "damaged"
    return "inconclusive" if score.low < score.baseline.value - margin else "kept"


def judge_fid(fid: Result | None) -> Kept:
    if fid is None:
        return "unmeasured"
    worst = FID_TOLERANCE * fid.baseline.high
    if fid.low > worst:
        return "damaged"
    return "inconclusive" if fid.value > worst else "kept"


def has_halved(*scores: Result | None) -> bool:
    """Whether any score has fallen below half of the original model's, beyond both intervals."""
    return any(s is not None and s.high < BROKEN * s.baseline.low for s in scores)


def judge_together(*states: Kept, recall: Result | None = None) -> Kept:
    """The worst of what several figures say; less varied where recall alone has fallen."""
    worst = min(states, key=WORST.index)
    narrower = recall is not None and recall.high < recall.baseline.low
    return "less_varied" if worst == "kept" and narrower else worst
