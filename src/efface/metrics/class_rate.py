"""Is it gone: samples conditioned on the forgotten label that still show it.

One less unlearning accuracy, the UA of SFD (arXiv 2409.11219).
"""

import numpy as np

from efface.metrics.base import Metric
from efface.metrics.intervals import bounded_mean
from efface.records import Margin, Spec

CLASS_RATE = Metric(
    compute=lambda seen: bounded_mean(np.isin(seen.seen, seen.forgotten)),
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
