"""Measure a run beside the untouched model, and write what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object

from efface.concept_runs import recorded_prompts
from efface.config import EvaluateConfig, Settings, read_settings
from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.loading import default_sampler, load
from efface.diffusion.model_folder import ModelInfo, fetch_weights, inspect_model, pixel_shape
from efface.diffusion.sampling import MultiStep, OneStep
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import DataError, RequestError
from efface.evaluation.classes import ClassProtocol, ClassSubjects, evaluate_labels
from efface.evaluation.concepts import ConceptProtocol, evaluate_concepts, write_prompt_sheets
from efface.evaluation.grids import write_grids
from efface.evaluation.guards import measure_change, name_guards
from efface.evaluation.images import ImageSubjects, evaluate_images, write_image_sheets
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest, user_store
from efface.evaluation.views import View, read_views
from efface.image_runs import read_pictures
from efface.metrics.judge import load_judge
from efface.records import (
    Evaluation,
    RunRecord,
    hash_model,
    hash_weights,
    read_evaluation,
    read_record,
    write_json,
)
from efface.requests import ForgetImages


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
    before is not measured again. `encoded` holds the prompts of a text-to-image run, where they
    have been encoded already. All processes draw, the first one writes.
    """
    from efface.evidence.model_card import write_model_card
    from efface.reporting import write_report

    run = Path(run)
    record = read_record(run)
    config = evaluated_settings(record, changes)
    subjects = share_prompts(read_subjects(run, record, config.evaluate, retrained), encoded)
    info = subjects.info
    judge_folder = find_judge(info, judge)
    judged = None if judge_folder is None else load_judge(judge_folder)
    shape = None if info.vae else pixel_shape(info)
    views = read_views(judged, config.evaluate, config.images, shape, subjects.device, user_store())
    key = digest(
        {
            "models": [subjects.result.digest, subjects.untouched.digest]
            + [subjects.retrained.digest if subjects.retrained else None],
            "request": record.request,
            "settings": [dataclasses.asdict(config.evaluate), dataclasses.asdict(config.images)],
            "views": [view.extractor for view in views.values()],
        }
    )
    evaluation = _measured_before(run, key)
    if evaluation is None:
        measure = _evaluate_labels if info.family is None else _evaluate_prompts
        if record.request["kind"] == "images":
            measure = _evaluate_images
        evaluation = measure(run, record, config, subjects, views)
        evaluation = evaluation.model_copy(update={"key": key})
    if PartialState().is_main_process:
        write_json(run / "evaluation.json", evaluation)
        write_report([run], run / "report.html")
        write_model_card(run)
    return evaluation


def evaluated_settings(record: RunRecord, changes: Sequence[str] = ()) -> Settings:
    """The run's own settings, with `changes` to evaluate.NAME on top."""
    kept = [
        f"{section}.{k}={json.dumps(v, ensure_ascii=False)}"
        for section in ("evaluate", "images", "prompts")
        for k, v in record.settings.get(section, {}).items()  # older runs lack the last
        if v is not None  # which is the default of all that can be left out
    ]
    return read_settings(record.settings["method"]["name"], None, [*kept, *changes])


@dataclass(frozen=True, eq=False, kw_only=True)
class Subjects:
    """A run's models as they are sampled, on one device."""

    info: ModelInfo  # of the untouched model
    result: Subject
    untouched: Subject
    retrained: Subject | None
    device: torch.device


def read_subjects(
    run: Path,
    record: RunRecord,
    config: EvaluateConfig,
    retrained: str | Path | None = None,
) -> Subjects:
    """Load what a run made, what it was made from, and a model that never knew.

    RequestError where the untouched model is no longer the one that the run began with.
    """
    info = inspect_model(record.model["source"], record.model["null_label"])
    fetch_weights(info)
    if hash_weights(info.folder) != record.model["weights"]:
        raise RequestError(
            f"{info.source} is no longer the model that this run started from: restore it, or "
            "run again."
        )
    output = inspect_model(run / "pipeline", record.model["null_label"])
    others = [info]
    if retrained is not None:
        check_retrained(retrained, info)
        others.append(inspect_model(retrained, record.model["null_label"]))
    device = Accelerator().device
    guidance = 1.0 if record.request["kind"] == "images" else config.guidance
    stands_sampled = MultiStep(config.baseline_steps, guidance=guidance)
    result = load(output).to(device)
    stands = [
        Subject(
            denoiser=load(other).to(device),
            sampler=stands_sampled,
            digest=hash_model(other.folder),
        )
        for other in others
    ]
    return Subjects(
        info=info,
        result=Subject(
            denoiser=result,
            # For pictures every model is sampled alike, else as a stock pipeline samples it.
            sampler=stands_sampled
            if record.request["kind"] == "images"
            else default_sampler(output, result),
            digest=hash_model(output.folder),
        ),
        untouched=stands[0],
        retrained=stands[1] if retrained is not None else None,
        device=device,
    )


