"""The cards below the headline: forgotten, retained and resistance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from efface.evaluation.wording import DASH, describe_interval, plural
from efface.records import Result
from efface.reporting.attack_words import name_attack, write_cost
from efface.reporting.findings import Answer, Findings
from efface.reporting.resistance import Came, Resistance
from efface.reporting.sentences import beside, describe_result, write_own
from efface.requests.words import Phrases

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
ATTACK_MARKS: dict[Came, Mark] = {
    "withstood": ("good", "did not come back"),
    "like_new": ("warn", "comes back like something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "failed_control": ("warn", "inconclusive"),
    "unclear": ("warn", "not measured"),
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
    source: str = ""  # what it was read from, as it ends that part's anchor


def findings_card(
    title: str, findings: Findings, phrases: Phrases, results: Sequence[Result]
) -> Card:
    """The figure that the answer rests on, and the others as a note."""
    kind, words = MARKS[title][findings.answer]
    decisive = findings.decisive
    if decisive is None:
        return Card(title=title, kind=kind, words=words)
    result = decisive.result
    value, meaning = write_own(result)
    others = [f.result for f in findings.found if f is not decisive]
    return Card(
        title=title,
        value=value,
        meaning=meaning,
        interval=describe_interval(result.low, result.high, result.unit),
        before="; ".join(f"{model}: {text}" for model, text in beside(result).items()),
        note="; ".join(describe_result(other, phrases) for other in others),
        kind=kind,
        words=words,
        source=f"how-{results.index(result)}",
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
