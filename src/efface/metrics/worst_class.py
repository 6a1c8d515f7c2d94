"""The retained class that lost most: what a mean over all classes hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, proportion
from efface.records import Margin, Spec


@dataclass(frozen=True, eq=False)
class WorstClass(Metric):
    """Accuracy of the one label that fell furthest, of `classes` that it was chosen among.

    Its interval is Bonferroni's, at 1 - 0.05 / classes, as the worst of many is chosen for being
    low.
    """

    label: int
    classes: int

    @property
    def spec(self) -> Spec:  # type: ignore[override]  # one per label
        return SPEC.model_copy(update={"label": f"Worst class ({self.label})"})

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        shown = observed.seen[observed.asked == self.label] == self.label
        return proportion(int(shown.sum()), len(shown), 1 - 0.05 / self.classes)


SPEC = Spec(
    name="worst_class",
    label="Worst class",
    meaning="accuracy of the one retained class that lost most",
    unit="share of samples",
    side="retain",
    better="more",
    role="secondary",
    margin=Margin(value=0.05),
)


def find_worst(result: Observations, original: Observations) -> WorstClass | None:
    """The label whose accuracy fell furthest; None for samples of fewer than two labels."""
    labels = np.unique(original.asked)
    if len(labels) < 2:
        return None
    fell = [_accuracy(original, label) - _accuracy(result, label) for label in labels]
    return WorstClass(int(labels[int(np.argmax(fell))]), len(labels))


def _accuracy(observed: Observations, label: int) -> float:
    return float((observed.seen[observed.asked == label] == label).mean())
