"""One figure of a run, measured again on a given model by the recorded protocol and seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from efface.config import EvaluateConfig, ImagesConfig
from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.loading import load
from efface.diffusion.model_folder import ModelInfo, find_folder, inspect_model, pixel_shape
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep
from efface.errors import DataError, ModelError, RequestError
from efface.evaluation.classes import take_turns
from efface.evaluation.images import find_copy_distance
from efface.evaluation.observers import DistanceObserver, JudgeObserver, observations
from efface.evaluation.sample_sets import Observer, SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.views import CLASS_METRICS, IMAGE_METRICS
from efface.image_runs import Pictures, read_pictures
from efface.metrics.copy_rate import count_copies
from efface.metrics.intervals import Estimate
from efface.metrics.judge import Judge, load_judge
from efface.records import Evaluation, Result, RunRecord, hash_weights
from efface.requests import ForgetClass, ForgetImages, Request

T = TypeVar("T")

DEFAULTS = {"class": "unlearning_accuracy", "images": "copy_rate"}  # cheap, and what was asked for
COPIES = "copy_rate"
MAX_SAMPLES = 200_000  # what a pack asks for is not to be trusted
MAX_STEPS = 1000


def choose_result(record: RunRecord, evaluation: Evaluation, metric: str | None) -> Result | None:
    """The figure to measure again; None where none was asked for and the run has none for it.

    That is a run that was not measured, or one about prompts, whose figures hang on detectors and
    text encoders. RequestError for a metric that this run does not have, or that cannot be
    measured alone.
    """
    if metric is None and (not evaluation.results or record.of_prompts):
        return None
    name = metric or DEFAULTS.get(str(record.request.get("kind")), "retained_accuracy")
    result = evaluation.get(name)
    if result is None:
        there = ", ".join(r.metric for r in evaluation.results) or "nothing"
        raise RequestError(f"{name} was not measured in this run: there is {there}.")
    images = record.request.get("kind") == "images"
    possible = (
        [COPIES, *(m.name for m in IMAGE_METRICS)] if images else [m.name for m in CLASS_METRICS]
    )
    if record.of_prompts:
        raise RequestError(
            f"{name} is a figure of prompts, which is not measured again alone: run `efface "
            "evaluate` on the run itself, and choose 'none' here."
        )
    seen_by = (result.extractor or {}).get("sha256")
    own = seen_by is None or seen_by == (evaluation.judge or {}).get("sha256")
    if name not in possible or not own:
        raise RequestError(
            f"{name} cannot be measured again from samples and the judge alone: choose one of "
            f"{', '.join(possible)}, or 'none'."
        )
    return result


def remeasure(
    record: RunRecord,
    evaluation: Evaluation,
    result: Result,
    info: ModelInfo,
    judge: str | Path | None = None,
) -> Estimate:
    """Draw the recorded samples from the model `info`, and compute the figure of `result`.

    Nothing kept by an earlier evaluation is read. Raises an EffaceError if the judge or the
    pictures are not here or are others than recorded, or if the figure was not measured with the
    settings of its run.
    """
    request = _read_request(record)
    request.check(info)
    samples = _samples(request, record, result, info)
    described = samples.subject.sampler.describe()
    if described not in result.protocol:
        raise RequestError(
            f"{result.metric} was not measured with {described}, the settings of its run: choose "
            "another metric, or 'none'."
        )
    if isinstance(request, ForgetImages) and result.metric == COPIES:
        pictures = _read_pictures(request, record, info)
        near = DistanceObserver(pictures=pictures.forget.images)
        distance = find_copy_distance(pictures, lambda: _untouched(record, samples, near))
        return count_copies(_look(samples, near)["distances"], distance)[0]
    seen_by = _find_judge(record, evaluation, judge).to(Accelerator().device)
    asked = np.zeros(len(samples.seeds), dtype=np.int64)
    asked = asked if samples.asked is None else np.array(samples.asked, dtype=np.int64)
    seen = observations(_look(samples, JudgeObserver(judge=seen_by)), asked)
    forgotten = request.labels if isinstance(request, ForgetClass) else ()
    metric = next(m for m in (*CLASS_METRICS, *IMAGE_METRICS) if m.name == result.metric)
    return metric.compute(seen, forgotten, seen_by.reference_without(forgotten))


def _look(samples: SampleSet, observer: Observer) -> Arrays:
    return observe(samples, {"seen": observer}, Store(None), "measuring again")["seen"]


def _samples(request: Request, record: RunRecord, result: Result, info: ModelInfo) -> SampleSet:
    """The samples behind a result, drawn from the model at hand."""
    seeds = _read_seeds(result)
    denoiser = load(info).to(Accelerator().device)
    if isinstance(denoiser, ClassDenoiser):
        forgotten = request.labels if isinstance(request, ForgetClass) else ()
        asked = _asked(result, forgotten, denoiser.num_classes)
        subject = Subject(denoiser=denoiser, sampler=default_sampler(info, denoiser))
        return SampleSet(subject=subject, seeds=seeds, asked=asked)
    steps = _read_section(record, "evaluate", EvaluateConfig).baseline_steps
    if steps > MAX_STEPS:
        raise DataError(f"record.json asks for {steps} steps per sample: allowed are {MAX_STEPS}.")
    return SampleSet(subject=Subject(denoiser=denoiser, sampler=MultiStep(steps)), seeds=seeds)


def _asked(result: Result, forgotten: tuple[int, ...], classes: int) -> list[int]:
    """The labels of the metric's side, in turns."""
    side = next(m.side for m in CLASS_METRICS if m.name == result.metric)
    labels = forgotten if side == "forget" else [c for c in range(classes) if c not in forgotten]
    if not labels:
        raise RequestError(f"{result.metric} needs forgotten labels, and this run has none.")
    return take_turns(labels, result.samples).tolist()


