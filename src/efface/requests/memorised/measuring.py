"""Measure a run that forgot a memorised picture."""

from __future__ import annotations

from efface.evaluation.store import user_store
from efface.evaluation.subjects import Job
from efface.records import Evaluation
from efface.requests.classes.evaluation import ClassSubjects
from efface.requests.memorised.evaluation import (
    MemorisedProtocol,
    evaluate_memorised,
    write_memorised_sheets,
)
from efface.requests.memorised.feed import recorded_inputs
from efface.requests.memorised.similarity import CopyDetector, load_features
from efface.requests.memorised.stages import read_prepared


def measure_memorised(job: Job) -> tuple[Evaluation, MemorisedProtocol]:
    """Figures of a run and their protocol; also writes the sheets of pictures.

    The memorised picture, the threshold and the modified prompt are those that the run was
    prepared with.
    """
    subjects, settings = job.subjects, job.settings
    inputs = recorded_inputs(job.record, subjects.info, settings)
    detected, modified = read_prepared(job.run)
    config = settings.memorised
    features, name = load_features(config.extractor, config.extractor_sha256, subjects.device)
    protocol = MemorisedProtocol(
        prompt=job.record.request["prompt"],
        modified=modified,
        controls=inputs.elsewhere(settings.evaluate.retain_samples),
        held_out=inputs.held_out,
        detector=CopyDetector(
            reference=detected.reference,
            threshold=detected.detection.threshold,
            features=features,
        ),
        compared_by=name,
        settings=settings,
    )
    compared = ClassSubjects(
        result=subjects.result, untouched=subjects.untouched, retrained=subjects.retrained
    )
    store, models = user_store(), (subjects.untouched, subjects.result)
    write_memorised_sheets(job.run / "samples", models, protocol, store)
    return evaluate_memorised(compared, protocol, job.views, store), protocol
