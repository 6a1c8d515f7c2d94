"""What a run cost: training, and network passes per image."""

from typing import Any

from efface.evaluation.wording import describe_hardware, format_count, format_duration, plural
from efface.records import Evaluation, RunRecord
from efface.requests import is_request, read_request


def passes_per_image(record: RunRecord, evaluation: Evaluation) -> tuple[int | None, int | None]:
    """Network passes that one image takes from the original model, and from the result.

    At the guidance that was set, or else at the one that the evaluation chose.
    """
    passes = record.sampler.get("passes")
    after = passes if isinstance(passes, int) else None
    evaluate: Any = record.settings.get("evaluate")
    if not is_request(record.request) or not isinstance(evaluate, dict):
        return None, after
    request = read_request(record.request)
    before = evaluate.get("baseline_steps")
    guidance = evaluate.get("guidance")
    guidance = evaluation.guidance if guidance is None else guidance
    if isinstance(before, int) and request.guided and guidance != 1.0:
        before *= 2
    before = before if isinstance(before, int) else None
    return before, before if request.same_sampler else after


def tell_cost(record: RunRecord, evaluation: Evaluation) -> tuple[tuple[str, str], str]:
    """A mark and a word or two, and a sentence or two."""
    took = "How long training took is not recorded"
    if record.seconds is not None:
        took = f"Training took {format_duration(record.seconds)}"
    took += f" ({describe_hardware(record.hardware)})."
    before, after = passes_per_image(record, evaluation)
    mark = "warn", "passes per image not recorded"
    if after is None:
        return mark, took
    passes = f"{format_count(after)} network {plural(after, 'pass', 'passes')} per image"
    if before is None:
        return mark, f"{took} Sampling takes {passes}."
    mark = "good" if after <= before else "warn", passes
    return mark, f"{took} Sampling takes {passes} (original model: {format_count(before)})."
