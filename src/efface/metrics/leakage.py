"""Leakage: the forgotten class in samples that are conditioned on other labels."""

from __future__ import annotations

import numpy as np

from efface.metrics.base import Metric
from efface.metrics.intervals import bounded_mean
from efface.records import Margin, Spec

LEAKAGE = Metric(
    compute=lambda seen: bounded_mean(np.isin(seen.seen, seen.forgotten)),
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
