"""Evidence for requests about prompts: pictures, and what CLIPs and detectors see in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from efface.diffusion.text.prompts import shortened
from efface.evaluation.grids import Models, draw_both, write_sheets
from efface.evaluation.results import Figure, make_result, view_result
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.views import PREFERRED, ClipView, DetectorView, View
from efface.metrics.base import Observations, Side
from efface.metrics.clip_contrast import detector_scores
from efface.metrics.clip_score import ClipScore, prompt_similarity
from efface.metrics.concept_rate import ConceptRate, rate_above
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Evaluation, Result
from efface.requests.classes.evaluation import SAMPLING, SIDES, ClassSubjects
from efface.requests.concept.groups import evaluate_groups
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.settings.reading import EvaluateConfig

COLUMNS, ROWS = 6, 10
FORGOTTEN_ROWS = 5
Seen = dict[Side, Arrays]


def evaluate_concepts(
    subjects: ClassSubjects, protocol: ConceptProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure all models by one protocol; without a network that looks, nothing is claimed."""
    seen = {
        model: observe_prompts(subject, protocol, views, store, SAMPLING[model])
        for model, subject in (subjects.named() if views else {}).items()
    }
    sampled = (
        f"result: {subjects.result.sampler.describe()}; "
        f"untouched model: {subjects.untouched.sampler.describe()}"
    )
    evaluation = Evaluation(results=[])
    for name, view in views.items():
        looked = {model: sides[name] for model, sides in seen.items()}
        if _looks(view, "retain"):
            kept = {model: sides["retain"] for model, sides in looked.items()}
            evaluation.results += _kept(view, kept, protocol, sampled)
        if isinstance(view, ClipView | DetectorView) and protocol.prompts.forget:
            gone = {model: sides["forget"] for model, sides in looked.items()}
            evaluation = _with_concept(evaluation, view, gone, protocol, sampled)
    finder = find_finder(views)
    if protocol.groups and finder is not None:
        results, curves = evaluate_groups(subjects, protocol, finder, store, sampled)
        evaluation.results += results
        evaluation.curves += curves
    return evaluation


def find_finder(views: Mapping[str, View]) -> DetectorView | ClipView | None:
    """What tells groups of prompts apart: the detector, or where there is none a CLIP."""
    for kind in (DetectorView, ClipView):
        for view in views.values():
            if isinstance(view, kind):
                return view
    return None


def _kept(
    view: View, kept: Mapping[str, Arrays], protocol: ConceptProtocol, sampled: str
) -> list[Result]:
    """How good retained samples are, and how well they show what was asked for."""
    asked = protocol.asked("retain")
    labels = np.array(protocol.rows("retain"))
    observed: dict[str, Observations] = {}
    for model, arrays in kept.items():
        observed[model] = view.observations(arrays, labels)
        if isinstance(view, ClipView):
            similar = prompt_similarity(view.clip, arrays["embedded"], asked)
            observed[model] = dataclasses.replace(observed[model], prompt_similarity=similar)
    metrics = view.metrics(labelled=False)
    if isinstance(view, ClipView):
        metrics = (ClipScore(), *metrics)
    seeds = protocol.seeds("retain")
    return [view_result(view, metric, observed, (), seeds, sampled) for metric in metrics]


def _with_concept(
    evaluation: Evaluation,
    view: ClipView | DetectorView,
    gone: Mapping[str, Arrays],
    protocol: ConceptProtocol,
    sampled: str,
) -> Evaluation:
    """How often the concept is found where it was asked for, and for every other threshold."""
    if isinstance(view, DetectorView):
        threshold, name, called = view.threshold, view.detector.name, view.extractor["name"]
        scores = {model: view.scores(arrays, view.labels) for model, arrays in gone.items()}
    else:
        threshold, name, contrasts = PREFERRED, view.clip.name, protocol.contrasts()
        pair = (
            "the concept and its replacement" if protocol.phrases else "each prompt and its target"
        )
        called = f"{name}, which chooses between {pair}"
        scores = {
            model: detector_scores(view.clip, arrays["embedded"], contrasts)
            for model, arrays in gone.items()
        }
    seeds = protocol.seeds("forget")
    text = f"{sampled}; seen by: {called}"
    rate = make_result(
        Figure(ConceptRate.name, ConceptRate.unit, ConceptRate.higher_is_better),
        {model: rate_above(values, threshold) for model, values in scores.items()},
        samples=len(seeds),
        seeds=[seeds[0], seeds[-1]],
        protocol=text,
        extractor=view.extractor,
    )
    curve = threshold_curve(scores, name, text, extractor=view.extractor)
    return evaluation.model_copy(
        update={
            "results": [rate, *evaluation.results],
            "curves": [*evaluation.curves, curve],
        }
    )


def observe_prompts(
    subject: Subject,
    protocol: ConceptProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str = "sampling",
) -> dict[str, Seen]:
    """Draw both sides once and let all look at them: view -> side -> what it saw."""
    seen: dict[str, Seen] = {name: {} for name in views}
    for side in SIDES:
        observers = {name: view.observer for name, view in views.items() if _looks(view, side)}
        asked = protocol.asked(side)
        if not asked or not observers:
            continue
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds(side),
            asked=asked,
            batch_size=protocol.config.batch_size,
        )
        for name, arrays in observe(samples, observers, store, what).items():
            seen[name][side] = arrays
    return seen


def _looks(view: View, side: Side) -> bool:
    """Whether a network has something to say of a side: of what is to go, or of what stays."""
    if side == "forget":
        return isinstance(view, ClipView | DetectorView)
    return not isinstance(view, DetectorView)


def write_prompt_sheets(
    folder: Path, models: Models, prompts: ConceptPrompts, config: EvaluateConfig, store: Store
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per prompt, the same noise.

    Of keywords that a model is guided away from no picture is drawn and none is written.
    """
    shown = prompts.forget[:FORGOTTEN_ROWS] if not prompts.keywords else ()
    rows = [*shown, *prompts.retain][:ROWS]
    asked = [prompt for prompt in rows for _ in range(COLUMNS)]
    sheets = draw_both(models, asked, config, store)
    grid = {
        "labels": list(range(len(rows))),
        "names": [shortened(prompt) for prompt in rows],
        "columns": COLUMNS,
        "asked": "prompt",
        "forgotten": list(range(len(shown))),
        "tile": sheets["before"].shape[-1],
    }
    write_sheets(folder, sheets, grid, models)
