"""The cards below the headline: forgotten, retained, resistance and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from efface.evaluation.wording import (
    DASH,
    describe_hardware,
    describe_interval,
    format_count,
    format_duration,
    plural,
    shorten,
)
from efface.records import Result, RunRecord
from efface.reporting.attack_words import write_cost
from efface.reporting.findings import Answer, Findings
from efface.reporting.resistance import Came, Resistance
from efface.reporting.sentences import beside, name_figure, write_own
from efface.requests import is_request, read_request

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
    "undecided": ("warn", "comes back, perhaps faster than something new"),
    "came_back": ("warn", "comes back"),
    "faster": ("bad", "comes back faster than something new"),
    "failed_control": ("warn", "inconclusive"),
    "unclear": ("warn", "not measured"),
    "context": ("warn", "context, not counted"),
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
    mark: Mark
    source: str = ""  # what it was read from, as it ends that part's anchor


def findings_card(title: str, findings: Findings, results: Sequence[Result]) -> Card:
    """The figure that the answer rests on, and which others say so too."""
    mark = MARKS[title][findings.answer]
    decisive = findings.decisive
    if decisive is None:
        return Card(title=title, mark=mark)
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
        mark=mark,
        source=f"how-{results.index(result)}",
    )


def resistance_card(found: Resistance) -> Card:
    """How many attacks were withstood, and what the one that did best took."""
    mark = MARKS["Resists"][found.answer]
    worst, count = found.worst, len(found.valid)
    if worst is None:
        return Card(title="Resists", mark=mark)
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
        interval=shorten(worst.result.title) if returned else "",
        before=half if returned else "",
        note="; ".join(notes),
        mark=mark,
        source="attacks",
    )


def passes_per_image(record: RunRecord) -> tuple[int | None, int | None]:
    """Network passes that one image takes from the original model, and from the result."""
    passes = record.sampler.get("passes")
    after = passes if isinstance(passes, int) else None
    evaluate: Any = record.settings.get("evaluate")
    if not is_request(record.request) or not isinstance(evaluate, dict):
        return None, after
    request = read_request(record.request)
    before = evaluate.get("baseline_steps")
    if isinstance(before, int) and request.guided and evaluate.get("guidance", 1.0) != 1.0:
        before *= 2
    before = before if isinstance(before, int) else None
    return before, before if request.same_sampler else after


def cost_card(record: RunRecord) -> Card:
    before, after = passes_per_image(record)
    mark: Mark = ("warn", "passes per image not recorded")
    if before is not None and after is not None:
        mark = ("good" if after <= before else "warn", _passes(after))
    return Card(
        title="Cost",
        value=DASH if record.seconds is None else format_duration(record.seconds),
        meaning="of training",
        interval=describe_hardware(record.hardware),
        before="" if before is None else f"original model: {_passes(before)}",
        note="" if record.steps is None else f"{format_count(record.steps)} steps",
        mark=mark,
        source="facts-run",
    )


def tell_cost(record: RunRecord) -> str:
    took = "How long training took is not recorded"
    if record.seconds is not None:
        took = f"Training took {format_duration(record.seconds)}"
    took += f" ({describe_hardware(record.hardware)})."
    before, after = passes_per_image(record)
    if after is None:
        return took
    beside = "" if before is None else f" (original model: {format_count(before)})"
    return f"{took} Sampling takes {_passes(after)}{beside}."


def _passes(count: int) -> str:
    return f"{format_count(count)} network {plural(count, 'pass', 'passes')} per image"
