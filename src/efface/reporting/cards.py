"""The cards below the headline: forgotten, retained and resistance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from efface.evaluation.wording import DASH, describe_interval, plural
from efface.reporting.attack_words import name_attack, write_cost
from efface.reporting.resistance import Resistance, Resists
from efface.requests.states import Forgotten, Kept
from efface.requests.words import Evidence, Judgement

MarkKind = Literal["good", "warn", "bad"]
Mark = tuple[MarkKind, str]

FORGOTTEN_MARKS: dict[Forgotten, Mark] = {
    "gone": ("good", "gone"),
    "inconclusive": ("warn", "inconclusive"),
    "not_gone": ("bad", "not gone"),
    "unchanged": ("bad", "no effect"),
    "not_memorised": ("warn", "nothing found to forget"),
    "unmeasured": ("warn", "not measured"),
    "not_asked": ("good", "nothing to forget"),
}
KEPT_MARKS: dict[Kept, Mark] = {
    "kept": ("good", "no damage found"),
    "less_varied": ("warn", "less diverse"),
    "inconclusive": ("warn", "damage not ruled out"),
    "damaged": ("bad", "damaged"),
    "broken": ("bad", "model broken"),
    "one_step": ("warn", "worse in one step only"),
    "unmeasured": ("warn", "not measured"),
}
RESISTS_MARKS: dict[Resists, Mark] = {
    "resists": ("good", "did not come back"),
    "like_new": ("warn", "comes back like something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "inconclusive": ("warn", "inconclusive"),
    "stale": ("warn", "not measured on these weights"),
    "unmeasured": ("warn", "not measured"),
    "not_asked": ("good", "nothing to forget"),
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure with its interval, the original model's, and a mark."""

    title: str
    value: str
    meaning: str
    interval: str
    before: str
    note: str
    kind: MarkKind
    words: str
    source: str | None = None  # what it was read from: a metric, "attacks" or "run"


def forgotten_card(judgement: Judgement) -> Card:
    mark = FORGOTTEN_MARKS[judgement.forgotten]
    if judgement.forgotten == "gone" and judgement.overshot:
        mark = ("warn", "gone, but overshot")
    return _card("Forgotten", judgement.forget, mark)


def kept_card(judgement: Judgement) -> Card:
    return _card("Retained", judgement.retain, KEPT_MARKS[judgement.kept])


def _card(title: str, evidence: Sequence[Evidence], mark: Mark) -> Card:
    """The most telling figure, and the others as a note."""
    kind, words = mark
    if not evidence:
        return Card(
            title=title, value=DASH, meaning="", interval="", before="", note="", kind=kind,
            words=words,
        )  # fmt: skip
    first, *others = evidence
    result = first.result
    return Card(
        title=title,
        value=first.value,
        meaning=first.meaning,
        interval=describe_interval(result.low, result.high, result.unit),
        before="; ".join(f"{model}: {value}" for model, value in first.beside.items()),
        note="; ".join(other.clause for other in others),
        kind=kind,
        words=words,
        source=result.metric,
    )


def resistance_card(found: Resistance) -> Card:
    """How many attacks were withstood, and what the one that did best took."""
    kind, words = mark = RESISTS_MARKS[found.state]
    worst, count = found.worst, len(found.valid)
    if worst is None:
        return _card("Resists", (), mark)
    unit = worst.result.curve.x_label
    withstood = found.state == "resists"
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
        interval="" if withstood else name_attack(worst.result.attack),
        before="" if withstood else half,
        note="; ".join(notes),
        kind=kind,
        words=words,
        source="attacks",
    )
