"""What else broke: samples asked for under the other labels that show what was asked for."""

from efface.metrics.base import Metric
from efface.metrics.intervals import bounded_mean
from efface.records import Margin, Spec

RETAINED_ACCURACY = Metric(
    compute=lambda seen: bounded_mean(seen.seen == seen.asked),
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
