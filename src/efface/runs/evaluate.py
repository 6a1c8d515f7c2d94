"""Measure a run beside the untouched model, and write what was found."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from efface import __version__
from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.model_folder import inspect_model, pixel_shape
from efface.diffusion.sampling import OneStep
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import DataError, ModelError, RequestError
from efface.evaluation.grids import sheets_are_whole, write_grids
from efface.evaluation.guards import (
    COLLAPSE,
    is_broken,
    measure_change,
    name_guards,
    weight_change,
)
from efface.evaluation.store import digest, digest_of_array, user_store
from efface.evaluation.subjects import (
    Job,
    check_measurable,
    find_judge,
    read_subjects,
)
from efface.evaluation.terms import (
    Terms,
    common_terms,
    label_terms,
    memorised_terms,
    picture_terms,
    prompt_terms,
)
from efface.evaluation.views import read_views
from efface.metrics.judge import load_judge
from efface.records import (
    Evaluation,
    RunRecord,
    read_evaluation,
    read_record,
    write_json,
)
from efface.requests.base import ForgetImages, read_request
from efface.requests.classes.evaluation import ClassProtocol, ClassSubjects, evaluate_labels
from efface.requests.concept.evaluation import evaluate_concepts, write_prompt_sheets
from efface.requests.concept.prompt_groups import check_detection, digest_groups
from efface.requests.concept.prompts import recorded_prompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.images.evaluation import ImageSubjects, evaluate_images, write_image_sheets
from efface.requests.images.feed import read_pictures
from efface.requests.memorised.measuring import measure_memorised
from efface.settings.reading import Settings
from efface.settings.recorded import measured_settings

NO_RETRAINED = "none"
EVALUATION = 1  # raised when a figure of the same name comes to mean something else


def evaluate(
    run: str | Path,
    *,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    changes: Sequence[str] = (),
    encoded: PromptEncoder | None = None,
) -> Evaluation:
    """Measure a run beside the untouched model; writes evaluation.json, samples and report.html.

    Without a judge only what needs none is measured. A run that was measured by the same protocol
    before is not measured again, and a retrained model that stood beside it then does so again
    unless another is given, or "none". `encoded` holds the prompts of a text-to-image run, where
    they have been encoded already. All processes draw, the first one writes.
    """
    from efface.evidence.model_card import write_model_card
    from efface.reporting import write_report

    run = Path(run)
    record = read_record(run)
    check_measurable(run, record)
    config = measured_settings(record, changes)
    retrained = _choose_retrained(run, record, retrained)
    groups = check_detection(config, record.request)
    subjects = read_subjects(run, record, config.evaluate, retrained, encoded)
    info = subjects.info
    judge_folder = find_judge(info, judge)
    judged = None if judge_folder is None else load_judge(judge_folder)
    shape = None if info.vae else pixel_shape(info)
    views = read_views(judged, config.evaluate, config.images, shape, subjects.device, user_store())
    key = digest(
        {
            "models": [subjects.result.digest, subjects.untouched.digest]
            + [
                other.digest if other else None
                for other in (subjects.retrained, subjects.distilled)
            ],
            "request": record.request,
            "settings": [
                dataclasses.asdict(section)
                for section in (config.evaluate, config.images, config.memorised, config.prompts)
            ],
            "pictures": _digest_pictures(record, shape, config),
            "views": [(view.extractor, view.compared_with) for view in views.values()],
            "groups": digest_groups(groups),
            "versions": {"evaluation": EVALUATION, "efface": __version__},
        }
    )
    evaluation = _measured_before(run, key)
    if evaluation is None:
        measure = _evaluate_labels if info.family is None else _evaluate_prompts
        if record.request["kind"] == "images":
            measure = _evaluate_images
        elif record.request["kind"] == "memorised":
            measure = _evaluate_memorised
        job = Job(run=run, record=record, settings=config, subjects=subjects, views=views)
        # Of what draws no numbers nothing can be measured, and it is not the untouched model.
        broken = is_broken(subjects.result, user_store())
        evaluation = Evaluation(results=[], guards=[COLLAPSE]) if broken else measure(job)
        beside = None if retrained is None else str(retrained)
        evaluation = evaluation.model_copy(update={"key": key, "retrained": beside})
    if PartialState().is_main_process:
        write_json(run / "evaluation.json", evaluation)
        write_report([run], run / "report.html")
        write_model_card(run)
    return evaluation


def _digest_pictures(
    record: RunRecord, shape: tuple[int, int, int] | None, config: Settings
) -> list[str]:
    """Of pictures that stay and pictures never seen: files may have come to hold others."""
    if record.request["kind"] != "images" or shape is None:
        return []
    pictures = read_pictures(read_request(ForgetImages, record.request), shape, config.images)
    sets = [pictures.retain, pictures.unseen]
    return [digest_of_array(images.images.numpy()) for images in sets if images is not None]


def _measured_before(run: Path, key: str) -> Evaluation | None:
    """An evaluation of this very key with its pictures; seen alike by all processes."""
    found = None
    if (run / "evaluation.json").exists() and sheets_are_whole(run / "samples"):
        with contextlib.suppress(DataError):  # an unreadable one is replaced
            found = read_evaluation(run)
    everywhere = gather_object([found is not None and found.key == key])
    return found if all(everywhere) else None


def _choose_retrained(run: Path, record: RunRecord, given: str | Path | None) -> str | Path | None:
    """The model that was given, or beside which the run was measured last; "none" is neither.

    RequestError where the latter is not there any more.
    """
    if given is not None:
        return None if str(given) == NO_RETRAINED else given
    before = None
    if (run / "evaluation.json").exists():
        with contextlib.suppress(DataError):  # an unreadable one is replaced
            before = read_evaluation(run).retrained
    if before is not None:
        try:
            inspect_model(before, record.model["null_label"])
        except ModelError as error:
            raise RequestError(
                f"{before} stood beside this run as the retrained model and cannot be used any "
                f"more: restore it, give another, or {NO_RETRAINED!r} to measure without one."
            ) from error
    return before


def _evaluate_images(job: Job) -> Evaluation:
    request = read_request(ForgetImages, job.record.request)
    pictures = read_pictures(request, pixel_shape(job.subjects.info), job.settings.images)
    if pictures.complete(request) != request:
        raise RequestError(
            f"{request.images} no longer holds the pictures of this run: restore them."
        )
    compared = ImageSubjects(
        result=job.subjects.result,
        untouched=job.subjects.untouched,
        retrained=job.subjects.retrained,
    )
    config, store = job.settings.evaluate, user_store()
    evaluation, looked = evaluate_images(compared, pictures, config, job.views, store)
    write_image_sheets(job.run / "samples", pictures, looked, store)
    return _completed(evaluation, job, None, picture_terms(pictures, looked.distance, config))


def _evaluate_memorised(job: Job) -> Evaluation:
    evaluation, protocol = measure_memorised(job)
    return _completed(evaluation, job, protocol.controls, memorised_terms(protocol))


def _evaluate_prompts(job: Job) -> Evaluation:
    result, untouched, config = job.subjects.result, job.subjects.untouched, job.settings.evaluate
    prompts = recorded_prompts(job.record, job.settings.prompts)
    concept, replacement = (job.record.request.get(key) for key in ("concept", "replacement"))
    protocol = ConceptProtocol(
        prompts=prompts,
        phrases=(concept, replacement) if concept and replacement else None,
        config=config,
        groups=check_detection(job.settings, job.record.request),
    )
    store = user_store()
    write_prompt_sheets(job.run / "samples", (untouched, result), prompts, config, store)
    evaluation = evaluate_concepts(_compared(job), protocol, job.views, store)
    return _completed(evaluation, job, prompts.retain, prompt_terms(protocol))


def _compared(job: Job) -> ClassSubjects:
    """With the untouched model in one step, where the result draws so."""
    result, untouched = job.subjects.result, job.subjects.untouched
    one_step = None
    if isinstance(result.sampler, OneStep):
        one_step = dataclasses.replace(untouched, sampler=result.sampler)
    return ClassSubjects(
        result=result,
        untouched=untouched,
        untouched_one_step=one_step,
        retrained=job.subjects.retrained,
        distilled=job.subjects.distilled,
    )


def _evaluate_labels(job: Job) -> Evaluation:
    result, untouched, config = job.subjects.result, job.subjects.untouched, job.settings.evaluate
    forgotten = list(job.record.request.get("labels", []))
    classes = as_class_denoiser(untouched.denoiser).num_classes
    retained = [label for label in range(classes) if label not in forgotten]
    store = user_store()
    write_grids(job.run / "samples", (untouched, result), forgotten, config, store)
    evaluation = Evaluation(results=[])
    protocol = ClassProtocol(forgotten=forgotten, retained=retained, config=config)
    if job.views:
        evaluation = evaluate_labels(_compared(job), protocol, job.views, store)
    return _completed(evaluation, job, retained, label_terms(protocol))


def _completed(
    evaluation: Evaluation, job: Job, retained: Sequence[Any] | None, terms: Terms
) -> Evaluation:
    """With what the guards saw, and the terms on which all was measured."""
    subjects, size = job.subjects, job.settings.evaluate.batch_size
    untouched, made = subjects.info, inspect_model(job.run / "pipeline", subjects.info.null_label)
    change = {"weights": weight_change(made.weights_folder, untouched.weights_folder)}
    change |= measure_change(subjects.result, subjects.untouched, retained, user_store(), size)
    terms = common_terms(subjects.untouched, job.views) | terms
    return evaluation.model_copy(
        update={"change": change, "guards": name_guards(change), "terms": terms}
    )
