"""Evidence for requests about prompts: samples, and what CLIPs and detectors find in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from efface.evaluation.results import make_result, view_result
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.subjects import SAMPLING, Subjects
from efface.evaluation.views import ClipView, DetectorView, View
from efface.metrics.clip_score import CLIP_SCORE, prompt_similarity
from efface.metrics.concept_rate import SPEC as CONCEPT_RATE
from efface.metrics.concept_rate import rate_above
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Evaluation, Result, Side
from efface.requests.concept.finding import (
    ConceptView,
    concept_scores,
    describe_concept,
    find_finder,
    name_of,
)
from efface.requests.concept.groups import evaluate_groups
from efface.requests.concept.protocol import ConceptProtocol

SIDES: tuple[Side, ...] = ("forget", "retain")
Seen = dict[Side, Arrays]


def evaluate_concepts(
    subjects: Subjects, protocol: ConceptProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure all models by one protocol; without a network nothing is claimed."""
    seen = {
        model: observe_prompts(subject, protocol, views, store, SAMPLING[model])
        for model, subject in (subjects.named() if views else {}).items()
    }
    sampled = subjects.sampled()
    evaluation = Evaluation(results=[], terms=protocol.terms())
    for name, view in views.items():
        by_model = {model: sides[name] for model, sides in seen.items()}
        if _observes(view, "retain"):
            retain = {model: sides["retain"] for model, sides in by_model.items()}
            evaluation.results += _about_retained(view, retain, protocol, sampled)
        if isinstance(view, ConceptView) and protocol.prompts.forget:
            forget = {model: sides["forget"] for model, sides in by_model.items()}
            evaluation = _with_concept(evaluation, view, forget, protocol, sampled)
    finder = find_finder(views)
    if protocol.groups and finder is not None:
        results, curves = evaluate_groups(subjects, protocol, finder, store, sampled)
        evaluation.results += results
        evaluation.curves += curves
    return evaluation


def observe_prompts(
    subject: Subject,
    protocol: ConceptProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str = "sampling",
) -> dict[str, Seen]:
    """Generate the samples of both sides once for all networks: view -> side -> its arrays."""
    seen: dict[str, Seen] = {name: {} for name in views}
    for side in SIDES:
        observers = {name: view for name, view in views.items() if _observes(view, side)}
        prompts = protocol.sampled(side)
        if not prompts or not observers:
            continue
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds(side),
            asked=prompts,
            batch_size=protocol.config.batch_size,
        )
        for name, arrays in observe(samples, observers, store, what).items():
            seen[name][side] = arrays
    return seen


def _observes(view: View, side: Side) -> bool:
    """Whether a network measures anything in samples of forget, or of retained prompts."""
    if side == "forget":
        return isinstance(view, ConceptView)
    return not isinstance(view, DetectorView)


def _about_retained(
    view: View, retain: Mapping[str, Arrays], protocol: ConceptProtocol, sampled: str
) -> list[Result]:
    """How good retained samples are, and how well they show their prompts."""
    rows, prompts = np.array(protocol.rows("retain")), protocol.sampled("retain")
    seen = {model: view.observations(arrays, rows) for model, arrays in retain.items()}
    metrics = view.metrics(labelled=False)
    if isinstance(view, ClipView):
        metrics = (CLIP_SCORE, *metrics)
        for model, arrays in retain.items():
            similar = prompt_similarity(view.clip, arrays["embedded"], prompts)
            seen[model] = dataclasses.replace(seen[model], prompt_similarity=similar)
    seeds = protocol.seeds("retain")
    return [view_result(view, metric, seen, (), seeds, sampled) for metric in metrics]


def _with_concept(
    evaluation: Evaluation,
    view: ConceptView,
    forget: Mapping[str, Arrays],
    protocol: ConceptProtocol,
    sampled: str,
) -> Evaluation:
    """How often the concept is found in samples of forget prompts, also by threshold."""
    contrasts = protocol.contrasts()
    scores = {m: concept_scores(view, arrays, contrasts) for m, arrays in forget.items()}
    text = f"{sampled}; measured with: {describe_concept(view, protocol.phrases)}"
    rate = make_result(
        CONCEPT_RATE,
        {model: rate_above(values, view.threshold) for model, values in scores.items()},
        protocol.seeds("forget"),
        protocol=text,
        extractor=view.extractor,
    )
    curve = threshold_curve(scores, name_of(view), text, extractor=view.extractor)
    return evaluation.model_copy(
        update={
            "results": [rate, *evaluation.results],
            "curves": [*evaluation.curves, curve],
        }
    )
