"""What else broke: samples asked for under the other labels that show what was asked for."""

from __future__ import annotations

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, bounded_mean
from efface.records import Margin, Spec


def _retained_accuracy(seen: Observations) -> Estimate:
    """Share of retained-label samples that the judge assigns to the label asked for."""
    return bounded_mean(seen.seen == seen.asked)


RETAINED_ACCURACY = Metric(
    compute=_retained_accuracy,
    spec=Spec(
        name="retained_accuracy",
        label="Retained accuracy",
        meaning="samples of the other classes in which the classifier sees their class",
        unit="share of samples",
        side="retain",
        better="more",
        role="primary",
        margin=Margin(value=0.02),
    ),
)
