"""Measure a run beside the original model, and write what was found."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from efface import __version__
from efface.data.randomness import random_state_kept
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import DataError, ModelError, RequestError
from efface.evaluation.change import is_broken, measure_change, weight_change
from efface.evaluation.grids import sheets_are_whole
from efface.evaluation.store import digest, user_store
from efface.evaluation.subjects import Compared, Job, Subjects, read_judge, read_subjects
from efface.evaluation.terms import common_terms
from efface.evaluation.views import View, pixels_of, read_views
from efface.evidence.model_card import write_model_card
from efface.metrics.judge import Judge
from efface.records import Evaluation, RunRecord, read_evaluation, write_json
from efface.reporting import write_report
from efface.runs.lineage import distilled_pipeline
from efface.runs.recorded import Recorded, read_run

NO_RETRAINED = "none"
EVALUATION = 3  # raised when a figure of the same name comes to mean something else


def evaluate(
    run: str | Path,
    *,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    changes: Sequence[str] = (),
) -> Evaluation:
    """Measure a run beside the original model; writes evaluation.json, samples and report.html.

    Without a classifier only what needs none is measured. A run that was measured by the same
    protocol before is not measured again, and a retrained model that stood beside it then does so
    again unless another is given, or "none". All processes sample, the first one writes.
    Raises an EffaceError, before anything is loaded where that is possible.
    """
    recorded = read_run(Path(run), changes, "evaluate")
    with random_state_kept():
        return measure(recorded, read_judge(recorded.info, judge), retrained)


def measure(
    recorded: Recorded,
    judge: Judge | None,
    retrained: str | Path | None = None,
    encoded: PromptEncoder | None = None,
) -> Evaluation:
    """Measure a run whose request has been read; `encoded` holds its prompts, where it has any."""
    run, record, request = recorded.run, recorded.record, recorded.request
    config = recorded.settings.evaluate
    retrained = _choose_retrained(run, record, retrained)
    compared = Compared(
        guidance=config.guidance if request.guided else 1.0,
        same_sampler=request.same_sampler,
        retrained=retrained,
        distilled=distilled_pipeline(record.start),
    )
    subjects = read_subjects(run / "pipeline", record, config, compared, encoded)
    views = read_views(judge, config, pixels_of(subjects.info), subjects.device, user_store())
    key = _key(recorded, subjects, views)
    evaluation = _measured_before(run, key)
    if evaluation is None:
        job = Job(
            run=run,
            settings=recorded.settings,
            subjects=subjects,
            views=views,
            store=user_store(),
        )
        evaluation = _evaluate(job, recorded).model_copy(
            update={"key": key, "retrained": None if retrained is None else str(retrained)}
        )
    if PartialState().is_main_process:
        write_json(run / "evaluation.json", evaluation)
        write_report([run], run / "report.html")
        write_model_card(run)
    return evaluation


def _evaluate(job: Job, recorded: Recorded) -> Evaluation:
    """The request's own figures, with how far the model changed, and on which terms."""
    # Of a network whose output is not finite nothing can be measured.
    if is_broken(job.subjects.result, user_store()):
        return Evaluation(results=[], broken=True)
    evaluation = recorded.material.evaluate(job)
    subjects, config = job.subjects, job.settings.evaluate
    made = inspect_model(job.run / "pipeline", subjects.info.null_label)
    retained = recorded.material.retained(job.settings)
    change = {"weights": weight_change(made.weights_folder, subjects.info.weights_folder)}
    change |= measure_change(
        subjects.result, subjects.original, retained, user_store(), config.batch_size
    )
    terms = common_terms(subjects.original, job.views) | evaluation.terms
    return evaluation.model_copy(update={"change": change, "terms": terms})


def _key(recorded: Recorded, subjects: Subjects, views: dict[str, View]) -> str:
    """A digest of everything that an evaluation depends on."""
    settings = recorded.settings.to_json()
    return digest(
        {
            "models": {name: model.digest for name, model in subjects.named().items()},
            "request": recorded.record.request,
            "settings": {name: settings[name] for name in settings if name not in ("train",)},
            "material": [recorded.record.material, recorded.material.compared_digest()],
            "views": [(view.extractor, view.compared_with) for view in views.values()],
            "versions": {"evaluation": EVALUATION, "efface": __version__},
        }
    )


def _measured_before(run: Path, key: str) -> Evaluation | None:
    """An evaluation of this very key with its images; seen alike by all processes."""
    found = None
    if (run / "evaluation.json").exists() and sheets_are_whole(run / "samples"):
        with contextlib.suppress(DataError):  # an unreadable one is replaced
            found = read_evaluation(run)
    everywhere = gather_object([found is not None and found.key == key])
    return found if all(everywhere) else None


def _choose_retrained(run: Path, record: RunRecord, given: str | Path | None) -> Any:
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
