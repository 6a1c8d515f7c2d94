"""The retained class that lost most: what a mean over all classes hides."""

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import bounded_mean
from efface.records import Margin, Spec

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


def worst_class(result: Observations, original: Observations) -> Metric | None:
    """Accuracy of the one retained label that fell furthest; None for samples of one label.

    Its interval is Bonferroni's, at 1 - 0.05 / labels, as the worst of many is chosen for being
    low.
    """
    labels = np.unique(original.asked).tolist()
    if len(labels) < 2:
        return None
    fell = [shown(original, label).mean() - shown(result, label).mean() for label in labels]
    label = labels[int(np.argmax(fell))]
    return Metric(
        spec=SPEC.model_copy(update={"label": f"Worst class ({label})"}),
        compute=lambda seen: bounded_mean(shown(seen, label), confidence=1 - 0.05 / len(labels)),
        samples=lambda seen: len(shown(seen, label)),
    )


def shown(observed: Observations, label: int) -> np.ndarray:
    """Which samples of a label the judge assigns to it: (n,) bool."""
    return observed.seen[observed.asked == label] == label
