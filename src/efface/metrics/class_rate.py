"""Is it gone: samples conditioned on the forgotten label that still show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, proportion
from efface.records import Margin, Spec


class ClassRate(Metric):
    """Share of forgotten-label samples in which the judge sees any of the forgotten labels.

    One less unlearning accuracy, the UA of SFD (arXiv 2409.11219).
    """

    spec: ClassVar[Spec] = Spec(
        name="class_rate",
        label="Class rate",
        meaning="samples of the forgotten class in which the classifier sees it",
        unit="share of samples",
        side="forget",
        better="less",
        role="primary",
        margin=Margin(value=0.05),
        event="{it} appeared in",
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del reference
        return proportion(int(np.isin(observed.seen, forgotten).sum()), len(observed))
