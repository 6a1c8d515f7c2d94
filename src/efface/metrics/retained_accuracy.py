"""What else broke: samples conditioned on the other labels that show these labels."""

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
