"""The cards below the headline: forgotten, kept, cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from efface.records import Result, RunRecord
from efface.reporting.states import Findings, Forgotten, Kept
from efface.reporting.wording import (
    describe_hardware,
    format_count,
    format_duration,
    format_interval,
    format_number,
    format_value,
    plural,
)

MarkKind = Literal["good", "warn", "bad"]

FORGOTTEN_MARKS: dict[Forgotten, tuple[MarkKind, str]] = {
    "gone": ("good", "gone"),
    "unsettled": ("warn", "too few samples to be sure"),
    "not_gone": ("bad", "not gone"),
    "unchanged": ("bad", "no-op: no change shown"),
    "unmeasured": ("warn", "not measured"),
    "not_asked": ("good", "nothing was asked"),
}
KEPT_MARKS: dict[Kept, tuple[MarkKind, str]] = {
    "kept": ("good", "no damage found"),
    "less_varied": ("warn", "right, but less varied"),
    "unsettled": ("warn", "damage not ruled out"),
    "damaged": ("bad", "damage"),
    "collapsed": ("bad", "collapsed"),
    "unmeasured": ("warn", "not measured"),
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure with its interval, the untouched model's, and a mark."""

    title: str
    value: str
    meaning: str
    interval: str
    before: str
    note: str
    kind: MarkKind
    words: str


def forgotten_card(findings: Findings) -> Card:
    meaning = "of the pictures asked for do not show it"
    return _card("Forgotten", meaning, findings.unlearning, FORGOTTEN_MARKS[findings.forgotten])


def kept_card(findings: Findings) -> Card:
    fid, note = findings.fid, ""
    if fid is not None:
        note = f"FID {format_number(fid.value)}, before {format_number(fid.baseline.value)}"
    if findings.kept == "less_varied" and (recall := findings.recall) is not None:
        drawn, before = (
            format_value(v, recall.unit) for v in (recall.value, recall.baseline.value)
        )
        note += f"; variety (recall) {drawn}, before {before}"
    meaning = "of the other pictures show what was asked for"
    if findings.forgotten == "not_asked":
        meaning = "of the pictures show what was asked for"
    return _card("Kept", meaning, findings.retained, KEPT_MARKS[findings.kept], note)


def _card(
    title: str, meaning: str, result: Result | None, mark: tuple[MarkKind, str], note: str = ""
) -> Card:
    kind, words = mark
    if result is None:
        return Card(
            title=title, value="–", meaning="", interval="", before="", note=note,
            kind=kind, words=words,
        )  # fmt: skip
    return Card(
        title=title,
        value=format_value(result.value, result.unit),
        meaning=meaning,
        interval=f"95 % interval {format_interval(result.low, result.high, result.unit)}",
        before=f"before: {format_value(result.baseline.value, result.unit)}",
        note=note,
        kind=kind,
        words=words,
    )


def cost_card(record: RunRecord) -> Card:
    """Time, machine, steps, and network passes per picture before and after."""
    before, after = passes_per_picture(record)
    kind: MarkKind = "good"
    if before is None or after is None:
        words = "passes per picture not recorded"
        kind = "warn"
    else:
        words = f"{format_count(after)} {plural(after, 'pass', 'passes')} per picture"
        kind = "warn" if after > before else "good"
    return Card(
        title="Cost",
        value="–" if record.seconds is None else format_duration(record.seconds),
        meaning="of training",
        interval=describe_hardware(record.hardware),
        before="" if before is None else f"before: {format_count(before)} passes per picture",
        note="" if record.steps is None else f"{format_count(record.steps)} steps",
        kind=kind,
        words=words,
    )


def passes_per_picture(record: RunRecord) -> tuple[int | None, int | None]:
    """Network passes that one picture takes from the untouched model, and from the result."""
    evaluate: Any = record.settings.get("evaluate")
    before = None
    if record.request.get("kind") != "train" and isinstance(evaluate, dict):
        steps, guidance = evaluate.get("baseline_steps"), evaluate.get("guidance", 1.0)
        if isinstance(steps, int):
            before = steps if guidance == 1.0 else 2 * steps
    after = record.sampler.get("passes")
    return before, after if isinstance(after, int) else None
