"""How requests to forget labels are measured: samples of both sides, as every network sees them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from efface.data.batch import in_turn
from efface.evaluation.grids import write_grids
from efface.evaluation.protocol import Protocol, Samples, Seen, of_models, view_result
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Metric, Observations
from efface.metrics.class_rate import CLASS_RATE
from efface.metrics.label_agreement import label_agreement, labels_seen
from efface.metrics.leakage import LEAKAGE
from efface.metrics.nearest_classes import nearest_classes, nearest_labels
from efface.metrics.threshold_curve import forgotten_scores, threshold_curve
from efface.metrics.unlearning_accuracy import UNLEARNING_ACCURACY
from efface.metrics.worst_class import worst_class
from efface.records import Evaluation, Result, Side

SIDES: tuple[Side, ...] = ("forget", "retain")
Sides = dict[Side, dict[str, Observations]]  # what one network saw, by side and model


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProtocol(Protocol):
    """Which samples are generated: labels take turns, sample i has seed first + i.

    Of forgotten labels there are as many samples for each of the `requests`.
    """

    forget: Sequence[int]
    retain: Sequence[int]
    names: Mapping[int, str] = field(default_factory=dict)  # of labels, where the model has any
    requests: int = 1

    def labels(self, side: Side) -> list[int]:
        """The label of each sample; none where a side has none."""
        if side == "forget":
            return in_turn(self.forget, self.config.forget_samples * self.requests)
        return in_turn(self.retain, self.config.retain_samples)

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.labels(side)))

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that have any labels."""
        return tuple(side for side in SIDES if self.labels(side))

    def samples(self) -> dict[str, Samples]:
        return {
            side: Samples(seeds=self.seeds(side), observers=self.views, asked=self.labels(side))
            for side in self.sides
        }

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        sampled = subjects.sampled()
        terms = {"forgotten labels": ", ".join(map(str, self.forget)) or "none"}
        evaluation = Evaluation(results=[], terms=terms)
        for name, view in self.views.items():
            sides = self.seen_by(name, seen)
            evaluation.results += self._results(view, sides, sampled)
            if isinstance(view, JudgeView):
                evaluation = self._with_labels(evaluation, view, sides, sampled)
        return evaluation

    def seen_by(self, name: str, seen: Mapping[str, Seen]) -> Sides:
        """Observations of one network, each of the samples of one side and model."""
        view = self.views[name]
        return {
            side: {
                model: view.observations(arrays, np.array(self.labels(side)))
                for model, arrays in of_models(seen, side, name).items()
            }
            for side in self.sides
        }

    def _results(self, view: View, sides: Sides, sampled: str) -> list[Result]:
        metrics = view.metrics(labelled=True)
        if isinstance(view, JudgeView) and "retain" in sides:
            metrics = (*metrics, *_beside_original(sides["retain"]), *self._of_forgotten(view))
        results = [
            view_result(view, metric, sides[side], self.forget, self.seeds(side), sampled)
            for metric in metrics
            if (side := metric.spec.side) in sides
        ]
        return [*results, *self._by_label(view, sides, sampled)]

    def _by_label(self, view: View, sides: Sides, sampled: str) -> list[Result]:
        """Whether each of several labels is gone; they decide where there were earlier requests."""
        if not isinstance(view, JudgeView) or len(self.forget) < 2:
            return []
        results = []
        for metric, label in itertools.product((CLASS_RATE, UNLEARNING_ACCURACY), self.forget):
            seen = {model: own.of_label(label) for model, own in sides["forget"].items()}
            named = (label, f"label {label}", f"class {label}")
            spec = metric.spec.about(*named, decides=self.requests > 1)
            own = replace(metric, spec=spec)
            seeds = self.seeds("forget")
            results.append(view_result(view, own, seen, [label], seeds, sampled))
        return results

    def _of_forgotten(self, view: JudgeView) -> tuple[Metric, ...]:
        """What retained samples tell of the forgotten labels and of those that are like them."""
        if not self.forget:
            return ()
        near = nearest_labels(view.judge.reference, view.judge.reference_labels, self.forget)
        return (LEAKAGE, *([nearest_classes(near)] if near else []))

    def _with_labels(
        self, evaluation: Evaluation, view: JudgeView, sides: Sides, sampled: str
    ) -> Evaluation:
        """What a classifier alone can tell: which labels it saw, and how sure it was."""
        text = f"{sampled}; classifier: {view.judge.name}"
        models = next(iter(sides.values()))
        matrix = labels_seen({m: [own[m] for own in sides.values()] for m in models}, text)
        curves = []
        if self.forget:
            scores = {m: forgotten_scores(o, self.forget) for m, o in sides["forget"].items()}
            curves = [threshold_curve(scores, view.judge.name, text, extractor=view.extractor)]
        return evaluation.model_copy(update={"labels_seen": matrix, "curves": curves})

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        models = (subjects.original, subjects.result)
        judge = self.views.get("judge")
        names = self.names or (judge.judge.names if isinstance(judge, JudgeView) else {})
        write_grids(folder, models, list(self.forget), self.config, store, names)


def _beside_original(retain: Mapping[str, Observations]) -> tuple[Metric, ...]:
    """Metrics that are made of what the original model shows."""
    original = retain["baseline"]
    worst = worst_class(retain["result"], original)
    return (*([worst] if worst else []), label_agreement(original))
