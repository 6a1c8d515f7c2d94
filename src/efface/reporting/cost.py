"""What a run cost: time, machine, steps, and network passes per image before and after."""

from __future__ import annotations

from typing import Any

from efface.evaluation.wording import DASH, describe_hardware, format_count, format_duration, plural
from efface.records import RunRecord
from efface.reporting.cards import Card, MarkKind
from efface.requests import is_request, read_request


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
    kind: MarkKind = "warn"
    words = "passes per image not recorded"
    if before is not None and after is not None:
        kind = "good" if after <= before else "warn"
        words = _passes(after)
    return Card(
        title="Cost",
        value=DASH if record.seconds is None else format_duration(record.seconds),
        meaning="of training",
        interval=describe_hardware(record.hardware),
        before="" if before is None else f"original model: {_passes(before)}",
        note="" if record.steps is None else f"{format_count(record.steps)} steps",
        kind=kind,
        words=words,
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
