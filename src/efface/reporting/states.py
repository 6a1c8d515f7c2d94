"""The words that a verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from efface.records import Result

Forgotten = Literal["gone", "unsettled", "not_gone", "unchanged", "unmeasured", "not_asked"]
Kept = Literal["kept", "less_varied", "unsettled", "damaged", "collapsed", "unmeasured"]

GONE = 0.95  # unlearning accuracy whose whole interval lies above this counts as gone


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The two states, and the results that they were read from."""

    forgotten: Forgotten
    kept: Kept
    unlearning: Result | None
    retained: Result | None
    fid: Result | None
    recall: Result | None
