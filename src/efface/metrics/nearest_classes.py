"""The retained classes that are most like what was forgotten: where leakage shows first."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import bounded_mean
from efface.records import Margin, Spec

NEAREST = 3
SPEC = Spec(
    name="nearest_classes",
    label="Nearest classes",
    meaning="accuracy of the retained classes that are most like the forgotten one",
    unit="share of samples",
    side="retain",
    better="more",
    role="secondary",
    margin=Margin(value=0.05),
)


def nearest_labels(
    features: np.ndarray, labels: np.ndarray, forgotten: Sequence[int], count: int = NEAREST
) -> list[int]:
    """Retained labels whose real images are nearest to those of a forgotten one, nearest first.

    By the Euclidean distance between mean features: (M, D) with labels (M,). None where no
    forgotten or no retained label has images.
    """
    known = np.unique(labels)
    gone, kept = known[np.isin(known, forgotten)], known[~np.isin(known, forgotten)]
    if not len(gone) or not len(kept):
        return []
    means = {label: features[labels == label].mean(0, dtype=np.float64) for label in known}
    apart = cdist([means[label] for label in kept], [means[label] for label in gone]).min(1)
    return kept[np.argsort(apart, kind="stable")[:count]].tolist()


def nearest_classes(labels: Sequence[int]) -> Metric:
    """Accuracy of the samples of `labels`, which were chosen without looking at any samples."""

    def shown(seen: Observations) -> np.ndarray:
        return (seen.seen == seen.asked)[np.isin(seen.asked, labels)]

    named = ", ".join(map(str, labels))
    return Metric(
        spec=SPEC.model_copy(update={"label": f"Nearest classes ({named})"}),
        compute=lambda seen: bounded_mean(shown(seen)),
        samples=lambda seen: len(shown(seen)),
    )