def _untouched(record: RunRecord, samples: SampleSet, near: DistanceObserver) -> Tensor:
    """Distances (N, K) of the untouched model's samples to the pictures."""
    untouched = load(_base_model(record)).to(samples.subject.denoiser.device)
    subject = Subject(denoiser=untouched, sampler=samples.subject.sampler)
    between = _look(SampleSet(subject=subject, seeds=samples.seeds), near)["distances"]
    return torch.from_numpy(between)


def _read_request(record: RunRecord) -> Request:
    try:
        return TypeAdapter[Any](Request).validate_python(record.request)
    except ValidationError as error:
        raise DataError("record.json holds a request that this efface does not know.") from error


def _read_section(record: RunRecord, section: str, kind: type[T]) -> T:
    """Settings of a pack, without the method: its name could have any module imported."""
    try:
        text = json.dumps(record.settings.get(section))
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(f"record.json holds no settings {section!r} that efface knows.") from error


def _read_seeds(result: Result) -> range:
    match result.seeds:
        case [first, last] if 0 < last - first + 1 == result.samples <= MAX_SAMPLES:
            return range(first, last + 1)
    raise DataError(
        f"evaluation.json gives {result.metric} {result.samples} samples with the seeds "
        f"{result.seeds[:4]}: these are not one seed per sample, up to {MAX_SAMPLES}."
    )


def _read_pictures(request: ForgetImages, record: RunRecord, info: ModelInfo) -> Pictures:
    """The pictures of the request, if they are here and have the recorded pixels."""
    config = _read_section(record, "images", ImagesConfig)
    pictures = read_pictures(request, pixel_shape(info), config)
    if pictures.complete(request) != request:
        raise RequestError(
            f"{request.images} does not hold the pictures of this run: put them there, or choose "
            "a metric that needs none."
        )
    return pictures


def _find_judge(record: RunRecord, evaluation: Evaluation, judge: str | Path | None) -> Judge:
    """The judge that was given, or that beside the base model; it must be the recorded one."""
    if judge is None:
        judge = _base_model(record).folder / "judge"
    found = load_judge(Path(judge))
    recorded = evaluation.judge or {}
    wanted = {"SHA-256": (recorded.get("sha256"), found.digest)}
    if "reference_sha256" in recorded:  # older runs lack it
        reference = (recorded["reference_sha256"], found.reference_digest)
        wanted["a reference with SHA-256"] = reference
    for what, (then, now) in wanted.items():
        if then != now:
            raise RequestError(
                f"the judge {judge} has {what} {now} and the run was measured with {then}: give "
                "that one with --judge."
            )
    return found


def _base_model(record: RunRecord) -> ModelInfo:
    """The model that the run began with, if it is on this machine; nothing is downloaded."""
    source = record.model.get("source")
    if not isinstance(source, str) or find_folder(source) is None:
        raise RequestError(
            f"the base model {source!r} is not on this machine: give its judge with --judge, or "
            "choose the metric 'none'."
        )
    info = inspect_model(source, record.model.get("null_label"))
    if hash_weights(info.folder) != record.model.get("weights"):
        raise ModelError(f"{source} is no longer the model that this run began with: restore it.")
    return info
