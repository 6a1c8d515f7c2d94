"""Evidence for requests to forget labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from efface.attacks.goals import in_turn
from efface.evaluation.results import view_result
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Store
from efface.evaluation.subjects import SAMPLING, Subjects
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Observations
from efface.metrics.label_agreement import label_agreement, labels_seen
from efface.metrics.threshold_curve import forgotten_scores, threshold_curve
from efface.metrics.worst_class import worst_class
from efface.records import Evaluation, Result, Side
from efface.settings.evaluate import EvaluateSettings

SIDES: tuple[Side, ...] = ("forget", "retain")
Seen = dict[Side, Observations]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProtocol:
    """Which samples are generated: labels take turns, sample i has seed first + i."""

    forget: Sequence[int]
    retain: Sequence[int]
    config: EvaluateSettings

    def labels(self, side: Side) -> np.ndarray:
        """The label of each sample: (N,), or (0,) where a side has none."""
        if side == "forget":
            found = in_turn(self.forget, self.config.forget_samples)
        else:
            found = in_turn(self.retain, self.config.retain_samples)
        return np.array(found, dtype=np.int64)

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.labels(side)))

    def terms(self) -> dict[str, str]:
        """What two evaluations must share for their figures to be compared."""
        return {"forgotten labels": ", ".join(map(str, self.forget)) or "none"}


def observe_labels(
    subject: Subject,
    protocol: ClassProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str = "sampling",
) -> dict[str, Seen]:
    """Sample both sides once for all networks: view -> side -> what it saw."""
    seen: dict[str, Seen] = {name: {} for name in views}
    for side in SIDES:
        labels = protocol.labels(side)
        if len(labels) == 0:
            continue
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds(side),
            asked=labels.tolist(),
            batch_size=protocol.config.batch_size,
        )
        for name, arrays in observe(samples, views, store, what).items():
            seen[name][side] = views[name].observations(arrays, labels)
    return seen


def evaluate_labels(
    subjects: Subjects, protocol: ClassProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure the result and all it is compared with by one protocol."""
    seen = {
        model: observe_labels(subject, protocol, views, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }
    sampled = subjects.sampled()
    evaluation = Evaluation(results=[], terms=protocol.terms())
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
        original = seen["baseline"]["retain"]
        worst = worst_class(seen["result"]["retain"], original)
        metrics = (*metrics, *([worst] if worst else []), label_agreement(original))
    results = []
    for metric in metrics:
        if metric.spec.side not in seen["result"]:
            continue
        sides = {model: sides[metric.spec.side] for model, sides in seen.items()}
        seeds = protocol.seeds(metric.spec.side)
        results.append(view_result(view, metric, sides, protocol.forget, seeds, sampled))
    return results


def _with_labels(
    evaluation: Evaluation,
    view: JudgeView,
    seen: Mapping[str, Seen],
    protocol: ClassProtocol,
    sampled: str,
) -> Evaluation:
    """What a classifier alone can tell: which labels it saw, and how sure it was."""
    text = f"{sampled}; classifier: {view.judge.name}"
    matrix = labels_seen({model: list(sides.values()) for model, sides in seen.items()}, text)
    curves = []
    if protocol.forget:
        scores = {
            model: forgotten_scores(sides["forget"], protocol.forget)
            for model, sides in seen.items()
        }
        curves = [threshold_curve(scores, view.judge.name, text, extractor=view.extractor)]
    return evaluation.model_copy(
        update={"labels_seen": matrix, "curves": curves, "judge": view.judge.reported()}
    )
