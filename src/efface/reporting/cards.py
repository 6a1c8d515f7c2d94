"""The cards below the headline: forgotten, kept, resists, cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from efface.records import Result, RunRecord
from efface.reporting.attack_words import name_attack, write_cost
from efface.reporting.class_findings import ClassFindings, find_one_step
from efface.reporting.image_findings import ImageFindings, count_copies
from efface.reporting.resistance import Resistance, Resists
from efface.reporting.states import Forgotten, Kept
from efface.reporting.wording import (
    describe_hardware,
    describe_interval,
    format_count,
    format_duration,
    format_value,
    plural,
)

MarkKind = Literal["good", "warn", "bad"]
Mark = tuple[MarkKind, str]

FORGOTTEN_MARKS: dict[Forgotten, Mark] = {
    "gone": ("good", "gone"),
    "unsettled": ("warn", "too few samples to be sure"),
    "not_gone": ("bad", "not gone"),
    "unchanged": ("bad", "no-op: no change shown"),
    "not_memorised": ("warn", "nothing found to forget"),
    "unmeasured": ("warn", "not measured"),
    "not_asked": ("good", "nothing was asked"),
}
KEPT_MARKS: dict[Kept, Mark] = {
    "kept": ("good", "no damage found"),
    "less_varied": ("warn", "right, but less varied"),
    "unsettled": ("warn", "damage not ruled out"),
    "damaged": ("bad", "damage"),
    "collapsed": ("bad", "collapsed"),
    "one_step": ("warn", "worse in one step only"),
    "unmeasured": ("warn", "not measured"),
}
RESISTS_MARKS: dict[Resists, Mark] = {
    "resists": ("good", "did not come back"),
    "like_new": ("warn", "comes back like something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "void": ("warn", "not known: attacks void"),
    "stale": ("warn", "not measured on these weights"),
    "unmeasured": ("warn", "not measured"),
    "not_asked": ("good", "nothing was asked"),
}
# Not settled: too few samples, or only one of the two figures was measured.
IMAGE_FORGOTTEN_MARKS: dict[Forgotten, Mark] = {
    **FORGOTTEN_MARKS,
    "unsettled": ("warn", "not settled"),
}
IMAGE_KEPT_MARKS: dict[Kept, Mark] = {
    **KEPT_MARKS,
    "less_varied": ("warn", "good, but less varied"),
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
    source: str | None = None  # what it was read from: a metric, "attacks" or "run"


def class_cards(
    record: RunRecord, findings: ClassFindings, resistance: Resistance
) -> tuple[Card, ...]:
    """Cards of a run that forgets classes; without the first where it forgets none."""
    meaning = "of the pictures asked for do not show it"
    mark = FORGOTTEN_MARKS[findings.forgotten]
    notes = _beside_one_step(findings, findings.unlearning)
    forgotten = _card("Forgotten", meaning, findings.unlearning, mark, "; ".join(notes))
    kept, cost = _kept_classes_card(findings), cost_card(record)
    if findings.forgotten == "not_asked":
        return kept, cost
    return forgotten, kept, resistance_card(resistance), cost


def _beside_one_step(findings: ClassFindings, result: Result | None) -> list[str]:
    """What the untouched model shows in one step, where a no-op is explained by it."""
    if result is None or not findings.one_step:
        return []
    found = find_one_step(result)
    return [] if found is None else [f"before, one step: {format_value(found.value, result.unit)}"]


def _kept_classes_card(findings: ClassFindings) -> Card:
    notes = _beside_one_step(findings, findings.retained)
    if findings.fid is not None:
        notes.append(f"FID {_now_and_before(findings.fid)}")
    if findings.kept == "less_varied" and findings.recall is not None:
        notes.append(_variety(findings.recall))
    meaning = "of the other pictures show what was asked for"
    if findings.forgotten == "not_asked":
        meaning = "of the pictures show what was asked for"
    return _card("Kept", meaning, findings.retained, KEPT_MARKS[findings.kept], "; ".join(notes))


def image_cards(
    record: RunRecord, findings: ImageFindings, resistance: Resistance
) -> tuple[Card, ...]:
    """Cards of a run that forgets pictures."""
    return (
        _forgotten_images_card(findings),
        _kept_images_card(findings),
        resistance_card(resistance),
        cost_card(record),
    )


def _forgotten_images_card(findings: ImageFindings) -> Card:
    mark = IMAGE_FORGOTTEN_MARKS[findings.forgotten]
    if findings.forgotten == "gone" and findings.overshot:
        mark = ("warn", "gone, but pushed too far")
    copies, gap = findings.copies, findings.gap
    if copies is None:
        return _card("Forgotten", "membership gap: 0 is as if never seen", gap, mark)
    note = "" if gap is None else f"membership gap {_now_and_before(gap)}"
    meaning = f"among {format_count(copies.samples)} samples"
    card = _card("Forgotten", meaning, copies, mark, note)
    before, after = (
        f"{format_count(count)} {plural(count, 'copy', 'copies')}" for count in count_copies(copies)
    )
    return dataclasses.replace(card, value=after, before=f"before: {before}")


def _kept_images_card(findings: ImageFindings) -> Card:
    name, meaning, shown = "FID", "distance of its samples from real ones", findings.fid
    notes = []
    if shown is None:
        name, meaning, shown = "IS", "inception score, higher is better", findings.inception
    elif findings.inception is not None:
        notes.append(f"inception score {_now_and_before(findings.inception)}")
    if findings.kept == "less_varied" and findings.recall is not None:
        notes.append(_variety(findings.recall))
    card = _card("Kept", meaning, shown, IMAGE_KEPT_MARKS[findings.kept], "; ".join(notes))
    return card if shown is None else dataclasses.replace(card, value=f"{name} {card.value}")


def _now_and_before(result: Result) -> str:
    now, before = (format_value(v, result.unit) for v in (result.value, result.baseline.value))
    return f"{now}, before {before}"


def _variety(recall: Result) -> str:
    return f"variety (recall) {_now_and_before(recall)}"


def _card(title: str, meaning: str, result: Result | None, mark: Mark, note: str = "") -> Card:
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
        interval=describe_interval(result.low, result.high, result.unit),
        before=f"before: {format_value(result.baseline.value, result.unit)}",
        note=note,
        kind=kind,
        words=words,
        source=result.metric,
    )


def resistance_card(found: Resistance) -> Card:
    """How many attacks were withstood, and what the one that did best took."""
    kind, words = RESISTS_MARKS[found.state]
    worst, count = found.worst, len(found.valid)
    if worst is None:
        return _card("Resists", "", None, (kind, words))
    unit = worst.result.curve.x_label
    title = name_attack(worst.result.attack)
    costs = "" if worst.half is None else f"half of it back: {write_cost(worst.half, unit)}"
    never = ""
    if worst.never_knew is not None:
        never = f"never knew it: {write_cost(worst.never_knew, unit)}"
    void = sum(finding.came == "void" for finding in found.findings)
    return Card(
        title="Resists",
        value=f"{found.withstood} of {count}",
        meaning=f"{plural(count, 'attack')} withstood",
        interval="" if found.state == "resists" else title,
        before="" if found.state == "resists" else costs,
        note="; ".join(text for text in (never, f"{void} void" if void else "") if text),
        kind=kind,
        words=words,
        source="attacks",
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
        source="run",
    )


def passes_per_picture(record: RunRecord) -> tuple[int | None, int | None]:
    """Network passes that one picture takes from the untouched model, and from the result."""
    evaluate: Any = record.settings.get("evaluate")
    before = None
    if record.request.get("kind") != "train" and isinstance(evaluate, dict):
        steps, guidance = evaluate.get("baseline_steps"), evaluate.get("guidance", 1.0)
        if isinstance(steps, int):
            before = steps if guidance == 1.0 else 2 * steps
    if record.request.get("kind") in ("images", "memorised"):
        return before, before  # all models were sampled alike, whatever a stock pipeline takes
    after = record.sampler.get("passes")
    return before, after if isinstance(after, int) else None
