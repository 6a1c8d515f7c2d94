"""Measure a run beside the original model, and write what was found."""

from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object

from efface import __version__
from efface.data.randomness import random_state_kept
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import ModelError, RequestError
from efface.evaluation.grids import sheets_are_whole
from efface.evaluation.networks import pixels_of, read_views
from efface.evaluation.protocol import evaluate as evaluate_by
from efface.evaluation.references import settle
from efface.evaluation.store import digest, user_store
from efface.evaluation.subjects import Job, Subjects, read_judge, read_subjects
from efface.evaluation.views import View
from efface.evidence.model_card import CARD, write_model_card
from efface.metrics.judge import Judge
from efface.records import Evaluation, RunRecord, write_json
from efface.reporting import write_report
from efface.requests import distilled_pipeline
from efface.runs.lock import locked
from efface.runs.recorded import Recorded, measured_before, read_run

NO_RETRAINED = "none"
EVALUATION = 5  # raised when a figure of the same name comes to mean something else


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
    with locked(recorded.run), random_state_kept():
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
    evaluation = measured_before(run)
    retrained = _choose_retrained(evaluation, record, retrained)
    distilled = distilled_pipeline(record.start)
    compared = request.compared(
        config.set_guidance,
        retrained=retrained,
        distilled=distilled if distilled is not None and distilled.is_dir() else None,
    )
    subjects = read_subjects(run / "pipeline", record, config, compared, encoded)
    views = read_views(judge, config, pixels_of(subjects.info), subjects.device, user_store())
    retained = recorded.material.retained(recorded.settings)
    guided = request.guided
    subjects, views = settle(subjects, views, retained, config, user_store(), guided=guided)
    key = _key(recorded, subjects, views)
    same = evaluation is not None and evaluation.key == key
    found = gather_object([same and sheets_are_whole(run / "samples")])
    if evaluation is None or not all(found):  # decided alike by all processes
        job = Job(
            run=run, settings=recorded.settings, subjects=subjects, views=views, store=user_store()
        )
        made = inspect_model(run / "pipeline", subjects.info.null_label)
        protocol = recorded.material.protocol(job)
        evaluation = evaluate_by(job, protocol, made, retained.asked)
        beside = None if retrained is None else str(retrained)
        evaluation = evaluation.model_copy(update={"key": key, "retrained": beside})
    if PartialState().is_main_process:
        write_json(run / "evaluation.json", evaluation)
    complete(run)
    return evaluation


def complete(run: Path) -> None:
    """Write the card, and the report of a run that was measured, where they are older than it."""
    if not PartialState().is_main_process:
        return
    records = [run / name for name in ("record.json", "evaluation.json", "attacks.json")]
    latest = max(path.stat().st_mtime_ns for path in records if path.exists())
    pages = {run / "pipeline" / CARD: lambda: write_model_card(run)}
    if (run / "evaluation.json").exists():
        pages[run / "report.html"] = lambda: write_report([run], run / "report.html")
    for path, write in pages.items():
        if not path.exists() or path.stat().st_mtime_ns < latest:
            write()


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


def _choose_retrained(
    before: Evaluation | None, record: RunRecord, given: str | Path | None
) -> str | Path | None:
    """The model that was given, or beside which the run was measured last; "none" is neither.

    RequestError where the latter is not there any more.
    """
    if given is not None:
        return None if str(given) == NO_RETRAINED else given
    if before is None or before.retrained is None:
        return None
    try:
        inspect_model(before.retrained, record.model.get("null_label"))
    except ModelError as error:
        raise RequestError(
            f"{before.retrained} stood beside this run as the retrained model and cannot be used "
            f"any more: restore it, give another, or {NO_RETRAINED!r} to measure without one."
        ) from error
    return before.retrained
