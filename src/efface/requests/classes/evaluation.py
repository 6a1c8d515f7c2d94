"""Evidence for requests to forget labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from efface.evaluation.results import view_result
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Store
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Observations, Side
from efface.metrics.label_agreement import LabelAgreement, labels_seen
from efface.metrics.threshold_curve import forgotten_scores, threshold_curve
from efface.records import Evaluation, Result
from efface.settings.reading import EvaluateConfig

SAMPLING = {
    "result": "sampling the result",
    "baseline": "sampling the untouched model",
    "baseline_one_step": "the untouched model, one step",
    "retrained": "sampling the retrained model",
    "distilled": "sampling the distilled model",
}
SIDES: tuple[Side, ...] = ("forget", "retain")


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSubjects:
    """The result and what it is compared with."""

    result: Subject
    untouched: Subject
    untouched_one_step: Subject | None = None  # for context, beside a one-step generator
    retrained: Subject | None = None  # a model that never saw the forgotten labels
    distilled: Subject | None = None  # a one-step generator of the untouched model

    def named(self) -> dict[str, Subject]:
        named = {
            "result": self.result,
            "baseline": self.untouched,
            "baseline_one_step": self.untouched_one_step,
            "retrained": self.retrained,
            "distilled": self.distilled,
        }
        return {name: subject for name, subject in named.items() if subject is not None}


def take_turns(labels: Sequence[int], count: int) -> np.ndarray:
    """One label after the other for `count` samples: (count,), or (0,) where there are none."""
    turns = np.array(labels, dtype=np.int64)
    return turns[np.arange(count) % len(turns)] if len(turns) else turns


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProtocol:
    """Which samples are drawn: labels take turns, sample i has seed first + i."""

    forgotten: Sequence[int]
    retained: Sequence[int]
    config: EvaluateConfig

    def asked(self, side: Side) -> np.ndarray:
        if side == "forget":
            return take_turns(self.forgotten, self.config.forget_samples)
        return take_turns(self.retained, self.config.retain_samples)

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.asked(side)))


Seen = dict[Side, Observations]


def observe_labels(
    subject: Subject,
    protocol: ClassProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str = "sampling",
) -> dict[str, Seen]:
    """Draw both sides once and let all look at them: view -> side -> what it saw."""
    seen: dict[str, Seen] = {name: {} for name in views}
    observers = {name: view.observer for name, view in views.items()}
    for side in SIDES:
        asked = protocol.asked(side)
        if len(asked) == 0:
            continue
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds(side),
            asked=asked.tolist(),
            batch_size=protocol.config.batch_size,
        )
        for name, arrays in observe(samples, observers, store, what).items():
            seen[name][side] = views[name].observations(arrays, asked)
    return seen


def evaluate_labels(
    subjects: ClassSubjects,
    protocol: ClassProtocol,
    views: Mapping[str, View],
    store: Store,
) -> Evaluation:
    """Measure the result and all it is compared with by one protocol."""
    seen = {
        model: observe_labels(subject, protocol, views, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }
    sampled = (
        f"result: {subjects.result.sampler.describe()}; "
        f"untouched model: {subjects.untouched.sampler.describe()}"
    )
    evaluation = Evaluation(results=[])
    for name, view in views.items():
        by_model = {model: looked[name] for model, looked in seen.items()}
        evaluation.results += _results(view, by_model, protocol, sampled)
        if isinstance(view, JudgeView):
            evaluation = _with_labels(evaluation, view, by_model, protocol, sampled)
    return evaluation


def _results(
    view: View, seen: Mapping[str, Seen], protocol: ClassProtocol, sampled: str
) -> list[Result]:
    metrics = view.metrics(labelled=True)
    if isinstance(view, JudgeView) and "retain" in seen["baseline"]:
        metrics = (*metrics, LabelAgreement(untouched=seen["baseline"]["retain"]))
    results = []
    for metric in metrics:
        if metric.side not in seen["result"]:
            continue
        sides = {model: sides[metric.side] for model, sides in seen.items()}
        seeds = protocol.seeds(metric.side)
        results.append(view_result(view, metric, sides, protocol.forgotten, seeds, sampled))
    return results


def _with_labels(
    evaluation: Evaluation,
    view: JudgeView,
    seen: Mapping[str, Seen],
    protocol: ClassProtocol,
    sampled: str,
) -> Evaluation:
    """What the judge alone can tell: which labels it saw, and how sure it was."""
    text = f"{sampled}; judge: {view.judge.name}"
    matrix = labels_seen({model: list(sides.values()) for model, sides in seen.items()}, text)
    curves = []
    if protocol.forgotten:
        scores = {
            model: forgotten_scores(sides["forget"], protocol.forgotten)
            for model, sides in seen.items()
        }
        curves = [threshold_curve(scores, view.judge.name, text, extractor=view.extractor)]
    return evaluation.model_copy(
        update={"labels_seen": matrix, "curves": curves, "judge": view.judge.reported()}
    )
