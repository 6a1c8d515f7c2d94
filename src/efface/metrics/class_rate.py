"""Is it gone: samples conditioned on the forgotten label that still show it."""

from __future__ import annotations

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, bounded_mean
from efface.records import Margin, Spec


def _class_rate(seen: Observations) -> Estimate:
    """Share of forgotten-label samples in which the judge sees any of the forgotten labels.

    One less unlearning accuracy, the UA of SFD (arXiv 2409.11219).
    """
    return bounded_mean(np.isin(seen.seen, seen.forgotten))


CLASS_RATE = Metric(
    compute=_class_rate,
    spec=Spec(
        name="class_rate",
        label="Class rate",
        meaning="samples of the forgotten class in which the classifier sees it",
        unit="share of samples",
        side="forget",
        better="less",
        role="primary",
        margin=Margin(value=0.05),
        event="{it} appeared in",
    ),
)
