"""How often a detector finds the concept where it is asked for."""

import numpy as np

from efface.metrics.base import Metric
from efface.metrics.intervals import Estimate, bounded_mean
from efface.records import Margin, Spec


def rate_above(scores: np.ndarray, threshold: float) -> Estimate:
    """Share of scores (N,) above a threshold, with an exact interval."""
    return bounded_mean(scores > threshold)


SPEC = Spec(
    name="concept_rate",
    label="Concept rate",
    meaning="samples conditioned on the concept in which a detector finds it, or a CLIP rather "
    "than its replacement",
    unit="share",
    side="forget",
    better="less",
    role="primary",
    margin=Margin(value=0.05),
    event="{it} {was} found in",
)


def concept_rate(threshold: float) -> Metric:
    """Share of samples conditioned on forgotten labels in which a detector finds the concept.

    The detector's score of the concept is the only probability (N, 1) that was observed.
    """
    return Metric(spec=SPEC, compute=lambda seen: rate_above(seen.probabilities[:, 0], threshold))
