"""One figure of a run, measured again on a given model by the recorded protocol and seeds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.model_folder import pixel_shape
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, Sampler
from efface.errors import RequestError
from efface.evaluation.observers import DistanceObserver
from efface.evaluation.sample_sets import Observer, SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.views import CLASS_METRICS, DetectorView, View
from efface.evidence.networks import find_view
from efface.evidence.recorded import (
    Claim,
    base_model,
    load_recorded,
    recorded_evaluation,
    recorded_request,
    recorded_section,
    recorded_seeds,
)
from efface.metrics.base import Metric, Observations
from efface.metrics.concept_rate import ConceptRate
from efface.metrics.copy_rate import count_copies
from efface.metrics.intervals import Estimate
from efface.metrics.label_agreement import LabelAgreement
from efface.records import Evaluation, Result, RunRecord
from efface.requests.base import ForgetClass, ForgetImages, ForgetMemorised
from efface.requests.classes.evaluation import take_turns
from efface.requests.concept.remeasure import remeasure_prompts
from efface.requests.images.evaluation import find_copy_distance
from efface.requests.images.feed import Pictures, read_pictures
from efface.requests.images.remeasure import BESIDE_UNSEEN, OF_PICTURES, remeasure_pictures
from efface.requests.memorised.remeasure import remeasure_memorised
from efface.settings.reading import EvaluateConfig, ImagesConfig

DEFAULTS = {  # cheap, and what was asked for
    "class": "unlearning_accuracy",
    "images": "copy_rate",
    "concept": "concept_rate",
    "memorised": "memorised_share",
}
COPIES = "copy_rate"
FORGET_SIDE = {ConceptRate.name, *(m.name for m in CLASS_METRICS if m.side == "forget")}
OTHER = "choose another metric, or 'none'"


def choose_results(record: RunRecord, evaluation: Evaluation, metric: str | None) -> list[Result]:
    """The figures called `metric`, one per network that they were seen with.

    By default those of what was asked for; empty where this run was not measured so.
    RequestError for a metric that it does not have.
    """
    name = metric or DEFAULTS.get(str(record.request.get("kind")), "retained_accuracy")
    results = [result for result in evaluation.results if result.metric == name]
    if not results and metric is not None:
        there = ", ".join(dict.fromkeys(r.metric for r in evaluation.results)) or "nothing"
        raise RequestError(f"{name} was not measured in this run: there is {there}.")
    return results


def remeasure(claim: Claim) -> Estimate:
    """Draw the recorded samples from the model at hand, and compute the figure again.

    Nothing kept by an earlier evaluation is read. Raises NotHereError if what it needs is not on
    this machine, another EffaceError if that is other than recorded, or if the figure was not
    measured with the settings of its run.
    """
    request = recorded_request(claim.record)
    request.check(claim.info)
    if isinstance(request, ForgetMemorised):
        return remeasure_memorised(claim, request)
    if claim.record.of_prompts:
        return remeasure_prompts(claim)
    config = recorded_evaluation(claim.record)
    if isinstance(request, ForgetImages) and claim.result.metric in (COPIES, *OF_PICTURES):
        return _of_pictures(claim, request, config)
    forgotten = request.labels if isinstance(request, ForgetClass) else ()
    view = find_view(claim)
    denoiser = load_recorded(claim.info, config)
    sampler = _sampler(claim, denoiser, config)
    samples = _samples(claim, Subject(denoiser=denoiser, sampler=sampler), forgotten)
    claim.require(sampler.describe())
    metric = _find_metric(claim, view, samples, config)
    seen = _see(view, samples)
    return metric.compute(seen, forgotten, view.reference(metric, forgotten))


def _find_metric(claim: Claim, view: View, samples: SampleSet, config: EvaluateConfig) -> Metric:
    """The metric of a figure, ready to compute."""
    name, labelled = claim.result.metric, samples.asked is not None
    if name == LabelAgreement.name and labelled and claim.network == "judge":
        return LabelAgreement(untouched=_see(view, _untouched(claim, samples, config)))
    if isinstance(view, DetectorView):
        claim.require_looked_for(view.detector.name, view.extractor["name"])
    metric = next((m for m in view.metrics(labelled) if m.name == name), None)
    if metric is None:
        raise RequestError(f"{name} is no figure of such a run that efface knows: {OTHER}.")
    return metric


def _of_pictures(claim: Claim, request: ForgetImages, config: EvaluateConfig) -> Estimate:
    """A figure of how the model draws the pictures to forget, or knows them."""
    denoiser = load_recorded(claim.info, config)
    subject = Subject(denoiser=denoiser, sampler=_sampler(claim, denoiser, config))
    if claim.result.metric != COPIES:
        pictures = _read_pictures(claim, request, claim.result.metric in BESIDE_UNSEEN)
        return remeasure_pictures(claim, subject, pictures, config)
    samples = _samples(claim, subject, ())
    claim.require(subject.sampler.describe())
    pictures = _read_pictures(claim, request, unseen=False)
    near = DistanceObserver(pictures=pictures.forget.images)

    def untouched() -> Tensor:
        between = _look(_untouched(claim, samples, config), near)["distances"]
        return torch.from_numpy(between)

    distance = find_copy_distance(pictures, untouched)
    return count_copies(_look(samples, near)["distances"], distance)[0]


def _look(samples: SampleSet, observer: Observer) -> Arrays:
    return observe(samples, {"seen": observer}, Store(None), "measuring again")["seen"]


def _see(view: View, samples: SampleSet) -> Observations:
    asked = samples.asked if samples.asked is not None else [0] * len(samples.seeds)
    return view.observations(_look(samples, view.observer), np.array(asked, dtype=np.int64))


def _sampler(claim: Claim, denoiser: Denoiser, config: EvaluateConfig) -> Sampler:
    if isinstance(denoiser, ClassDenoiser):
        return default_sampler(claim.info, denoiser)
    return MultiStep(config.baseline_steps)


def _samples(claim: Claim, subject: Subject, forgotten: tuple[int, ...]) -> SampleSet:
    """The samples behind a figure, drawn from the model at hand."""
    seeds, asked = recorded_seeds(claim.result), None
    if isinstance(subject.denoiser, ClassDenoiser):
        asked = _asked(claim.result, forgotten, subject.denoiser.num_classes)
    return SampleSet(subject=subject, seeds=seeds, asked=asked)


def _asked(result: Result, forgotten: tuple[int, ...], classes: int) -> list[int]:
    """The labels of the metric's side, in turns."""
    forget = result.metric in FORGET_SIDE
    labels = forgotten if forget else [c for c in range(classes) if c not in forgotten]
    if not labels:
        raise RequestError(f"{result.metric} needs forgotten labels, and this run has none.")
    return take_turns(labels, result.samples).tolist()


def _untouched(claim: Claim, samples: SampleSet, config: EvaluateConfig) -> SampleSet:
    """The same samples of the model that the run began with, as the run compared with it."""
    sampler = samples.subject.sampler
    if samples.asked is not None:
        sampler = MultiStep(config.baseline_steps, guidance=config.guidance)
        claim.require(f"untouched model: {sampler.describe()}")
    denoiser = load_recorded(base_model(claim.record, OTHER), config)
    subject = Subject(denoiser=denoiser, sampler=sampler)
    return SampleSet(subject=subject, seeds=samples.seeds, asked=samples.asked)


def _read_pictures(claim: Claim, request: ForgetImages, unseen: bool) -> Pictures:
    """The pictures of the request, if they are here and have the recorded pixels."""
    config = recorded_section(claim.record, "images", ImagesConfig)
    needed = request if unseen else request.model_copy(update={"unseen": None})
    pictures = read_pictures(needed, pixel_shape(claim.info), config)
    if pictures.complete(request) != request:
        raise RequestError(
            f"{request.images} does not hold the pictures of this run: put them there, or choose "
            "a metric that needs none."
        )
    return pictures
