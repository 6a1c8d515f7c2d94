"""Leakage: the forgotten class in samples that are conditioned on other labels."""

from efface.metrics.base import Metric
from efface.metrics.class_rate import CLASS_RATE
from efface.records import Margin, Spec

LEAKAGE = Metric(
    compute=CLASS_RATE.compute,  # of samples of other labels
    spec=Spec(
        name="leakage",
        label="Leakage",
        meaning="samples of retained classes in which the classifier sees the forgotten one",
        unit="share of samples",
        side="retain",
        better="less",
        role="secondary",
        margin=Margin(value=0.02),
    ),
)