def share_prompts(subjects: Subjects, encoded: PromptEncoder | None) -> Subjects:
    """Let all text models read one cache of prompts, so that none is encoded twice.

    Their text encoders are the same: no run changes them.
    """
    untouched = subjects.untouched.denoiser
    if not isinstance(untouched, TextDenoiser):
        return subjects
    prompts = encoded or untouched.prompts

    def shared(subject: Subject) -> Subject:
        assert isinstance(subject.denoiser, TextDenoiser)
        denoiser = dataclasses.replace(subject.denoiser, prompts=prompts)
        return dataclasses.replace(subject, denoiser=denoiser)

    return dataclasses.replace(
        subjects, untouched=shared(subjects.untouched), result=shared(subjects.result)
    )


def _measured_before(run: Path, key: str) -> Evaluation | None:
    """An evaluation of this very key with its pictures; seen alike by all processes."""
    found = None
    if (run / "evaluation.json").exists() and (run / "samples" / "grid.json").exists():
        with contextlib.suppress(DataError):  # an unreadable one is replaced
            found = read_evaluation(run)
    everywhere = gather_object([found is not None and found.key == key])
    return found if all(everywhere) else None


def _evaluate_images(
    run: Path,
    record: RunRecord,
    settings: Settings,
    subjects: Subjects,
    views: Mapping[str, View],
) -> Evaluation:
    request = ForgetImages.model_validate(record.request)
    pictures = read_pictures(request, pixel_shape(subjects.info), settings.images)
    if pictures.complete(request) != request:
        raise RequestError(
            f"{request.images} no longer holds the pictures of this run: restore them."
        )
    compared = ImageSubjects(
        result=subjects.result, untouched=subjects.untouched, retrained=subjects.retrained
    )
    config = settings.evaluate
    evaluation, drawn, distance = evaluate_images(compared, pictures, config, views, user_store())
    if PartialState().is_main_process:
        samples = run / "samples"
        write_image_sheets(samples, compared, pictures, drawn, distance, config.seed)
    return _guarded(evaluation, subjects, None)


def _evaluate_prompts(
    run: Path,
    record: RunRecord,
    settings: Settings,
    subjects: Subjects,
    views: Mapping[str, View],
) -> Evaluation:
    result, untouched, config = subjects.result, subjects.untouched, settings.evaluate
    prompts = recorded_prompts(record, settings.prompts)
    concept, replacement = (record.request.get(key) for key in ("concept", "replacement"))
    protocol = ConceptProtocol(
        prompts=prompts,
        phrases=(concept, replacement) if concept and replacement else None,
        config=config,
    )
    if PartialState().is_main_process:
        write_prompt_sheets(run / "samples", untouched, result, prompts, config.seed)
    evaluation = evaluate_concepts(_compared(subjects), protocol, views, user_store())
    return _guarded(evaluation, subjects, prompts.retain)


def _compared(subjects: Subjects) -> ClassSubjects:
    """With the untouched model in one step, where the result draws so."""
    result, untouched = subjects.result, subjects.untouched
    one_step = None
    if isinstance(result.sampler, OneStep):
        one_step = dataclasses.replace(untouched, sampler=result.sampler)
    return ClassSubjects(
        result=result,
        untouched=untouched,
        untouched_one_step=one_step,
        retrained=subjects.retrained,
    )


def _evaluate_labels(
    run: Path,
    record: RunRecord,
    settings: Settings,
    subjects: Subjects,
    views: Mapping[str, View],
) -> Evaluation:
    result, untouched, config = subjects.result, subjects.untouched, settings.evaluate
    forgotten = list(record.request.get("labels", []))
    classes = as_class_denoiser(untouched.denoiser).num_classes
    retained = [label for label in range(classes) if label not in forgotten]
    if PartialState().is_main_process:
        write_grids(run / "samples", untouched, result, forgotten, config.seed)
    evaluation = Evaluation(results=[])
    if views:
        protocol = ClassProtocol(forgotten=forgotten, retained=retained, config=config)
        evaluation = evaluate_labels(_compared(subjects), protocol, views, user_store())
    return _guarded(evaluation, subjects, retained)


def _guarded(
    evaluation: Evaluation, subjects: Subjects, retained: Sequence[Any] | None
) -> Evaluation:
    change = measure_change(subjects.result, subjects.untouched, retained)
    return evaluation.model_copy(update={"change": change, "guards": name_guards(change)})


def find_judge(info: ModelInfo, judge: str | Path | None) -> Path | None:
    """The judge's folder that was given, or the one beside the model; None if there is none."""
    if info.family is not None:
        if judge is not None:
            raise RequestError(
                f"{info.source} takes prompts, and a judge knows labels: leave the judge out, and "
                "set evaluate.clip."
            )
        return None
    if judge is not None:
        load_judge(Path(judge))
        return Path(judge)
    beside = info.folder / "judge"
    return beside if beside.is_dir() else None


def check_retrained(retrained: str | Path, info: ModelInfo) -> None:
    """Raise ModelError or RequestError for a model that cannot stand beside the untouched one."""
    other = inspect_model(retrained, info.null_label)
    if other.num_classes != info.num_classes:
        raise RequestError(
            f"{other.source} has {other.num_classes or 'no'} labels and {info.source} "
            f"{info.num_classes or 'none'}: give a retrained model with the same labels."
        )
    if pixel_shape(other) != pixel_shape(info):
        raise RequestError(
            f"{other.source} draws pictures of shape {pixel_shape(other)} and {info.source} of "
            f"{pixel_shape(info)}: give a retrained model of the same shape."
        )
