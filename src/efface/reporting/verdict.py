"""What a run amounts to, in plain language: a pure function of its record and evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from efface.records import Evaluation, Result, RunRecord
from efface.reporting.cards import Card, cost_card, forgotten_card, kept_card
from efface.reporting.sentences import Subject, headline, lead
from efface.reporting.states import GONE, Findings, Forgotten, Kept

Outcome = Literal[
    "forgotten", "damaged", "not_forgotten", "no_op", "collapsed", "unsettled", "unmeasured",
    "nothing_asked",
]  # fmt: skip

COLLAPSED = 0.5  # retained accuracy below this share of the untouched model's is a collapse
FID_TOLERANCE = 1.2  # times the untouched model's FID
MARGIN = 0.1  # a loss of retained accuracy that the interval must exclude before it is called kept


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Headline, lead and cards, and what they rest on in one word each."""

    headline: str
    lead: str
    cards: tuple[Card, ...]
    outcome: Outcome
    forgotten: Forgotten
    kept: Kept

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        content["cards"] = list(content["cards"])
        return content


def judge_run(
    record: RunRecord, evaluation: Evaluation, names: Mapping[int, str] | None = None
) -> Verdict:
    """Judge a run; what was forgotten is only ever judged together with what happened to the rest.

    `names` are the names of labels, where they have any.
    """
    unlearning = _measured(evaluation, "unlearning_accuracy")
    retained = _measured(evaluation, "retained_accuracy")
    fid, recall = _measured(evaluation, "fid"), _measured(evaluation, "recall")
    asked = record.request.get("kind") == "class"
    findings = Findings(
        forgotten=judge_forgotten(unlearning) if asked else "not_asked",
        kept=judge_kept(retained, fid, recall),
        unlearning=unlearning if asked else None,
        retained=retained,
        fid=fid,
        recall=recall,
    )
    subject = Subject(record, names or {})
    cards = (kept_card(findings), cost_card(record))
    return Verdict(
        headline=headline(record, findings, subject),
        lead=lead(record, evaluation, findings, subject),
        cards=(forgotten_card(findings), *cards) if asked else cards,
        outcome=_outcome(record, findings),
        forgotten=findings.forgotten,
        kept=findings.kept,
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


def _measured(evaluation: Evaluation, metric: str) -> Result | None:
    """Find a result whose numbers are all finite: what is not a number was not measured."""
    found = evaluation.get(metric)
    if found is None:
        return None
    numbers = [(v.value, v.low, v.high) for v in (found, found.baseline)]
    return found if all(math.isfinite(n) for triple in numbers for n in triple) else None


def _outcome(record: RunRecord, findings: Findings) -> Outcome:
    forgotten, kept = findings.forgotten, findings.kept
    if record.status == "collapsed" or kept == "collapsed":
        return "collapsed"
    settled: dict[Forgotten, Outcome] = {
        "not_asked": "damaged" if kept == "damaged" else "nothing_asked",
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
