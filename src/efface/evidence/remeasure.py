"""The figures of a run, measured again on a given model by the very evaluation of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator

from efface.data.tables import HUB
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.places import find_folder
from efface.diffusion.weight_files import hash_weights
from efface.errors import ConfigError, DataError, EffaceError, RequestError
from efface.evaluation.networks import pixels_of, read_views
from efface.evaluation.protocol import evaluate
from efface.evaluation.references import settle
from efface.evaluation.store import Store
from efface.evaluation.subjects import Job, check_retrained, read_judge, read_subjects
from efface.evidence.compare import CHOOSING, Again
from efface.evidence.networks import Given, NotHereError, networks_here
from efface.metrics.judge import Judge
from efface.records import Evaluation, RunRecord
from efface.requests import distilled_pipeline, read_request
from efface.requests.base import Material, Request
from efface.settings.base import Settings, from_json

AT_ONCE = 250  # samples of a batch, at most: what a pack says is not to be trusted


def remeasure(
    record: RunRecord, evaluation: Evaluation, run: Path, model: Path, given: Given
) -> Again:
    """Sample from the model at hand and from those beside it, and compute all figures again.

    `run` is a folder with what the evaluation of such a run reads beside its models. Nothing kept
    by an earlier evaluation is read and nothing is downloaded. NotHereError where something that a
    figure cannot do without is not on this machine, another EffaceError where it is not what was
    recorded.
    """
    request = read_request(record.request)
    settings = recorded_settings(record, request)
    info = inspect_model(model, record.model.get("null_label"), record.model.get("size"))
    original = _original(record)
    _check_files(request)
    settings, missing = networks_here(settings, given)
    material = _read_material(record, request, info, settings)
    config = settings.evaluate
    compared = request.compared(
        config.set_guidance,
        retrained=_retrained(evaluation, original, given, missing),
        distilled=_distilled(record, missing),
    )
    subjects = read_subjects(model, record, config, compared)
    judge = _judge(evaluation, original, given, missing)
    retained, store = material.retained(settings), Store(None)
    views = read_views(judge, config, pixels_of(info), Accelerator().device, store)
    subjects, views = settle(
        subjects,
        views,
        retained,
        config,
        store,
        guided=request.guided,
        recorded=evaluation.guidance if missing.keys() & CHOOSING else None,
    )
    job = Job(run=run, settings=settings, subjects=subjects, views=views, store=store)
    again = evaluate(job, material.protocol(job), info, retained.asked)
    return Again(evaluation=again, missing=missing)


def recorded_settings(record: RunRecord, request: Request) -> Settings:
    """How a run is evaluated, without its method: its name could have any module imported."""
    sections: dict[str, Any] = {"method": {"name": request.default_method}}
    for name in ("evaluate", request.section):
        if name in record.settings:
            sections[name] = record.settings[name]
    settings = from_json(sections, request.section, request.own)
    batch_size = min(settings.evaluate.batch_size, AT_ONCE)
    return settings.changed({"evaluate.batch_size": batch_size})


def _original(record: RunRecord) -> ModelInfo:
    """The model that the run began with; NotHereError where it is not on this machine."""
    source = record.model.get("source")
    if not isinstance(source, str) or find_folder(source) is None:
        raise NotHereError(f"the original model {source!r} is not on this machine.")
    info = inspect_model(source, record.model.get("null_label"), record.model.get("size"))
    if hash_weights(info.folder) != record.model.get("weights"):
        raise RequestError(f"{source} is no longer the model that this run began with: restore it.")
    return info


def _check_files(request: Request) -> None:
    """NotHereError for files of the request that are not on this machine; none is downloaded."""
    everything = (*request.earlier, request)
    for value in (value for one in everything for value in one.model_dump().values()):
        if isinstance(value, str) and value.startswith(HUB):
            raise NotHereError(f"{value} is not on this machine.")
    try:
        request.check_files()
    except DataError as error:
        raise NotHereError(str(error)) from error


def _read_material(
    record: RunRecord, request: Request, info: ModelInfo, settings: Settings
) -> Material:
    try:
        material = request.read(info, settings)
    except ConfigError as error:  # a network that is not here is missed
        raise NotHereError(str(error)) from error
    if material.recorded() != record.material:
        raise RequestError(
            f"{request.describe()} is not what was recorded: restore the files that the request "
            "names."
        )
    return material


def _judge(
    evaluation: Evaluation, original: ModelInfo, given: Given, missing: dict[str, str]
) -> Judge | None:
    """The classifier, if it is the recorded one by its content."""
    judge = read_judge(original, given.judge)
    if evaluation.judge is None or (
        judge is not None and judge.digest == evaluation.judge.get("sha256")
    ):
        return judge
    missing["judge"] = (
        "the classifier of the run is not beside the original model: give it with --judge."
    )
    return None


def _retrained(
    evaluation: Evaluation, original: ModelInfo, given: Given, missing: dict[str, str]
) -> str | Path | None:
    """The retrained model, where it can stand beside the run."""
    source = given.retrained or evaluation.retrained
    if evaluation.retrained is None or source is None:
        return None
    try:
        if find_folder(str(source)) is not None:
            check_retrained(source, original)
            return source
        reason = "it is not on this machine."
    except EffaceError as error:
        reason = str(error)
    missing["retrained"] = f"the retrained model {source}: {reason} Give it with --retrained."
    return None


def _distilled(record: RunRecord, missing: dict[str, str]) -> Path | None:
    """The pipeline of a run that this one began from and that forgot nothing, as was recorded."""
    start = record.start or {}
    pipeline = distilled_pipeline(start)
    if pipeline is None or (pipeline.is_dir() and hash_weights(pipeline) == start["output"]):
        return pipeline
    missing["distilled"] = f"the distilled model of {start['source']} is not on this machine."
    return None
