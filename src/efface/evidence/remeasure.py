"""The figures of a run, measured again on a given model by the very evaluation of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from efface.data.tables import HUB
from efface.diffusion.model_folder import find_folder, inspect_model, pixel_shape
from efface.errors import ConfigError, DataError, RequestError
from efface.evaluation.store import Store
from efface.evaluation.subjects import Compared, Job, read_judge, read_subjects
from efface.evaluation.views import JudgeView, View, read_views
from efface.evidence.networks import Given, NotHereError, networks_here
from efface.records import Evaluation, Result, RunRecord, hash_weights
from efface.requests import read_request
from efface.requests.base import Request
from efface.settings.base import Settings, from_json

AT_ONCE = 250  # samples of a batch, at most: what a pack says is not to be trusted


@dataclass(frozen=True, eq=False, kw_only=True)
class Again:
    """What was measured again, and which networks were not here to do so."""

    evaluation: Evaluation
    missing: Mapping[str, str]  # reasons by the name of the network

    def find(self, recorded: Result) -> Result | None:
        """The figure of the same name, measured with a network of the same content."""
        for result in self.evaluation.results:
            same = _content(result) == _content(recorded)
            if result.metric == recorded.metric and same:
                return result
        return None


def _content(result: Result) -> tuple[str | None, str | None]:
    """The network's checksum, and of a detector what it looked for: a copy has another name."""
    extractor = result.extractor or {}
    sought = extractor.get("name", "").partition(", ")[2] or None
    return extractor.get("sha256"), sought if extractor.get("kind") == "detector" else None


def remeasure(
    record: RunRecord, evaluation: Evaluation, run: Path, model: Path, given: Given
) -> Again:
    """Sample from the model at hand and from the original one, and compute all figures again.

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
    try:
        material = request.read(info, settings)
    except ConfigError as error:  # a network that is not here is missed
        raise NotHereError(str(error)) from error
    if material.recorded() != record.material:
        raise RequestError(
            f"{request.describe()} is not what was recorded: restore the files that the request "
            "names."
        )
    config = settings.evaluate
    compared = Compared(
        guidance=config.guidance if request.guided else 1.0, same_sampler=request.same_sampler
    )
    subjects = read_subjects(model, record, config, compared)
    judge = None
    if evaluation.judge is not None:
        judge = read_judge(original, given.judge)
        if judge is None or judge.reported() != evaluation.judge:
            missing["judge"] = (
                "the classifier of the run is not beside the original model: give it with --judge."
            )
            judge = None
    shape = None if info.vae else pixel_shape(info)
    views: dict[str, View] = read_views(judge, config, shape, Accelerator().device, Store(None))
    views = {name: view for name, view in views.items() if _is_recorded(view, evaluation)}
    job = Job(
        run=run,
        record=record,
        settings=settings,
        subjects=subjects,
        views=views,
        store=Store(None),
    )
    return Again(evaluation=material.evaluate(job), missing=missing)


def recorded_settings(record: RunRecord, request: Request) -> Settings:
    """How a run is evaluated, without its method: its name could have any module imported."""
    sections: dict[str, Any] = {"method": {"name": request.default_method}}
    for name in ("evaluate", request.section):
        if name in record.settings:
            sections[name] = record.settings[name]
    settings = from_json(sections, request.section, request.own)
    batch_size = min(settings.evaluate.batch_size, AT_ONCE)
    return settings.changed({"evaluate.batch_size": batch_size})


def _original(record: RunRecord) -> Any:
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
    for value in request.model_dump().values():
        if isinstance(value, str) and value.startswith(HUB):
            raise NotHereError(f"{value} is not on this machine.")
    try:
        request.check_files()
    except DataError as error:
        raise NotHereError(str(error)) from error


def _is_recorded(view: View, evaluation: Evaluation) -> bool:
    """Whether a recorded figure was measured with this network."""
    if isinstance(view, JudgeView):
        return True
    sums = {(result.extractor or {}).get("sha256") for result in evaluation.results}
    return view.extractor["sha256"] in sums


def compare(recorded: Result, again: Result, terms: Mapping[str, tuple[str, str]]) -> str | None:
    """What speaks against a figure; None where it holds. `terms` are recorded and found ones."""
    differing = [name for name, (then, now) in terms.items() if then != now]
    if differing:
        return f"measured with other {' and '.join(differing)} than are here"
    if (recorded.samples, recorded.seeds) != (again.samples, again.seeds):
        return (
            f"recorded with {recorded.samples} samples of the seeds {recorded.seeds[:4]}, and the "
            f"settings of the run give {again.samples} of {again.seeds}"
        )
    if recorded.protocol != again.protocol:
        return "not measured by the protocol that the settings of the run give"
    if not recorded.low <= again.value <= recorded.high:
        interval = f"{recorded.low:.6g} to {recorded.high:.6g}"
        return f"{again.value:.6g} measured again, outside the recorded interval {interval}"
    return None
