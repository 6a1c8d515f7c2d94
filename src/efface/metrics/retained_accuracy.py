"""What else broke: samples asked for under the other labels that show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, proportion
from efface.records import Margin, Spec


class RetainedAccuracy(Metric):
    """Share of retained-label samples that the judge assigns to the label asked for."""

    spec: ClassVar[Spec] = Spec(
        name="retained_accuracy",
        label="Retained accuracy",
        meaning="samples of the other classes in which the classifier sees their class",
        unit="share of samples",
        side="retain",
        better="more",
        role="primary",
        margin=Margin(value=0.02),
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return proportion(int((observed.seen == observed.asked).sum()), len(observed))
