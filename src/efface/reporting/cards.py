"""The cards below the headline: forgotten, retained and resistance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from efface.evaluation.wording import DASH, describe_interval, plural
from efface.reporting.attack_words import name_attack, write_cost
from efface.reporting.findings import Answer, Findings
from efface.reporting.resistance import Resistance
from efface.reporting.sentences import beside, name_figure, write_own

MarkKind = Literal["good", "warn", "bad"]
Mark = tuple[MarkKind, str]

MARKS: dict[str, dict[Answer, Mark]] = {
    "Forgotten": {
        "yes": ("good", "forgotten"),
        "no": ("bad", "not forgotten"),
        "inconclusive": ("warn", "inconclusive"),
        "not_measured": ("warn", "not measured"),
    },
    "Retained": {
        "yes": ("good", "preserved"),
        "no": ("bad", "damaged"),
        "inconclusive": ("warn", "damage not ruled out"),
        "not_measured": ("warn", "not measured"),
    },
    "Resists": {
        "yes": ("good", "did not come back"),
        "no": ("bad", "comes back"),
        "inconclusive": ("warn", "inconclusive"),
        "not_measured": ("warn", "not measured"),
    },
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure with its interval, the original model's, and a mark."""

    title: str
    value: str = DASH
    meaning: str = ""
    interval: str = ""
    before: str = ""
    note: str = ""
    kind: MarkKind
    words: str
    source: str | None = None  # what it was read from: a metric, "attacks" or "run"


def findings_card(title: str, findings: Findings) -> Card:
    """The figure that the answer rests on, and which others say so too."""
    kind, words = MARKS[title][findings.answer]
    decisive = findings.decisive
    if decisive is None:
        return Card(title=title, kind=kind, words=words)
    result = decisive.result
    value, meaning = write_own(result)
    alike = [f.result for f in findings.found if f is not decisive and f.answer == "no"]
    return Card(
        title=title,
        value=value,
        meaning=meaning,
        interval=describe_interval(result.low, result.high, result.unit),
        before="; ".join(f"{model}: {text}" for model, text in beside(result).items()),
        note=f"also worse: {', '.join(map(name_figure, alike))}" if alike else "",
        kind=kind,
        words=words,
        source=result.metric,
    )


def resistance_card(found: Resistance) -> Card:
    """How many attacks were withstood, and what the one that did best took."""
    kind, words = MARKS["Resists"][found.answer]
    worst, count = found.worst, len(found.valid)
    if worst is None:
        return Card(title="Resists", kind=kind, words=words)
    unit = worst.result.curve.x_label
    returned = worst.came != "withstood"
    half = "" if worst.half is None else f"half of it back: {write_cost(worst.half, unit)}"
    notes = []
    if worst.retrained is not None:
        notes.append(f"retrained model: {write_cost(worst.retrained, unit)}")
    if found.failed:
        notes.append(f"{found.failed} inconclusive")
    return Card(
        title="Resists",
        value=f"{found.withstood} of {count}",
        meaning=f"{plural(count, 'attack')} withstood",
        interval=name_attack(worst.result.attack) if returned else "",
        before=half if returned else "",
        note="; ".join(notes),
        kind=kind,
        words=words,
        source="attacks",
    )
