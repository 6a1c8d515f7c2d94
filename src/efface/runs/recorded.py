"""A run as it was recorded: its request, its settings and what it read, read again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError, DataError, RequestError
from efface.evaluation.subjects import check_measurable, original_of
from efface.records import Evaluation, RunRecord, read_evaluation, read_record
from efface.requests import is_request, read_request
from efface.requests.base import Material, Request
from efface.settings.base import Settings, from_json, sections_of
from efface.settings.reading import read_changes


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded:
    """A run folder and everything that its record names, each read once."""

    run: Path
    record: RunRecord
    request: Request
    info: ModelInfo  # of the original model
    settings: Settings
    material: Material


def read_run(run: Path, changes: Sequence[str], what: str) -> Recorded:
    """A finished run with `changes` to the settings that `what` reads: "evaluate" or "attack".

    RequestError for a run that forgot nothing that could be measured, for weights, images or
    prompts that are no longer those of the run, ConfigError for settings without effect.
    """
    record = read_record(run)
    if not is_request(record.request):
        raise RequestError(
            f"{run} is a run of the kind {str(record.request.get('kind'))[:40]!r}, of which there "
            f"is nothing to {what}: give a run of `efface forget` or `efface distil`."
        )
    request = read_request(record.request)
    settings = from_json(record.settings, request.section, request.own)
    given = read_changes(changes, sections_of(request.section, request.own, settings.method_name))
    flat = {f"{name}.{key}": value for name, own in given.items() for key, value in own.items()}
    settings = settings.changed(flat)
    read = request.measured if what == "evaluate" else request.attacked
    without_effect = [name for name in flat if name not in read]
    if without_effect:
        raise ConfigError(
            f"--set {without_effect[0]} has no effect: to {what} a run about {request.subject} "
            f"reads {', '.join(sorted(read)) or 'no settings'}."
        )
    check_measurable(run, record)
    info = original_of(record)
    material = read_unchanged(request, record, info, settings)
    return Recorded(
        run=run, record=record, request=request, info=info, settings=settings, material=material
    )


def read_unchanged(
    request: Request, record: RunRecord, info: ModelInfo, settings: Settings
) -> Material:
    """What a recorded request names on disk; RequestError where that has changed since."""
    material = request.read(info, settings)
    if material.recorded() != record.material:
        raise RequestError(
            f"{request.describe()} is no longer what was forgotten: restore the files that the "
            "request names, or run again."
        )
    return material


def measured_before(run: Path) -> Evaluation | None:
    """The evaluation that is there; one that cannot be read counts as none."""
    try:
        return read_evaluation(run)
    except DataError:
        return None
